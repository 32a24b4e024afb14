"""The plain RNN used for training and generation: `RNN`, made fast.

The results are those of ``layers/rnn.py``, to rounding; the tests compare the two. The
optimisations are those of ``layers/lstm_fast.py``, where each is explained.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy import matmul, multiply, subtract, tanh

from npchar.arrays import Array, aligned_empty
from npchar.layers.dense import Dense
from npchar.layers.fast import (
    ONE,
    HiddenTape,
    StepProducts,
    added_at_the_end,
    require_tape,
    rows_in_use,
    taken,
    write_input_gradient,
)
from npchar.layers.layer import HiddenState, require_step
from npchar.layers.products import (
    column_tiles,
    product_tiles,
    row_tiles,
    tiling,
)
from npchar.layers.rnn import RNN

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

__all__ = ["FastRNN"]


class RNNFastTape(HiddenTape):
    """The buffers of one forward pass, for backward to read: 2 TBH numbers."""

    def __init__(self, T: int, B: int, H: int, dtype: DTypeLike) -> None:
        super().__init__(T, B, H, dtype)
        self.rows = aligned_empty((T, B, H), dtype)  # the sums of the input, and the gradients
        self.scratch = aligned_empty((2, B, H), dtype)
        self.tiling = rows, columns = tiling(B, H, H, dtype)
        self.h_tiles = [row_tiles(h, rows) for h in self.h]  # to multiply
        self.product_tiles = [product_tiles(h, rows, columns) for h in self.h]
        self.dz_tiles = [row_tiles(dz, rows) for dz in self.rows]


class FastRNN(RNN):
    """An `RNN` made fast: the same arrays, the same results to rounding.

    Examples
    --------
    >>> plain = npchar.RNN.create(input_size=5, hidden_size=3, dtype="float64")
    >>> fast = npchar.FastRNN(**plain.arrays)
    >>> x = np.array([[0], [4], [2]])
    >>> tape = fast.tape(3, 1)  # buffers, for every pass of this T and B
    >>> tape = fast.forward(x, tape=tape)
    >>> np.allclose(tape.outputs, plain.forward(x).outputs, rtol=0, atol=1e-12)
    True
    >>> steps = fast.stepper(tape.final_state)
    >>> steps.step(np.array([1])).shape
    (1, 3)
    >>> dx, dstate = fast.backward(tape, np.ones((3, 1, 3)), None, fast.zeros_like())
    """

    tape_type: ClassVar[type[Any]] = RNNFastTape

    def tape(self, T: int, B: int) -> RNNFastTape:
        """Buffers for passes over T steps of B sequences."""
        return RNNFastTape(T, B, len(self.b), self.Wh.dtype)

    def stepper(self, state: HiddenState, dense: Dense | None = None) -> RNNFastSteps:
        """A copy to run from a state, a step at a time: see `Layer.stepper`."""
        return RNNFastSteps(self, state, dense)

    def forward(
        self, x: Array, state: HiddenState | None = None, tape: RNNFastTape | None = None
    ) -> RNNFastTape:
        """Run over T steps: see `Layer.forward`."""
        x, state = self.begin(x, state)
        (T, B), (D, H) = x.shape[:2], self.Wx.shape
        tape = self.tape(T, B) if tape is None else tape
        require_tape(tape, self, x)
        tape.h[0] = state.h
        # What the input adds to the sums of all steps: an id picks a row of Wx.
        if x.ndim == 2:
            x = x.astype(np.intp, copy=False)
            picked, places = rows_in_use(self.Wx, x)  # (D, H), or of D those in use
            picked += self.b
            np.take(picked, places, axis=0, out=tape.rows, mode="clip")
        else:
            matmul(x.reshape(T * B, D), self.Wx, tape.rows.reshape(T * B, H))
            tape.rows += self.b
        tape.x = x
        Wh = column_tiles(self.Wh, tape.tiling[1])
        for t, (h, x_sums) in enumerate(zip(tape.h[1:], tape.rows)):
            matmul(tape.h_tiles[t], Wh, tape.product_tiles[t + 1])
            h += x_sums
            tanh(h, h)
        return tape

    def backward(
        self, tape: RNNFastTape, dh: Array | None, dstate: HiddenState | None, gradient: RNN
    ) -> tuple[Array | None, HiddenState]:
        """Backpropagate through time: see `Layer.backward`. The tape is used up."""
        dh = self.begin_backward(tape, dh, gradient)
        (T, B), H = tape.shape, len(self.b)
        x = taken(tape)
        WhT = column_tiles(self.Wh.T, tape.tiling[1])
        dh_next, a = tape.scratch
        dh_tiles = product_tiles(dh_next, *tape.tiling)
        (dh_next[...],) = self.state_or_zeros(dstate, B)
        dh = added_at_the_end(dh, dh_next)
        for t in range(T - 1, -1, -1):
            h, dz = tape.h[t + 1], tape.rows[t]
            if dh is not None:
                dh_next += dh[t]
            multiply(h, h, a)
            subtract(ONE, a, a)
            multiply(dh_next, a, dz)
            matmul(tape.dz_tiles[t], WhT, dh_tiles)
        rows = tape.rows.reshape(T * B, H)
        matmul(tape.h[:-1].reshape(T * B, H).T, rows, gradient.Wh)
        gradient.b[...] = write_input_gradient(x, rows, gradient.Wx[None])
        dx = (rows @ self.Wx.T).reshape(x.shape) if x.ndim == 3 else None
        return dx, HiddenState(dh_next.copy())


class RNNFastSteps:
    """A layer run from a state, a step at a time: see `lstm_fast.FastSteps`."""

    def __init__(self, layer: RNN, state: HiddenState, dense: Dense | None = None) -> None:
        state = layer.begin_steps(state, dense)
        self.h = state.h.copy()
        self.Wx, self.b = layer.Wx.copy(), layer.b.copy()
        self.picked = self.Wx + self.b  # (D, H), for ids
        self.products = StepProducts(self.h, layer.Wh[None], dense)

    def step(self, x: Array) -> Array:
        """One step on.

        Takes ids, (B,), or vectors, (B, D); returns the logits, (B, V), or
        without a dense layer h, (B, H), valid until the next step.
        """
        h = self.h
        require_step(x, len(h), len(self.Wx))
        if x.ndim == 1:
            self.picked.take(x, axis=0, out=h, mode="clip")
        else:
            matmul(x, self.Wx, h)
            h += self.b
        h += self.products.sums[0]
        tanh(h, h)
        return self.products.multiply()
