"""The training loop: epochs of shuffled batches, validation, checkpoints, history.

Windows come from ``text.py``, gradients from ``parallel.py``, steps from
``optim.py``; ``guard.py`` watches over it, ``progress.py`` shows it, and
``model.py`` calls `train`.
"""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from npchar.arguments import require_positive, require_seed
from npchar.baselines import baselines
from npchar.batches import batches, shuffled, windows
from npchar.checkpoint import CheckpointError
from npchar.distributed import GradientSource, gradient_source
from npchar.guard import Guard
from npchar.history import History
from npchar.interrupts import Interrupts
from npchar.network import Network
from npchar.optim import RMSprop, clip_by_global_norm, learning_rate_at
from npchar.parameters import Array
from npchar.progress import Progress
from npchar.resume import Checkpoint, made_by, require_kind

Callback = Callable[[History], object]


@dataclass
class Position:
    """Where a training stands, but for arrays and the guard."""

    epochs: int = 0  # whole ones
    steps: int = 0  # in all
    batches: int = 0  # of the epoch under way, and the rest likewise
    windows: int = 0  # whose losses are numbers
    loss: float = 0.0  # sum over them
    norm: float = 0.0
    seconds: float = 0.0
    first: int = 0  # where in the text its first window begins
    finished: bool = False


def train(
    network: Network,
    ids: Array,
    *,
    epochs: int,
    maxlen: int,
    step: int | None,
    targets: str,
    batch_size: int,
    learning_rate: float,
    schedule: str,
    epsilon: float | None,
    clip_norm: float | None,
    validation_split: float,
    patience: int | None,
    restore_best: bool,
    seed: int,
    callbacks: Sequence[Callback],
    verbose: bool,
    workers: int | None,
    checkpoint: Checkpoint | None,
    symbol_name: str,
) -> History:
    """Train `network` in place on a text's ids; the other arguments are `Model.fit`'s."""
    require_targets(targets)
    if step is None:
        step = maxlen if targets == "all" else 3
    require_positive(epochs=epochs, maxlen=maxlen, step=step, batch_size=batch_size)
    if workers is not None:
        require_positive(workers=workers)
    if patience is not None:
        require_positive(patience=patience)
    require_seed(seed)
    if schedule not in ("linear", "constant"):
        raise ValueError(f"schedule is {schedule!r}; it must be 'linear' or 'constant'")
    if not 0 < learning_rate < math.inf:
        raise ValueError(f"learning_rate is {learning_rate!r}; it must be above 0")
    if epsilon is None:
        epsilon = 1e-12 if targets == "all" else 1e-7
    if not 0 < epsilon < math.inf:
        raise ValueError(f"epsilon is {epsilon!r}; it must be above 0")
    if clip_norm is not None and not clip_norm > 0:
        raise ValueError(f"clip_norm is {clip_norm!r}; it must be above 0, or None")
    if not 0 <= validation_split < 1:
        raise ValueError(f"validation_split is {validation_split!r}; it must be from 0 to below 1")
    split = len(ids) - int(len(ids) * validation_split)
    needed = maxlen + 1
    learned, held_out = ids[:split], ids[split:]
    if split < needed or 0 < len(held_out) < needed:
        raise ValueError(
            f"the text has {len(ids)} characters, {split} to learn from and "
            f"{len(held_out)} held out; each part needs at least maxlen + 1 = {needed}: "
            "pass a longer text, a smaller maxlen or validation_split=0"
        )
    batch_size = min(batch_size, len(windows(learned, maxlen, step)))
    settings: dict[str, Any] = {
        "epochs": epochs, "maxlen": maxlen, "step": step, "targets": targets,
        "batch_size": batch_size, "learning_rate": learning_rate, "schedule": schedule,
        "epsilon": epsilon, "clip_norm": clip_norm, "validation_split": validation_split,
        "patience": patience, "restore_best": restore_best, "seed": seed,
    }  # fmt: skip
    # JSON knows Python's numbers only
    settings = {n: v.item() if isinstance(v, np.generic) else v for n, v in settings.items()}
    if checkpoint is not None and checkpoint.training is not None and workers is None:
        workers = int(checkpoint.training["made_by"]["processes"])
    with (
        gradient_source(network, maxlen, batch_size, workers) as source,
        Interrupts(terminate=checkpoint is not None) as interrupts,
    ):
        training = Training(network, learned, held_out, settings, source, interrupts, checkpoint)
        shown = verbose and source.leads
        return training.run(
            callbacks, Progress(epochs, len(learned), symbol_name) if shown else None
        )


def require_targets(targets: str) -> None:
    """Raise a ValueError unless `targets` is one of the two kinds."""
    if targets not in ("all", "last"):
        raise ValueError(f"targets is {targets!r}; it must be 'all' or 'last'")


