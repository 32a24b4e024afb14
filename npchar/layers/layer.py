"""The interface of a layer over sequences, and what layers have in common.

A layer holds its arrays and nothing else. The state between two steps is a value that is passed
in and returned, and what backward needs of forward is kept on a tape. So a network
(``network/network.py``) can run layers of any kind forward, backward, and a step at a time.

Read next: ``layers/lstm.py``, the model for other layers.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, TypeVar

import numpy as np

from npchar.arguments import require_positive
from npchar.arrays import Array, CopiesKeepViews
from npchar.layers.dense import Dense

if TYPE_CHECKING:
    from typing import Protocol

    from numpy.typing import DTypeLike

    class Tape(Protocol):
        """The record of a forward pass, which backward needs."""

        @property
        def outputs(self) -> Array:
            """The outputs after each step, the inputs of the layer above: (T, B, H)."""

        @property
        def final_state(self) -> Any:
            """The state after the last step."""

    class Steps(Protocol):
        """A layer run from a state, a step at a time: see `Layer.stepper`."""

        def step(self, x: Array) -> Array:
            """One step on: ids, (B,), or vectors, (B, D), to outputs or logits.

            What is returned is valid until the next step, and not to be changed.
            """


__all__ = ["Layer"]


Self = TypeVar("Self", bound="Layer")


class HiddenState(NamedTuple):
    """The state, between two steps, of a layer that has no other memory than its output."""

    h: Array  # (B, H)


class Layer(CopiesKeepViews, ABC):
    """A layer over sequences: its arrays, and its forward and backward pass.

    The state before and after a step is a named tuple of arrays, (B, ...) each. The first of
    a layer's own arrays are its input weights, (..., D, H).

    Examples
    --------
    >>> from npchar.layers.layer import Layer
    >>> layers = [npchar.Conv.create(5, 3), npchar.LSTM.create(3, 3)]
    >>> x = np.array([[0], [4], [2]])  # ids, (T, B)
    >>> for layer in layers:  # whatever they are
    ...     x = layer.forward(x).outputs
    >>> x.shape, all(isinstance(layer, Layer) for layer in layers)
    ((3, 1, 3), True)
    """

    name: ClassVar[str]
    """Of its arrays in a model, with the layer's number: lstm0.Wx."""
    state_type: ClassVar[Callable[..., Any]]
    """The named tuple of a state."""
    tape_type: ClassVar[type[Any]]
    """What `forward` returns."""
    kept: ClassVar[int]
    """Numbers on a tape of the fast layer, for each step, sequence and unit."""
    depth = 0
    """Its number in a stack, from 0. It decides how far back a convolution looks, and whether its
    input is added to its output; other layers do not depend on it."""

    @staticmethod
    @abstractmethod
    def shapes(input_size: int, hidden_size: int) -> dict[str, tuple[int, ...]]:
        """The names and shapes of its arrays, which `__init__` takes by these names."""

    @abstractmethod
    def initialise(self, rng: np.random.Generator) -> None:
        """Fill the arrays with initial values, for training."""

    @abstractmethod
    def state_shapes(self, B: int) -> tuple[tuple[int, ...], ...]:
        """The shapes of the arrays of a state of B sequences."""

    @abstractmethod
    def forward(self, x: Array, state: Any = None, tape: Any = None) -> Any:
        """Run over T steps.

        Parameters
        ----------
        x
            Ids, (T, B), which stand for one-hot vectors; or vectors, (T, B, D).
        state
            The state before the first step; zeros when not given.
        tape
            What `tape` gave, or a tape of an earlier pass of the same size, to use again.

        Returns
        -------
        Tape
            Its `outputs` and `final_state`, and what `backward` needs.
        """

    @abstractmethod
    def step(self, x: Array, state: Any) -> tuple[Array, Any]:
        """The output and the state one step later, with nothing kept for backward.

        Parameters
        ----------
        x
            Ids, (B,), or vectors, (B, D).
        state
            The state before the step.
        """

    @abstractmethod
    def backward(
        self, tape: Any, dh: Array | None, dstate: Any, gradient: Any
    ) -> tuple[Array | None, Any]:
        """Backpropagate through time.

        Parameters
        ----------
        tape
            What `forward` returned.
        dh
            The gradient of the loss with respect to each output, (T, B, H); or with
            respect to the last alone, (B, H); None for zeros.
        dstate
            The gradient with respect to the final state; None for zeros.
        gradient
            Another layer of the same shapes; its arrays are overwritten with the gradients
            with respect to this one's.

        Returns
        -------
        dx, dstate
            The gradients with respect to the vectors that came in, (T, B, D) (None for
            ids), and to the initial state.
        """

    def tape(self, T: int, B: int) -> Any:
        """Buffers for passes over T steps of B sequences; None for a layer that needs none.

        Examples
        --------
        >>> layer = npchar.FastRNN.create(input_size=5, hidden_size=3)
        >>> tape = layer.tape(T=2, B=1)
        >>> layer.forward(np.array([[0], [4]]), tape=tape) is tape
        True
        """
        return None

    def stepper(self, state: Any, dense: Dense | None = None) -> Steps:
        """A copy to run from a state, a step at a time; with `dense` up to the logits.

        Examples
        --------
        >>> layer = npchar.RNN.create(input_size=5, hidden_size=3)
        >>> steps = layer.stepper(layer.zero_state(1), npchar.Dense.create(3, 5))
        >>> steps.step(np.array([4])).shape  # logits
        (1, 5)
        """
        return Stepper(self, state, dense)

    @property
    def arrays(self) -> dict[str, Array]:
        """Its arrays by their names.

        Examples
        --------
        >>> layer = npchar.RNN.create(input_size=5, hidden_size=3)
        >>> {name: array.shape for name, array in layer.arrays.items()}
        {'Wx': (5, 3), 'Wh': (3, 3), 'b': (3,)}
        """
        return {name: getattr(self, name) for name in self.shapes(1, 1)}

    def require_shapes(self) -> None:
        """Raise a ValueError unless its arrays fit each other; `__init__` calls it.

        Examples
        --------
        >>> try:
        ...     npchar.RNN(Wx=np.zeros((5, 3)), Wh=np.zeros((4, 4)), b=np.zeros(3))
        ... except ValueError as error:
        ...     print(str(error)[:76])
        expected arrays of shapes such as {'Wx': (5, 3), 'Wh': (3, 3), 'b': (3,)}, g
        """
        found = {name: array.shape for name, array in self.arrays.items()}
        first = next(iter(found.values()))
        if len(first) < 2 or found != (expected := self.shapes(*first[-2:])):
            shapes = expected if len(first) >= 2 else self.shapes(1, 1)
            raise ValueError(f"expected arrays of shapes such as {shapes}, got {found}")

    @property
    def sizes(self) -> tuple[int, int]:
        """The sizes of its input and its output, D and H.

        Examples
        --------
        >>> layer = npchar.RNN.create(input_size=5, hidden_size=3)
        >>> layer.sizes
        (5, 3)
        """
        D, H = next(iter(self.arrays.values())).shape[-2:]
        return D, H

    @property
    def reach(self) -> int | None:
        """How many steps back its output depends on its input; None if on all.

        Examples
        --------
        >>> npchar.RNN.create(5, 3).reach is None, npchar.Conv.create(5, 3).reach
        (True, 1)
        """
        return None

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of its arrays.

        Examples
        --------
        >>> layer = npchar.RNN.create(input_size=5, hidden_size=3)
        >>> layer.dtype
        dtype('float32')
        """
        return next(iter(self.arrays.values())).dtype

    def zero_state(self, B: int) -> Any:
        """The state before the first step of B sequences: all zeros.

        Examples
        --------
        >>> npchar.LSTM.create(5, 3).zero_state(2)._fields
        ('h', 'c')
        """
        return self.state_type(*(np.zeros(shape, self.dtype) for shape in self.state_shapes(B)))

    def begin(self, x: Array, state: Any) -> tuple[Array, Any]:
        """The input and the state of a forward pass, checked; zeros for no state.

        Parameters
        ----------
        x
            Ids from 0 to below D, (T, B), or vectors, (T, B, D).
        state
            A state of B sequences, or None.

        Returns
        -------
        x, state
            Of the layer's type, unless they are ids.

        Examples
        --------
        >>> layer = npchar.RNN.create(input_size=5, hidden_size=3)
        >>> x, state = layer.begin(np.array([[0], [4]]), None)
        >>> state.h.shape
        (1, 3)
        """
        x = self.checked(x, "T, B")
        return x, self.state_or_zeros(state, x.shape[1])

    def begin_step(self, x: Array, state: Any) -> tuple[Array, Any]:
        """The same for one step; ids, (B,), come back as one-hot vectors, (B, D).

        Examples
        --------
        >>> layer = npchar.RNN.create(input_size=5, hidden_size=3)
        >>> x, state = layer.begin_step(np.array([4]), None)
        >>> x
        array([[0., 0., 0., 0., 1.]], dtype=float32)
        """
        x = self.checked(x, "B")
        return self.vectors(x), self.state_or_zeros(state, len(x))

    def checked(self, x: Array, axes: str) -> Array:
        """`x`, if it is ids with these axes, or vectors with one more; else a ValueError.

        Examples
        --------
        >>> layer = npchar.RNN.create(input_size=5, hidden_size=3)
        >>> layer.checked(np.array([[0], [5]]), "T, B")
        Traceback (most recent call last):
        ValueError: expected ids from 0 to 4, got 0 to 5
        """
        x, (D, _) = np.asarray(x), self.sizes
        ids, ndim = x.dtype.kind in "iu", len(axes.split(", "))
        complex_to_real = x.dtype.kind == "c" != self.dtype.kind
        right = x.ndim == ndim if ids else x.dtype.kind in "fc" and x.shape[ndim:] == (D,)
        if not x.size or not right or complex_to_real:
            comma = "," if ndim == 1 else ""
            raise ValueError(
                f"expected ids of the shape ({axes}{comma}), whole numbers, or vectors of the "
                f"shape ({axes}, {D}), floating-point numbers, got {x.dtype} of the shape {x.shape}"
            )
        if ids:
            require_ids(x, D)
            return x
        return x.astype(self.dtype, copy=False)

    def vectors(self, x: Array) -> Array:
        """Ids, (...), as one-hot vectors, (..., D); vectors as they are.

        Examples
        --------
        >>> layer = npchar.RNN.create(input_size=5, hidden_size=3)
        >>> layer.vectors(np.array([4, 0])).argmax(axis=1)
        array([4, 0])
        """
        return x if x.dtype.kind not in "iu" else np.eye(self.sizes[0], dtype=self.dtype)[x]

    def state_or_zeros(self, state: Any, B: int) -> Any:
        """A state of B sequences, or the gradient with respect to one; zeros for None.

        Raises a ValueError unless it has the shapes of one.

        Examples
        --------
        >>> layer = npchar.RNN.create(input_size=5, hidden_size=3)
        >>> layer.state_or_zeros(None, 2).h.shape
        (2, 3)
        """
        if state is None:
            return self.zero_state(B)
        shapes, expected = tuple(np.shape(array) for array in state), self.state_shapes(B)
        if shapes != expected:
            raise ValueError(f"expected a state of the shapes {expected}, got {shapes}")
        return self.state_type(*(np.asarray(array, self.dtype) for array in state))

    def begin_steps(self, state: Any, dense: Dense | None) -> Any:
        """The state that a stepper begins with, checked; and that the output layer fits.

        Examples
        --------
        >>> layer = npchar.RNN.create(input_size=5, hidden_size=3)
        >>> layer.begin_steps(layer.zero_state(2), npchar.Dense.create(3, 5)).h.shape
        (2, 3)
        """
        try:
            B = len(state[0])
        except (TypeError, IndexError):
            raise ValueError(
                f"expected a state, as zero_state(B) or a tape's final_state, got {state!r:.60}"
            ) from None
        if dense is not None and len(dense.W) != self.sizes[1]:
            raise ValueError(
                f"expected an output layer of {self.sizes[1]} inputs, got one of {len(dense.W)}"
            )
        return self.state_or_zeros(state, B)

    def begin_backward(self, tape: Any, dh: Array | None, gradient: Any) -> Array | None:
        """`dh`, of the layer's type; a ValueError unless all is what `backward` takes.

        Examples
        --------
        >>> layer = npchar.RNN.create(input_size=5, hidden_size=3)
        >>> tape = layer.forward(np.array([[0], [4]]))
        >>> layer.begin_backward(tape, np.ones((2, 1, 3)), layer.zeros_like()).dtype
        dtype('float32')
        """
        if not isinstance(tape, self.tape_type):
            raise ValueError(
                f"expected the {self.tape_type.__name__} that {type(self).__name__}.forward "
                f"returned, got a {type(tape).__name__}"
            )
        T, B, H = tape.outputs.shape
        if dh is not None and np.shape(dh) not in ((T, B, H), (B, H)):
            raise ValueError(
                f"expected dh of the shape {(T, B, H)}, or {(B, H)} for the last step alone, got "
                f"{np.shape(dh)}"
            )
        shapes = {name: array.shape for name, array in self.arrays.items()}
        found = {name: array.shape for name, array in gradient.arrays.items()}
        if gradient is self or found != shapes:
            raise ValueError(
                f"expected another layer with arrays of the shapes {shapes} for the gradient, got "
                + ("the layer itself" if gradient is self else f"{found}")
                + "; make one by zeros_like()"
            )
        return None if dh is None else np.asarray(dh, self.dtype)

    @classmethod
    def create(
        cls: type[Self],
        input_size: int,
        hidden_size: int,
        seed: int = 0,
        dtype: DTypeLike = "float32",
    ) -> Self:
        """A single layer, outside a model, with initialised weights.

        Parameters
        ----------
        input_size, hidden_size
            The sizes of its input and its output, D and H.
        seed
            For the initial weights.
        dtype
            A floating-point type.

        Examples
        --------
        >>> npchar.GRU.create(input_size=5, hidden_size=3, seed=1, dtype="float64")
        GRU(input_size=5, hidden_size=3, dtype=float64)
        """
        require_positive(input_size=input_size, hidden_size=hidden_size)
        if np.dtype(dtype).kind not in "fc":
            raise ValueError(f"dtype is {dtype!r}; expected a floating-point type, as float32")
        shapes = cls.shapes(input_size, hidden_size)
        layer = cls(**{name: np.zeros(shape, dtype) for name, shape in shapes.items()})
        layer.initialise(np.random.default_rng(seed))
        return layer

    def of(self: Self, arrays: dict[str, Array]) -> Self:
        """Another of the kind, at the same place in a stack, of other arrays.

        Examples
        --------
        >>> layer = npchar.RNN.create(input_size=5, hidden_size=3)
        >>> layer.of({name: 2 * array for name, array in layer.arrays.items()})
        RNN(input_size=5, hidden_size=3, dtype=float32)
        """
        layer = type(self)(**arrays)
        layer.depth = self.depth
        return layer

    def zeros_like(self: Self) -> Self:
        """Another of the same shapes, filled with zeros: room for a gradient.

        Examples
        --------
        >>> layer = npchar.RNN.create(input_size=5, hidden_size=3)
        >>> bool(layer.zeros_like().Wx.any())
        False
        """
        return self.of({name: np.zeros_like(array) for name, array in self.arrays.items()})

    def __repr__(self) -> str:
        D, H = self.sizes
        return f"{type(self).__name__}(input_size={D}, hidden_size={H}, dtype={self.dtype})"


class Stepper:
    """A layer run from a state by its plain `step`; see `Layer.stepper`."""

    def __init__(self, layer: Layer, state: Any, dense: Dense | None) -> None:
        self.layer = layer.of({name: array.copy() for name, array in layer.arrays.items()})
        state = layer.begin_steps(state, dense)
        self.state = type(state)(*(array.copy() for array in state))
        self.dense = None if dense is None else Dense(dense.W.copy(), dense.b.copy())

    def step(self, x: Array) -> Array:
        """One step on: ids, (B,), or vectors, (B, D), to outputs or logits."""
        require_step(x, len(self.state[0]), self.layer.sizes[0])
        output, self.state = self.layer.step(x, self.state)
        return output if self.dense is None else self.dense.forward(output)


def require_ids(x: Array, D: int) -> None:
    """Raise a ValueError unless all ids are from 0 to below D."""
    if x.size and not 0 <= x.min() <= x.max() < D:
        raise ValueError(f"expected ids from 0 to {D - 1}, got {x.min()} to {x.max()}")


def at_every_step(dh: Array | None, outputs: Array) -> Array:
    """A gradient with respect to the outputs, (T, B, H), of what `Layer.backward` takes as `dh`."""
    above = np.zeros_like(outputs)
    if dh is not None and np.ndim(dh) == 2:  # with respect to the last output alone
        above[-1] = dh
    elif dh is not None:
        above[...] = dh
    return above


def require_step(x: Array, B: int, D: int) -> None:
    """Raise a ValueError unless a stepper of B sequences can take `x`; in 0.3 µs for one."""
    if x.shape == (B,) and x.dtype.kind in "iu":
        if B == 1:
            if not 0 <= x.item() < D:
                require_ids(x, D)
        else:
            require_ids(x, D)
    elif x.shape != (B, D) or x.dtype.kind not in "fc":
        raise ValueError(
            f"expected ids of the shape ({B},) or vectors of the shape ({B}, {D}), got {x.dtype} "
            f"of the shape {x.shape}"
        )


def sigmoid(z: Array) -> Array:
    """σ(z) = 1 / (1 + exp(−z)) = (1 + tanh(z / 2)) / 2, which cannot overflow; of any type."""
    result: Array = (1 + np.tanh(z / 2)) / 2
    return result


def orthogonal(rng: np.random.Generator, rows: int, columns: int) -> Array:
    """A random matrix with orthonormal columns, (rows, columns); rows ≥ columns."""
    q, r = np.linalg.qr(rng.standard_normal((rows, columns)))
    result: Array = q * np.sign(np.diag(r))  # without it the draw favours some rotations
    return result
