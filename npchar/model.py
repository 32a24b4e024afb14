"""The model: a vocabulary and a network, with methods to train, evaluate and generate.

The methods delegate to other modules, such as ``network/network.py``, ``training/fit.py``,
``generation/stream.py`` and ``files.py``.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from npchar.analysis.activations import Activations, saliency
from npchar.analysis.page import PageModel, page
from npchar.analysis.scoring import Evaluation, mean_loss, score
from npchar.analysis.summary import summary, summary_html
from npchar.arguments import removed_name, require_known, require_seed
from npchar.arrays import Array
from npchar.files import (
    DTYPES,
    Reading,
    TrainedOn,
    describe_model,
    read_model_file,
    write_model_file,
    write_whole,
)
from npchar.generation import stream as generation
from npchar.generation.sampling import entropies
from npchar.generation.stream import GenerationOptions, Prompt, Texts
from npchar.layers.parameters import Parameters
from npchar.network.long_text import Progress
from npchar.network.network import Network, NetworkConfig, require_batch
from npchar.network.registry import DEFAULT_LAYERS
from npchar.text.documents import extended_vocabulary, read_text, require_vocabulary
from npchar.text.ngrams import baselines
from npchar.text.vocabulary import Text, Vocabulary
from npchar.training.fit import FitOptions, fit
from npchar.training.history import History
from npchar.training.optimizers import Optimizer
from npchar.training.schedule import Schedule
from npchar.training.trainer import Callback

PRETRAINED = "nietzsche", "nietzsche-128", "structure"  # files in the folder ``pretrained``


class Model:
    """A character-level language model: stacked layers and a softmax over a vocabulary.

    Parameters
    ----------
    vocabulary
        The characters that the model reads and predicts.
    layer
        The kind of layer: "lstm", "gru", "rnn" (plain recurrent layers) or "conv" (causal
        convolutions, see ``layers/conv.py``).
    hidden_size
        The number of units in each layer, H.
    num_layers
        The number of stacked layers. Default: 1, or 6 for "conv", whose predictions then depend
        on the last 64 characters.
    dropout
        Rate of dropout on the outputs of each layer during training, from 0 to below 1. All steps
        of a window drop the same units.
    recurrent_dropout
        Rate of dropout on the recurrent weights during training, from 0 to below 1. It helps large
        models in long runs.
    seed
        Seed of the initial weights, an integer of at least 0.
    dtype
        The dtype of the weights: "float32" or "float64".

    Raises
    ------
    ValueError
        If an argument is out of its range, or the vocabulary has fewer than two characters.

    Examples
    --------
    >>> vocabulary = npchar.Vocabulary.from_text("hello world")
    >>> model = npchar.Model(vocabulary, hidden_size=16)
    >>> model.parameters["lstm0.Wh"].shape
    (4, 16, 16)
    """

    vocabulary: Vocabulary
    """The characters and their ids."""
    network: Network
    """The layers, which compute logits from ids: see ``network/network.py``."""
    history: History
    """The `History` of the latest `fit`, complete or interrupted; empty before the first `fit`."""
    reading: Reading
    """How the command line reads texts for this model: whether in lower case, and how it splits
    them into documents. The methods of this class use texts unchanged."""
    trained_on: TrainedOn | None
    """The text of the latest `fit`: the ``sha256`` of its ids, and the ``validation_split``.

    It is empty before the first `fit`, and None if the text is unknown. Model files store it, so
    that ``fit(resume=True)`` does not replace a finished model with a model of another text."""

    def __init__(
        self,
        vocabulary: Vocabulary,
        *,
        layer: str = "lstm",
        hidden_size: int = 128,
        num_layers: int | None = None,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        seed: int = 0,
        dtype: str = "float32",
    ) -> None:
        require_seed(seed)
        require_vocabulary(vocabulary)
        if dtype not in DTYPES:
            raise ValueError(f"dtype is {dtype!r}; expected one of {', '.join(DTYPES)}")
        n = DEFAULT_LAYERS.get(layer, 1) if num_layers is None else num_layers
        config = NetworkConfig(len(vocabulary), hidden_size, n, dropout, layer, recurrent_dropout)
        self._set(vocabulary, Network(config, dtype=dtype))
        self.network.initialise(seed)

    @classmethod
    def from_network(cls, vocabulary: Vocabulary, network: Network) -> Model:
        """Create a model from a vocabulary and a network, which is not copied.

        Examples
        --------
        >>> model = npchar.Model(npchar.Vocabulary("abc"), hidden_size=4)
        >>> other = npchar.Model.from_network(npchar.Vocabulary("xyz"), model.network)
        >>> other.parameters is model.parameters
        True
        """
        model = cls.__new__(cls)
        model._set(vocabulary, network)
        return model

    def _set(self, vocabulary: Vocabulary, network: Network) -> None:
        """Set all attributes, as in an untrained model."""
        self.vocabulary, self.network, self.history = vocabulary, network, History()
        self.reading, self.trained_on = {}, {}

    @property
    def parameters(self) -> Parameters:
        """All weights: named views of one vector, `parameters.flat`.

        Examples
        --------
        >>> model = npchar.Model(npchar.Vocabulary("abc"), hidden_size=4)
        >>> {name: array.shape for name, array in model.parameters.items()}["dense.W"]
        (4, 3)
        >>> model.parameters["dense.b"][:] = 0  # a view: this changes the model
        """
        return self.network.parameters

    if not TYPE_CHECKING:  # so that type checkers report unknown attributes

        def __getattr__(self, name):
            raise removed_name("Model", name)

    def __repr__(self) -> str:
        V, H, layers, dropout, layer, recurrent_dropout = self.network.config
        recurrent = f"recurrent_dropout={recurrent_dropout}, " if recurrent_dropout else ""
        flat = self.parameters.flat
        return (
            f"Model(V={V}, layer={layer!r}, hidden_size={H}, num_layers={layers}, "
            f"dropout={dropout}, {recurrent}{flat.size:,} {flat.dtype} parameters)"
        )

    # Training

    def fit(
        self,
        text: Text,
        *,
        epochs: int | None = None,
        minutes: float | None = None,
        maxlen: int = 60,
        step: int | None = None,
        targets: str = "all",
        batch_size: int | None = None,
        optimizer: str | Optimizer = "rmsprop",
        learning_rate: float | None = None,
        schedule: str | Schedule | Callable[[float], float] = "linear",
        clip_norm: float | None = 1.0,
        validation_split: float = 0.1,
        validation_data: Text | None = None,
        patience: int | None = None,
        restore_best: bool = True,
        seed: int | None = 0,
        callbacks: Sequence[Callback] = (),
        verbose: bool = True,
        workers: int | str | None = None,
        checkpoint: str | os.PathLike[str] | None = None,
        checkpoint_every: tuple[float, str] = (30, "seconds"),
        resume: bool = False,
        **removed: object,
    ) -> History:
        """Train the model on a text or on documents.

        The model changes in place, and further calls continue to train it. Some defaults depend on
        the text length and the model size (``training/config.py``): short texts get more epochs,
        and large models get a lower learning rate. `History.config` contains the values that were
        used.

        If the run diverges, the best weights are restored and the learning rate is divided by
        four, up to five times. Divergence means that the loss or its gradient is not finite, or
        that the loss rises far above its best. `History.events` lists these events.

        Parameters
        ----------
        text
            One text, or documents. A text is a string, or a list of tokens for a vocabulary of
            tokens. Documents are a list, array or Series of independent texts, such as names or
            poems, and need a vocabulary created by `Vocabulary.from_documents`. The model reads
            each document from the zero state and learns to predict its end. All symbols must be in
            the vocabulary.
        epochs
            The number of passes over the text. The default depends on the text length: 3 for
            540,000 characters and 11 for 10,000, or 5 and 18 for a model with dropout. With targets
            "last", it is 20.
        minutes
            The training time in minutes, instead of `epochs`. `fit` times a few steps on this
            machine and chooses the number of epochs so that the complete schedule fills the time.
            Unless `step` is given, `fit` may also increase `step` to fill the time exactly, so that
            an epoch uses only a part of a long text. `History.config` contains both values. A
            resumed run keeps its number of epochs.
        maxlen
            The number of characters in a window, T. Gradients flow back to the start of a window.
        step
            The number of characters between the starts of two windows. Default: `maxlen` for
            targets "all", and 3 for "last", as in the book.
        targets
            "all" predicts the next character at every position of a window. "last" predicts only
            the character after the window, as in the book, which gives one target per window
            instead of `maxlen`, at about the same cost.
        batch_size
            The number of windows in a training step. Default: 32. For short texts it is smaller,
            down to 4, so that an epoch has about twenty steps.
        optimizer
            "rmsprop", "muon", "adam" or "sgd", or an instance such as ``npchar.RMSprop(rho=0.95)``.
            "muon" may reach a lower loss per epoch, but its steps take about 8 % longer with 128
            units, and more with larger layers. A name creates a new optimizer for each call. An
            instance keeps its state from one call to the next.
        learning_rate
            The initial learning rate. Defaults for up to 128 units (they are lower for more units):

            - "rmsprop": 0.04 for LSTMs, 0.03 for GRUs, 0.01 for plain RNNs, 0.02 for convolutions
            - "muon": 0.06 for LSTMs, 0.05 for GRUs, 0.03 for plain RNNs, 0.02 for convolutions
            - "adam": 0.04
            - "sgd": 1.0

            With targets "last", the default is 0.01. With targets "all", "rmsprop" multiplies the
            rate of the input weights of the first layer by 3 (LSTM), 2 (GRU) or 8 (RNN). "muon"
            multiplies it by 2. If `optimizer` is an instance, leave `learning_rate` at None: the
            instance has its own.
        schedule
            How the learning rate changes after a warm-up in the first twentieth of all steps:
            "linear" falls to zero, "cosine" falls to zero along half a cosine wave, and "constant"
            does not fall. ``npchar.Schedule("linear", warm_up=0.1)`` sets another warm-up. A
            function maps the progress, from 0 to 1, to a factor for the learning rate. It is called
            in the main process only. Checkpoints do not store it, so pass it again to resume.
        clip_norm
            The maximum norm of the gradient over all parameters. Larger gradients are scaled down.
            None sets no limit.
        validation_split
            The fraction of the text, at its end, that becomes the validation set. For documents, it
            is a fraction of the documents, drawn at random with `seed`. 0 disables validation.
        validation_data
            A text or documents for validation, instead of `validation_split`.
        patience
            Stop after this many epochs without improvement of `val_loss`, or of `loss` if there is
            no validation set. None never stops early.
        restore_best
            At the end, restore the weights of the epoch with the lowest `val_loss`. If the loss of
            every epoch is more than half a nat above the loss before this call, restore the weights
            from before this call.
        seed
            The seed for the batch order, the start of the first window and dropout. The batch order
            also depends on the number of epochs that the model has been trained, so that repeated
            calls of ``fit(text, epochs=1)`` see different batches. The same seed and the same calls
            on the same machine give bit-identical weights. None draws a random seed.
        callbacks
            A list of functions. Each function is called with the `History` after every epoch.
            Training ends if a function returns True.
        verbose
            Print the findings of `npchar.examine` on the text, the losses of the n-gram baselines,
            and a line for each epoch.
        workers
            The number of processes that compute each step together, including this process, or
            "mpi" for all ranks of an MPI job. Default: one process per available core if the batch
            is large enough. With several processes, each process uses one thread. If processes
            cannot be started, as in a browser or a frozen program, only this process is used.
        checkpoint
            The path of a file in which to save the run: at intervals, at its end, and when Ctrl-C,
            SIGTERM or an error interrupts it. `load` reads the latest weights from this file.
        checkpoint_every
            The interval between saves: a number and "seconds", "steps" or "epochs".
        resume
            Resume from the checkpoint if the file exists. The result is bit-identical to that of an
            uninterrupted run. The text, the model and the other arguments must be the same, with
            two exceptions. More `epochs` extend the run, and the learning rate then follows the
            longer schedule. Another `learning_rate` or `schedule` applies to the rest of the run,
            and `History.events` records it. If the file contains a finished model and `epochs` is
            given, a new run of this model on the same text starts. Without `resume`, an existing
            file raises an error.

        Returns
        -------
        History
            The losses, events and settings. `loss` and `val_loss` have one number per epoch, in
            nats per character.

        Raises
        ------
        ValueError
            If an argument is out of its range, the text is too short for one window, or MPI ranks
            have different arguments or texts.
        UnknownCharacterError
            If the text contains a character outside the vocabulary.
        MissingMPIError
            If `workers` is "mpi" and mpi4py is not installed.
        TrainingDiverged
            If the run diverges again after five reductions of the learning rate. The model
            then keeps its best weights.
        CheckpointError
            If the checkpoint is damaged, belongs to another model, text or run, is in use by
            another process, or was written by npchar 1.
        FileExistsError
            If the checkpoint exists and `resume` is False.
        OSError
            If the checkpoint cannot be written at the start or the end. During the run, a failure
            to write it is only a warning.
        KeyboardInterrupt
            On Ctrl-C, at the end of the current step, or immediately on a second Ctrl-C. The model
            has the weights of the last step, and `history` has the complete epochs.

        Examples
        --------
        >>> text = "the cat sat on the mat. " * 40
        >>> model = npchar.Model(npchar.Vocabulary.from_text(text), hidden_size=16)
        >>> history = model.fit(text, epochs=3, maxlen=20, workers=1, verbose=False)
        >>> len(history.loss), history.loss[-1] < history.loss[0]
        (3, True)

        With a checkpoint, the same call resumes an interrupted run.

        >>> history = model.fit(text, epochs=2, maxlen=20, workers=1, verbose=False,
        ...                     checkpoint="run.npz", resume=True)
        >>> len(history.loss)
        2
        """
        require_known(Model.fit, "fit", removed)
        arguments = {
            "epochs": epochs, "maxlen": maxlen, "step": step, "targets": targets,
            "batch_size": batch_size, "optimizer": optimizer, "learning_rate": learning_rate,
            "schedule": schedule, "clip_norm": clip_norm, "validation_split": validation_split,
            "patience": patience, "restore_best": restore_best, "seed": seed,
        }  # fmt: skip
        options = FitOptions(
            validation_data, callbacks, verbose, workers, checkpoint, checkpoint_every, resume,
            minutes,
        )  # fmt: skip
        return fit(self, text, arguments, options)

    def extend(self, text: Text, *, min_count: int = 1) -> Model:
        """Create a copy of this model with the symbols of another text added, for fine-tuning.

        New symbols are improbable at first, so the predictions for old texts stay almost the same.
        Fine-tune with a quarter of the default learning rate, so that the copy keeps more of the
        knowledge of the old text.

        Parameters
        ----------
        text
            The new text, or a list of documents.
        min_count
            New symbols that occur fewer times than this are replaced with the unknown symbol of the
            vocabulary, or with U+FFFD if there is none.

        Returns
        -------
        Model
            The copy, with the symbols of both texts in its vocabulary.

        Examples
        --------
        >>> model = npchar.Model(npchar.Vocabulary("abc"), hidden_size=4)
        >>> model.extend("bad").vocabulary
        Vocabulary('abcd')
        """
        vocabulary = extended_vocabulary(self.vocabulary, text, min_count)
        places = vocabulary.encode(self.vocabulary.join(self.vocabulary))
        model = Model.from_network(vocabulary, self.network.extended(len(vocabulary), places))
        model.trained_on, model.reading = None, self.reading.copy()
        return model

    def loss_and_gradient(self, ids: Array, targets: Array) -> tuple[float, Parameters]:
        """Compute the mean loss of a batch, in nats per character, and its gradient.

        Parameters
        ----------
        ids
            The ids of the input characters, (T, B), time first.
        targets
            The ids to predict: (T, B) for a prediction after every character, or (B,) for one
            after the last character only.

        Returns
        -------
        loss, gradient
            The loss, and a gradient with the names and shapes of `parameters`.

        Raises
        ------
        ValueError
            If `ids` or `targets` have another shape, or an id is not in the vocabulary.

        Examples
        --------
        >>> model = npchar.Model(npchar.Vocabulary("abc"), hidden_size=4)
        >>> ids = np.array([[0, 2], [1, 1], [2, 0]])  # T = 3, B = 2
        >>> loss, gradient = model.loss_and_gradient(ids[:-1], ids[1:])
        >>> gradient["lstm0.Wx"].shape
        (4, 3, 4)
        """
        ids, targets = np.asarray(ids), np.asarray(targets)
        require_batch(ids, targets, len(self.vocabulary))
        result = self.network.gradients(ids, targets)
        return float(result.loss), result.parameters

    # Scoring

    def evaluate(
        self,
        text: Text,
        *,
        train_text: Text | None = None,
        progress: Progress | None = None,
    ) -> Evaluation:
        """Measure how well the model predicts a text.

        Each character is predicted from all characters before it, as in `score`. On the validation
        set, the loss equals the `val_loss` of `fit` with targets "all".

        Parameters
        ----------
        text
            A text of at least two characters, or a list of documents. Each document is read from
            the zero state, and its end is predicted.
        train_text
            The training text, for n-gram baselines. Without it, the only baseline is the loss of
            the uniform distribution, log V.
        progress
            Called from time to time with the fraction of the text that has been read, 0 to 1.

        Returns
        -------
        Evaluation
            The loss in nats and in bits per character, and the baselines.

        Raises
        ------
        ValueError
            If the text is shorter than two characters.
        UnknownCharacterError
            If the text contains a character outside the vocabulary.

        Examples
        --------
        >>> model = npchar.Model.pretrained("nietzsche")
        >>> found = model.evaluate("there is no such thing as moral phenomena")
        >>> found.characters, found.loss < found.baselines["uniform"]
        (40, True)
        """
        _, ids = read_text(text, self.vocabulary, at_least=2)
        self.network.require_finite()
        V = len(self.vocabulary)
        losses = {"uniform": math.log(V)}
        if train_text is not None:
            _, train = read_text(train_text, self.vocabulary, at_least=2)
            losses = baselines(train.ids, ids.ids, V)
        loss = mean_loss(self.network, ids, progress)
        return Evaluation(loss, loss / math.log(2), len(ids.ids) - 1, losses)

    def score(self, text: Text, *, progress: Progress | None = None) -> Any:
        """Compute the log-probability of each character of a text, given all characters before it.

        The first character of a text is not predicted. In documents, the first character and the
        end are also predicted, and `Score.text` begins and ends with U+0003.

        Recurrent models read texts of at least two thousand characters in segments side by side
        (``network/long_text.py``). Their log-probabilities are accurate to 1e-4. The result needs 4
        bytes of memory per character for float32 models.

        Parameters
        ----------
        text
            A text of at least two characters, or a list of documents.
        progress
            As for `evaluate`.

        Returns
        -------
        Score, or list of Score
            The log-probability of each character, in nats; for documents, one score for each.

        Raises
        ------
        ValueError
            If the text is shorter than two characters.
        UnknownCharacterError
            If the text contains a character outside the vocabulary.

        Examples
        --------
        >>> model = npchar.Model.pretrained("nietzsche")
        >>> model.score("the will to power").loss < model.score("power to will the").loss
        True
        """
        self.network.require_finite()
        return score(self.network, self.vocabulary, text, progress)

    def next_probabilities(
        self, prompt: Text, *, temperature: float = 1.0, unknown: Hashable = "error"
    ) -> Array:
        """Compute the distribution from which `generate` samples the next character.

        The unknown symbol has probability 0, because `generate` never returns it. `score` uses the
        probability that the model predicts for it.

        Parameters
        ----------
        prompt, temperature, unknown
            As for `generate`.

        Returns
        -------
        Array
            The probability of each id, (V,), float64, with a sum of 1.

        Raises
        ------
        ValueError
            If the prompt is empty, or the temperature is below 0.
        UnknownCharacterError
            If the prompt contains a character outside the vocabulary and `unknown` is "error".

        Examples
        --------
        >>> model = npchar.Model.pretrained("nietzsche")
        >>> p = model.next_probabilities("the will to powe")
        >>> model.vocabulary.decode([p.argmax()]), round(float(p.sum()), 6)
        ('r', 1.0)
        """
        return generation.next_probabilities(
            self.network, self.vocabulary, prompt, temperature, unknown
        )

    # Generating

    def generate(
        self,
        prompt: Prompt,
        length: int = 400,
        *,
        temperature: float | Sequence[float] = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        no_repeat: int | None = None,
        stop: Texts | None = None,
        seed: int | Sequence[int] | None = None,
        unknown: Hashable = "error",
    ) -> Prompt:
        """Generate text from a prompt.

        Parameters
        ----------
        prompt
            The text to continue, at least one character. A list of texts is continued in one
            batch, which is much faster than one text after the other.
        length
            The number of characters to generate, or the maximum if `stop` is given.
        temperature
            The randomness of the text, from 0 to infinity. 0 always takes the most probable
            character, 1 samples from the distribution of the model, and infinity samples from the
            uniform distribution. Several prompts share one value, or a list gives one for each.
        top_k
            Sample only from the `top_k` most probable characters. None samples from all.
        top_p
            Sample only from the smallest set of most probable characters whose probabilities sum to
            at least this number, above 0 and up to 1. None samples from all.
        no_repeat
            Avoid loops: do not repeat a sequence of this many characters that occurs in the last
            2,000 characters of the prompt and the generated text (Paulus et al. 2018). For English,
            8 to 12 works well. A repeat is still allowed where every other character has less than
            a tenth of the largest probability, as inside words. No repeated passage is longer than
            four times this length.
        stop
            A text or a list of texts. Generation stops before the first occurrence of any of them.
        seed
            An integer. The same seed gives the same text. None gives another text each time. With
            several prompts, a list has one seed per prompt, and a single seed is increased by the
            index of the prompt.
        unknown
            The policy for characters of the prompt outside the vocabulary, as for
            `Vocabulary.encode`.

        Returns
        -------
        str, list of tokens, or list of these
            The generated text, without the prompt; for several prompts, a list.

        Raises
        ------
        ValueError
            If the prompt is empty, or an argument is out of its range.
        UnknownCharacterError
            If the prompt contains a character outside the vocabulary and `unknown` is "error".

        Examples
        --------
        >>> model = npchar.Model.pretrained("nietzsche")
        >>> model.generate("the will to pow", 2, temperature=0)
        'er'
        >>> texts = model.generate(["the soul ", "the state "], 30, temperature=[0.3, 1], seed=1)
        >>> [len(text) for text in texts]
        [30, 30]
        """
        options = GenerationOptions(temperature, top_k, top_p, no_repeat, stop, seed, unknown)
        return generation.generate(self.network, self.vocabulary, prompt, length, options)

    def stream(
        self,
        prompt: Text,
        *,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        no_repeat: int | None = None,
        stop: Texts | None = None,
        seed: int | None = None,
        unknown: Hashable = "error",
    ) -> Iterator[Any]:
        """Generate text from a prompt, one character at a time.

        The iterator ends only at a `stop`. It gives the same text as `generate` for the same
        arguments and seed. Characters that may be the beginning of a `stop` are delayed.

        Parameters
        ----------
        prompt, temperature, top_k, top_p, no_repeat, stop, seed, unknown
            As for `generate`, for a single prompt.

        Yields
        ------
        str, or a token
            One character at a time.

        Raises
        ------
        ValueError, UnknownCharacterError
            As for `generate`.

        Examples
        --------
        >>> model = npchar.Model.pretrained("nietzsche")
        >>> for character in model.stream("the will to pow", temperature=0, stop=","):
        ...     print(character, end="")
        er
        """
        options = GenerationOptions(temperature, top_k, top_p, no_repeat, stop, seed, unknown)
        return generation.stream(self.network, self.vocabulary, prompt, options)

    def generate_documents(
        self,
        n: int = 1,
        length: int = 1000,
        *,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        no_repeat: int | None = None,
        stop: Texts | None = None,
        seed: int | None = None,
        beginning: Text | None = None,
        new_to: Sequence[Text] | None = None,
        unknown: Hashable = "error",
    ) -> list[Any]:
        """Generate whole documents, from their first character to their end.

        The model must have been trained on documents: see `fit`.

        Parameters
        ----------
        n
            The number of documents.
        length
            The maximum number of characters of a document. Longer documents are cut off.
        temperature, top_k, top_p, no_repeat, stop, unknown
            As for `generate`.
        seed
            An integer. The same seed gives the same documents: document k, from 0, uses the seed
            ``seed + k``. None gives other documents each time.
        beginning
            The beginning of each document. It is included in the result.
        new_to
            Documents, such as the training documents. The result is then the first n documents that
            are not copies of these, not repeats and not empty. If a thousand documents in a row are
            not new, generation ends early with a warning.

        Returns
        -------
        list of str, or of lists of tokens
            The documents. With `new_to`, the list is a `NewDocuments`, whose `copies` and `repeats`
            count the documents that were left out.

        Raises
        ------
        ValueError
            If the vocabulary is not for documents, or an argument is out of its range.
        UnknownCharacterError
            If `beginning` contains a character outside the vocabulary and `unknown` is "error".

        Examples
        --------
        >>> names = ["anna", "hannah", "nathan"] * 40
        >>> model = npchar.Model(npchar.Vocabulary.from_documents(names), hidden_size=16)
        >>> history = model.fit(names, epochs=2, workers=1, verbose=False)
        >>> documents = model.generate_documents(3, seed=1, beginning="na")
        >>> [name[:2] for name in documents]
        ['na', 'na', 'na']
        """
        options = GenerationOptions(temperature, top_k, top_p, no_repeat, stop, seed, unknown)
        return generation.generate_documents(
            self.network, self.vocabulary, n, length, beginning, new_to, options
        )

    # Analysis

    def activations(self, text: Text) -> Activations:
        """Compute the gates and outputs of all units after each character of a text.

        Parameters
        ----------
        text
            A text of at least one character.

        Returns
        -------
        Activations
            Arrays of the shape (T, layers, H), for T characters.

        Examples
        --------
        >>> seen = npchar.Model.pretrained("nietzsche").activations("the soul")
        >>> seen.c.shape  # T characters, layers, H units
        (8, 1, 300)
        """
        return Activations.of(self.network, text, self.vocabulary.encode(text, at_least=1))

    def saliency(self, text: Text) -> Array:
        """Compute the influence of each character of a text on the prediction of the last one.

        Parameters
        ----------
        text
            At least two characters.

        Returns
        -------
        Array
            (n − 1,): the norm of the gradient of log p(last character) with respect to the one-hot
            vector of each earlier character. If it is near 0, the character has almost no influence
            on the prediction.

        Raises
        ------
        ValueError
            If the text is shorter than two characters.

        Examples
        --------
        >>> npchar.Model.pretrained("nietzsche").saliency("the will to power").shape
        (16,)
        """
        return saliency(self.network, self.vocabulary.encode(text, at_least=2))

    def entropies(self, text: Text, temperatures: Sequence[float]) -> Array:
        """Compute the mean entropy of the next character's distribution at several temperatures.

        Parameters
        ----------
        text
            A text of at least two characters.
        temperatures
            Numbers from 0 to infinity.

        Returns
        -------
        Array
            The mean over all positions in nats, one number per temperature. It is 0 at temperature
            0, and log V at infinity. The unknown symbol is excluded, as in `next_probabilities`.

        Raises
        ------
        ValueError
            If the text is shorter than two characters, or a temperature is below 0.

        Examples
        --------
        >>> model = npchar.Model.pretrained("nietzsche")
        >>> entropies = model.entropies("the will to power", [0, 0.5, 1])
        >>> bool(entropies[0] == 0 < entropies[1] < entropies[2])
        True
        """
        logits, _ = self.network.logits(self.vocabulary.encode(text, at_least=2)[:, None])
        if self.vocabulary.unknown_id is not None:
            logits[..., self.vocabulary.unknown_id] = -np.inf
        return entropies(logits[:, 0], temperatures)

    def summary(self) -> None:
        """Print the layers, their sizes, and the memory needed for the model and for training.

        Examples
        --------
        >>> npchar.Model(npchar.Vocabulary("abc"), hidden_size=4).summary()  # doctest: +ELLIPSIS
        layer        output         parameters  arrays
        lstm0        (T, B, 4)             128  Wx (4, 3, 4), Wh (4, 4, 4), b (4, 4)
        dense        (T, B, 3)              15  W (4, 3), b (3,)
        143 float32 parameters, 0.6 kB; 3 characters
        ...
        """
        print(summary(self.network, self.vocabulary))

    def _repr_html_(self) -> str:
        """The summary as a table for notebooks."""
        return summary_html(self.network, self.vocabulary)

    def to_html(self, path: str | os.PathLike[str], *, prompt: str | None = None) -> None:
        """Write an HTML page that runs this model in a browser.

        The page is a single file that needs no server and no network. It generates text from a
        prompt at any temperature, and shows the distribution of the next character and the values
        of the units. Users can go back to any character and see its saliency, pin units, and find
        the units that follow a feature of the text. The file is written atomically.

        Parameters
        ----------
        path
            The path of the file.
        prompt
            The initial prompt. Default: "the ", or else a letter of the vocabulary.

        Raises
        ------
        ValueError
            If the model is a model of tokens.
        OSError
            If the page cannot be written. An existing file is not changed.

        Examples
        --------
        >>> npchar.Model.pretrained("nietzsche").to_html("playground.html", prompt="the soul ")
        """
        html = page([PageModel("this model", self.network, self.vocabulary, prompt)])
        write_whole(path, html.encode())

    # Files

    def save(self, path: str | os.PathLike[str], *, dtype: str | None = None) -> None:
        """Save the model to a file.

        The file is an ``.npz`` of arrays and a JSON description, without pickle. `load` and
        ``numpy.load`` read it. The file is written atomically. Symbolic links are followed, and a
        replaced file keeps its permissions.

        Parameters
        ----------
        path
            The path of the file.
        dtype
            The dtype of the weights in the file. Default: the dtype of the model. "float16" halves
            the file size of a float32 model and rounds each weight to 11 bits, which changes the
            loss very little. `load` converts the weights back to the dtype of the model.

        Raises
        ------
        ValueError
            If `dtype` is not valid, or a weight is too large for it.
        OSError
            If the file cannot be written, or the path is a folder, a device or a FIFO. An existing
            file is not changed.

        Examples
        --------
        >>> model = npchar.Model(npchar.Vocabulary("abc"), hidden_size=4)
        >>> model.save("abc.npz")
        >>> sorted(np.load("abc.npz"))[:3]
        ['configuration', 'dense.W', 'dense.b']
        """
        configuration = describe_model(
            self.network, self.vocabulary, self.reading, self.trained_on, stored=dtype
        )
        write_model_file(path, configuration, self.parameters)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Model:
        """Load a model from a file that `save` wrote, or from a checkpoint of `fit`.

        Parameters
        ----------
        path
            The path of the file.

        Returns
        -------
        Model
            The saved model. Its weights are bit-identical, unless they were saved as "float16".
            From a checkpoint, the model gets the latest weights.

        Raises
        ------
        CheckpointError
            If the file is not a model file, or is damaged.
        OSError
            If the file cannot be read.

        Examples
        --------
        >>> npchar.Model(npchar.Vocabulary("abc"), hidden_size=4).save("abc.npz")
        >>> npchar.Model.load("abc.npz").vocabulary
        Vocabulary('abc')
        """
        file = read_model_file(path)
        model = cls.from_network(file.vocabulary, file.network())
        model.reading = file.configuration.get("reading", {})
        model.trained_on = file.configuration.get("trained_on")
        return model

    @classmethod
    def pretrained(cls, name: str = "nietzsche") -> Model:
        """Load a model that is included in the package.

        Parameters
        ----------
        name
            One of these models:

            - "nietzsche": 300 LSTM units, trained on the corpus of the book in lower case with
              ``python benchmarks/records.py shipped``. Its loss on the validation set, the last
              tenth of the corpus, is 1.282 nats per character.
            - "nietzsche-128": a smaller model, which the notebooks use. Its
              loss is 1.367.
            - "structure": 64 LSTM units, trained with ``python benchmarks/records.py structure`` on
              an artificial text with brackets, quotations and lines of 30 characters. Single units
              follow these features.

        Raises
        ------
        ValueError
            If there is no model of this name.

        Examples
        --------
        >>> len(npchar.Model.pretrained("nietzsche").vocabulary)
        57
        """
        if name not in PRETRAINED:
            raise ValueError(
                f"there is no pretrained model {name!r}; expected {', '.join(PRETRAINED)}; load "
                "your own model with npchar.Model.load(path)"
            )
        from importlib import resources  # here, for a fast `import npchar`

        file = resources.files("npchar") / "pretrained" / f"{name}.npz"
        with resources.as_file(file) as path:  # the package may be imported from a zip file
            return cls.load(path)
