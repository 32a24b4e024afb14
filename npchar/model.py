"""The model: a vocabulary and a network as one thing that trains, scores and writes.

Everything a user calls stands here; how it is done stands in the rooms it
imports: ``network.py``, ``training.py``, ``sampling.py``, ``checkpoint.py``.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, overload

import numpy as np

from npchar import checkpoint
from npchar.baselines import baselines
from npchar.distributed import on_rank_0, rank
from npchar.doctor import examine
from npchar.generation import require_stops, until, write_on
from npchar.history import History
from npchar.network import Network, Sizes
from npchar.parameters import Array, Parameters
from npchar.resume import Checkpoint, require_every, training_layout
from npchar.text import Vocabulary, require_positive, require_seed
from npchar.training import Callback, train
from npchar.version import __version__

DTYPES = ("float32", "float64")


class Evaluation(NamedTuple):
    """How well a model foretells a text."""

    loss: float  # nats per character
    bits_per_character: float
    characters: int  # how many were foretold
    baselines: dict[str, float]  # nats per character of simple models, see `Model.evaluate`


class Score(NamedTuple):
    """How probable a model finds a text, character by character."""

    log_probabilities: Array  # (n - 1,) float64, nats: of each character after the first
    loss: float  # their mean, negated: nats per character
    bits_per_character: float


class Model:
    """A character-level language model: stacked LSTMs and a softmax over a vocabulary.

    Parameters
    ----------
    vocabulary
        The characters it knows.
    hidden_size
        Units of each LSTM, H.
    num_layers
        LSTMs on top of each other.
    dropout
        The share of what passes between two of them that is dropped while
        training, from 0 to below 1; with one layer nothing passes.
    seed
        For the initial weights.
    dtype
        "float32" or "float64".

    Examples
    --------
    >>> vocabulary = Vocabulary.from_text("hello world")
    >>> model = Model(vocabulary, hidden_size=16)
    >>> model.parameters["lstm0.Wh"].shape
    (4, 16, 16)
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        *,
        hidden_size: int = 128,
        num_layers: int = 1,
        dropout: float = 0.0,
        seed: int = 0,
        dtype: str = "float32",
    ) -> None:
        if not isinstance(vocabulary, Vocabulary):
            raise TypeError(
                f"vocabulary is a {type(vocabulary).__name__}; make one with "
                "npchar.Vocabulary.from_text(text)"
            )
        if len(vocabulary) < 2:
            raise ValueError(
                f"the vocabulary has one character, {vocabulary.characters!r}; with fewer than "
                "two there is nothing to foretell"
            )
        require_positive(hidden_size=hidden_size, num_layers=num_layers)
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout is {dropout!r}; it must be from 0 to below 1")
        require_seed(seed)
        if dtype not in DTYPES:
            raise ValueError(f"dtype is {dtype!r}; it must be one of {', '.join(DTYPES)}")
        self.vocabulary = vocabulary
        self.network = Network(
            Sizes(len(vocabulary), int(hidden_size), int(num_layers), float(dropout)), dtype=dtype
        )
        self.network.initialise(seed)

    @property
    def parameters(self) -> Parameters:
        """All weights: named views, and `parameters.flat`, the vector they lie on."""
        return self.network.parameters

    def __repr__(self) -> str:
        V, H, layers, dropout = self.network.sizes
        return (
            f"Model(V={V}, hidden_size={H}, num_layers={layers}, dropout={dropout}, "
            f"{self.parameters.flat.size:,} {self.parameters.flat.dtype} parameters)"
        )

    # Training

    def fit(
        self,
        text: str,
        *,
        epochs: int = 20,
        maxlen: int = 60,
        step: int | None = None,
        targets: str = "all",
        batch_size: int = 32,
        learning_rate: float = 0.01,
        schedule: str = "linear",
        epsilon: float | None = None,
        clip_norm: float | None = 1.0,
        validation_split: float = 0.1,
        patience: int | None = None,
        restore_best: bool = True,
        seed: int = 0,
        callbacks: Sequence[Callback] = (),
        verbose: bool = True,
        workers: int | None = None,
        checkpoint: str | os.PathLike[str] | None = None,
        checkpoint_every: tuple[float, str] = (30, "seconds"),
        resume: bool = False,
    ) -> History:
        """Train on a text.

        When the loss or its gradient is not a finite number, or the loss rises far
        above its best, the best weights are put back and it goes on with a quarter
        of the learning rate, up to five times; `History.events` and the lines of
        `verbose` say so.

        Parameters
        ----------
        text
            The text; every character must be in the vocabulary.
        epochs
            Passes over it.
        maxlen
            Characters in a window, T: how far back in time the gradient flows.
        step
            Characters between the starts of two windows; when not given, `maxlen`
            for "all" (windows end to end) and the book's 3 for "last".
        targets
            "all": learn to foretell every character of a window. "last": only
            the one after it, as the book does, for 1/maxlen of the lessons at
            the same cost.
        batch_size
            Windows in a step. Small ones learn sooner.
        learning_rate, schedule
            RMSprop's rate, and its way: "linear" to zero at the end, or "constant".
        epsilon
            RMSprop's ε. When not given, Keras' 1e-7 for "last"; and 1e-12 for "all",
            where gradients of 1e-4 are usual and an ε of 1e-7 would slow them down.
        clip_norm
            The longest gradient that is followed; None for no limit.
        validation_split
            The share of the text, from its end, that is held out: 0 for none. Its
            loss is `evaluate`'s ("all"), or that of the last characters of its
            windows ("last").
        patience
            End when so many epochs in a row were no better held out (without a
            held-out part, in training) than the best before; None for never.
        restore_best
            Put the weights of the epoch with the best `val_loss` back at the end.
        seed
            For the order of the batches, where in the text an epoch's first window
            begins ("all"), and dropout. The same seed on the
            same machine gives the same weights, to the bit.
        callbacks
            Each is called with the `History` after every epoch; one that returns
            True ends the training.
        verbose
            Print what is odd about the text (`npchar.examine`), what simple models
            make of it, and a line per epoch.
        workers
            Processes that share out each batch; as many as suit when not given,
            and 1 for none beside this one. In an MPI job the ranks do that, and
            this does not count.
        checkpoint
            A file to keep the training in, now and then, when it ends, and when it is
            interrupted by Ctrl-C, SIGTERM or an error; after a kill it is as it was
            last saved. It is a model's file too: `load` reads the latest weights.
        checkpoint_every
            How often: a number and "seconds", "steps" or "epochs".
        resume
            Go on from the checkpoint if the file is there: to the bit as if it had
            never been interrupted. The text, the model and the other arguments
            must be the same. Without it, a file that is there is an error.

        Returns
        -------
        History
            Its `loss` and `val_loss`, nats per character, have a number per epoch.

        Raises
        ------
        ValueError
            For an argument out of its range, or a text too short for one window.
        UnknownCharacterError
            For a character outside the vocabulary.
        TrainingDiverged
            When it went wrong again after five lower learning rates; the weights are
            the best ones then.
        CheckpointError
            When the checkpoint is damaged, or of another model, text or training.
        OSError
            When the checkpoint cannot be written, at the beginning or the end; one in
            between is a warning, and the training goes on.
        """
        ids = self.vocabulary.encode(text)
        if verbose and rank() == 0:
            for finding in examine(text, maxlen=maxlen, validation_split=validation_split):
                print(f"the text: {finding}", flush=True)
        kept = None
        if checkpoint is not None:
            require_every(checkpoint_every)
            configuration = self._configuration()
            saved = on_rank_0(lambda: saved_training(checkpoint, resume))
            kept = Checkpoint(checkpoint, configuration, checkpoint_every, saved)
        elif resume:
            raise ValueError("resume is True, but no checkpoint is named to go on from")
        return train(
            self.network,
            ids,
            epochs=epochs,
            maxlen=maxlen,
            step=step,
            targets=targets,
            batch_size=batch_size,
            learning_rate=learning_rate,
            schedule=schedule,
            epsilon=epsilon,
            clip_norm=clip_norm,
            validation_split=validation_split,
            patience=patience,
            restore_best=restore_best,
            seed=seed,
            callbacks=callbacks,
            verbose=verbose,
            workers=workers,
            checkpoint=kept,
        )

    def loss_and_gradient(self, ids: Array, targets: Array) -> tuple[float, Parameters]:
        """The mean loss of a batch, nats per character, and its gradient.

        Parameters
        ----------
        ids
            Input characters, (T, B), time first.
        targets
            The ids that come next: (T, B) for a loss at every character, (B,)
            for one after the last alone.

        Returns
        -------
        loss, gradient
            `gradient` has the names and shapes of `parameters`.
        """
        ids, targets = np.asarray(ids), np.asarray(targets)
        if not ids.size or ids.dtype.kind not in "iu" or targets.dtype.kind not in "iu":
            raise ValueError(
                f"ids are {ids.size} {ids.dtype} and targets {targets.size} {targets.dtype}; both "
                "must be whole numbers, at least one"
            )
        if ids.ndim != 2 or targets.shape not in (ids.shape, ids.shape[1:]):
            raise ValueError(
                f"ids have the shape {ids.shape} and targets {targets.shape}; they must be "
                "(T, B) and (T, B), or (T, B) and (B,)"
            )
        if targets.size and not 0 <= targets.min() <= targets.max() < len(self.vocabulary):
            raise ValueError(
                f"targets run from {targets.min()} to {targets.max()}; this vocabulary has "
                f"0 to {len(self.vocabulary) - 1}"
            )
        result = self.network.gradients(ids, targets)
        return float(result.loss), result.parameters

    # Scoring

    def evaluate(self, text: str, *, learned: str | None = None) -> Evaluation:
        """How well the model foretells a text it may not have seen, in quick reading.

        Each character is foretold from those before it; of a long text, up to 64
        pieces are read side by side, each from an empty memory. On the held-out
        part of a text this is the `val_loss` of `fit` with a target at every character.

        Parameters
        ----------
        text
            Any text of the vocabulary's characters, longer than one character.
        learned
            The text that the model learned from, to count what simple models would
            make of `text` if they had learned from it too. Without it there is only
            "uniform", every character as probable as any.
        """
        ids = self._at_least_two(text)
        loss = self.network.reading_loss(ids)
        V = len(self.vocabulary)
        simple = {"uniform": math.log(V)}
        if learned is not None:
            simple = baselines(self._at_least_two(learned), ids, V)
        return Evaluation(loss, loss / math.log(2), len(ids) - 1, simple)

    def score(self, text: str) -> Score:
        """The log-probability of each character of a text after its first.

        Read as one stream, with the memory of all that came before.
        """
        ids = self._at_least_two(text).astype(np.intp)
        log_probabilities = []
        states = None
        for start in range(0, len(ids) - 1, 1024):  # in chunks: logits take 4 V bytes each
            chunk = ids[start : start + 1025]
            logits, states = self.network.logits(chunk[:-1, None], states)
            z = logits[:, 0].astype(np.float64)  # (n, V)
            z -= z.max(axis=1, keepdims=True)
            z -= np.log(np.exp(z).sum(axis=1, keepdims=True))
            log_probabilities.append(z[np.arange(len(z)), chunk[1:]])
        log_p = np.concatenate(log_probabilities)
        loss = -float(log_p.mean())
        return Score(log_p, loss, loss / math.log(2))

    def _at_least_two(self, text: str) -> Array:
        if isinstance(text, str) and len(text) < 2:
            raise ValueError(
                f"the text is {text!r}; at least two characters are needed, one to read and one "
                "to foretell"
            )
        return self.vocabulary.encode(text)

    # Generating

    @overload
    def generate(  # type: ignore[overload-overlap]  # a str is a Sequence[str] too
        self,
        prompt: str,
        length: int = ...,
        *,
        temperature: float = ...,
        top_k: int | None = ...,
        top_p: float | None = ...,
        stop: str | Sequence[str] | None = ...,
        seed: int | None = ...,
        unknown: str = ...,
    ) -> str: ...

    @overload
    def generate(
        self,
        prompt: Sequence[str],
        length: int = ...,
        *,
        temperature: float | Sequence[float] = ...,
        top_k: int | None = ...,
        top_p: float | None = ...,
        stop: str | Sequence[str] | None = ...,
        seed: int | Sequence[int] | None = ...,
        unknown: str = ...,
    ) -> list[str]: ...

    def generate(
        self,
        prompt: str | Sequence[str],
        length: int = 400,
        *,
        temperature: float | Sequence[float] = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        stop: str | Sequence[str] | None = None,
        seed: int | Sequence[int] | None = None,
        unknown: str = "error",
    ) -> str | list[str]:
        """Write on from a prompt.

        Parameters
        ----------
        prompt
            The text to go on from, at least one character; or several, which
            are continued side by side, for much less than one after the other.
        length
            Characters to write, at most where there is a `stop`.
        temperature
            0 always takes the most probable character, 1 samples as the model
            believes, infinity takes any with equal chance. With several prompts,
            one for all or one for each.
        top_k, top_p
            Choose among the k most probable alone, or among the most probable whose
            chances sum up to p.
        stop
            A string, or several, that end a text; left out of what is returned.
        seed
            The same seed gives the same text; without one it differs each time. With
            several prompts, one for each, or a number that counts up from the first.
        unknown
            What to do with a prompt's characters outside the vocabulary, as for
            `Vocabulary.encode`.

        Returns
        -------
        str or list of str
            What was written, without the prompt.
        """
        require_positive(length=length)
        stops = require_stops(stop)
        if not isinstance(prompt, (str, Sequence)):
            raise TypeError(f"prompt is {prompt!r}; pass a str or a list of them")
        prompts = [prompt] if isinstance(prompt, str) else list(prompt)
        streams = write_on(
            self.network, self.vocabulary, prompts, temperature, top_k, top_p, seed, unknown
        )
        if not stops:
            written = np.stack([next(streams) for _ in range(length)], axis=1)  # (n, length)
            texts = [self.vocabulary.decode(row) for row in written]
        else:
            texts = [""] * len(prompts)
            going = set(range(len(prompts)))
            for _ in range(length):
                ids = next(streams)
                for k in going:
                    texts[k] += self.vocabulary.characters[ids[k]]
                going = {k for k in going if not texts[k].endswith(tuple(stops))}
                if not going:
                    break
            texts = ["".join(until(iter(text), stops)) for text in texts]
        return texts[0] if isinstance(prompt, str) else texts

    def stream(
        self,
        prompt: str,
        *,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        stop: str | Sequence[str] | None = None,
        seed: int | None = None,
        unknown: str = "error",
    ) -> Iterator[str]:
        """Write on from a prompt, a character at a time, without end or up to a `stop`.

        The arguments are `generate`'s, and so is the text for the same seed. With
        `stop`, what may be its beginning comes only when it turns out not to be.
        """
        stops = require_stops(stop)
        streams = write_on(
            self.network, self.vocabulary, [prompt], temperature, top_k, top_p, seed, unknown
        )
        characters = (self.vocabulary.characters[ids[0]] for ids in streams)
        return until(characters, stops) if stops else characters

    # Files

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the model to one file, whole or not at all.

        An ``.npz`` of plain arrays and a JSON description, no pickle: `load`
        reads it, and so does ``numpy.load``.
        """
        checkpoint.write(path, self._configuration(), self.parameters)

    def _configuration(self) -> dict[str, Any]:
        V, H, layers, dropout = self.network.sizes
        return {
            "npchar": __version__,
            "model": {
                "characters": self.vocabulary.characters,
                "hidden_size": H,
                "num_layers": layers,
                "dropout": dropout,
                "dtype": str(self.parameters.flat.dtype),
            },
        }

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Model:
        """The model that `save` wrote, or the latest of a `fit` with a checkpoint.

        Raises
        ------
        CheckpointError
            When the file is not one of npchar's, or is damaged.
        """
        configuration, arrays = checkpoint.read(path, layout)
        described = dict(configuration["model"])
        model = cls(Vocabulary(described.pop("characters")), **described)
        for name in model.parameters:
            model.parameters[name] = arrays[name]
        return model


def layout(configuration: dict[str, Any]) -> checkpoint.Layout:
    """The arrays of a model's file; raises an error if its configuration makes no sense."""
    described = dict(configuration["model"])
    characters, dtype = described.pop("characters"), described.pop("dtype")
    vocabulary = Vocabulary(characters)
    if vocabulary.characters != characters or len(vocabulary) < 2:
        raise ValueError("its characters are not two or more in their order")
    sizes = Sizes(len(vocabulary), **described)
    require_positive(hidden_size=sizes.hidden_size, num_layers=sizes.num_layers)
    if sizes.num_layers > 1000 or dtype not in DTYPES or not 0 <= sizes.dropout < 1:
        raise ValueError(f"it has {sizes} and the type {dtype!r}")
    code = np.dtype(dtype).str
    shapes = sizes.shapes()
    arrays: checkpoint.Layout = {name: (code, shape) for name, shape in shapes.items()}
    if "training" in configuration:
        size = sum(math.prod(shape) for shape in shapes.values())
        arrays |= training_layout(configuration["training"], size, code)
    return arrays


def saved_training(
    path: str | os.PathLike[str], resume: bool
) -> tuple[dict[str, Any], dict[str, Array]] | None:
    """What a checkpoint holds to go on from; None where there is none yet."""
    if not os.path.exists(path):
        return None
    if not resume:
        raise FileExistsError(
            f"there is a file {os.fspath(path)!r} already; go on from it by resume=True, or name "
            "another checkpoint"
        )
    return checkpoint.read(path, layout)
