"""The training loop: epochs of shuffled batches, validation, progress, history.

Windows come from ``text.py``, gradients from ``parallel.py``, steps from
``optim.py``; ``model.py`` calls `train`.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from npchar.distributed import Ranks, communicator
from npchar.network import Network
from npchar.optim import RMSprop, clip_by_global_norm, learning_rate_at
from npchar.parallel import Share, Workers, default_workers
from npchar.parameters import Array
from npchar.text import require_positive, require_seed, shuffled_batches, windows


@dataclass
class History:
    """What became of each epoch, oldest first.

    Losses are nats per character: `loss` the mean over the epoch's batches
    while the weights changed, `val_loss` of the held-out text after it (empty
    without one). `seconds` is the time of each epoch's training and
    validation, callbacks left out.
    """

    loss: list[float] = field(default_factory=list)
    val_loss: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)


GradientSource = Share | Workers | Ranks
Callback = Callable[[History], object]


class TrainingDiverged(ArithmeticError):
    """The loss or its gradient is no longer a finite number."""


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
    seed: int,
    callbacks: Sequence[Callback],
    verbose: bool,
    workers: int | None,
) -> History:
    """Train `network` in place on a text's ids; the other arguments are `Model.fit`'s."""
    require_targets(targets)
    if step is None:
        step = maxlen if targets == "all" else 3
    require_positive(epochs=epochs, maxlen=maxlen, step=step, batch_size=batch_size)
    if workers is not None:
        require_positive(workers=workers)
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
    held_out = ids[split:] if split < len(ids) else None
    if split < needed or (held_out is not None and len(held_out) < needed):
        raise ValueError(
            f"the text has {len(ids)} characters, {split} to learn from and "
            f"{len(ids) - split} held out; each part needs at least maxlen + 1 = {needed}: "
            "pass a longer text, a smaller maxlen or validation_split=0"
        )
    view = windows(ids[:split], maxlen, step)
    batch_size = min(batch_size, len(view))
    steps = math.ceil(len(view) / batch_size) * epochs
    rng = np.random.default_rng(seed)
    weights = network.parameters.flat
    gradient = network.parameters.zeros_like()
    optimizer = RMSprop(weights.size, epsilon=epsilon, dtype=weights.dtype.str)
    history = History()
    done = 0

    with gradient_source(network, maxlen, batch_size, workers) as source:
        talks = verbose and source.leads
        progress = Progress(epochs, characters=len(view) * maxlen) if talks else None
        for epoch in range(epochs):
            start = time.perf_counter()
            if progress:
                progress.begin_epoch()
            total, seen = 0.0, 0
            if targets == "all":
                # Other windows in each epoch, so that a character stands at another
                # distance from its window's beginning: worth 0.014 nats held out.
                first = int(rng.integers(min(step, split - maxlen)))
                view = windows(ids[first:split], maxlen, step)
            for batch in shuffled_batches(view, batch_size, rng):
                loss = source.gradient(batch, targets, int(rng.integers(1 << 62)), gradient)
                norm = clip_by_global_norm(gradient.flat, clip_norm or math.inf)
                if not math.isfinite(loss + norm):
                    raise TrainingDiverged(
                        f"in epoch {epoch + 1}, after {done} steps, the loss came out as {loss} "
                        f"and its gradient's norm as {norm}; the weights are those of the last "
                        "good step. Train with a lower learning_rate or a smaller clip_norm"
                    )
                rate = learning_rate_at(schedule, learning_rate, done / steps)
                optimizer.update(weights, gradient.flat, rate)
                done += 1
                total += loss * batch.shape[1]
                seen += batch.shape[1]
                if progress:
                    progress.update(epoch, seen * maxlen, total / seen)
            history.loss.append(total / seen)
            if held_out is not None:
                arguments = (network, held_out, targets, maxlen, step)
                loss = held_out_loss(*arguments) if source.leads else 0.0
                history.val_loss.append(source.agreed(loss))
            history.seconds.append(time.perf_counter() - start)
            if progress:
                progress.end_epoch(history)
            stop = source.leads and any([callback(history) is True for callback in callbacks])
            if source.agreed(stop):
                break
    return history


def require_targets(targets: str) -> None:
    """Raise a ValueError unless `targets` is one of the two kinds."""
    if targets not in ("all", "last"):
        raise ValueError(f"targets is {targets!r}; it must be 'all' or 'last'")


def gradient_source(network: Network, T: int, B: int, workers: int | None) -> GradientSource:
    """What computes gradients of batches of at most B windows of T characters.

    All ranks of an MPI job; else `workers` processes, or as many as suit.
    """
    if world := communicator():
        return Ranks(network, T, B, world)
    count = default_workers(B) if workers is None else min(workers, B)
    return Share(network, T, B) if count == 1 else Workers(network, T, B, count)


def held_out_loss(network: Network, ids: Array, targets: str, maxlen: int, step: int) -> float:
    """The loss on a text, in the way that the targets ask for: see `Model.fit`."""
    if targets == "all":
        return network.reading_loss(ids)
    view = windows(ids, maxlen, step)
    total = 0.0
    for start in range(0, len(view), 128):
        batch = view[start : start + 128].T  # (maxlen + 1, B)
        total += batch.shape[1] * float(network.loss(batch[:-1], batch[-1]))
    return total / len(view)


class Progress:
    """What a person sees of the training: a line per epoch.

    On a terminal the line of the epoch under way is written over as it goes.
    """

    def __init__(self, epochs: int, characters: int) -> None:
        self.epochs = epochs
        self.characters = characters  # in an epoch
        self.seconds = 0.0  # of training, callbacks left out
        self.live = sys.stdout.isatty()
        self.width = 0  # of what stands on the terminal's line
        self.epoch_start = self.last_shown = time.perf_counter()

    def update(self, epoch: int, seen: int, loss: float) -> None:
        """After a step: `seen` characters of this epoch are done."""
        now = time.perf_counter()
        if seen == 0 or not self.live or now - self.last_shown < 0.2:
            return
        self.last_shown = now
        elapsed = self.seconds + now - self.epoch_start
        share = (epoch + seen / self.characters) / self.epochs
        rate = (epoch * self.characters + seen) / elapsed
        left = elapsed / share - elapsed
        self._show(f"{self._name(epoch)}  loss {loss:.4f}  {rate:,.0f} chars/s  "
                   f"{clock(left)} left", end="")  # fmt: skip

    def begin_epoch(self) -> None:
        """Before an epoch's first step."""
        self.epoch_start = self.last_shown = time.perf_counter()

    def end_epoch(self, history: History) -> None:
        """After an epoch and its validation."""
        epoch = len(history.loss) - 1
        self.seconds = sum(history.seconds)
        left = self.seconds / (epoch + 1) * (self.epochs - epoch - 1)
        val_loss = f"  val_loss {history.val_loss[-1]:.4f}" if history.val_loss else ""
        rate = self.characters / history.seconds[-1]
        self._show(f"{self._name(epoch)}  loss {history.loss[-1]:.4f}{val_loss}  "
                   f"{rate:,.0f} chars/s  {clock(left)} left", end="\n")  # fmt: skip

    def _name(self, epoch: int) -> str:
        return f"epoch {epoch + 1:>{len(str(self.epochs))}}/{self.epochs}"

    def _show(self, line: str, end: str) -> None:
        start = "\r" if self.live else ""
        print(start + line.ljust(self.width), end=end, flush=True)
        self.width = 0 if end else len(line)


def clock(seconds: float) -> str:
    """Seconds as 1:02:03 or 2:03."""
    minutes, s = divmod(round(seconds), 60)
    h, m = divmod(minutes, 60)
    return f"{h}:{m:02}:{s:02}" if h else f"{m}:{s:02}"
