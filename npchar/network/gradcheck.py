"""Gradient checks: two methods of numerical differentiation that need only the forward pass.

**Central differences**: ``(L(p + h) − L(p − h)) / 2h``. Two more pairs of points reduce the error
to the order h⁶. A larger h can then be used, which reduces cancellation between the losses. The
losses are computed in longdouble, which has three more digits than float64 on x86. Small
gradients, such as those of distant characters, need these digits.

**Complex step** (Squire & Trapp 1998): ``Im L(p + ih) / h`` with h = 1e-20. There is no
cancellation, so the result is exact to rounding. The forward pass must support complex numbers and
must be analytic: no ``abs``, no conjugate, no complex value written into a real array.

`complex_step` and `central_difference` take any function of a vector. `check_gradients` compares
their results with the backward pass of a model. It differentiates the forward pass of the plain
layers and compares the result with the backward pass of the fast layers. This detects mistakes
that both passes of a fast layer share.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple, Protocol

import numpy as np

from npchar.arguments import require_positive
from npchar.arrays import Array
from npchar.layers.layer import AnyLayer, Layer
from npchar.layers.parameters import Parameters
from npchar.network.network import AnyState, Network, States, require_batch
from npchar.network.registry import FAST, PLAIN

__all__ = ["check_gradients"]

Function = Callable[[Array], Array]  # of a vector, (n,), to a scalar

COMPLEX_STEP_LIMIT = 1e-13
CENTRAL_DIFFERENCE_LIMIT = 1e-7


class HasNetwork(Protocol):
    """The part of `npchar.Model` used here; this package cannot import `npchar.model`."""

    network: Network


def complex_step(function: Function, x: Array, entries: Iterable[int], h: float = 1e-20) -> Array:
    """The derivatives of `function` at `x`, (n,), with respect to the given entries.

    `function` is called with a complex128 vector, after a step of i h. The imaginary part of its
    value is h times the derivative.
    """
    x = x.astype(np.complex128)
    derivatives = []
    with warnings.catch_warnings():
        # A cast from complex to real loses the derivative.
        warnings.simplefilter("error", np.exceptions.ComplexWarning)
        for k in entries:
            before = x[k]
            x[k] = before + 1j * h
            derivatives.append(function(x).imag / h)
            x[k] = before
    return np.array(derivatives)


def central_difference(
    function: Function, x: Array, entries: Iterable[int], h: float = 1e-3
) -> Array:
    """The derivatives of `function` at `x`, (n,), with respect to the given entries.

    `function` is called with a longdouble vector, at three pairs of points up to 3 h away. The
    error is of the order h⁶.
    """
    x = x.astype(np.longdouble)
    derivatives = []
    for k in entries:
        before = x[k]
        differences = []
        for offset in (1, 2, 3):
            x[k] = before + offset * np.longdouble(h)
            above = function(x)
            x[k] = before - offset * np.longdouble(h)
            differences.append(above - function(x))
        x[k] = before
        derivatives.append(np.dot([45, -9, 1], differences) / (60 * h))
    return np.array(derivatives, np.float64)


class Row(NamedTuple):
    """The result for one array."""

    name: str
    shape: tuple[int, ...]
    checked: int  # the number of entries that were checked
    norm: float  # of the gradient with respect to these entries
    complex_step_error: float  # ‖numerical − analytic‖ / ‖analytic‖
    central_difference_error: float

    @property
    def passed(self) -> bool:
        """Whether both errors are below their limits."""
        return (
            self.complex_step_error < COMPLEX_STEP_LIMIT
            and self.central_difference_error < CENTRAL_DIFFERENCE_LIMIT
        )


class GradientCheck(NamedTuple):
    """The result of `check_gradients`; `print` shows a table."""

    loss: float
    rows: list[Row]
    loss_name: str = " nats per character"

    @property
    def passed(self) -> bool:
        """Whether every array passed."""
        return all(row.passed for row in self.rows)

    def __str__(self) -> str:
        lines = [
            f"Gradient of the loss ({self.loss:.4f}{self.loss_name}) by backpropagation, "
            "against two",
            "numerical derivatives that use only the forward pass. Errors are relative:",
            "the norm of the difference over the norm of the gradient.",
            "",
            f"{'array':<12} {'shape':<14} {'entries':>7} {'norm':>9} "
            f"{'complex step':>13} {'central diff.':>13}",
        ]
        for row in self.rows:
            lines.append(
                f"{row.name:<12} {str(row.shape).replace(' ', ''):<14} {row.checked:>7} "
                f"{row.norm:>9.2e} {row.complex_step_error:>13.1e} "
                f"{row.central_difference_error:>13.1e}  {'ok' if row.passed else 'WRONG'}"
            )
        lines += [
            f"{'must be below':<45} {COMPLEX_STEP_LIMIT:>13.0e} {CENTRAL_DIFFERENCE_LIMIT:>13.0e}",
            "",
            "Every gradient is right."
            if self.passed
            else "Backward does not match forward in the arrays that are marked WRONG.",
        ]
        return "\n".join(lines)


def check_gradients(
    model: HasNetwork | AnyLayer,
    ids: Array | None = None,
    targets: Array | None = None,
    *,
    samples: int | None = 20,
    seed: int = 0,
    verbose: bool = True,
) -> GradientCheck:
    """Compare the gradients of a model with numerical gradients, array by array.

    The analytic gradients come from the backward pass of the fast layers, which are used for
    training (``fast/lstm.py``). The numerical gradients come from the forward pass of the plain
    layers (``layers/lstm.py``). The check uses a float64 copy of the weights and a random initial
    state. It covers every array of the model, the initial states, and the input as one-hot vectors.
    The model does not change.

    Parameters
    ----------
    model
        A model, trained or untrained, or a single layer of any class. The loss of a single layer is
        a random linear combination of its outputs and its final state.
    ids, targets
        A batch, as for `Model.loss_and_gradient`. Default: a small random batch with a target for
        every character. They cannot be combined with a single layer.
    samples
        The number of entries to check in each array: half with the largest gradients, half random.
        None checks all entries. Each entry takes seven forward passes.
    seed
        The random seed.
    verbose
        Print the table.

    Returns
    -------
    GradientCheck
        `passed` is True if all gradients are correct; `rows` has the errors of each array.

    Raises
    ------
    ValueError
        If ids or targets have other shapes, or are passed with a single layer.

    Examples
    --------
    >>> model = npchar.Model(npchar.Vocabulary("abcdefgh"), hidden_size=6)
    >>> check = npchar.check_gradients(model)  # doctest: +ELLIPSIS
    Gradient of the loss (2.0997 nats per character) by backpropagation, against two
    numerical derivatives that use only the forward pass. Errors are relative:
    the norm of the difference over the norm of the gradient.
    <BLANKLINE>
    array        shape          entries      norm  complex step central diff.
    lstm0.Wx     (4,8,6)             20  6.41e-02 ...  ok
    lstm0.Wh     (4,6,6)             20  3.17e-02 ...  ok
    lstm0.b      (4,6)               20  1.92e-01 ...  ok
    dense.W      (6,8)               20  5.90e-02 ...  ok
    dense.b      (8,)                 8  2.87e-01 ...  ok
    lstm0.h0     (3,6)               18  1.03e-02 ...  ok
    lstm0.c0     (3,6)               18  3.55e-02 ...  ok
    input        (8,3,8)             20  2.87e-02 ...  ok
    must be below                                         1e-13         1e-07
    <BLANKLINE>
    Every gradient is right.
    >>> check.passed
    True

    All entries of a single layer:

    >>> layer = npchar.GRU.create(input_size=3, hidden_size=2)
    >>> check = npchar.check_gradients(layer, samples=None, verbose=False)
    >>> print(str(check).splitlines()[-1])
    Every gradient is right.
    """
    if samples is not None:
        require_positive(samples=samples)
    rng = np.random.default_rng(seed)
    if not isinstance(model, Layer):
        check = _check_network(model.network.astype(np.float64), ids, targets, samples, rng)
    elif ids is None and targets is None:
        check = _check_layer(model, samples, rng)
    else:
        raise ValueError("expected no ids or targets for a single layer, got at least one of them")
    if verbose:
        print(check)
    return check


def _check_network(
    network: Network,
    ids: Array | None,
    targets: Array | None,
    samples: int | None,
    rng: np.random.Generator,
) -> GradientCheck:
    """Check a float64 network."""
    V = network.config.vocabulary_size
    ids = rng.integers(0, V, (8, 3)) if ids is None else np.asarray(ids)
    targets = rng.integers(0, V, ids.shape) if targets is None else np.asarray(targets)
    require_batch(ids, targets, V)
    inputs = np.eye(V)[ids]  # (T, B, V)
    states = [_random_state(zeros, rng) for zeros in network.zero_states(ids.shape[1])]

    def by_name(states: States) -> dict[str, Array]:
        names = [f"{network.config.layer}{k}." for k in range(len(states))]
        return dict(item for s, n in zip(states, names) for item in _by_name(s, n).items())

    def loss(values: Parameters) -> Array:
        weights = values.flat[: len(network.parameters.flat)]
        parameters = Parameters(network.parameters.shapes, flat=weights)
        arrays = iter([values[name] for name in by_name(states)])
        start = [type(state)(*(next(arrays) for _ in state)) for state in states]
        plain = Network(network.config, parameters).plain()
        return plain.loss(values["input"], targets, start)

    # Ids, as in training, give the gradient of the weights; only vectors give that of the input.
    result = network.gradients(ids, targets, states)
    dinputs = network.gradients(inputs, targets, states).inputs
    assert dinputs is not None
    point = {**network.parameters, **by_name(states), "input": inputs}
    analytic = {**result.parameters, **by_name(result.states), "input": dinputs}
    return GradientCheck(float(result.loss), _compare(loss, point, analytic, samples, rng))


def _check_layer(
    layer: AnyLayer, samples: int | None, rng: np.random.Generator, T: int = 6, B: int = 3
) -> GradientCheck:
    """Check a single layer on random vectors; a fast layer is compared with the plain one."""
    D, H = layer.sizes
    plain_class = PLAIN[layer.name] if type(layer) is FAST.get(layer.name) else type(layer)
    layer = layer.with_arrays({name: a.astype(np.float64) for name, a in layer.arrays.items()})
    state = _random_state(layer.zero_state(B), rng)
    x = rng.uniform(-0.5, 0.5, (T, B, D))
    dh = rng.normal(size=(T, B, H))
    dstate = _random_state(state, rng)

    def loss(values: Mapping[str, Array]) -> Array:
        plain = plain_class(**{name: values[name] for name in layer.arrays})
        plain.depth = layer.depth
        start = type(state)(*(values[name] for name in _by_name(state)))
        tape = plain.forward(values["x"], start)
        results, weights = (tape.outputs, *tape.final_state), (dh, *dstate)
        total: Array = np.sum([(array * weight).sum() for array, weight in zip(results, weights)])
        return total

    gradient = layer.zeros_like()
    dx, initial = layer.backward(layer.forward(x, state), dh, dstate, gradient)
    assert dx is not None
    point = {**layer.arrays, **_by_name(state), "x": x}
    analytic = {**gradient.arrays, **_by_name(initial), "x": dx}
    rows = _compare(loss, point, analytic, samples, rng)
    return GradientCheck(float(loss(point)), rows, ", a random weighting of the outputs")


def _random_state(zeros: AnyState, rng: np.random.Generator) -> AnyState:
    """A random state of the same shapes."""
    return type(zeros)(*(rng.uniform(-0.5, 0.5, array.shape) for array in zeros))


def _by_name(state: AnyState, layer: str = "") -> dict[str, Array]:
    """The arrays of an initial state: h0, and c0 of an LSTM."""
    return {f"{layer}{name}0": array for name, array in state._asdict().items()}


def _compare(
    loss: Callable[[Parameters], Array],
    point: Mapping[str, Array],
    analytic: Mapping[str, Array],
    samples: int | None,
    rng: np.random.Generator,
) -> list[Row]:
    """The errors of an analytic gradient at a point, array by array."""
    shapes = {name: array.shape for name, array in point.items()}
    flat = np.concatenate([array.reshape(-1) for array in point.values()])
    rows = []
    start = 0
    for name, shape in shapes.items():
        gradient = analytic[name].reshape(-1)
        entries = _chosen_entries(gradient, samples, rng)
        expected = gradient[entries]
        norm = float(np.linalg.norm(expected))
        errors = []
        for method in (complex_step, central_difference):
            numeric = method(lambda x: loss(Parameters(shapes, flat=x)), flat, entries + start)
            errors.append(float(np.linalg.norm(numeric - expected)) / (norm or 1))
        rows.append(Row(name, shape, len(entries), norm, *errors))
        start += gradient.size
    return rows


def _chosen_entries(gradient: Array, samples: int | None, rng: np.random.Generator) -> Array:
    """The indices of `samples` entries of a gradient, (n,): half the largest, half random."""
    if samples is None or samples >= gradient.size:
        return np.arange(gradient.size)
    order = np.argsort(-np.abs(gradient))
    largest, rest = np.split(order, [(samples + 1) // 2])
    return np.concatenate([largest, rng.choice(rest, samples // 2, replace=False)])
