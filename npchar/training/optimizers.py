"""The optimizer: a gradient in, better weights out, on flat vectors.

The gradient comes from the layers through ``layers/parameters.py``; the loop that
calls this is in ``training/loop.py``.
"""

from __future__ import annotations

import math

import numpy as np

from npchar.arrays import Array

SCHEDULES = ("linear", "constant")


class RMSprop:
    """RMSprop (Hinton 2012) by the formula of Keras 3.

    ``v ← ρ v + (1 − ρ) g²`` and ``p ← p − lr g / √(v + ε)``: each weight moves by
    the learning rate times its gradient over that gradient's running size. Note
    where ε stands: PyTorch and Keras 2 put it outside the root.

    Parameters
    ----------
    size
        The number of weights.
    rho
        How much of the running mean of g² is kept from step to step.
    epsilon
        What keeps the root from zero.
    dtype
        The weights' type.
    """

    def __init__(
        self, size: int, rho: float = 0.9, epsilon: float = 1e-7, dtype: str = "float32"
    ) -> None:
        self.rho, self.epsilon = rho, epsilon
        # v + ε rather than v. A rare character's v would decay as 0.9ᵗ into subnormal
        # numbers, on which x86 computes tens of times slower; this stops at ε. And it
        # spares a pass over the weights.
        self.v_plus_epsilon: Array = np.full(size, epsilon, dtype)
        self._scratch = np.empty(size, dtype)

    def update(self, weights: Array, gradient: Array, learning_rate: float) -> None:
        """Change `weights`, (size,), in place by one step; `gradient` stays as it is."""
        v_plus_epsilon, a = self.v_plus_epsilon, self._scratch
        np.multiply(gradient, gradient, out=a)
        a += self.epsilon
        a *= 1 - self.rho
        v_plus_epsilon *= self.rho
        v_plus_epsilon += a
        np.sqrt(v_plus_epsilon, out=a)
        np.divide(gradient, a, out=a)
        a *= learning_rate
        weights -= a


def clip_by_global_norm(gradient: Array, limit: float) -> float:
    """Scale a flat gradient in place to the norm `limit` if it is longer.

    The direction stays (Pascanu et al. 2013). Returns the norm before clipping.
    """
    norm = math.sqrt(np.vdot(gradient, gradient))
    if norm > limit:
        gradient *= limit / norm
    return norm


def learning_rate_at(schedule: str, learning_rate: float, progress: float) -> float:
    """The learning rate when the share `progress` (0 to 1) of all steps is done.

    `schedule` is "constant", or "linear": from `learning_rate` straight to zero.
    """
    if schedule == "constant":
        return learning_rate
    if schedule == "linear":
        return learning_rate * (1 - progress)
    raise ValueError(f"schedule is {schedule!r}; it must be 'linear' or 'constant'")
