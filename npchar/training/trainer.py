"""The trainer: epochs, batches, steps, validation, history, checkpoints.

``text/batches.py`` makes the batches, ``training/step.py`` the steps, in this process or in
several. ``training/divergence.py`` watches the losses, ``training/progress.py`` prints them, and
``training/fit.py`` makes a `Trainer` of the arguments of `Model.fit`.
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
from npchar.training.divergence import DivergenceGuard
from npchar.training.history import History
from npchar.training.interrupts import Interrupts
from npchar.training.progress import Progress
from npchar.training.schedule import learning_rate_at
from npchar.training.step import TrainingStep

Callback = Callable[[History], object]


@dataclass
class TrainingPosition:
    """How far a training has come."""

    epochs: int = 0  # complete ones
    steps: int = 0  # in all epochs
    batches: int = 0  # in the current epoch, as are the following
    weight: int = 0  # of the batches with a finite loss: see `Batches.weight`
    loss: float = 0.0  # weighted sum
    norm: float = 0.0  # weighted sum
    seconds: float = 0.0
    finished: bool = False


class TrainingData(NamedTuple):
    """The training set, and the validation set, which may be empty."""

    training: Ids
    validation: Ids
    description: str
    """A phrase on the validation set."""


def train_validation_split(
    text: Ids, validation: Ids | None, config: TrainingConfig
) -> TrainingData:
    """Take a validation set from the text, unless there is one.

    Raises
    ------
    ValueError
        If one of them is too short, or documents come with targets "last".
    """
    if config.targets != "all" and any(
        ids is not None and ids.ends is not None for ids in (text, validation)
    ):
        raise ValueError(
            "targets is 'last', which needs windows of one length; train on documents with 'all'"
        )
    if validation is not None:
        return TrainingData(text, validation, f"{len(validation.ids):,} symbols of validation_data")
    n = len(text.ids) if text.ends is None else len(text.ends) - 1
    if text.ends is not None:
        learned, others = documents.split(n, config.validation_split, config.seed)
        description = f"{len(others):,} of {n:,} documents, drawn by seed {config.seed}"
        return TrainingData(
            documents.only(text, learned), documents.only(text, others), description
        )
    held_out, needed = int(n * config.validation_split), config.maxlen + 1
    if n - held_out < needed or 0 < held_out < needed:
        raise ValueError(
            f"the text has {n} symbols, {n - held_out} to train on and {held_out} held out; "
            f"each part needs at least maxlen + 1 = {needed}: pass a longer text, a smaller "
            "maxlen or validation_split=0"
        )
    first = n - held_out
    description = f"the last {held_out:,} of {n:,}"
    return TrainingData(Ids(text.ids[:first]), Ids(text.ids[first:]), description)


def make_batches(text: Ids, config: TrainingConfig) -> Batches:
    """The batches of a text, or of documents."""
    if text.ends is None:
        return WindowBatches(
            text.ids, config.maxlen, config.step, config.batch_size, config.targets
        )
    return DocumentBatches(text.ids, text.ends, config.maxlen, config.batch_size)


class Trainer:
    """A training, in the process that leads it.

    Parameters
    ----------
    step
        Changes the weights.
    data
        The training set and the validation set.
    schedule
        The name of the schedule, or a function of progress.
    history
        Filled by the training.
    callbacks
        Called with the history after each epoch.
    checkpoint
        Where the training is saved.
    progress
        Prints the losses.
    """

    def __init__(
        self,
        step: TrainingStep,
        data: TrainingData,
        schedule: str | Callable[[float], float],
        history: History,
        callbacks: Sequence[Callback] = (),
        checkpoint: Checkpoint | None = None,
        progress: Progress | None = None,
    ) -> None:
        self.step, self.network, self.optimizer = step, step.network, step.optimizer
        self.config, self.data, self.schedule = step.config, data, schedule
        self.history, self.callbacks = history, callbacks
        self.checkpoint, self.progress = checkpoint, progress
        self.interrupts = Interrupts(terminate=checkpoint is not None)
        self.batches = make_batches(data.training, self.config)
        self.total_steps = self.config.epochs * self.batches.batch_count
        V = self.network.config.vocabulary_size
        self.guard = DivergenceGuard(self.network.parameters.flat, self.optimizer, math.log(V))
        self.position = TrainingPosition()
        # Batches come in another order when a model is trained again, as in a loop over epochs.
        self.rng = np.random.default_rng([self.config.seed, self.network.epochs_trained])
        self.generator = self.rng.bit_generator.state  # before the draws of the current epoch
        self.counted = 0  # steps of `step` that `position` includes
        if checkpoint is not None:
            self._resume(checkpoint)
        history.config = asdict(self.config)
        if not history.baselines:
            self._count_baselines()

    def run(self) -> History:
        """Train for all epochs that are left."""
        if self.progress:
            position = self.position
            self.progress.begin(self.history, position.epochs, position.finished)
        if self.position.finished:
            return self.history
        with self.interrupts:
            # The biases of the output layer are zero only in an untrained model.
            is_trained = self.network.dense.b.any()
            if is_trained and not self.position.steps and self._has_validation:
                self.guard.set_baseline(self._validation_loss(), self.network.epochs_trained)
            self._save(required=True)  # better to fail now than after hours
            try:
                while self._has_epochs_left():
                    self._train_epoch()
                    self._end_epoch()
                    if self._is_ended_by_callback():
                        break
            except BaseException:
                # Ctrl-C, or a mistake in a callback. In the middle of a step the weights are not
                # those of the position.
                if self.step.count == self.counted:
                    self._save()
                raise
            self._restore_best()
            self.position.finished = True
            self._save(required=True)
        return self.history

    def _train_epoch(self) -> None:
        """Make the steps of the current epoch that are left."""
        position, start = self.position, time.perf_counter() - self.position.seconds
        # A resumed training draws the same again, from `generator`.
        batches = self.batches.shifted(self.rng)
        order = shuffled(len(batches), self.rng)
        seeds = self.rng.integers(1 << 62, size=batches.batch_count)  # for dropout
        batch_count = batches.batch_count
        self.step.share_weights()  # a callback may have changed them
        with self.step.threads():
            for batch in batches.batches(order, first=position.batches):
                self._train_batch(
                    batch, int(seeds[position.batches]), position.batches + 1 >= batch_count
                )
                position.seconds = time.perf_counter() - start
                if self.progress and position.weight:
                    share, loss = position.batches / batch_count, position.loss / position.weight
                    self.progress.update(position.epochs, share, loss)
                self._save_if_due()

    def _train_batch(self, batch: Array, seed: int, is_last: bool) -> None:
        """Make one step and count it; roll back if the training diverges."""
        position, batches = self.position, self.batches
        with self.interrupts.uninterrupted():
            rate = self.guard.rate_factor * learning_rate_at(
                self.schedule, self.config.learning_rate, position.steps, self.total_steps,
                self.config.warm_up,
            )  # fmt: skip
            loss, norm = self.step(batch, seed, rate)
            weight = batches.weight(batch)
            targets = weight * batches.targets_per_weight
            problem = self.guard.update(loss, norm, targets, is_last)
            if problem:
                where = f"in epoch {position.epochs + 1}, after {position.steps} steps"
                self._report(self.guard.roll_back(where, problem, rate))
                self.step.share_weights()
            position.batches += 1
            position.steps += 1
            if math.isfinite(loss + norm):
                position.weight += weight
                position.loss += loss * weight
                position.norm += norm * weight
            self.counted = self.step.count

    def _end_epoch(self) -> None:
        """Validate, and add the epoch to the history."""
        position, history = self.position, self.history
        start = time.perf_counter() - position.seconds
        loss, norm = math.inf, math.inf  # if no loss was finite
        if position.weight:
            loss, norm = position.loss / position.weight, position.norm / position.weight
        val_loss = self._validation_loss() if self._has_validation else None
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

    @property
    def _has_validation(self) -> bool:
        return len(self.data.validation.ids) > 1

    def _validation_loss(self) -> float:
        with self.step.threads():
            return validation_loss(self.network, self.data.validation, self.config)

    def _is_ended_by_callback(self) -> bool:
        """Call all callbacks; return whether one of them ends the training."""
        results = [callback(self.history) for callback in self.callbacks]
        return any(isinstance(result, (bool, np.bool_)) and result for result in results)

    def _has_epochs_left(self) -> bool:
        return self.position.epochs < self.config.epochs and not self._is_out_of_patience()

    def _is_out_of_patience(self) -> bool:
        patience = self.config.patience
        return patience is not None and self.guard.epochs_since_best >= patience

    def _restore_best(self) -> None:
        """Restore the best weights, and report why the training ended."""
        epochs, guard, config = self.position.epochs, self.guard, self.config
        if self._is_out_of_patience():
            self._report(f"ended after epoch {epochs}: none of the last {config.patience} "
                         "was better held out")  # fmt: skip
        is_worse = self.history.val_loss and guard.best_epoch < epochs
        if not (config.restore_best and is_worse and guard.can_restore):
            return
        guard.restore()
        if guard.best_epoch:
            self._report(
                f"restored the weights of epoch {guard.best_epoch}, which has the lowest val_loss"
            )
        else:
            self._report(
                "every epoch diverged: restored the weights from before this training; use a lower "
                "learning_rate"
            )

    def _count_baselines(self) -> None:
        """The losses of n-gram models on the validation set.

        Without one they are measured on the training set, where only the simplest say anything.
        """
        V, training = self.network.config.vocabulary_size, self.data.training.ids
        if self._has_validation:
            self.history.baselines = baselines(training, self.data.validation.ids, V)
        else:
            self.history.baselines = dict(list(baselines(training, training, V).items())[:2])

    def _report(self, sentence: str) -> None:
        self.history.events.append(sentence)
        if self.progress:
            self.progress.say(sentence)

    # Checkpoints

    def _tables(self) -> dict[str, Any]:
        """All that changes while training, except arrays."""
        return {
            "position": asdict(self.position),
            "history": {name: getattr(self.history, name) for name in History.KINDS},
            "guard": self.guard.counters(),
            "generator": dict(self.generator),
        }

    def _arrays(self) -> dict[str, Array]:
        """All arrays that change while training."""
        return {
            **self.network.parameters,
            "training.v": self.optimizer.prepare(self.network.parameters.flat),
            "training.best": self.guard.best,
            "training.best_v": self.guard.best_state,
        }

    def _resume(self, checkpoint: Checkpoint) -> None:
        """Load the state that the checkpoint holds, if there is one."""
        examples = self._tables() | {"history": History.KINDS}
        saved = checkpoint.restore(examples, self._arrays(), self.rng)
        if saved is None:
            return
        self.position = TrainingPosition(**saved["position"])
        self.position.finished &= not checkpoint.is_longer
        for name, value in saved["history"].items():
            setattr(self.history, name, value)
        self.guard.load(saved["guard"])
        self.generator = saved["generator"]
        self.network.epochs_trained = checkpoint.epochs_trained

    def _save_if_due(self) -> None:
        if self.checkpoint and self.checkpoint.is_due(self.position.epochs, self.position.steps):
            self._save()

    def _save(self, required: bool = False) -> None:
        """Write the checkpoint, if there is one.

        Unless it is required, a failure is only a warning: a training is worth more than its file.
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
            warnings.warn(f"{error}. The training goes on and tries again later", stacklevel=2)


def validation_loss(network: Network, text: Ids, config: TrainingConfig) -> float:
    """The loss on a text, in nats per target: see `Model.fit`."""
    if config.targets == "all":
        return mean_loss(network, text)
    batches = WindowBatches(text.ids, config.maxlen, config.step, 128, config.targets)
    total = 0.0
    for batch in batches.batches(np.arange(len(batches))):
        total += batch.shape[1] * float(network.loss(batch[:-1], batch[-1]))
    return total / len(batches)
