"""Gradient checks: two ways to differentiate numerically, with the forward pass alone.

**Central differences**: ``(L(p + h) − L(p − h)) / 2h``, here with two more pairs
of points that take the error to the order h⁶, so that h can be large and the
cancellation of the losses small. And in the machine's longest floating-point
numbers: at 60 characters' distance a fresh LSTM's gradient is 1e-8 of the loss,
and float64 has too few digits left to tell it (x86 has three more; where there
are none, a gradient that small cannot be checked this way).

**Complex step** (Squire & Trapp 1998): ``Im L(p + ih) / h`` with h = 1e-20.
Nothing cancels, so it is good to the last digit; but all of the forward pass
must run in complex numbers and be analytic: no ``abs``, no conjugate, no
complex value written into a real array.

`complex_step` and `central_difference` take any function of a vector;
`check_gradients` compares them with a model's own backward pass. It differentiates
the forward pass of the plain layers, one line an equation, and compares with the
backward pass of the fast ones: a mistake that a fast layer's forward and backward
share cannot pass.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, Protocol

import numpy as np

from npchar.arguments import require_positive
from npchar.arrays import Array
from npchar.layers.layer import Layer
from npchar.layers.parameters import Parameters
from npchar.network.network import Network, require_batch
from npchar.network.registry import FAST, PLAIN


class HasNetwork(Protocol):
    """A `npchar.Model`, which this package cannot import."""

    network: Network


__all__ = ["check_gradients"]


Function = Callable[[Array], Array]  # of a vector, (n,), to a scalar

COMPLEX_STEP_LIMIT = 1e-13
CENTRAL_DIFFERENCE_LIMIT = 1e-7


def complex_step(function: Function, x: Array, entries: Iterable[int], h: float = 1e-20) -> Array:
    """The derivatives of `function` at `x`, (n,), with respect to the given entries.

    `function` is called with complex128 at a step of i h; the imaginary part of its value
    is h times the derivative, without a difference and so without cancellation.
    """
    x = x.astype(np.complex128)
    derivatives = []
    with warnings.catch_warnings():
        # A complex value cast to a real one has lost its derivative.
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

    `function` is called with longdouble, at three pairs of points up to 3 h away, which
    leaves an error of the order of h⁶.
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
    checked: int  # how many of its entries
    norm: float  # of the gradient with respect to them
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
    """The outcome of `check_gradients`; printed, a table."""

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
            "numerical derivatives that use the forward pass alone. Errors are relative:",
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
            else "A gradient is WRONG: backward does not match forward in the arrays marked so.",
        ]
        return "\n".join(lines)


def check_gradients(
    model: HasNetwork | Layer[Any],
    ids: Array | None = None,
    targets: Array | None = None,
    *,
    samples: int | None = 20,
    seed: int = 0,
    verbose: bool = True,
) -> GradientCheck:
    """Compare a model's gradients with numerical ones, array by array.

    The numerical ones are of the plain layers' forward pass (``layers/lstm.py``), the
    model's of the fast layers that train (``fast/lstm.py``). Done on a float64
    copy of the weights, from a random initial state, for every array of the model, the
    input (as one-hot vectors) and the initial states. The model itself stays as it is.

    Parameters
    ----------
    model
        The model, at any point of its training; or a layer alone, of npchar or of your own,
        whose loss is then a random weighting of its outputs and its final state.
    ids, targets
        A batch, as for `Model.loss_and_gradient`; a small random one with a
        target at every character when not given. A layer alone takes none.
    samples
        How many entries of each array are checked, the ones with the largest
        gradients and as many at random; None for all, at seven forward passes
        an entry.
    seed
        For the random numbers.
    verbose
        Print the table.

    Returns
    -------
    GradientCheck
        Its `passed` tells whether all is well, its `rows` the errors.

    Raises
    ------
    ValueError
        For ids or targets of other shapes, or with a layer alone.

    Examples
    --------
    >>> model = npchar.Model(npchar.Vocabulary("abcdefgh"), hidden_size=6)
    >>> check = npchar.check_gradients(model)  # doctest: +ELLIPSIS
    Gradient of the loss (2.0997 nats per character) by backpropagation, against two
    numerical derivatives that use the forward pass alone. Errors are relative:
    the norm of the difference over the norm of the gradient.
    <BLANKLINE>
    array        shape          entries      norm  complex step central diff.
    lstm0.Wx     (4,8,6)             20  6.73e-02 ...  ok
    lstm0.Wh     (4,6,6)             20  3.16e-02 ...  ok
    lstm0.b      (4,6)               20  1.92e-01 ...  ok
    dense.W      (6,8)               20  5.86e-02 ...  ok
    dense.b      (8,)                 8  2.87e-01 ...  ok
    lstm0.h0     (3,6)               18  1.03e-02 ...  ok
    lstm0.c0     (3,6)               18  3.55e-02 ...  ok
    input        (8,3,8)             20  2.94e-02 ...  ok
    must be below                                         1e-13         1e-07
    <BLANKLINE>
    Every gradient is right.
    >>> check.passed
    True

    Of a layer alone, all of its entries:

    >>> layer = npchar.GRU.create(input_size=3, hidden_size=2)
    >>> check = npchar.check_gradients(layer, samples=None, verbose=False)
    >>> print(str(check).splitlines()[-1])
    Every gradient is right.
    """
    if samples is not None:
        require_positive(samples=samples)
    rng = np.random.default_rng(seed)
    if isinstance(model, Layer):
        if ids is not None or targets is not None:
            raise ValueError("expected no ids and targets for a layer alone, got some")
        check = check_of_layer(model, samples, rng)
    else:
        check = check_of_network(model.network.astype(np.float64), ids, targets, samples, rng)
    if verbose:
        print(check)
    return check


def check_of_network(
    network: Network,
    ids: Array | None,
    targets: Array | None,
    samples: int | None,
    rng: np.random.Generator,
) -> GradientCheck:
    """The check of a network of float64."""
    V = network.sizes.vocabulary_size
    if ids is None:
        ids = rng.integers(0, V, (8, 3))
    if targets is None:
        targets = rng.integers(0, V, np.shape(ids))
    ids, targets = np.asarray(ids), np.asarray(targets)
    require_batch(ids, targets, V)
    T, B = ids.shape

    # Everything the loss depends on, as one vector.
    shapes = dict(network.parameters.shapes)
    names = []  # of each layer's initial state, array by array
    for k, zeros in enumerate(network.zero_states(B)):
        names.append([f"{network.sizes.layer}{k}.{field}0" for field in zeros._fields])
        shapes |= {name: array.shape for name, array in zip(names[k], zeros)}
    shapes["input"] = (T, B, V)
    point = Parameters(shapes, np.float64)
    weights = len(network.parameters.flat)
    point.flat[:weights] = network.parameters.flat
    point.flat[weights:] = rng.uniform(-0.5, 0.5, len(point.flat) - weights)
    point["input"] = np.eye(V)[ids]

    def parts(flat: Array) -> tuple[Network, Array, list[Any]]:
        values = Parameters(shapes, flat=flat)
        own = Parameters(network.parameters.shapes, flat=flat[:weights])
        states = [
            type(zeros)(*(values[name] for name in names[k]))
            for k, zeros in enumerate(network.zero_states(B))
        ]
        return Network(network.sizes, own), values["input"], states

    def loss(flat: Array) -> Array:
        network, inputs, states = parts(flat)
        return network.plain().loss(inputs, targets, states)

    # The weights' gradient from ids, as in training; the input's from vectors, since ids
    # have none.
    _, inputs, states = parts(point.flat)
    result = network.gradients(ids, targets, states)
    analytic = Parameters(shapes, np.float64)
    analytic.flat[:weights] = result.parameters.flat
    for k, dstate in enumerate(result.states):
        for name, array in zip(names[k], dstate):
            analytic[name] = array
    dinputs = network.gradients(inputs, targets, states).inputs
    assert dinputs is not None
    analytic["input"] = dinputs

    return GradientCheck(float(result.loss), compared(loss, point, analytic, samples, rng))


def check_of_layer(
    layer: Layer[Any], samples: int | None, rng: np.random.Generator, T: int = 6, B: int = 3
) -> GradientCheck:
    """The check of a layer alone, on random vectors; of a fast one against the plain one."""
    D, H = layer.sizes
    plain = PLAIN[layer.name] if type(layer) is FAST.get(layer.name) else type(layer)
    zeros = layer.zero_state(B)
    fields = [f"{field}0" for field in zeros._fields]
    shapes = {name: array.shape for name, array in layer.arrays.items()}
    shapes |= {name: array.shape for name, array in zip(fields, zeros)} | {"x": (T, B, D)}
    point = Parameters(shapes, np.float64)
    point.flat[:] = rng.uniform(-0.5, 0.5, len(point.flat))
    for name, array in layer.arrays.items():
        point[name] = array
    dh = rng.normal(size=(T, B, H))
    dstate = type(zeros)(*(rng.normal(size=array.shape) for array in zeros))

    def run(kind: type[Layer[Any]], flat: Array) -> tuple[Layer[Any], Any]:
        values = Parameters(shapes, flat=flat)
        arrays = {name: values[name] for name in layer.arrays}
        one = layer.with_arrays(arrays) if kind is type(layer) else kind(**arrays)
        return one, one.forward(values["x"], type(zeros)(*(values[name] for name in fields)))

    def loss(flat: Array) -> Array:
        _, tape = run(plain, flat)
        result: Array = (tape.outputs * dh).sum()
        for array, weights in zip(tape.final_state, dstate):
            result = result + (array * weights).sum()
        return result

    one, tape = run(type(layer), point.flat)
    gradient = one.zeros_like()
    analytic = Parameters(shapes, np.float64)
    dx, initial = one.backward(tape, dh, dstate, gradient)
    assert dx is not None
    analytic["x"] = dx
    for name, array in [*gradient.arrays.items(), *zip(fields, initial)]:
        analytic[name] = array
    rows = compared(loss, point, analytic, samples, rng)
    return GradientCheck(float(loss(point.flat)), rows, ", a random weighting of the outputs")


def compared(
    loss: Function,
    point: Parameters,
    analytic: Parameters,
    samples: int | None,
    rng: np.random.Generator,
) -> list[Row]:
    """The errors of a gradient at a point, array by array."""
    rows = []
    start = 0
    for name, shape in point.shapes.items():
        gradient = analytic[name].reshape(-1)
        entries = chosen_entries(gradient, samples, rng)
        expected = gradient[entries]
        norm = float(np.linalg.norm(expected))
        errors = [
            float(np.linalg.norm(method(loss, point.flat, entries + start) - expected))
            / (norm or 1)
            for method in (complex_step, central_difference)
        ]
        rows.append(Row(name, shape, len(entries), norm, *errors))
        start += gradient.size
    return rows


def chosen_entries(gradient: Array, samples: int | None, rng: np.random.Generator) -> Array:
    """Indices of `samples` entries of a gradient, (n,): the largest, and some at random."""
    if samples is None or samples >= gradient.size:
        return np.arange(gradient.size)
    order = np.argsort(-np.abs(gradient))
    largest, rest = np.split(order, [(samples + 1) // 2])
    return np.concatenate([largest, rng.choice(rest, samples // 2, replace=False)])
