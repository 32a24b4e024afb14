"""The interface of layers over sequences, and their common code.

A layer stores only its arrays. The state between two steps is an argument and a result of each
call. The forward pass records the values that the backward pass needs on a tape. With this
interface, a network (``network/network.py``) can run any layer forward, backward, or one step at a
time.

Read next: ``layers/lstm.py``, the reference for other layers.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, Generic, NamedTuple, TypeVar

import numpy as np

from npchar.arguments import require_positive
from npchar.arrays import Array, CopiesKeepViews
from npchar.layers.dense import Dense

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    from numpy.typing import DTypeLike

    FinalState = TypeVar("FinalState", covariant=True)

    class Tape(Protocol[FinalState]):
        """The record of a forward pass, which backward needs."""

        @property
        def outputs(self) -> Array:
            """The output of each step, the input of the layer above: (T, B, H)."""

        @property
        def final_state(self) -> FinalState:
            """The state after the last step."""

    class Stepper(Protocol):
        """A layer that runs one step at a time: see `Layer.stepper`."""

        def step(self, x: Array) -> Array:
            """Run one step with ids, (B,), or vectors, (B, D); return outputs or logits.

            The result is valid until the next step and must not be changed.
            """


AnyTape = Any  # the tape type of the layer: each class defines its own
__all__ = ["Layer"]


Self = TypeVar("Self", bound="AnyLayer")
LayerState = TypeVar("LayerState", bound=tuple[Array, ...])


class HiddenState(NamedTuple):
    """The state of a layer whose only memory is its output."""

    h: Array  # (B, H)


class Layer(CopiesKeepViews, ABC, Generic[LayerState]):
    """Base class of layers over sequences.

    The state of a layer is a named tuple of arrays, (B, ...) each. The first array of a layer holds
    the input weights, (..., D, H).

    Examples
    --------
    >>> from npchar.layers.layer import Layer
    >>> layers = [npchar.Conv.create(5, 3), npchar.LSTM.create(3, 3)]
    >>> x = np.array([[0], [4], [2]])  # ids, (T, B)
    >>> for layer in layers:
    ...     x = layer.forward(x).outputs
    >>> x.shape, all(isinstance(layer, Layer) for layer in layers)
    ((3, 1, 3), True)
    """

    name: ClassVar[str]
    """The prefix of the layer's array names in a model, as in ``lstm0.Wx``."""
    state_type: Callable[..., LayerState]
    """The class of a state, a named tuple."""
    tape_size: ClassVar[int]
    """Numbers per step, sequence and unit on the tape of the fast layer."""
    sizes: tuple[int, int]
    """The sizes of the input and the output, D and H."""
    b: Array
    """The biases."""
    depth = 0
    """The index of the layer in a stack, from 0. Only convolutions use it: it determines the
    distance between their inputs, and whether the input is added to the output."""

    @staticmethod
    @abstractmethod
    def shapes(input_size: int, hidden_size: int) -> dict[str, tuple[int, ...]]:
        """The names and shapes of the arrays, which are the arguments of `__init__`."""

    @abstractmethod
    def initialise(self, rng: np.random.Generator) -> None:
        """Fill the arrays with their initial values for training."""

    @abstractmethod
    def forward(
        self, x: Array, state: LayerState | None = None, tape: AnyTape = None
    ) -> Tape[LayerState]:
        """Run over T steps.

        Parameters
        ----------
        x
            Ids, (T, B), which represent one-hot vectors; or vectors, (T, B, D).
        state
            The state before the first step. Default: zeros.
        tape
            A tape to overwrite: the result of `tape(T, B)` or of an earlier pass of the same size.

        Returns
        -------
        Tape
            The `outputs`, the `final_state`, and the values that `backward` needs.
        """

    @abstractmethod
    def backward(
        self, tape: AnyTape, dh: Array | None, dstate: LayerState | None, gradient: Any
    ) -> tuple[Array | None, LayerState]:
        """Backpropagate through time.

        Parameters
        ----------
        tape
            The result of `forward`.
        dh
            The gradient of the loss with respect to all outputs, (T, B, H), or with respect to
            the last output only, (B, H). None stands for zeros.
        dstate
            The gradient with respect to the final state. None stands for zeros.
        gradient
            Another layer of the same shapes. Its arrays are overwritten with the gradients
            with respect to the arrays of this layer.

        Returns
        -------
        dx, dstate
            The gradients with respect to the input vectors, (T, B, D), and the initial state. If
            the input was ids, dx is None.
        """

    def step(self, x: Array, state: LayerState | None) -> tuple[Array, LayerState]:
        """Run one step; return the output and the new state.

        Parameters
        ----------
        x
            Ids, (B,), or vectors, (B, D).
        state
            The state before the step.

        Examples
        --------
        >>> layer = npchar.LSTM.create(input_size=5, hidden_size=3)
        >>> h, state = layer.step(np.array([4]), layer.zero_state(1))
        >>> h.shape, state.c.shape
        ((1, 3), (1, 3))
        """
        tape = self.forward(np.asarray(x)[None], state)
        return tape.outputs[0], tape.final_state

    def tape(self, T: int, B: int) -> AnyTape:
        """Create buffers for passes over T steps of B sequences; None if the layer uses none.

        Examples
        --------
        >>> layer = npchar.FastRNN.create(input_size=5, hidden_size=3)
        >>> tape = layer.tape(T=2, B=1)
        >>> layer.forward(np.array([[0], [4]]), tape=tape) is tape
        True
        """
        return None

    def stepper(self, state: LayerState, dense: Dense | None = None) -> Stepper:
        """Create a stepper: a copy of the layer that runs one step at a time and keeps its state.

        Parameters
        ----------
        state
            The initial state.
        dense
            An output layer. With it, the steps return logits instead of outputs.

        Raises
        ------
        ValueError
            If the state or the output layer has the wrong size.

        Examples
        --------
        >>> layer = npchar.RNN.create(input_size=5, hidden_size=3)
        >>> stepper = layer.stepper(layer.zero_state(1), npchar.Dense.create(3, 5))
        >>> stepper.step(np.array([4])).shape  # logits
        (1, 5)
        """
        try:
            B = len(state[0])
        except (TypeError, IndexError):
            raise ValueError(
                f"expected a state such as zero_state(B) or a tape's final_state, got {state!r:.60}"
            ) from None
        if dense is not None and len(dense.W) != self.sizes[1]:
            raise ValueError(
                f"expected an output layer with {self.sizes[1]} inputs, got {len(dense.W)}"
            )
        return self._stepper(self._state_or_zeros(state, B), dense)

    def _stepper(self, state: LayerState, dense: Dense | None) -> Stepper:
        """Create the stepper after the arguments have been checked."""
        return PlainStepper(self, state, dense)

    @property
    def arrays(self) -> dict[str, Array]:
        """The arrays by name.

        Examples
        --------
        >>> layer = npchar.RNN.create(input_size=5, hidden_size=3)
        >>> {name: array.shape for name, array in layer.arrays.items()}
        {'Wx': (5, 3), 'Wh': (3, 3), 'b': (3,)}
        """
        return {name: getattr(self, name) for name in self._names}

    @property
    def reach(self) -> int | None:
        """How many steps back the output depends on the input; None if on all earlier steps.

        Examples
        --------
        >>> npchar.RNN.create(5, 3).reach is None, npchar.Conv.create(5, 3).reach
        (True, 1)
        """
        return None

    @property
    def dtype(self) -> np.dtype[np.inexact]:
        """The dtype of the arrays.

        Examples
        --------
        >>> npchar.RNN.create(input_size=5, hidden_size=3).dtype
        dtype('float32')
        """
        return self.b.dtype

    def state_shapes(self, B: int) -> tuple[tuple[int, ...], ...]:
        """The shapes of the arrays in the state of B sequences: (B, H) each by default.

        Examples
        --------
        >>> npchar.LSTM.create(5, 3).state_shapes(2)
        ((2, 3), (2, 3))
        """
        fields: tuple[str, ...] = getattr(self.state_type, "_fields", ())
        return ((B, self.sizes[1]),) * len(fields)

    def zero_state(self, B: int) -> LayerState:
        """The initial state of B sequences: all zeros.

        Examples
        --------
        >>> npchar.LSTM.create(5, 3).zero_state(2)._fields
        ('h', 'c')
        """
        return self.state_type(*(np.zeros(shape, self.dtype) for shape in self.state_shapes(B)))

    def vectors(self, x: Array) -> Array:
        """Convert ids, (...), to one-hot vectors, (..., D). Vectors are returned unchanged.

        Examples
        --------
        >>> layer = npchar.RNN.create(input_size=5, hidden_size=3)
        >>> layer.vectors(np.array([4, 0])).argmax(axis=1)
        array([4, 0])
        """
        return x if x.dtype.kind not in "iu" else np.eye(self.sizes[0], dtype=self.dtype)[x]

    @classmethod
    def create(
        cls: type[Self],
        input_size: int,
        hidden_size: int,
        seed: int = 0,
        dtype: DTypeLike = "float32",
    ) -> Self:
        """Create a single layer with initialised weights.

        Parameters
        ----------
        input_size, hidden_size
            The sizes of the input and the output, D and H.
        seed
            The random seed of the initial weights.
        dtype
            A floating-point dtype.

        Examples
        --------
        >>> npchar.GRU.create(input_size=5, hidden_size=3, seed=1, dtype="float64")
        GRU(input_size=5, hidden_size=3, dtype=float64)
        """
        require_positive(input_size=input_size, hidden_size=hidden_size)
        if np.dtype(dtype).kind not in "fc":
            raise ValueError(f"dtype is {dtype!r}; expected a floating-point type such as float32")
        shapes = cls.shapes(input_size, hidden_size)
        layer = cls(**{name: np.zeros(shape, dtype) for name, shape in shapes.items()})
        layer.initialise(np.random.default_rng(seed))
        return layer

    def with_arrays(self: Self, arrays: dict[str, Array]) -> Self:
        """Create a layer of the same class and depth with other arrays.

        Examples
        --------
        >>> layer = npchar.RNN.create(input_size=5, hidden_size=3)
        >>> layer.with_arrays({name: 2 * array for name, array in layer.arrays.items()})
        RNN(input_size=5, hidden_size=3, dtype=float32)
        """
        layer = type(self)(**arrays)
        layer.depth = self.depth
        return layer

    def zeros_like(self: Self) -> Self:
        """Create a layer of the same shapes filled with zeros, for a gradient.

        Examples
        --------
        >>> layer = npchar.RNN.create(input_size=5, hidden_size=3)
        >>> bool(layer.zeros_like().Wx.any())
        False
        """
        return self.with_arrays({name: np.zeros_like(a) for name, a in self.arrays.items()})

    def __repr__(self) -> str:
        D, H = self.sizes
        return f"{type(self).__name__}(input_size={D}, hidden_size={H}, dtype={self.dtype})"

    # Checks of arguments

    def _set_sizes(self) -> None:
        """Set `sizes`; raise a ValueError unless the arrays fit each other."""
        self._names = tuple(self.shapes(1, 1))
        shapes = {name: array.shape for name, array in self.arrays.items()}
        first = next(iter(shapes.values()))
        expected = self.shapes(*first[-2:]) if len(first) >= 2 else self.shapes(1, 1)
        if shapes != expected:
            raise ValueError(f"expected arrays of shapes such as {expected}, got {shapes}")
        self.sizes = first[-2], first[-1]

    def _begin(self, x: Array, state: LayerState | None) -> tuple[Array, LayerState]:
        """Check and return the input, (T, B) or (T, B, D), and the initial state of a pass."""
        x = self._require_input(x)
        return x, self._state_or_zeros(state, x.shape[1])

    def _require_input(self, x: Array) -> Array:
        """Check and return ids, (T, B), or vectors, (T, B, D), in the layer's dtype."""
        x, (D, _) = np.asarray(x), self.sizes
        is_ids = x.dtype.kind in "iu"
        is_real_or_complex = x.dtype.kind == "f" or x.dtype.kind == self.dtype.kind == "c"
        fits = x.ndim == 2 if is_ids else is_real_or_complex and x.ndim == 3 and x.shape[2] == D
        if not x.size or not fits:
            raise ValueError(
                f"expected integer ids of the shape (T, B) or floating-point vectors of the shape "
                f"(T, B, {D}), got {x.dtype} of the shape {x.shape}"
            )
        if not is_ids:
            return x.astype(self.dtype, copy=False)
        _require_ids(x, D)
        return x

    def _state_or_zeros(self, state: LayerState | None, B: int) -> LayerState:
        """Check and return a state of B sequences or its gradient; None stands for zeros."""
        if state is None:
            return self.zero_state(B)
        shapes, expected = tuple(np.shape(array) for array in state), self.state_shapes(B)
        if shapes != expected:
            raise ValueError(f"expected a state of the shapes {expected}, got {shapes}")
        return self.state_type(*(np.asarray(array, self.dtype) for array in state))

    def _begin_backward(
        self,
        tape: AnyTape,
        tape_type: type[Tape[LayerState]],
        dh: Array | None,
        dstate: LayerState | None,
        gradient: Layer[LayerState],
    ) -> tuple[Array, LayerState]:
        """Check the arguments of `backward`, and fill `gradient` with zeros.

        Returns the gradients with respect to all outputs, (T, B, H), and the final state.
        """
        if not isinstance(tape, tape_type):
            raise ValueError(
                f"expected a {tape_type.__name__} from {type(self).__name__}.forward, got a "
                f"{type(tape).__name__}"
            )
        T, B, H = tape.outputs.shape
        if dh is not None and np.shape(dh) not in ((T, B, H), (B, H)):
            raise ValueError(
                f"expected dh of the shape {(T, B, H)}, or {(B, H)} for the last step only, got "
                f"{np.shape(dh)}"
            )
        if gradient is self or (gradient.name, gradient.sizes) != (self.name, self.sizes):
            raise ValueError(
                f"expected another layer such as {self!r} for the gradient, got "
                f"{'the layer itself' if gradient is self else gradient}; create it with "
                "zeros_like()"
            )
        for array in gradient.arrays.values():
            array[...] = 0
        above = np.asarray(0 if dh is None else dh, self.dtype)
        if above.ndim < 3:  # no gradient, or one with respect to the last output only
            above, last = np.zeros((T, B, H), self.dtype), above
            above[-1] = last
        return above, self._state_or_zeros(dstate, B)


