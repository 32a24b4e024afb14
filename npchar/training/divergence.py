"""Detects divergence, and restores the best weights.

``training/trainer.py`` passes the mean loss of each block of steps. The weights and the state of
the optimizer are flat vectors here.
"""

from __future__ import annotations

import math

from npchar.arrays import Array
from npchar.training.optimizers import Optimizer

__all__ = ["TrainingDiverged"]

MAX_ROLLBACKS = 5
RATE_FACTOR = 0.25  # by which each rollback multiplies the learning rate
UNTRAINED = 0.1  # nats by which untrained weights may be better than the uniform baseline
TOLERANCE = 0.5  # nats: a loss this far above the best has diverged
COUNTERS = ("best_loss", "best_epoch", "epochs_since_best", "rollbacks", "lowest")


class TrainingDiverged(ArithmeticError):
    """The run has diverged again after five reductions of the learning rate.

    Divergence is a loss or a gradient that is not finite, or a loss far above its best.

    Examples
    --------
    >>> text = "the cat sat on the mat. " * 40
    >>> model = npchar.Model(npchar.Vocabulary.from_text(text), hidden_size=8)
    >>> model.parameters["dense.b"][:] = np.nan
    >>> try:
    ...     model.fit(text, epochs=1, maxlen=20, workers=1, verbose=False)
    ... except npchar.TrainingDiverged as error:
    ...     print("the weights were not finite")
    the weights were not finite
    """


class DivergenceGuard:
    """Detects divergence in the losses of a run, and stores the best weights.

    Losses are averaged over blocks of about 50 steps with at least 5,000 targets, or over an epoch
    if the epoch is shorter. A block is a spike if its mean is more than half a nat, plus a margin
    for random variation, above the lowest mean or above the uniform baseline. The run then
    rolls back, as it does if a number is not finite.

    Parameters
    ----------
    weights, optimizer
        The weights and the optimizer at the start of the run.
    uniform
        The loss of the uniform distribution over the vocabulary, log V.
    """

    def __init__(self, weights: Array, optimizer: Optimizer, uniform: float) -> None:
        self.weights, self.optimizer, self.uniform = weights, optimizer, uniform
        self.best, self.best_state = weights.copy(), optimizer.prepare(weights).copy()
        # Epoch 0 is the start of this run; an epoch with a loss above `best_loss` diverged.
        self.best_loss, self.best_epoch = uniform + TOLERANCE, 0
        self.epochs_since_best = 0
        self.rollbacks = 0
        self.lowest = math.inf  # the lowest mean of a block

    def update(self, mean: float, targets: int) -> str | None:
        """Add a block with the mean loss and the number of its targets.

        Returns a description of the divergence, or None.
        """
        is_first = math.isinf(self.lowest)  # the loss of untrained weights may vary
        limit = min(self.lowest, self.uniform) + TOLERANCE + 10 / math.sqrt(targets)
        if mean > limit and not is_first:
            if self.lowest > self.uniform:
                return f"the loss is {mean:.3g}, above the uniform baseline of {self.uniform:.3g}"
            return f"the loss rose to {mean:.3g}, from {self.lowest:.3g} at its best"
        self.lowest = min(self.lowest, mean)
        return None

    def set_baseline(self, loss: float, epochs_trained: int) -> None:
        """Set the validation loss of a trained model as the reference for divergence."""
        if epochs_trained or loss < self.uniform - UNTRAINED:
            self.best_loss = min(loss, self.uniform) + TOLERANCE

    @property
    def can_restore(self) -> bool:
        """Whether there are weights to restore at the end.

        These are the weights of the best epoch. If every epoch has diverged, they are the weights
        before this run, if these are better than the uniform baseline.
        """
        return self.best_epoch > 0 or self.best_loss < self.uniform + TOLERANCE

    def epoch_ended(self, epoch: int, loss: float) -> None:
        """Store the weights after this epoch (from 1) if its loss is the lowest so far."""
        self.epochs_since_best += 1
        if loss < self.best_loss:
            self.best_loss, self.best_epoch, self.epochs_since_best = loss, epoch, 0
            self.best[...] = self.weights
            self.best_state[...] = self.optimizer.prepare(self.weights)

    def restore(self) -> None:
        """Restore the best weights and the state of the optimizer."""
        self.weights[...] = self.best
        self.optimizer.prepare(self.weights)[...] = self.best_state

    def roll_back(self, where: str, reason: str, rate: float) -> str:
        """Restore the best weights and count the rollback; return a sentence for the user.

        Parameters
        ----------
        where, reason
            The position in the run, and the description that `update` returned.
        rate
            The learning rate before the rollback.

        Raises
        ------
        TrainingDiverged
            After five rollbacks. The best weights are restored in this case, too.
        """
        self.restore()
        best = "those before this run"
        if self.best_epoch:
            best = f"those of epoch {self.best_epoch}"
        if self.rollbacks == MAX_ROLLBACKS:
            raise TrainingDiverged(
                f"{where}, {reason}, after {MAX_ROLLBACKS} reductions of the learning rate to "
                f"{rate:.3g}. The model has its best weights, {best}. Train with a lower "
                "learning_rate or a smaller clip_norm"
            )
        self.rollbacks += 1
        return (
            f"{where}, {reason}. Training continues from the best weights, {best}, with a quarter "
            f"of the learning rate, {rate * RATE_FACTOR:.3g}"
        )
