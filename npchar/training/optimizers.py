"""Optimizers, which update flat weights with a flat gradient.

``training/step.py`` calls the optimizer with the gradient of ``layers/parameters.py``. An optimizer
stores one flat vector between two steps, its `state`. ``training/divergence.py`` restores the
state, and ``training/checkpoint.py`` saves it.
"""

from __future__ import annotations

import dataclasses
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from npchar.arguments import require_number
from npchar.arrays import Array, aligned_empty

if TYPE_CHECKING:
    from typing_extensions import Self  # typing has it since Python 3.11

__all__ = ["SGD", "Adam", "Muon", "Optimizer", "RMSprop", "clip_by_global_norm", "orthogonalize"]

# Added to running means, which would otherwise decay into slow subnormal numbers if all gradients
# are zero, as those of rare characters.
TINY = 1e-30
COEFFICIENTS = 3.4445, -4.7750, 2.0315  # of the Newton-Schulz iterations
STEPS = 2  # iterations: more do not improve the loss
PART = 1 << 17  # numbers: a few such arrays fit in a core's cache


@dataclass(kw_only=True, eq=False)
class Optimizer(ABC):
    """Base class of optimizers.

    Examples
    --------
    >>> weights, optimizer = np.array([1.0, 1.0]), npchar.SGD(learning_rate=0.1)
    >>> optimizer.update(weights, np.array([4.0, -0.5]))
    >>> weights
    array([0.6 , 1.05])
    >>> optimizer.arguments, optimizer.prepare(weights) is optimizer.state
    ({'momentum': 0.9}, True)
    """

    learning_rate: float
    """The learning rate before the schedule is applied."""
    state: Array | None = field(default=None, init=False, repr=False)
    """The state between two steps, one flat vector; None before the first update."""
    shapes: Mapping[str, tuple[int, ...]] | None = field(default=None, init=False, repr=False)
    """The names and shapes of the arrays in the weights, which `Model.fit` sets. They are needed
    by `Muon`, and by `RMSprop` with an `input_scale` other than 1."""

    def __new__(cls, *positional: object, **_: object) -> Self:
        """Reject positional arguments: in version 1, the first was the number of weights."""
        if positional:
            raise TypeError(
                f"{cls.__name__} takes its arguments by keyword, as in "
                f"{cls.__name__}(learning_rate=0.01), got {positional}; since version 2, it takes "
                "no number of weights"
            )
        return super().__new__(cls)

    def __post_init__(self) -> None:
        for name, value in {"learning_rate": self.learning_rate, **self.arguments}.items():
            is_share = name not in ("learning_rate", "epsilon") and not name.endswith("scale")
            require_number(name, value, zero=is_share, below=1 if is_share else math.inf)
            setattr(self, name, float(value))

    @property
    def arguments(self) -> dict[str, float]:
        """The arguments by name, except `learning_rate`."""
        names = [f.name for f in dataclasses.fields(self) if f.init and f.name != "learning_rate"]
        return {name: getattr(self, name) for name in names}

    def prepare(self, weights: Array) -> Array:
        """Return the state. It is allocated if there is none.

        Raises
        ------
        ValueError
            If the state belongs to weights of another number or dtype.
        """
        size = self._state_size(weights.size)
        if self.state is None:
            self.state = aligned_empty(size, weights.dtype)
            self.state[...] = self._initial_value()
        elif self.state.shape != (size,) or self.state.dtype != weights.dtype:
            raise ValueError(
                f"this {type(self).__name__} was used for other weights: {weights.size} "
                f"{weights.dtype} weights need a state of {size}, got {self.state.size} "
                f"{self.state.dtype}; use a new optimizer for another model"
            )
        return self.state

    def update(self, weights: Array, gradient: Array, learning_rate: float | None = None) -> None:
        """Change the weights in place by one step.

        Parameters
        ----------
        weights
            The weights, (n,), floating-point numbers.
        gradient
            The gradient, (n,), which is not changed.
        learning_rate
            The learning rate of this step. Default: the attribute `learning_rate`.

        Raises
        ------
        ValueError
            If the shapes are wrong, or the state belongs to other weights.
        """
        if self._scales() and sum(map(math.prod, (self.shapes or {}).values())) != weights.size:
            raise ValueError(
                f"{type(self).__name__} needs the shapes of the arrays in the {weights.size} "
                f"weights, got {self.shapes}; set optimizer.shapes = model.parameters.shapes"
            )
        if weights.ndim != 1 or weights.shape != gradient.shape or weights.dtype.kind != "f":
            raise ValueError(
                "expected floating-point weights and gradient of the same shape (n,), got "
                f"{weights.shape} {weights.dtype} and {gradient.shape} {gradient.dtype}"
            )
        rate = self.learning_rate if learning_rate is None else float(learning_rate)
        state = self.prepare(weights)
        for part, scale in self._parts(weights.size):
            self._update(state, part, weights[part], gradient[part], rate * scale)

    def _parts(self, size: int) -> Iterator[tuple[slice, float]]:
        """The parts of the weights for `_update`, each with a factor for its learning rate."""
        scales, start = self._scales(), 0
        for name, shape in ((scales and self.shapes) or {"": (size,)}).items():
            scale, stop = scales.get(name, 1.0), start + math.prod(shape)
            if scale:
                yield from ((part, scale) for part in _parts(stop, start))
            start = stop

    def _scales(self) -> Mapping[str, float]:
        """Factors for the learning rates of arrays, by name; 0 means no `_update`."""
        return {}

    @staticmethod
    def _state_size(n: int) -> int:
        """The size of the state for n weights."""
        return n

    def _initial_value(self) -> float:
        """The initial value of all numbers in the state."""
        return 0.0

    @abstractmethod
    def _update(
        self, state: Array, part: slice, weights: Array, gradient: Array, learning_rate: float
    ) -> None:
        """Update a part of the weights, given the gradient of this part.

        The update of each weight must not depend on other weights.
        """


