"""The training loop: epochs, batches, steps, validation, history and checkpoints.

``training/fit.py`` creates a `Trainer` from the arguments of `Model.fit`. The batches come from
``text/batches.py``. ``training/step.py`` runs the steps, in one or several processes.
``training/divergence.py`` checks the losses, and ``training/progress.py`` prints them.
"""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np

from npchar.analysis.scoring import mean_loss
from npchar.arrays import Array
from npchar.network.network import Network
from npchar.text import documents
from npchar.text.batches import Batches, DocumentBatches, WindowBatches, shuffled
from npchar.text.documents import Ids
from npchar.text.ngrams import baselines
from npchar.training.checkpoint import Checkpoint
from npchar.training.config import TrainingConfig
from npchar.training.distributed import Batch
from npchar.training.divergence import COUNTERS, RATE_FACTOR, DivergenceGuard
from npchar.training.history import History
from npchar.training.interrupts import Interrupts
from npchar.training.progress import Progress
from npchar.training.schedule import learning_rate_at
from npchar.training.step import TrainingStep

Callback = Callable[[History], object]
BLOCK_STEPS, BLOCK_TARGETS = 50, 5000  # averaged, because losses of single steps are noisy


@dataclass
class TrainingPosition:
    """The progress of a run."""

    epochs: int = 0  # complete epochs
    steps: int = 0  # in all epochs
    batches: int = 0  # in the current epoch, as all numbers below
    targets: int = 0  # of the batches with a finite loss
    loss: float = 0.0  # sum over these targets
    norm: float = 0.0  # sum over these targets
    seconds: float = 0.0
    block_targets: int = 0  # in the current block: see `DivergenceGuard`
    block_loss: float = 0.0  # sum over these targets
    finished: bool = False


class TrainingData(NamedTuple):
    """The training set, and the validation set, which may be empty."""

    training: Ids
    validation: Ids
    description: str
    """A phrase that describes the validation set."""


def train_validation_split(
    config: TrainingConfig, text: Ids, validation: Ids | None = None
) -> TrainingData:
    """Split the text into training and validation sets, unless a validation set is given.

    Raises
    ------
    ValueError
        If a set is too short, or targets is "last" for documents.
    """
    is_documents = text.ends is not None or (validation is not None and validation.ends is not None)
    if config.targets != "all" and is_documents:
        raise ValueError(
            "expected targets='all' for documents, got 'last', which needs windows of one length"
        )
    if validation is not None:
        return TrainingData(text, validation, f"{len(validation.ids):,} symbols of validation_data")
    if text.ends is not None:
        n = len(text.ends) - 1
        train, held_out = documents.split(n, config.validation_split, config.seed)
        description = f"{len(held_out):,} of {n:,} documents, drawn by seed {config.seed}"
        return TrainingData(
            documents.only(text, train), documents.only(text, held_out), description
        )
    n = len(text.ids)
    n_held_out, needed = int(n * config.validation_split), config.maxlen + 1
    first = n - n_held_out
    if first < needed or 0 < n_held_out < needed:
        raise ValueError(
            f"expected at least maxlen + 1 = {needed} symbols for training and for validation, got "
            f"{first} and {n_held_out}; pass a longer text, a smaller maxlen or validation_split=0"
        )
    description = f"the last {n_held_out:,} of {n:,}"
    return TrainingData(Ids(text.ids[:first]), Ids(text.ids[first:]), description)


def make_batches(text: Ids, config: TrainingConfig) -> Batches:
    """The batches of a text, or of documents."""
    if text.ends is None:
        return WindowBatches(
            text.ids, config.maxlen, config.step, config.batch_size, config.targets
        )
    return DocumentBatches(text.ids, text.ends, config.maxlen, config.batch_size)


