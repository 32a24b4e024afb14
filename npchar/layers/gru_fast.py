"""The GRU used for training and generation: `GRU`, made fast.

The equations, the arrays and the results are those of ``layers/gru.py``, to rounding; the
tests compare the two, and the gradient check differentiates the plain forward pass and
compares it with the backward pass here. The optimisations are those of
``layers/lstm_fast.py``: buffers made once, ids that pick rows of Wx, products in tiles, one
after the loop for the gradient of each matrix, and one for a step of generation of few sequences.

Of a step's gradients, Wx wants da_r, da_z and da_n, and Wh da_r, da_z and dq. They lie side by
side as dq, da_r, da_z, da_n, (TB, 4H): the first three quarters are for Wh, the last three
for Wx. The former are not copied; the latter are for ids alone (`write_input_gradient`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
from numpy import add, copyto, matmul, multiply, subtract, tanh

from npchar.arrays import Array, aligned_empty
from npchar.layers.dense import Dense
from npchar.layers.fast import (
    HALF,
    ONE,
    HiddenTape,
    StepProducts,
    added_at_the_end,
    joined,
    parted,
    require_tape,
    rows_in_use,
    taken,
    write_input_gradient,
)
from npchar.layers.gru import GRU
from npchar.layers.layer import HiddenState, require_step
from npchar.layers.products import (
    column_tiles,
    joined_column_tiles,
    product_tiles,
    row_tiles,
    tiling,
)

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

__all__ = ["FastGRU"]

QRZ = [2, 0, 1]  # Wh's gates in the order of the gradients' memory
RZQ = [1, 2, 0]  # and back


SCALE = np.array([0.5, 0.5, 1], np.float32)[:, None, None]


class Views(NamedTuple):
    """The views of one time step on a tape; ``_`` marks the value before the step."""

    rz: Array  # (2, B, H)
    r: Array  # (B, H), and so the rest unless it says otherwise
    z: Array
    q: Array
    n: Array
    h_: Array
    h: Array
    h_tiles: Array  # h_ in tiles, to multiply
    rows: Array  # the first three of the four gradients likewise, (B, 3H)
    gradients: Array  # all of them, (4, B, H), a row's four together


class GRUFastTape(HiddenTape):
    """The buffers of one forward pass, for backward to read: 9 TBH numbers."""

    def __init__(self, T: int, B: int, H: int, dtype: DTypeLike) -> None:
        super().__init__(T, B, H, dtype)
        self.rz = aligned_empty((T, 2, B, H), dtype)
        self.q, self.n = aligned_empty((2, T, B, H), dtype)
        self.rows = aligned_empty((T, B, 4 * H), dtype)
        self.scratch = aligned_empty((8, B, H), dtype)
        self.forward_tiling = tiling(B, H, H, dtype)
        self.backward_tiling = tiling(B, 3 * H, H, dtype)
        self.steps = [
            Views(
                *(rz, rz[0], rz[1], q, n, h_, h),
                row_tiles(h_, self.forward_tiling[0], leading=1),
                row_tiles(rows[:, : 3 * H], self.backward_tiling[0]),
                rows.reshape(B, 4, H).swapaxes(0, 1),
            )
            for rz, q, n, h_, h, rows in zip(self.rz, self.q, self.n, self.h, self.h[1:], self.rows)
        ]


class FastGRU(GRU):
    """A `GRU` made fast: the same arrays, the same results to rounding.

    Examples
    --------
    >>> plain = npchar.GRU.create(input_size=5, hidden_size=3, dtype="float64")
    >>> fast = npchar.FastGRU(**plain.arrays)
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

    tape_type: ClassVar[type[Any]] = GRUFastTape

    def tape(self, T: int, B: int) -> GRUFastTape:
        """Buffers for passes over T steps of B sequences."""
        return GRUFastTape(T, B, len(self.bq), self.Wh.dtype)

    def stepper(self, state: HiddenState, dense: Dense | None = None) -> GRUFastSteps:
        """A copy to run from a state, a step at a time: see `Layer.stepper`."""
        return GRUFastSteps(self, state, dense)

    def forward(
        self, x: Array, state: HiddenState | None = None, tape: GRUFastTape | None = None
    ) -> GRUFastTape:
        """Run over T steps: see `Layer.forward`."""
        x, state = self.begin(x, state)
        (T, B), H = x.shape[:2], len(self.bq)
        tape = self.tape(T, B) if tape is None else tape
        require_tape(tape, self, x)
        tape.h[0] = state.h
        sums, x_sums = tape.scratch[:6].reshape(2, 3, B, H)
        sum_tiles = product_tiles(sums, *tape.forward_tiling)
        Wh = column_tiles(self.Wh, tape.forward_tiling[1], SCALE)
        biases = prescaled(self.b[:, None])  # (3, 1, H)
        bq = tape.scratch[6]
        bq[...] = self.bq  # a row for each sequence: adding one to all takes twice as long

        # An id picks a row of Wx. Vectors of all steps go in one product, which waits on the
        # memory of the gradients, step by step.
        if x.ndim == 2:
            x = x.astype(np.intp, copy=False)
            picked, places = rows_in_use(self.Wx, x)  # (3, D, H), or of D those in use
            picked *= SCALE
            picked += biases
        else:
            waiting = tape.rows.reshape(-1)[: 3 * T * B * H].reshape(T * B, 3 * H)
            matmul(x.reshape(T * B, -1), joined(prescaled(self.Wx)), waiting)
            waiting += biases.reshape(-1)
            x_of = waiting.reshape(T, B, 3, H).swapaxes(1, 2)  # (T, 3, B, H)
        tape.x = x

        for t, step in enumerate(tape.steps):
            rz, r, z, q, n, h_, h, h_tiles, *_ = step
            matmul(h_tiles, Wh, sum_tiles)
            if x.ndim == 2:
                picked.take(places[t], 1, x_sums, "clip")  # "raise" buffers
            else:
                x_sums[...] = x_of[t]
            add(sums[:2], x_sums[:2], rz)
            activate(rz)
            add(sums[2], bq, q)
            multiply(r, q, n)
            n += x_sums[2]
            tanh(n, n)
            subtract(h_, n, h)
            h *= z
            h += n  # h = n + z (h₋ − n)
        return tape

    def backward(
        self, tape: GRUFastTape, dh: Array | None, dstate: HiddenState | None, gradient: GRU
    ) -> tuple[Array | None, HiddenState]:
        """Backpropagate through time: see `Layer.backward`. The tape is used up."""
        dh = self.begin_backward(tape, dh, gradient)
        (T, B), H = tape.shape, len(self.bq)
        x = taken(tape)
        # The three products and their sum as one product.
        WhT = joined_column_tiles(self.Wh[QRZ].swapaxes(1, 2), tape.backward_tiling[1])  # (3H, H)
        dh_next, a, e, product = tape.scratch[:4]  # (B, H) each
        # Computed in memory without gaps, which takes half as long, and then put in their rows.
        in_one = tape.scratch[4:]
        dq, da_r, da_z, da_n = in_one
        (dh_next[...],) = self.state_or_zeros(dstate, B)
        dh = added_at_the_end(dh, dh_next)
        product_in_tiles = product_tiles(product, *tape.backward_tiling)

        for t in range(T - 1, -1, -1):
            _, r, z, q, n, h_, _, _, rows, gradients = tape.steps[t]
            if dh is not None:
                dh_next += dh[t]
            multiply(dh_next, z, e)  # dh z
            subtract(dh_next, e, dh_next)  # dh (1 − z)
            multiply(n, n, a)
            subtract(ONE, a, a)
            multiply(dh_next, a, da_n)
            subtract(h_, n, a)
            a *= dh_next
            multiply(a, z, da_z)  # dh (1 − z) (h₋ − n) z
            multiply(da_n, r, dq)
            subtract(ONE, r, a)
            a *= q
            multiply(a, dq, da_r)
            copyto(gradients, in_one)
            matmul(rows, WhT, product_in_tiles)
            add(product, e, dh_next)

        # A product of (TB, ·) matrices sums over time and batch at once.
        rows = tape.rows.reshape(T * B, 4 * H)
        dWh = tape.h[:-1].reshape(T * B, H).T @ rows[:, : 3 * H]
        gradient.Wh[...] = parted(dWh, 3)[RZQ]
        gradient.b[...] = write_input_gradient(x, rows[:, H:], gradient.Wx).reshape(3, H)
        matmul(np.ones(T * B, rows.dtype), rows[:, :H], gradient.bq)  # a sum, by BLAS
        dx = (rows[:, H:] @ joined(self.Wx).T).reshape(x.shape) if x.ndim == 3 else None
        return dx, HiddenState(dh_next.copy())