@dataclass(kw_only=True, eq=False)
class RMSprop(Optimizer):
    """RMSprop (Hinton 2012) with the formula of Keras 3.

    ``v ← ρ v + (1 − ρ) g²`` and ``p ← p − lr g / √(v + ε)``: the gradient is divided by the square
    root of a running mean of its square. Here ε is inside the square root; in PyTorch and Keras 2,
    it is outside.

    Parameters
    ----------
    learning_rate
        The learning rate, lr.
    rho
        ρ, the decay rate of the running mean of g².
    epsilon
        ε, which avoids a division by zero. The default is that of Keras.
        ``fit(optimizer="rmsprop", targets="all")`` uses 1e-12, because its gradients are small.
    input_scale
        A factor for the learning rate of the first layer's input weights `Wx`, because a row of
        them learns only from the steps with its character. The default is that of Keras.
        ``fit(optimizer="rmsprop", targets="all")`` uses 3 for LSTMs, 2 for GRUs and 8 for plain
        RNNs. Values other than 1 need `shapes`, which `Model.fit` sets.

    Examples
    --------
    >>> weights, optimizer = np.array([1.0, 1.0]), npchar.RMSprop(learning_rate=0.01)
    >>> optimizer.update(weights, np.array([4.0, -0.5]))
    >>> weights.round(4)  # the first step has the same size for each weight
    array([0.9684, 1.0316])
    >>> optimizer.state.shape  # v + ε
    (2,)
    """

    learning_rate: float = 0.01
    rho: float = 0.9
    epsilon: float = 1e-7
    input_scale: float = 1.0

    def _scales(self) -> Mapping[str, float]:
        first = next((name for name in self.shapes or {} if name.endswith(".Wx")), "Wx")
        return {} if self.input_scale == 1 else {first: self.input_scale}

    def _initial_value(self) -> float:
        # The state is v + ε, which cannot become subnormal and saves a pass over the weights.
        return self.epsilon

    def _update(
        self, state: Array, part: slice, weights: Array, gradient: Array, learning_rate: float
    ) -> None:
        v_plus_epsilon, a = state[part], np.empty_like(gradient)
        np.multiply(gradient, gradient, out=a)
        a += self.epsilon
        a *= 1 - self.rho
        v_plus_epsilon *= self.rho
        v_plus_epsilon += a
        np.sqrt(v_plus_epsilon, out=a)
        np.divide(gradient, a, out=a)
        a *= learning_rate
        weights -= a


