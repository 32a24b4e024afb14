"""The optimizers: a gradient in, better weights out, on flat vectors.

The gradient comes from the layers through ``layers/parameters.py``; the loop that calls this
is in ``training/loop.py``. What an optimizer remembers between two steps is one flat vector,
its `memory`, for ``training/guard.py`` to put back and ``files/resume.py`` to keep.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import numpy as np

from npchar.arrays import Array, CopiesKeepViews, aligned_empty
from npchar.cores import in_parts

__all__ = ["SGD", "Adam", "Optimizer", "RMSprop", "clip_by_global_norm"]

SCHEDULES = ("linear", "cosine", "constant")

# A running mean of gradients that are all zero, as of a character that is rare, would decay
# into subnormal numbers, on which x86 computes tens of times slower: it stops here instead.
TINY = 1e-30


class Optimizer(CopiesKeepViews, ABC):
    """What turns a gradient into a step of the weights.

    Examples
    --------
    >>> weights, optimizer = np.array([1.0, 1.0]), npchar.SGD(2, dtype="float64")
    >>> optimizer.update(weights, np.array([4.0, -0.5]), learning_rate=0.1)
    >>> weights
    array([0.6 , 1.05])
    """

    memory: Array
    """What it keeps between two steps, flat."""

    def __init__(
        self, size: int, dtype: str, memory: Array | None, kept: int, first: float
    ) -> None:
        """Take a `memory` to go on with; without one make it, `kept` numbers that are `first`."""
        if memory is None:
            memory = aligned_empty(kept, dtype)
            memory[...] = first
        if memory.shape != (kept,):
            raise ValueError(
                f"memory has the shape {memory.shape}; of {size} weights it must be ({kept},)"
            )
        self.memory = memory
        self._scratch = aligned_empty(size, dtype)

    def update(self, weights: Array, gradient: Array, learning_rate: float) -> None:
        """Change `weights`, (size,), in place by one step; `gradient` stays as it is."""
        in_parts(
            weights.size,
            lambda part: self._update(part, weights[part], gradient[part], learning_rate),
        )
        self._end_step()

    def _end_step(self) -> None:
        """Do what is done once a step, after `_update` was called with each part."""

    @abstractmethod
    def _update(self, part: slice, weights: Array, gradient: Array, learning_rate: float) -> None:
        """Change a part of the weights by one step, given the gradient of this part.

        Each number by itself: several threads, or processes, have a part each.
        """


class RMSprop(Optimizer):
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
    memory
        Another one's `memory`, to go on with; it is used as it is.

    Examples
    --------
    >>> weights, optimizer = np.array([1.0, 1.0]), npchar.RMSprop(2, dtype="float64")
    >>> optimizer.update(weights, np.array([4.0, -0.5]), learning_rate=0.01)
    >>> weights.round(4)  # in its first step each goes as far, whatever its gradient
    array([0.9684, 1.0316])
    """

    def __init__(
        self,
        size: int,
        rho: float = 0.9,
        epsilon: float = 1e-7,
        dtype: str = "float32",
        memory: Array | None = None,
    ) -> None:
        self.rho, self.epsilon = rho, epsilon
        super().__init__(size, dtype, memory, size, epsilon)
        # v + ε rather than v: it cannot become subnormal, and spares a pass over the weights.
        self.v_plus_epsilon = self.memory
        """The running mean of g², and ε, (size,)."""

    def _update(self, part: slice, weights: Array, gradient: Array, learning_rate: float) -> None:
        v_plus_epsilon, a = self.v_plus_epsilon[part], self._scratch[part]
        np.multiply(gradient, gradient, out=a)
        a += self.epsilon
        a *= 1 - self.rho
        v_plus_epsilon *= self.rho
        v_plus_epsilon += a
        np.sqrt(v_plus_epsilon, out=a)
        np.divide(gradient, a, out=a)
        a *= learning_rate
        weights -= a