def prescaled(W: Array) -> Array:
    """A copy of (3, D, H), with r and z halved: see `activate`."""
    scaled: Array = W * SCALE
    return scaled


def activate(rz: Array) -> None:
    """σ of `prescaled` sums, in place: σ(a) = ½ + ½ tanh(a/2), as in ``lstm_fast.py``."""
    tanh(rz, rz)
    rz *= HALF
    rz += HALF


class GRUFastSteps:
    """A layer run from a state, a step at a time: see `lstm_fast.FastSteps`.

    Parameters
    ----------
    layer
        The layer. Its weights are copied: later changes do not count.
    state
        The initial state, copied too.
    dense
        The output layer, on the top layer.
    """

    def __init__(self, layer: GRU, state: HiddenState, dense: Dense | None = None) -> None:
        state = layer.begin_steps(state, dense)
        (B, H), dtype = state.h.shape, layer.Wh.dtype
        self.h = state.h.copy()
        self.Wx, self.b = prescaled(layer.Wx), prescaled(layer.b[:, None])
        self.picked = self.Wx + self.b  # (3, D, H), for ids

        self.bq = layer.bq.copy()
        self.products = StepProducts(self.h, prescaled(layer.Wh), dense)
        self.a = aligned_empty((3, B, H), dtype)

    def step(self, x: Array) -> Array:
        """One step on.

        Takes ids, (B,), or vectors, (B, D); returns the logits, (B, V), or
        without a dense layer h, (B, H), valid until the next step.
        """
        a, h = self.a, self.h
        require_step(x, len(h), self.Wx.shape[1])
        rz, n = a[:2], a[2]
        if x.ndim == 1:
            self.picked.take(x, axis=1, out=a, mode="clip")
        else:
            matmul(x, self.Wx, a)
            a += self.b
        sums = self.products.sums
        rz += sums[:2]
        activate(rz)
        r, z = rz
        q = sums[2]
        q += self.bq
        r *= q
        n += r
        tanh(n, n)
        h -= n
        h *= z
        h += n
        return self.products.multiply()