@dataclass(kw_only=True, eq=False)
class Adam(Optimizer):
    """Adam (Kingma & Ba 2015): running means of the gradient and of its square.

    ``m ← β₁ m + (1 − β₁) g``, ``v ← β₂ v + (1 − β₂) g²`` and, at the n-th step,
    ``p ← p − lr (m / (1 − β₁ⁿ)) / (√(v / (1 − β₂ⁿ)) + ε)``. The terms 1 − βⁿ are the bias
    correction for means that start at zero.

    Parameters
    ----------
    learning_rate
        The learning rate, lr.
    beta1, beta2
        β₁ and β₂, the decay rates of the running means of g and g². The default of β₂ is lower than
        the 0.999 of the paper, because most runs here have only thousands of steps.
    epsilon
        ε, which avoids a division by zero.

    Examples
    --------
    >>> weights, optimizer = np.array([1.0, 1.0]), npchar.Adam(learning_rate=0.01)
    >>> optimizer.update(weights, np.array([4.0, -0.5]))
    >>> weights.round(4)
    array([0.99, 1.01])
    >>> optimizer.state.shape  # m, v, and the number of steps: exact up to 2²⁴ in float32
    (5,)
    """

    learning_rate: float = 0.001
    beta1: float = 0.9
    beta2: float = 0.99
    epsilon: float = 1e-8

    @staticmethod
    def _state_size(n: int) -> int:
        return 2 * n + 1

    def update(self, weights: Array, gradient: Array, learning_rate: float | None = None) -> None:
        """Change the weights in place by one step: see `Optimizer`."""
        super().update(weights, gradient, learning_rate)
        self.prepare(weights)[-1] += 1

    def _update(
        self, state: Array, part: slice, weights: Array, gradient: Array, learning_rate: float
    ) -> None:
        size = len(state) // 2
        m, v, a = state[:size][part], state[size:-1][part], np.empty_like(gradient)
        n = float(state[-1]) + 1
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


@dataclass(kw_only=True, eq=False)
class SGD(Optimizer):
    """Stochastic gradient descent with momentum (Polyak 1964; Sutskever et al. 2013).

    ``u ← μ u + g`` and ``p ← p − lr u``: a step partly continues the steps before it.

    Parameters
    ----------
    learning_rate
        The learning rate, lr.
    momentum
        μ, the decay rate of u.

    Examples
    --------
    >>> weights, optimizer = np.array([1.0, 1.0]), npchar.SGD(learning_rate=0.01)
    >>> for _ in range(2):
    ...     optimizer.update(weights, np.array([4.0, -0.5]))
    >>> weights.round(4)  # the second step is 1.9 times the first
    array([0.884 , 1.0145])
    """

    learning_rate: float = 0.01
    momentum: float = 0.9

    def _update(
        self, state: Array, part: slice, weights: Array, gradient: Array, learning_rate: float
    ) -> None:
        u, a = state[part], np.empty_like(gradient)
        u *= self.momentum
        u += gradient
        u += TINY
        np.multiply(u, learning_rate, out=a)
        weights -= a