class Adam(Optimizer):
    """Adam (Kingma & Ba 2015): RMSprop with a running mean of the gradient, too.

    ``m ← β₁ m + (1 − β₁) g``, ``v ← β₂ v + (1 − β₂) g²`` and, at the n-th step,
    ``p ← p − lr (m / (1 − β₁ⁿ)) / (√(v / (1 − β₂ⁿ)) + ε)``. The divisors make up for both
    means having begun at zero.

    Parameters
    ----------
    size
        The number of weights.
    beta1, beta2
        How much of the running means of g and g² is kept from step to step. The paper's β₂
        is 0.999; a training here has some thousands of steps, so less is usual: 0.99.
    epsilon
        What keeps the divisor from zero.
    dtype
        The weights' type.
    memory
        Another one's `memory`, to go on with; it is used as it is.

    Examples
    --------
    >>> weights, optimizer = np.array([1.0, 1.0]), npchar.Adam(2, dtype="float64")
    >>> optimizer.update(weights, np.array([4.0, -0.5]), learning_rate=0.01)
    >>> weights.round(4)
    array([0.99, 1.01])
    """

    def __init__(
        self,
        size: int,
        beta1: float = 0.9,
        beta2: float = 0.99,
        epsilon: float = 1e-8,
        dtype: str = "float32",
        memory: Array | None = None,
    ) -> None:
        self.beta1, self.beta2, self.epsilon = beta1, beta2, epsilon
        super().__init__(size, dtype, memory, 2 * size + 1, 0.0)
        self.m = self.memory[:size]
        """The running mean of the gradient, (size,)."""
        self.v = self.memory[size:-1]
        """The running mean of its square, (size,)."""
        self.count = self.memory[-1:]
        """The number of steps, (1,): exact up to 2²⁴ in float32."""

    def _end_step(self) -> None:
        self.count += 1

    def _update(self, part: slice, weights: Array, gradient: Array, learning_rate: float) -> None:
        m, v, a = self.m[part], self.v[part], self._scratch[part]
        n = float(self.count[0]) + 1
        np.add(gradient, TINY, out=a)
        a *= 1 - self.beta1
        m *= self.beta1
        m += a
        np.multiply(gradient, gradient, out=a)
        a += TINY
        a *= 1 - self.beta2
        v *= self.beta2
        v += a
        np.divide(v, 1 - self.beta2**n, out=a)
        np.sqrt(a, out=a)
        a += self.epsilon
        np.divide(m, a, out=a)
        a *= learning_rate / (1 - self.beta1**n)
        weights -= a


class SGD(Optimizer):
    """Stochastic gradient descent with momentum (Polyak 1964; Sutskever et al. 2013).

    ``u ← μ u + g`` and ``p ← p − lr u``: a step goes on in the direction of those before.

    Parameters
    ----------
    size
        The number of weights.
    momentum
        μ: how much of the last step is kept.
    dtype
        The weights' type.
    memory
        Another one's `memory`, to go on with; it is used as it is.

    Examples
    --------
    >>> weights, optimizer = np.array([1.0, 1.0]), npchar.SGD(2, dtype="float64")
    >>> for _ in range(2):
    ...     optimizer.update(weights, np.array([4.0, -0.5]), learning_rate=0.01)
    >>> weights.round(4)  # the second step is 1.9 times the first
    array([0.884 , 1.0145])
    """

    def __init__(
        self,
        size: int,
        momentum: float = 0.9,
        dtype: str = "float32",
        memory: Array | None = None,
    ) -> None:
        self.momentum = momentum
        """μ, as it was given."""
        super().__init__(size, dtype, memory, size, 0.0)
        self.u = self.memory
        """The sum of the gradients, the older the less, (size,)."""

    def _update(self, part: slice, weights: Array, gradient: Array, learning_rate: float) -> None:
        u, a = self.u[part], self._scratch[part]
        u *= self.momentum
        u += gradient
        u += TINY
        np.multiply(u, learning_rate, out=a)
        weights -= a


OPTIMIZERS = ("rmsprop", "adam", "sgd")


def make_optimizer(
    name: str, size: int, epsilon: float, dtype: str, memory: Array | None = None
) -> Optimizer:
    """One of `OPTIMIZERS`, with its usual settings but for ε."""
    if name == "sgd":
        return SGD(size, dtype=dtype, memory=memory)
    kind = Adam if name == "adam" else RMSprop
    return kind(size, epsilon=epsilon, dtype=dtype, memory=memory)


def clip_by_global_norm(gradient: Array, limit: float) -> float:
    """Scale a flat gradient in place to the norm `limit` if its norm is larger.

    The direction stays (Pascanu et al. 2013).

    Parameters
    ----------
    gradient
        (n,), changed in place.
    limit
        The largest norm.

    Returns
    -------
    float
        The norm before clipping.

    Examples
    --------
    >>> gradient = np.array([3.0, 4.0])
    >>> npchar.clip_by_global_norm(gradient, 1.0), gradient
    (5.0, array([0.6, 0.8]))
    """

    def square(part: slice) -> float:
        return float(np.dot(gradient[part], gradient[part]))

    def scale(part: slice) -> None:
        gradient[part] *= limit / norm

    norm = math.sqrt(sum(in_parts(gradient.size, square)))
    if norm > limit:
        in_parts(gradient.size, scale)
    return norm


def learning_rate_at(
    schedule: str, learning_rate: float, step: int, total_steps: int, warm_up: float = 0.0
) -> float:
    """Return the learning rate of a step; the first step is 0.

    `schedule` is "constant"; "linear", from `learning_rate` straight to zero; or "cosine", to
    zero along half a wave (Loshchilov & Hutter 2017). During the first steps, a share `warm_up`
    of all, the rate rises linearly and reaches the schedule at the end of this share.
    """
    progress = step / total_steps
    factors = {
        "linear": 1 - progress,
        "cosine": (1 + math.cos(math.pi * progress)) / 2,
        "constant": 1.0,
    }
    if schedule not in factors:
        raise ValueError(f"schedule is {schedule!r}; expected one of {', '.join(SCHEDULES)}")
    if step + 1 < warm_up * total_steps:
        learning_rate *= (step + 1) / (warm_up * total_steps)
    return learning_rate * factors[schedule]
