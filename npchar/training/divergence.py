"""The divergence guard: keeps the best weights, and restores them if the training diverges.

``training/trainer.py`` passes the mean loss of every block of steps. The guard knows the weights
and the optimizer's state as flat vectors only.
"""

from __future__ import annotations

import math

from npchar.arrays import Array
from npchar.training.optimizers import Optimizer

__all__ = ["TrainingDiverged"]

MAX_ROLLBACKS = 5
RATE_FACTOR = 0.25  # of the learning rate, after each
UNTRAINED = 0.1  # nats by which initial weights may be better than the uniform baseline
TOLERANCE = 0.5  # nats: a loss this far above the best has diverged
COUNTERS = ("best_loss", "best_epoch", "epochs_since_best", "rollbacks", "lowest")


class TrainingDiverged(ArithmeticError):
    """The loss or its gradient was not finite, or the loss rose, after each lower learning rate.

    Examples
    --------
    >>> text = "the cat sat on the mat. " * 40
    >>> model = npchar.Model(npchar.Vocabulary.from_text(text), hidden_size=8)
    >>> model.parameters["dense.b"][:] = np.nan
    >>> try:
    ...     model.fit(text, epochs=1, maxlen=20, workers=1, verbose=False)
    ... except npchar.TrainingDiverged as error:
    ...     print("five times in vain" if "5" in str(error) else error)
    five times in vain
    """


class DivergenceGuard:
    """Watches the losses of a training.

    Losses are averaged over blocks of about 50 steps and at least 5,000 targets, or an epoch if
    that is shorter. A block whose mean is half a nat above the best so far, or above the uniform
    baseline, and by more than chance could bring, is a spike. The training rolls back then, as it
    does for a number that is not finite.

    Parameters
    ----------
    weights, optimizer
        The weights and the optimizer at the start of the training.
    uniform
        The loss of taking every character as equally probable, log V.
    """

    def __init__(self, weights: Array, optimizer: Optimizer, uniform: float) -> None:
        self.weights, self.optimizer, self.uniform = weights, optimizer, uniform
        self.best, self.best_state = weights.copy(), optimizer.prepare(weights).copy()
        # Epoch 0 is the start of this training. An epoch that ends above `best_loss` has diverged
        # and is no better than the start.
        self.best_loss, self.best_epoch = uniform + TOLERANCE, 0
        self.epochs_since_best = 0
        self.rollbacks = 0
        self.lowest = math.inf  # mean of a block

    def update(self, mean: float, targets: int) -> str | None:
        """Add a block: the mean loss of its targets, and their number.

        Returns a description of the problem, or None.
        """
        is_first = math.isinf(self.lowest)  # from untrained weights, it may swing
        limit = min(self.lowest, self.uniform) + TOLERANCE + 10 / math.sqrt(targets)
        if mean > limit and not is_first:
            if self.lowest > self.uniform:
                return f"the loss is {mean:.3g}, above the uniform baseline of {self.uniform:.3g}"
            return f"the loss rose to {mean:.3g}, from {self.lowest:.3g} at its best"
        self.lowest = min(self.lowest, mean)
        return None

    def set_baseline(self, loss: float, epochs_trained: int) -> None:
        """Measure divergence against the validation loss of a model that was trained before."""
        if epochs_trained or loss < self.uniform - UNTRAINED:
            self.best_loss = min(loss, self.uniform) + TOLERANCE

    @property
    def can_restore(self) -> bool:
        """Whether there are better weights than the last ones to restore.

        These are the weights of an epoch. If every epoch has diverged, they are the weights
        before this training, unless those predict no better than the uniform baseline.
        """
        return self.best_epoch > 0 or self.best_loss < self.uniform + TOLERANCE

    def epoch_ended(self, epoch: int, loss: float) -> None:
        """Keep the weights after this epoch (the first is 1) if none had a lower loss."""
        self.epochs_since_best += 1
        if loss < self.best_loss:
            self.best_loss, self.best_epoch, self.epochs_since_best = loss, epoch, 0
            self.best[...] = self.weights
            self.best_state[...] = self.optimizer.prepare(self.weights)

    def restore(self) -> None:
        """Put the best weights back."""
        self.weights[...] = self.best
        self.optimizer.prepare(self.weights)[...] = self.best_state

    def roll_back(self, where: str, reason: str, rate: float) -> str:
        """Restore the best weights and lower the learning rate; return a sentence about it.

        Parameters
        ----------
        where, reason
            The place in the training, and the problem that `update` returned.
        rate
            The learning rate that led there.

        Raises
        ------
        TrainingDiverged
            If it has happened too often. The best weights are restored in this case, too.
        """
        self.restore()
        best = "those at its start"
        if self.best_epoch:
            best = f"the weights of epoch {self.best_epoch}"
        if self.rollbacks == MAX_ROLLBACKS:
            raise TrainingDiverged(
                f"{where}, {reason}, the {MAX_ROLLBACKS + 1}th time, though the learning rate "
                f"had gone down to {rate:.3g}. The weights are the best there were, {best}. "
                "Train with a lower learning_rate or a smaller clip_norm"
            )
        self.rollbacks += 1
        return (
            f"{where}, {reason}: its steps were too long. Back to the best weights, {best}, and "
            f"on with a quarter of the learning rate, {rate * RATE_FACTOR:.3g}"
        )