class Training:
    """A training under way; its arguments are what `train` has found to be right."""

    def __init__(
        self,
        network: Network,
        learned: Array,
        held_out: Array,
        settings: dict[str, Any],
        source: GradientSource,
        interrupts: Interrupts,
        checkpoint: Checkpoint | None,
    ) -> None:
        self.network, self.learned, self.held_out = network, learned, held_out
        self.settings, self.source, self.interrupts = settings, source, interrupts
        self.checkpoint = checkpoint
        self.weights = network.parameters.flat
        self.gradient = network.parameters.zeros_like()
        self.optimizer = RMSprop(
            self.weights.size, epsilon=settings["epsilon"], dtype=self.weights.dtype.str
        )
        V = network.sizes.vocabulary_size
        self.guard = Guard(self.weights, self.optimizer, math.log(V))
        self.rng = np.random.default_rng(settings["seed"])
        self.at = Position()
        self.order: Array = np.empty(0, np.uint8)  # of the windows of the epoch under way
        self.history = History()
        self.progress: Progress | None = None
        self.whole = True  # no step is half done
        per_epoch = len(self._windows(0))
        self.total_steps = settings["epochs"] * math.ceil(per_epoch / settings["batch_size"])

        if checkpoint is not None:
            import hashlib  # here, as `import npchar` need not wait for it

            text = hashlib.sha256(learned.data)
            text.update(held_out.data)
            self.corpus = text.hexdigest()
            if checkpoint.training is not None:
                checkpoint.check(settings, self.corpus, source.count)
                self._go_on_from(checkpoint.training, checkpoint.arrays)
        if not self.history.baselines:
            losses = baselines(learned, held_out if len(held_out) else learned, V)
            simple = losses if len(held_out) else dict(list(losses.items())[:2])
            self.history.baselines = simple

    def _go_on_from(self, training: dict[str, Any], arrays: dict[str, Array]) -> None:
        try:
            at, history = Position(**training["position"]), History(**training["history"])
            for name, default in asdict(Position()).items():
                require_kind(getattr(at, name), default)
            for name in asdict(History()):
                kind = {"events": [""], "baselines": {"": 0.0}}.get(name, [0.0])
                require_kind(getattr(history, name), kind)
            order = arrays["training.order"]
            if not np.array_equal(np.sort(order), np.arange(len(order))):
                raise ValueError("its order is not one")
            if len(order) not in (0, len(self._windows(at.first))):
                raise ValueError(f"its order is of {len(order)} windows")
            for name, now in self.guard.state().items():
                require_kind(training["guard"][name], now)
            self.guard.load(training["guard"], arrays["training.best"], arrays["training.best_v"])
            with warnings.catch_warnings():
                # NumPy 1 takes numbers that are out of bounds, with this warning.
                warnings.simplefilter("error", DeprecationWarning)
                self.rng.bit_generator.state = training["generator"]
        except (
            KeyError, TypeError, ValueError, AttributeError, OverflowError, DeprecationWarning
        ) as error:  # fmt: skip
            raise CheckpointError(f"the checkpoint's training makes no sense: {error!r}") from None
        self.at, self.history, self.order = at, history, order
        self.optimizer.v_plus_epsilon[...] = arrays["training.v"]
        network = self.network.parameters
        for name in network:
            network[name] = arrays[name]

    def run(self, callbacks: Sequence[Callback], progress: Progress | None) -> History:
        """All epochs that are left."""
        self.progress = progress
        at, settings, history, guard = self.at, self.settings, self.history, self.guard
        if progress:
            progress.begin(history, at.epochs, at.finished)
        if at.finished:
            return history
        if not at.steps and len(self.held_out):
            self.guard.begun_with(self._val_loss())
        self._save(must=True)  # better to fail now than after hours
        try:
            while at.epochs < settings["epochs"] and not self._patience_is_over():
                self._epoch()
                if progress:
                    progress.end_epoch(history)
                if self.checkpoint is not None and self.checkpoint.is_due(at.epochs, at.steps):
                    self._save()
                stop = self.source.leads and any([call(history) is True for call in callbacks])
                if self.source.agreed(stop):
                    break
        except BaseException:
            # Ctrl-C, a mistake in a callback, a worker's death: what is done so far is kept.
            if self.whole:
                self._save()
            raise
        if self._patience_is_over():
            self._event(f"ended after epoch {at.epochs}: none of the last {settings['patience']} "
                        "was better held out")  # fmt: skip
        worse = history.val_loss and guard.best_epoch < at.epochs
        if settings["restore_best"] and worse and guard.best_is_trained:
            guard.restore()
            best = f"of epoch {guard.best_epoch}" if guard.best_epoch else "it began with"
            self._event(f"the weights are those {best}, the best held out")
        at.finished = True
        self._save(must=True)
        return history

    @property
    def _T(self) -> int:
        return int(self.settings["maxlen"])

    def _windows(self, first: int) -> Array:
        """Of the text that is learned, from a place in it on."""
        return windows(self.learned[first:], self._T, self.settings["step"])

    def _patience_is_over(self) -> bool:
        patience = self.settings["patience"]
        return patience is not None and self.guard.epochs_since_best >= patience

    def _epoch(self) -> None:
        """What is left of the epoch under way, its validation and what it adds to the history."""
        at, settings, history = self.at, self.settings, self.history
        T, step = self._T, settings["step"]
        if not len(self.order):
            with self.interrupts.uninterrupted():
                if settings["targets"] == "all":
                    # Other windows in each epoch, so that a character stands at another
                    # distance from its window's beginning: worth 0.014 nats held out.
                    at.first = int(self.rng.integers(min(step, len(self.learned) - T)))
                self.order = shuffled(len(self._windows(at.first)), self.rng)
        view = self._windows(at.first)
        start = time.perf_counter() - at.seconds
        for batch in batches(view, self.order, settings["batch_size"], first=at.batches):
            self._step(batch)
            at.seconds = time.perf_counter() - start
            if self.progress and at.windows:
                share = min(1.0, at.batches * settings["batch_size"] / len(self.order))
                self.progress.update(at.epochs, share, at.loss / at.windows)
            if self.checkpoint is not None and self.checkpoint.is_due(at.epochs, at.steps):
                self._save()

        loss, norm = math.inf, math.inf  # if none was a number
        if at.windows:
            loss, norm = at.loss / at.windows, at.norm / at.windows
        val_loss = self._val_loss() if len(self.held_out) else None
        with self.interrupts.uninterrupted():
            history.loss.append(loss)
            if val_loss is not None:
                history.val_loss.append(val_loss)
            history.gradient_norm.append(norm)
            history.seconds.append(time.perf_counter() - start)
            self.guard.epoch_ended(at.epochs + 1, loss if val_loss is None else val_loss)
            self.order = np.empty(0, np.uint8)
            at.epochs += 1
            at.batches = at.windows = at.first = 0
            at.loss = at.norm = at.seconds = 0.0

    def _val_loss(self) -> float:
        found = 0.0
        if self.source.leads:
            names = ("targets", "maxlen", "step")
            found = held_out_loss(self.network, self.held_out, *(self.settings[n] for n in names))
        return self.source.agreed(found)

    def _step(self, batch: Array) -> None:
        """One batch: its gradient, and better weights."""
        at, settings, gradient = self.at, self.settings, self.gradient.flat
        B = batch.shape[1]
        with self.interrupts.uninterrupted():
            before = self.rng.bit_generator.state
            seed = int(self.rng.integers(1 << 62))  # for dropout
            try:
                loss = self.source.gradient(batch, settings["targets"], seed, self.gradient)
            except BaseException:
                self.rng.bit_generator.state = before  # as if the step had not begun
                raise
            self.whole = False
            norm = clip_by_global_norm(gradient, settings["clip_norm"] or math.inf)
            rate = self.guard.rate_factor * learning_rate_at(
                settings["schedule"], settings["learning_rate"], at.steps / self.total_steps
            )
            at.batches += 1
            last = at.batches * settings["batch_size"] >= len(self.order)
            count = B * (self._T if settings["targets"] == "all" else 1)
            if wrong := self.guard.saw(loss, norm, count, last):
                where = f"in epoch {at.epochs + 1}, after {at.steps} steps"
                self._event(self.guard.roll_back(where, wrong, rate))
            else:
                self.optimizer.update(self.weights, gradient, rate)
            at.steps += 1
            if math.isfinite(loss + norm):
                at.windows += B
                at.loss += loss * B
                at.norm += norm * B
            self.whole = True

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
        training = {
            "settings": self.settings,
            "corpus": self.corpus,
            "made_by": made_by() | {"processes": self.source.count},
            "windows": len(self.order),
            "position": asdict(self.at),
            "history": asdict(self.history),
            "guard": self.guard.state(),
            "generator": self.rng.bit_generator.state,
        }
        arrays = {
            "training.v": self.optimizer.v_plus_epsilon,
            "training.best": self.guard.best,
            "training.best_v": self.guard.best_v,
            "training.order": self.order,
        }
        at = self.at
        try:
            self.checkpoint.save(at.epochs, at.steps, training, self.network.parameters, arrays)
        except OSError as error:
            if must:
                raise
            warnings.warn(f"{error}. The training goes on and tries again later", stacklevel=2)


def held_out_loss(network: Network, ids: Array, targets: str, maxlen: int, step: int) -> float:
    """The loss on a text, in the way that the targets ask for: see `Model.fit`."""
    if targets == "all":
        return -float(network.log_probabilities(ids).mean(dtype=np.float64))
    view = windows(ids, maxlen, step)
    total = 0.0
    for batch in batches(view, np.arange(len(view)), 128):
        total += batch.shape[1] * float(network.loss(batch[:-1], batch[-1]))
    return total / len(view)
