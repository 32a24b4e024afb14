"""The training loop: epochs of shuffled batches, validation, checkpoints, history.

Windows come from ``text/windows.py``, steps are made by ``training/steps.py``, in this process or
in several; ``training/guard.py`` watches over it, ``training/progress.py`` shows it, and
``model.py`` calls `train`.
"""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice

import numpy as np

from npchar.analysis.scoring import log_probabilities_of
from npchar.arguments import require_positive
from npchar.arrays import Array
from npchar.files.resume import Checkpoint, State
from npchar.layers.network import Network
from npchar.text import documents
from npchar.text.documents import Ids, Pieces
from npchar.text.ngrams import baselines
from npchar.text.windows import Windows, batches, shuffled, windows
from npchar.training.guard import Guard
from npchar.training.history import History
from npchar.training.interrupts import Interrupts
from npchar.training.mpi import source_of_steps
from npchar.training.optimizers import Optimizer, learning_rate_at, make_optimizer
from npchar.training.progress import Progress
from npchar.training.settings import Settings
from npchar.training.steps import Source

Callback = Callable[[History], object]


@dataclass
class Position:
    """Where a training stands, but for arrays and the guard."""

    epochs: int = 0  # whole ones
    steps: int = 0  # in all
    batches: int = 0  # of the epoch under way, and the rest likewise
    windows: int = 0  # whose losses are numbers; of documents the targets
    loss: float = 0.0  # sum over them
    norm: float = 0.0
    seconds: float = 0.0
    first: int = 0  # where in the text its first window begins
    finished: bool = False


def train(
    network: Network,
    text: Ids,
    settings: Settings,
    *,
    callbacks: Sequence[Callback] = (),
    verbose: bool = False,
    workers: int | None = None,
    checkpoint: Checkpoint | None = None,
    symbol_name: str = "character",
    begun: Callback | None = None,
) -> History:
    """Train `network` in place on a text; the other arguments are `Model.fit`'s.

    `begun` is called with the history before the first step, so that who is interrupted has it.
    """
    if workers is not None:
        require_positive(workers=workers)
    learned, held_out, about = parts(text, settings)
    rows, columns = settings.maxlen, settings.batch_size
    pieces = pieces_of(learned, settings)
    if isinstance(pieces, Pieces):
        rows, columns = int(pieces.lengths.max()), pieces.widest
    else:
        columns = min(columns, len(pieces))
        settings = replace(settings, batch_size=columns)
    if checkpoint is not None and workers is None:
        workers = checkpoint.processes
    weights = network.parameters.flat
    optimizer = make_optimizer(
        settings.optimizer, weights.size, settings.epsilon, weights.dtype.str
    )
    with (
        source_of_steps(network, optimizer, settings, rows, columns, workers) as source,
        Interrupts(terminate=checkpoint is not None) as interrupts,
    ):
        training = Training(
            network,
            optimizer,
            learned,
            held_out,
            text.ids,
            settings,
            source,
            interrupts,
            checkpoint,
        )
        if begun is not None:
            begun(training.history)
        progress = None
        if verbose and source.leads:
            progress = Progress(settings.epochs, len(learned.ids), symbol_name, about)
        return training.run(callbacks, progress)


def parts(text: Ids, settings: Settings) -> tuple[Ids, Ids, str]:
    """What is trained on, what is held out, and a sentence on the latter."""
    if text.ends is None:
        n = settings.split(len(text.ids))
        about = f"the last {len(text.ids) - n:,} of {len(text.ids):,}"
        return Ids(text.ids[:n]), Ids(text.ids[n:]), about
    if settings.targets != "all":
        raise ValueError(
            "targets is 'last', which wants windows of one length; train on documents with 'all'"
        )
    n = len(text.ends) - 1
    learned, held_out = documents.split(n, settings.validation_split, settings.seed)
    about = f"{len(held_out):,} of {n:,} documents, drawn by seed {settings.seed}"
    return documents.only(text, learned), documents.only(text, held_out), about


def pieces_of(text: Ids, settings: Settings, first: int = 0) -> Windows | Pieces:
    """What an epoch is made of, from a place in the text on."""
    if text.ends is None:
        return Windows(text.ids[first:], settings.maxlen, settings.step, settings.batch_size)
    return Pieces(text.ids, text.ends, settings.maxlen, settings.batch_size)


def require_callbacks(callbacks: Sequence[Callback]) -> list[Callback]:
    """Return the callbacks as a list; raise a TypeError for anything else."""
    if callable(callbacks) or not isinstance(callbacks, Iterable):
        raise TypeError(
            f"callbacks is {callbacks!r}; expected a list of functions, such as [print]"
        )
    listed = list(callbacks)
    for callback in listed:
        if not callable(callback):
            raise TypeError(f"callbacks has {callback!r} in it; expected functions")
    return listed