@dataclass(eq=False)
class Trainer:
    """The training loop of rank 0."""

    step: TrainingStep
    """Changes the weights."""
    data: TrainingData
    schedule: str | Callable[[float], float]
    """The name of the schedule, or a function of progress."""
    history: History
    """Filled by the run."""
    callbacks: Sequence[Callback] = ()
    """Called with the history after each epoch."""
    checkpoint: Checkpoint | None = None
    """Where the run is saved."""
    progress: Progress | None = None
    """Prints the losses."""

    def __post_init__(self) -> None:
        self.network, self.config = self.step.network, self.step.config
        self.interrupts = Interrupts(terminate=self.checkpoint is not None)
        self.batches = make_batches(self.data.training, self.config)
        uniform = math.log(self.network.config.vocabulary_size)
        self.guard = DivergenceGuard(self.network.parameters.flat, self.step.optimizer, uniform)
        self.position = TrainingPosition()
        # Batches come in another order when a model is trained again, as in a loop over epochs.
        self.rng = np.random.default_rng([self.config.seed, self.network.epochs_trained])
        self.generator = self.rng.bit_generator.state  # before the draws of the current epoch
        if self.checkpoint is not None:
            self._resume(self.checkpoint)
        self.step.count = self.position.steps

    def run(self) -> History:
        """Train for the remaining epochs."""
        position, patience = self.position, self.config.patience
        if self.progress:
            self.progress.begin(self.history, position.epochs, position.finished)
        if position.finished:
            return self.history
        with self.interrupts:
            # The biases of the output layer are zero only in an untrained model.
            if self.network.dense.b.any() and not position.steps:
                loss = self._validation_loss()
                if loss is not None:
                    self.guard.set_baseline(loss, self.network.epochs_trained)
            self._save(required=True)  # fail now instead of after hours
            try:
                while self.position.epochs < self.config.epochs:
                    if patience is not None and self.guard.epochs_since_best >= patience:
                        self._report(f"stopped after epoch {self.position.epochs}: the last "
                                     f"{patience} epochs brought no improvement")  # fmt: skip
                        break
                    self._train_epoch()
                    self._end_epoch()
                    results = [callback(self.history) for callback in self.callbacks]
                    if any(isinstance(result, (bool, np.bool_)) and result for result in results):
                        break
            except BaseException:
                # Ctrl-C, or an error in a callback. Do not save weights that a step may have
                # changed only in part.
                if self.step.count == self.position.steps:
                    self._save()
                raise
            self._restore_best()
            self.position.finished = True
            self._save(required=True)
        return self.history

    def _train_epoch(self) -> None:
        """Run the remaining steps of the current epoch."""
        position, config = self.position, self.config
        start, first = time.perf_counter() - position.seconds, position.batches
        # A resumed run draws the same again, from `generator`.
        batches = self.batches.shifted(self.rng)
        order = shuffled(len(batches), self.rng)
        count = batches.batch_count
        seeds = self.rng.integers(1 << 62, size=count)  # for dropout
        total_steps = config.epochs * self.batches.batch_count
        rates = [
            learning_rate_at(self.schedule, config.learning_rate, step, total_steps, config.warm_up)
            for step in range(position.steps, position.steps + count - first)
        ]
        # The biases of the output layer are zero only in an untrained model.
        if config.targets == "all" and not position.steps and not self.network.dense.b.any():
            self._initialize_output_bias()
        with self.step.threads(), self.interrupts.uninterrupted():
            for ids, seed, rate in zip(batches.batches(order, first), seeds[first:], rates):
                self._train_batch(Batch(ids, int(seed)), rate, position.batches + 1 == count)
                position.seconds = time.perf_counter() - start
                if self.progress and position.targets:
                    share, loss = position.batches / count, position.loss / position.targets
                    self.progress.update(position.epochs, share, loss)
                self._save_if_due()
                if self.interrupts.delayed is not None:
                    break

    def _initialize_output_bias(self) -> None:
        """Set the output bias to log frequencies of symbols, which saves the first steps."""
        b = self.network.dense.b
        ids, block = self.data.training.ids, 1 << 20  # `bincount` needs 8 bytes for each id
        starts = range(0, len(ids), block)
        counts = np.sum([np.bincount(ids[k : k + block], minlength=len(b)) for k in starts], 0) + 1
        b[...] = np.log(counts / counts.sum())

    def _train_batch(self, batch: Batch, rate: float, is_last: bool) -> None:
        """Run and count one step; roll back if the run diverges."""
        position, problem = self.position, None
        rate *= RATE_FACTOR**self.guard.rollbacks
        loss, norm, targets = self.step(batch, rate)
        if math.isfinite(loss + norm):
            position.targets += targets
            position.loss += loss * targets
            position.norm += norm * targets
            position.block_targets += targets
            position.block_loss += loss * targets
            if is_last or position.block_targets >= max(BLOCK_TARGETS, BLOCK_STEPS * targets):
                mean = position.block_loss / position.block_targets
                problem = self.guard.update(mean, position.block_targets)
                position.block_targets, position.block_loss = 0, 0.0
        else:
            problem = f"the loss is {loss:.4g} and the norm of its gradient is {norm:.4g}"
        if problem:
            where = f"in epoch {position.epochs + 1}, after {position.steps} steps"
            position.block_targets, position.block_loss = 0, 0.0
            self._report(self.guard.roll_back(where, problem, rate))
        position.batches += 1
        position.steps += 1

    def _end_epoch(self) -> None:
        """Validate, and add the epoch to the history."""
        position, history = self.position, self.history
        if not history.baselines:  # after the first epoch, so that training starts at once
            history.baselines = count_baselines(self.data, self.network.config.vocabulary_size)
        start = time.perf_counter() - position.seconds
        loss, norm = math.inf, math.inf  # if no loss was finite
        if position.targets:
            loss, norm = position.loss / position.targets, position.norm / position.targets
        val_loss = self._validation_loss()
        with self.interrupts.uninterrupted():
            history.loss.append(loss)
            if val_loss is not None:
                history.val_loss.append(val_loss)
            history.gradient_norm.append(norm)
            history.seconds.append(time.perf_counter() - start)
            epochs = position.epochs + 1
            self.guard.epoch_ended(epochs, loss if val_loss is None else val_loss)
            self.network.epochs_trained += 1
            self.generator = self.rng.bit_generator.state
            self.position = TrainingPosition(epochs, position.steps)
        if self.progress:
            self.progress.end_epoch(history)
        self._save_if_due()

    def _validation_loss(self) -> float | None:
        """The loss on the validation set, if there is one."""
        if len(self.data.validation.ids) < 2:
            return None
        with self.step.threads():
            return validation_loss(self.network, self.data.validation, self.config)

    def _restore_best(self) -> None:
        """Restore the best weights if the last ones are worse on the validation set."""
        guard = self.guard
        is_worse = self.history.val_loss and guard.best_epoch < self.position.epochs
        if not (self.config.restore_best and is_worse and guard.can_restore):
            return
        guard.restore()
        event = f"restored the weights of epoch {guard.best_epoch}, which has the lowest val_loss"
        if not guard.best_epoch:
            event = ("every epoch diverged: restored the weights from before this run; use "
                     "a lower learning_rate")  # fmt: skip
        self._report(event)

    def _report(self, sentence: str) -> None:
        self.history.events.append(sentence)
        if self.progress:
            self.progress.say(sentence)

    # Checkpoints

    def _tables(self) -> dict[str, Any]:
        """The state of the run, except arrays."""
        return {
            "position": asdict(self.position),
            "history": {name: getattr(self.history, name) for name in History.KINDS},
            "guard": {name: getattr(self.guard, name) for name in COUNTERS},
            "generator": dict(self.generator),
        }

    def _arrays(self) -> dict[str, Array]:
        """The arrays of the state of the run."""
        return {
            **self.network.parameters,
            "training.v": self.step.optimizer.prepare(self.network.parameters.flat),
            "training.best": self.guard.best,
            "training.best_v": self.guard.best_state,
        }

    def _resume(self, checkpoint: Checkpoint) -> None:
        """Restore the state in the checkpoint, if it has one."""
        examples = self._tables() | {"history": History.KINDS}
        saved = checkpoint.restore(examples, self._arrays(), self.rng)
        if saved is None:
            return
        self.position = TrainingPosition(**saved["position"])
        self.position.finished &= not checkpoint.is_longer
        for owner, values in ((self.history, saved["history"]), (self.guard, saved["guard"])):
            for name, value in values.items():
                setattr(owner, name, value)
        self.generator = saved["generator"]
        self.network.epochs_trained = checkpoint.epochs_trained
        for change in checkpoint.changes:
            self._report(f"resumed after epoch {self.position.epochs}: {change}")

    def _save_if_due(self) -> None:
        if self.checkpoint and self.checkpoint.is_due(self.position.epochs, self.position.steps):
            self._save()

    def _save(self, required: bool = False) -> None:
        """Write the checkpoint, if there is one.

        If it cannot be written, warn, or raise the OSError if `required` is True.
        """
        if self.checkpoint is None:
            return
        epochs, steps = self.position.epochs, self.position.steps
        try:
            self.checkpoint.save(
                epochs, steps, self.network.epochs_trained, self._tables(), self._arrays()
            )
        except OSError as error:
            if required:
                raise
            warnings.warn(f"{error}. The run continues and tries again later", stacklevel=2)


def count_baselines(data: TrainingData, vocabulary_size: int) -> dict[str, float]:
    """The losses of n-gram models on the validation set.

    Without a validation set, only the uniform and unigram models are used, on the training set,
    because larger models would overfit it.
    """
    training, validation = data.training.ids, data.validation.ids
    is_tested = len(validation) > 1
    losses = baselines(training, validation if is_tested else training, vocabulary_size)
    return losses if is_tested else dict(list(losses.items())[:2])


def validation_loss(network: Network, text: Ids, config: TrainingConfig) -> float:
    """The loss on a text, in nats per target: see `Model.fit`."""
    if config.targets == "all":
        return mean_loss(network, text)
    batches = WindowBatches(text.ids, config.maxlen, config.step, 128, config.targets)
    total = 0.0
    for batch in batches.batches(np.arange(len(batches))):
        total += batch.shape[1] * float(network.loss(batch[:-1], batch[-1]))
    return total / len(batches)