@dataclass(kw_only=True, eq=False)
class Muon(RMSprop):
    """Muon (Jordan et al. 2024) for recurrent weights, and `RMSprop` for all others.

    ``m ← μ m + (1 − μ) g`` and ``W ← W − lr · s · orthogonalize(μ m + (1 − μ) g)`` for each
    gate's matrix W in the `Wh` of a layer. A gradient is usually large in only a few directions.
    The orthogonalized step has about the same length in all directions. Muon needs `shapes`, which
    `Model.fit` sets.

    Parameters
    ----------
    learning_rate
        The learning rate, lr.
    rho, epsilon, input_scale
        See `RMSprop`.
    momentum
        μ, the decay rate of the running mean of g.
    recurrent_scale
        s, a factor for the learning rate of the recurrent weights.

    Examples
    --------
    >>> weights = npchar.Parameters({"rnn.Wh": (1, 2, 2), "dense.b": (2,)}, "float64")
    >>> gradient = np.array([3.0, 0.0, 0.0, 0.1, 1.0, 2.0])
    >>> optimizer = npchar.Muon(learning_rate=0.01)
    >>> optimizer.shapes = weights.shapes
    >>> optimizer.update(weights.flat, gradient)
    >>> weights.flat.round(3)  # both directions of Wh move, though one gradient is 30 times larger
    array([-0.022, -0.   , -0.   , -0.008, -0.032, -0.032])
    """

    learning_rate: float = 0.05
    epsilon: float = 1e-12
    input_scale: float = 2.0
    momentum: float = 0.9
    recurrent_scale: float = 2.0

    def _scales(self) -> Mapping[str, float]:
        recurrent = [name for name in self.shapes or {"Wh": ()} if name.endswith("Wh")]
        return {**super()._scales(), **dict.fromkeys(recurrent, 0.0)}

    def update(self, weights: Array, gradient: Array, learning_rate: float | None = None) -> None:
        """Change the weights in place by one step: see `Optimizer`. Needs `shapes`."""
        super().update(weights, gradient, learning_rate)
        rate = self.learning_rate if learning_rate is None else float(learning_rate)
        state, mu, start = self.prepare(weights), self.momentum, 0
        for name, shape in (self.shapes or {}).items():
            part = slice(start, start + math.prod(shape))
            start = part.stop
            if name.endswith(".Wh"):
                gates = (-1, *shape[-2:])
                g, m = gradient[part].reshape(gates), state[part].reshape(gates)
                m *= mu
                m += (1 - mu) * g
                step = orthogonalize(mu * m + (1 - mu) * g, STEPS)
                step *= rate * self.recurrent_scale
                weights[part] -= step.ravel()


def orthogonalize(matrices: Array, steps: int) -> Array:
    """Bring the singular values of matrices near 1, by Newton-Schulz iterations.

    Each iteration applies the polynomial of Jordan et al. (2024) to the singular values. The
    singular vectors do not change.

    Parameters
    ----------
    matrices
        (N, H, H).
    steps
        The number of iterations. After 5 iterations, most values are between 0.7 and 1.2.

    Returns
    -------
    array
        (N, H, H).
    """
    a, b, c = COEFFICIENTS
    norms = np.sqrt(np.einsum("nij,nij->n", matrices, matrices))
    x: Array = matrices / (norms + TINY)[:, None, None]
    for _ in range(steps):
        for k, matrix in enumerate(x):
            square = matrix @ matrix.T
            x[k] = a * matrix + (b * square + c * (square @ square.T)) @ matrix
    return x


OPTIMIZERS: dict[str, type[RMSprop | Adam | SGD]] = {
    "rmsprop": RMSprop,
    "muon": Muon,
    "adam": Adam,
    "sgd": SGD,
}


def clip_by_global_norm(gradient: Array, limit: float) -> float:
    """Scale a flat gradient in place to the norm `limit` if its norm is larger.

    The direction does not change (Pascanu et al. 2013).

    Parameters
    ----------
    gradient
        The gradient, (n,), which is changed in place.
    limit
        The maximum norm.

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
    norm = math.sqrt(
        sum(float(np.dot(gradient[part], gradient[part])) for part in _parts(gradient.size))
    )
    if norm > limit:
        gradient *= limit / norm
    return norm


def _parts(stop: int, start: int = 0) -> Iterator[slice]:
    """Parts of a long vector that fit in the cache."""
    return (slice(at, min(at + PART, stop)) for at in range(start, stop, PART))