AnyLayer = Layer[Any]


class PlainStepper:
    """A stepper that calls `Layer.step`: see `Layer.stepper`."""

    def __init__(self, layer: Layer[LayerState], state: LayerState, dense: Dense | None) -> None:
        self.layer = layer.with_arrays({name: a.copy() for name, a in layer.arrays.items()})
        self.state = layer.state_type(*(array.copy() for array in state))
        self.dense = None if dense is None else Dense(dense.W.copy(), dense.b.copy())

    def step(self, x: Array) -> Array:
        """Run one step with ids, (B,), or vectors, (B, D); return outputs or logits."""
        require_step(x, len(self.state[0]), self.layer.sizes[0])
        output, self.state = self.layer.step(x, self.state)
        return output if self.dense is None else self.dense.forward(output)


def _require_ids(x: Array, D: int) -> None:
    """Raise a ValueError unless all ids are from 0 to below D."""
    if not 0 <= x.min() <= x.max() < D:
        raise ValueError(f"expected ids from 0 to {D - 1}, got {x.min()} to {x.max()}")


def require_step(x: Array, B: int, D: int) -> None:
    """Raise a ValueError unless a stepper of B sequences can read `x`."""
    if x.shape == (B,) and x.dtype.kind in "iu":
        if B > 1 or not 0 <= x.item() < D:  # for one sequence, `item` is faster than min and max
            _require_ids(x, D)
    elif x.shape != (B, D) or x.dtype.kind not in "fc":
        raise ValueError(
            f"expected ids of the shape ({B},) or vectors of the shape ({B}, {D}), got {x.dtype} "
            f"of the shape {x.shape}"
        )


def sigmoid(z: Array) -> Array:
    """σ(z) = 1 / (1 + exp(−z)) = (1 + tanh(z / 2)) / 2, which cannot overflow."""
    result: Array = (1 + np.tanh(z / 2)) / 2
    return result


def orthogonal(rng: np.random.Generator, rows: int, columns: int) -> Array:
    """A random matrix with orthonormal columns, (rows, columns); rows ≥ columns."""
    q, r = np.linalg.qr(rng.standard_normal((rows, columns)))
    result: Array = q * np.sign(np.diag(r))  # uniform over all rotations (Mezzadri 2007)
    return result