class Training:
    """A training under way; its arguments are what `train` has found to be right."""

    def __init__(
        self,
        network: Network,
        optimizer: Optimizer,
        learned: Ids,
        held_out: Ids,
        ids: Array,
        settings: Settings,
        source: Source,
        interrupts: Interrupts,
        checkpoint: Checkpoint | None,
    ) -> None:
        self.network, self.optimizer = network, optimizer
        self.learned, self.held_out = learned, held_out
        self.settings, self.source, self.interrupts = settings, source, interrupts
        self.checkpoint = checkpoint
        V = network.sizes.vocabulary_size
        self.guard = Guard(network.parameters.flat, optimizer, math.log(V))
        # Batches come in another order when a model is trained again, as in a loop over epochs.
        self.rng = np.random.default_rng([settings.seed, network.epochs_trained])
        self.at = Position()
        self.order: Array = np.empty(0, np.uint8)  # of the windows of the epoch under way
        self.history = History()
        self.progress: Progress | None = None
        self.total_steps = settings.epochs * pieces_of(learned, settings).batch_count

        if checkpoint is not None:
            checkpoint.begin(asdict(settings), ids, source.count)
            kinds = replace(self._state(), history=History.KINDS)
            saved = checkpoint.restore(
                kinds, lambda first: len(pieces_of(learned, settings, first)), network
            )
            if saved is not None:
                self._go_on_from(saved)
        if not self.history.baselines:
            has_held_out = len(held_out.ids) > 1
            losses = baselines(learned.ids, (held_out if has_held_out else learned).ids, V)
            simple = losses if has_held_out else dict(list(losses.items())[:2])
            self.history.baselines = simple

    def _state(self) -> State:
        """All that changes while training, but for the weights."""
        return State(
            position=asdict(self.at),
            history=asdict(self.history),
            guard=self.guard.state(),
            generator=dict(self.rng.bit_generator.state),
            memory=self.optimizer.memory,
            best=self.guard.best,
            best_memory=self.guard.best_memory,
            order=self.order,
        )

    def _go_on_from(self, saved: State) -> None:
        self.at, self.history = Position(**saved.position), History(**saved.history)
        longer = self.checkpoint is not None and self.checkpoint.is_longer
        self.at.finished = self.at.finished and not longer
        self.guard.load(saved.guard, saved.best, saved.best_memory)
        self.rng.bit_generator.state = saved.generator
        self.optimizer.memory[...] = saved.memory
        self.order = saved.order

    def run(self, callbacks: Sequence[Callback], progress: Progress | None) -> History:
        """All epochs that are left."""
        self.progress = progress
        at, settings, history, guard = self.at, self.settings, self.history, self.guard
        if progress:
            progress.begin(history, at.epochs, at.finished)
        if at.finished:
            return history
        if not at.steps and len(self.held_out.ids) > 1:
            self.guard.set_baseline(self._val_loss(), self.network.epochs_trained)
        self._save(must=True)  # better to fail now than after hours
        try:
            while at.epochs < settings.epochs and not self._patience_is_over():
                self._epoch()
                if progress:
                    progress.end_epoch(history)
                if self.checkpoint is not None and self.checkpoint.is_due(at.epochs, at.steps):
                    self._save()
                stop = self.source.leads and self._call(callbacks)
                if self.source.broadcast(stop):
                    break
        except BaseException:
            # Ctrl-C, a mistake in a callback, a worker's death: what is done so far is kept.
            if self.source.whole:
                self._save()
            raise
        if self._patience_is_over():
            self._event(f"ended after epoch {at.epochs}: none of the last {settings.patience} "
                        "was better held out")  # fmt: skip
        worse = history.val_loss and guard.best_epoch < at.epochs
        if settings.restore_best and worse and guard.can_restore:
            guard.restore()
            if guard.best_epoch:
                self._event(
                    f"restored the weights of epoch {guard.best_epoch}, which has the lowest "
                    "val_loss"
                )
            else:
                self._event(
                    "every epoch diverged: restored the weights from before this training; use a "
                    "lower learning_rate"
                )
        at.finished = True
        self._save(must=True)
        return history

    def _call(self, callbacks: Sequence[Callback]) -> bool:
        """Call all callbacks; return whether one of them ends the training."""
        results = [callback(self.history) for callback in callbacks]
        return any(isinstance(result, (bool, np.bool_)) and result for result in results)

    def _patience_is_over(self) -> bool:
        patience = self.settings.patience
        return patience is not None and self.guard.epochs_since_best >= patience

    def _epoch(self) -> None:
        """What is left of the epoch under way, its validation and what it adds to the history."""
        at, settings, history = self.at, self.settings, self.history
        if not len(self.order):
            with self.interrupts.uninterrupted():
                if settings.targets == "all" and self.learned.ends is None:
                    # Other windows in each epoch, so that a character stands at another
                    # distance from its window's beginning: worth 0.014 nats held out.
                    most = len(self.learned.ids) - settings.maxlen
                    at.first = int(self.rng.integers(min(settings.step, most)))
                pieces = pieces_of(self.learned, settings, at.first)
                self.order = shuffled(len(pieces), self.rng)
        pieces = pieces_of(self.learned, settings, at.first)
        self.batch_count = pieces.batch_count
        start = time.perf_counter() - at.seconds
        batches = pieces.batches(self.order, first=at.batches)
        while some := list(islice(batches, self._at_once())):
            if self._steps(some) < len(some):  # rolled back: the rest of them once more
                batches = pieces.batches(self.order, first=at.batches)
            at.seconds = time.perf_counter() - start
            if self.progress and at.windows:
                share = at.batches / self.batch_count
                self.progress.update(at.epochs, share, at.loss / at.windows)
            if self.checkpoint is not None and self.checkpoint.is_due(at.epochs, at.steps):
                self._save()

        loss, norm = math.inf, math.inf  # if none was a number
        if at.windows:
            loss, norm = at.loss / at.windows, at.norm / at.windows
        val_loss = self._val_loss() if len(self.held_out.ids) > 1 else None
        with self.interrupts.uninterrupted():
            history.loss.append(loss)
            if val_loss is not None:
                history.val_loss.append(val_loss)
            history.gradient_norm.append(norm)
            history.seconds.append(time.perf_counter() - start)
            self.guard.epoch_ended(at.epochs + 1, loss if val_loss is None else val_loss)
            self.order = np.empty(0, np.uint8)
            at.epochs += 1
            self.network.epochs_trained += 1
            at.batches = at.windows = at.first = 0
            at.loss = at.norm = at.seconds = 0.0

    def _val_loss(self) -> float:
        found = 0.0
        if self.source.leads:
            s = self.settings
            found = held_out_loss(self.network, self.held_out, s.targets, s.maxlen, s.step)
        return self.source.broadcast(found)

    def _at_once(self) -> int:
        """How many steps to make before anything else is to be done."""
        n = self.source.at_once
        if self.checkpoint is not None:
            n = min(n, self.checkpoint.steps_left(self.at.steps))
        return n

    def _steps(self, batches: Sequence[Array]) -> int:
        """Make a step with each of some batches, until one goes wrong; return how many it made."""
        at, rng = self.at, self.rng
        with self.interrupts.uninterrupted():
            before = rng.bit_generator.state
            try:
                seeds = [int(rng.integers(1 << 62)) for _ in batches]  # for dropout
                rates = [self._rate_at(at.steps + k) for k in range(len(batches))]
                outcomes = self.source.steps(batches, seeds, rates)
            except BaseException:
                rng.bit_generator.state = before  # as if they had not begun
                raise
            done = 0
            for batch, rate, (loss, norm) in zip(batches, rates, outcomes, strict=True):
                count, done = self._count_of(batch), done + 1
                wrong = self._what_is_wrong(loss, norm, count)
                if wrong:
                    where = f"in epoch {at.epochs + 1}, after {at.steps} steps"
                    self._event(self.guard.roll_back(where, wrong, rate))
                self._count(loss, norm, count)
                if wrong:
                    break
            if done < len(batches):
                rng.bit_generator.state = before
                for _ in range(done):
                    rng.integers(1 << 62)
            self.source.whole = True
        return done

    def _rate_at(self, step: int) -> float:
        """The learning rate of a step, the first being 0."""
        settings = self.settings
        rate = learning_rate_at(
            settings.schedule, settings.learning_rate, step, self.total_steps, settings.warm_up
        )
        return rate * self.guard.rate_factor

    def _count_of(self, batch: Array) -> int:
        """What a batch counts in an epoch's mean: its windows, or its documents' targets."""
        return batch.shape[1] if self.learned.ends is None else int((batch[1:] >= 0).sum())

    def _what_is_wrong(self, loss: float, norm: float, count: int) -> str | None:
        """What the guard finds wrong with a step's loss and gradient norm, if anything."""
        is_last = self.at.batches + 1 >= self.batch_count
        targets = self.settings.targets_per_window if self.learned.ends is None else 1
        return self.guard.saw(loss, norm, count * targets, is_last)

    def _count(self, loss: float, norm: float, B: int) -> None:
        """Add a step of B windows to where the training stands."""
        at = self.at
        at.batches += 1
        at.steps += 1
        if math.isfinite(loss + norm):
            at.windows += B
            at.loss += loss * B
            at.norm += norm * B

    def _event(self, sentence: str) -> None:
        self.history.events.append(sentence)
        if self.progress:
            self.progress.say(sentence)

    def _save(self, must: bool = False) -> None:
        """Write the checkpoint, if there is one.

        It may fail, with a warning, unless it `must` not: a training is worth more
        than its file.
        """
        if self.checkpoint is None or not self.source.leads:
            return
        at = self.at
        try:
            self.checkpoint.save(at.epochs, at.steps, self._state(), self.network)
        except OSError as error:
            if must:
                raise
            warnings.warn(f"{error}. The training goes on and tries again later", stacklevel=2)


def held_out_loss(network: Network, text: Ids, targets: str, maxlen: int, step: int) -> float:
    """The loss on a text, in the way that the targets ask for: see `Model.fit`."""
    if targets == "all":
        return -float(log_probabilities_of(network, text).mean(dtype=np.float64))
    view = windows(text.ids, maxlen, step)
    total = 0.0
    for batch in batches(view, np.arange(len(view)), 128):
        total += batch.shape[1] * float(network.loss(batch[:-1], batch[-1]))
    return total / len(view)
