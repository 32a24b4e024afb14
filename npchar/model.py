"""The model: a vocabulary and a network as one thing that trains, scores and writes.

Everything a user calls stands here; how it is done stands in the rooms it
imports: ``network.py``, ``training.py``, ``sampling.py``, ``checkpoint.py``.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from typing import NamedTuple, overload

import numpy as np

from npchar import checkpoint
from npchar.generation import write_on
from npchar.network import Network, Sizes
from npchar.parameters import Array, Parameters
from npchar.text import Vocabulary, require_positive, require_seed
from npchar.training import Callback, History, train

DTYPES = ("float32", "float64")


class Evaluation(NamedTuple):
    """How well a model foretells a text."""

    loss: float  # nats per character
    bits_per_character: float
    characters: int  # how many were foretold


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
            Sizes(len(vocabulary), hidden_size, num_layers, float(dropout)), dtype=dtype
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
        seed: int = 0,
        callbacks: Sequence[Callback] = (),
        verbose: bool = True,
        workers: int | None = None,
    ) -> History:
        """Train on a text.

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
        seed
            For the order of the batches, where in the text an epoch's first window
            begins ("all"), and dropout. The same seed on the
            same machine gives the same weights, to the bit.
        callbacks
            Each is called with the `History` after every epoch; one that returns
            True ends the training.
        verbose
            Print a line per epoch.
        workers
            Processes that share out each batch; as many as suit when not given,
            and 1 for none beside this one. In an MPI job the ranks do that, and
            this does not count.

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
            When the loss is no longer finite.
        """
        return train(
            self.network,
            self.vocabulary.encode(text),
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
            seed=seed,
            callbacks=callbacks,
            verbose=verbose,
            workers=workers,
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

    def evaluate(self, text: str) -> Evaluation:
        """How well the model foretells a text it may not have seen, in quick reading.

        Each character is foretold from those before it; of a long text, up to 64
        pieces are read side by side, each from an empty memory. On the held-out
        part of a text this is the `val_loss` of `fit` with a target at every character.

        Parameters
        ----------
        text
            Any text of the vocabulary's characters, longer than one character.
        """
        ids = self._at_least_two(text)
        loss = self.network.reading_loss(ids)
        return Evaluation(loss, loss / math.log(2), len(ids) - 1)

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
        seed: int | None = ...,
        unknown: str = ...,
    ) -> list[str]: ...

    def generate(
        self,
        prompt: str | Sequence[str],
        length: int = 400,
        *,
        temperature: float | Sequence[float] = 1.0,
        seed: int | None = None,
        unknown: str = "error",
    ) -> str | list[str]:
        """Write on from a prompt.

        Parameters
        ----------
        prompt
            The text to go on from, at least one character; or several, which
            are continued side by side, for much less than one after the other.
        length
            Characters to write.
        temperature
            0 always takes the most probable character, 1 samples as the model
            believes, infinity takes any with equal chance. With several prompts,
            one for all or one for each.
        seed
            The same seed gives the same text; without one it differs each time.
        unknown
            What to do with a prompt's characters outside the vocabulary, as for
            `Vocabulary.encode`.

        Returns
        -------
        str or list of str
            What was written, without the prompt.
        """
        require_positive(length=length)
        if not isinstance(prompt, (str, Sequence)):
            raise TypeError(f"prompt is {prompt!r}; pass a str or a list of them")
        prompts = [prompt] if isinstance(prompt, str) else list(prompt)
        streams = write_on(self.network, self.vocabulary, prompts, temperature, seed, unknown)
        written = np.stack([next(streams) for _ in range(length)], axis=1)  # (n, length)
        texts = [self.vocabulary.decode(row) for row in written]
        return texts[0] if isinstance(prompt, str) else texts

    def stream(
        self,
        prompt: str,
        *,
        temperature: float = 1.0,
        seed: int | None = None,
        unknown: str = "error",
    ) -> Iterator[str]:
        """Write on from a prompt without end, a character at a time.

        The arguments are `generate`'s, and so is the text for the same seed.
        """
        streams = write_on(self.network, self.vocabulary, [prompt], temperature, seed, unknown)
        return (self.vocabulary.characters[ids[0]] for ids in streams)

    # Files

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the model to one file, whole or not at all.

        An ``.npz`` of plain arrays and a JSON description, no pickle: `load`
        reads it, and so does ``numpy.load``.
        """
        V, H, layers, dropout = self.network.sizes
        configuration = {
            "characters": self.vocabulary.characters,
            "hidden_size": H,
            "num_layers": layers,
            "dropout": dropout,
            "dtype": str(self.parameters.flat.dtype),
        }
        checkpoint.write(path, configuration, dict(self.parameters))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Model:
        """The model that `save` wrote.

        Raises
        ------
        CheckpointError
            When the file is not one of npchar's, or is damaged.
        """
        configuration, arrays = checkpoint.read(path)
        try:
            vocabulary = Vocabulary(configuration["characters"])
            if vocabulary.characters != configuration.pop("characters"):
                raise ValueError("its characters are not sorted")
            if configuration["num_layers"] > len(arrays):
                raise ValueError("it has fewer arrays than its layers need")
            sizes = Sizes(len(vocabulary), *(configuration[name] for name in Sizes._fields[1:]))
            # Before a model of that size is made: a false size must not take the memory.
            found = {name: array.shape for name, array in arrays.items()}
            if found != sizes.shapes():
                raise ValueError(f"it needs the arrays {sizes.shapes()} and has {found}")
            model = cls(vocabulary, **configuration)
        except (KeyError, TypeError, ValueError) as error:
            raise checkpoint.CheckpointError(
                f"{os.fspath(path)} does not describe a model: {error}"
            ) from None
        for name, array in arrays.items():
            model.parameters[name] = array
        return model
