"""The LSTM used for training and generation: `LSTM`, made fast.

The equations, the arrays and the results are those of ``layers/lstm.py``, to rounding; the
tests compare the two, and the gradient check differentiates the plain forward
pass and compares it with the backward pass here. The optimisations, and what each saves:

- Buffers for all T steps are made once and used for every batch (`FastTape`), with views of
  each step: fresh memory costs more than the arithmetic on it, slicing 2 µs a step.
- An id picks a row of Wx instead of a product with a one-hot vector, and its gradient is a sum
  of rows: 6 % of a step of training.
- Products in tiles, where the BLAS is quicker for small matrices (``products.py``), and memory
  that begins where a line of the cache does (`arrays.aligned_empty`): half of the time of a
  recurrent product at 16 sequences, 0.6 at 64.
- Outputs of NumPy's functions by position, not by keyword: 5 % of a step at 8 sequences.
- One tanh for all four gates (`activate`): two thirds of the time of exponentials and divisions.
- Backward computes the gates' gradients as one, in memory without gaps, and then overwrites the
  gates with them (5 % of a step at 8 sequences); the four products with Wh are one, up to 256
  units: a sixth of the loop's time.
- A step of generation of few sequences is one product, for the next step's gates and the logits
  (`fast.StepProducts`): 1.25 times the characters a second.

Next: ``layers/network.py``, which stacks these.
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
    StepProducts,
    added_at_the_end,
    joined,
    parted,
    require_tape,
    rows_in_use,
    taken,
    write_input_gradient,
)
from npchar.layers.layer import require_step
from npchar.layers.lstm import LSTM, State
from npchar.layers.products import (
    LONGEST,
    column_tiles,
    joined_column_tiles,
    product_tiles,
    row_tiles,
    tiling,
)

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

__all__ = ["FastLSTM"]


SCALE = np.array([0.5, 0.5, 0.5, 1], np.float32)[:, None, None]


class ForwardViews(NamedTuple):
    """What a step forward reads and writes on a tape; ``_`` marks the value before the step."""

    h_: Array  # in tiles, to multiply
    gates: Array  # (4, B, H)
    ifo: Array  # (3, B, H) those that are sigmoids
    i: Array  # (B, H), and so the rest
    f: Array
    o: Array
    g: Array
    c_: Array
    c: Array
    tanh_c: Array
    h: Array


class BackwardViews(NamedTuple):
    """What a step backward reads and writes on a tape."""

    gates: Array  # (4, B, H)
    i: Array  # (B, H), and so the rest
    f: Array
    o: Array
    g: Array
    c_: Array
    tanh_c: Array
    dz: Array  # (4, B, H) on the memory of the gates, but with a row's four gates together
    dz_tiles: Array  # in tiles, to multiply: of dz, or for four products of the tape's `through`


class FastTape:
    """The buffers of one forward pass, for backward to read.

    Made once for a (T, B) and used for every batch of that size: fresh memory
    would cost more than the arithmetic on it. It takes 7 TBH numbers, and 12 BH
    of scratch.
    """

    def __init__(self, T: int, B: int, H: int, dtype: DTypeLike) -> None:
        self.shape = (T, B)
        self.gates = aligned_empty((T, 4, B, H), dtype)
        self.c = aligned_empty((T + 1, B, H), dtype)
        self.tanh_c = aligned_empty((T, B, H), dtype)
        self.h = aligned_empty((T + 1, B, H), dtype)
        # Scratch: forward and backward each have it as they like.
        scratch = aligned_empty((12, B, H), dtype)
        self.sums, self.x_sums, self.ig = scratch[:4], scratch[4:8], scratch[8]
        self.singles = scratch[:4]  # (B, H) each
        self.through, self.held = scratch[4:8], scratch[8:]  # the factors of dz, (4, B, H) each
        self.x: Array | None = None
        self.forward_tiling = tiling(B, H, H, dtype)
        # The products of the four gates' gradients are one, unless that is too long for tiles.
        self.product_count = 4 if 4 * H > LONGEST and self.forward_tiling != (B, H) else 1
        self.backward_tiling = tiling(B, 4 * H // self.product_count, H, dtype)
        self.sum_tiles = product_tiles(self.sums, *self.forward_tiling)
        self.products = self.singles[:1] if self.product_count == 1 else self.held  # (1 or 4, B, H)
        self.dh_tiles = product_tiles(self.products, *self.backward_tiling)
        # The loops below run T times a batch: slicing these views there instead
        # costs 2 µs a step.
        h_ = [row_tiles(h, self.forward_tiling[0], leading=1) for h in self.h[:-1]]
        steps = zip(h_, self.gates, self.c, self.c[1:], self.tanh_c, self.h[1:])
        self.forward_steps = [
            ForwardViews(h_, z, z[:3], z[0], z[1], z[2], z[3], c_, c, tanh_c, h)
            for h_, z, c_, c, tanh_c, h in steps
        ]
        dz = self.rows.reshape(T, B, 4, H).swapaxes(1, 2)  # (T, 4, B, H)
        # Four products read the gradients where they were computed, without gaps: rows of 4H
        # numbers, 8 KB apart with 512 units, would evict each other from the cache.
        factors = (
            self.rows.reshape(T, 1, B, 4 * H) if self.product_count == 1 else [self.through] * T
        )
        dz_tiles = [row_tiles(rows, self.backward_tiling[0]) for rows in factors]
        self.backward_steps = [
            BackwardViews(s.gates, s.i, s.f, s.o, s.g, s.c_, s.tanh_c, d, tiles)
            for s, d, tiles in zip(self.forward_steps, dz, dz_tiles)
        ]

    @property
    def rows(self) -> Array:
        """The memory of the gates as (TB, 4H): a row for each step and sequence."""
        T, _, B, H = self.gates.shape
        return self.gates.reshape(T * B, 4 * H)

    @property
    def outputs(self) -> Array:
        """The hidden state after each step, (T, B, H)."""
        return self.h[1:]

    @property
    def final_state(self) -> State:
        """A copy of the state after the last step."""
        return State(self.h[-1].copy(), self.c[-1].copy())


class FastLSTM(LSTM):
    """An `LSTM` made fast: the same arrays, the same results to rounding.

    Examples
    --------
    >>> plain = npchar.LSTM.create(input_size=5, hidden_size=3, dtype="float64")
    >>> fast = npchar.FastLSTM(**plain.arrays)
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

    tape_type: ClassVar[type[Any]] = FastTape

    def tape(self, T: int, B: int) -> FastTape:
        """Buffers for passes over T steps of B sequences."""
        return FastTape(T, B, self.Wh.shape[1], self.Wh.dtype)

    def stepper(self, state: State, dense: Dense | None = None) -> FastSteps:
        """A copy to run from a state, a step at a time: see `Layer.stepper`."""
        return FastSteps(self, state, dense)

    def forward(
        self, x: Array, state: State | None = None, tape: FastTape | None = None
    ) -> FastTape:
        """Run over T steps: see `Layer.forward`."""
        x, state = self.begin(x, state)
        T, B = x.shape[:2]
        H = self.Wh.shape[1]
        tape = self.tape(T, B) if tape is None else tape
        require_tape(tape, self, x)
        if x.ndim == 2:
            x = x.astype(np.intp, copy=False)  # what take wants: spares T casts
        tape.x = x
        tape.h[0], tape.c[0] = state

        sums, x_sums, ig, sum_tiles = tape.sums, tape.x_sums, tape.ig, tape.sum_tiles
        Wh = column_tiles(self.Wh, tape.forward_tiling[1], SCALE)

        # What the input adds to the sums. An id picks a row of Wx, which costs a
        # fraction of the product with a one-hot vector. Vectors of all steps go in one
        # product; it waits on the memory that the gates will take, step by step.
        if x.ndim == 2:
            picked, places = rows_in_use(self.Wx, x)  # (4, D, H), or of D those in use
            picked += self.b[:, None]
            picked *= SCALE
        else:
            matmul(x.reshape(T * B, -1), joined(prescaled(self.Wx)), tape.rows)  # (TB, 4H)
            tape.rows[...] += prescaled(self.b[:, None]).reshape(-1)
            waiting = tape.rows.reshape(T, B, 4, H).swapaxes(1, 2)  # (T, 4, B, H)

        for t, (h_, gates, ifo, i, f, o, g, c_, c, tanh_c, h) in enumerate(tape.forward_steps):
            matmul(h_, Wh, sum_tiles)
            if x.ndim == 2:
                picked.take(places[t], 1, x_sums, "clip")  # "raise" buffers
                sums += x_sums  # (4, B, H)
            else:
                sums += waiting[t]
            activate(sums, gates, ifo)

            multiply(f, c_, c)
            multiply(i, g, ig)
            add(c, ig, c)  # c = f c₋ + i g
            tanh(c, tanh_c)
            multiply(o, tanh_c, h)  # h = o tanh(c)
        return tape

    def backward(
        self, tape: FastTape, dh: Array | None, dstate: State | None, gradient: LSTM
    ) -> tuple[Array | None, State]:
        """Backpropagate through time: see `Layer.backward`.

        The plain layer's lines, regrouped. All four dz have the same form and are computed as one:

            dc += dh o (1 − tanh²(c))
            dz = (dc i g, dc f c₋, dh o tanh(c), dc i) (1 − (i, f, o, g²))

        The tape is used up: the gates on it are overwritten by their gradients, which
        halves the memory to pass over.
        """
        dh = self.begin_backward(tape, dh, gradient)
        (T, B), H = tape.shape, self.Wh.shape[1]
        x = taken(tape)
        # The four products and their sum as one product, unless that is too long (`FastTape`).
        WhT, columns = self.Wh.swapaxes(1, 2), tape.backward_tiling[1]
        is_one = tape.product_count == 1
        WhT = joined_column_tiles(WhT, columns)[None] if is_one else column_tiles(WhT, columns)
        dh_next, dc, dc_, a = tape.singles
        through, held, dh_tiles = tape.through, tape.held, tape.dh_tiles
        dc_ig, dc_fc, dh_h, dc_i = through  # h is o tanh(c)
        dh_next[...], dc[...] = self.state_or_zeros(dstate, B)
        dh = added_at_the_end(dh, dh_next)

        for t in range(T - 1, -1, -1):
            gates, i, f, o, g, c_, tanh_c, dz, dz_tiles = tape.backward_steps[t]
            if dh is not None:
                dh_next += dh[t]
            multiply(dh_next, o, a)
            dc += a
            multiply(a, tanh_c, dh_h)
            multiply(dh_h, tanh_c, a)
            dc -= a

            multiply(dc, i, dc_i)
            multiply(dc_i, g, dc_ig)
            multiply(dc, f, dc_)
            multiply(dc_, c_, dc_fc)
            dc, dc_ = dc_, dc
            multiply(g, g, g)
            subtract(ONE, gates, held)
            multiply(through, held, through)

            # From here on the gates are needed no more: dz takes their memory.
            copyto(dz, through)
            matmul(dz_tiles, WhT, dh_tiles)
            if not is_one:
                add.reduce(tape.products, 0, None, dh_next)

        # A product of (TB, ·) matrices sums over time and batch at once.
        dz_rows = tape.rows  # (TB, 4H)
        gradient.Wh[...] = parted(tape.h[:-1].reshape(T * B, H).T @ dz_rows, 4)
        gradient.b[...] = write_input_gradient(x, dz_rows, gradient.Wx).reshape(4, H)
        dx = (dz_rows @ joined(self.Wx).T).reshape(x.shape) if x.ndim == 3 else None
        return dx, State(dh_next.copy(), dc.copy())


def prescaled(W: Array) -> Array:
    """A copy of (4, D, H), with i, f and o halved: see `activate`."""
    scaled: Array = W * SCALE
    return scaled


def activate(z: Array, gates: Array, ifo: Array) -> None:
    """The gates, (4, B, H), of `prescaled` sums; `ifo` is gates[:3].

    One tanh for all four, since σ(z) = ½ + ½ tanh(z/2), where the weights have made the
    half of z. It cannot overflow, as an exponential can.
    """
    tanh(z, gates)
    ifo *= HALF
    ifo += HALF


class FastSteps:
    """A layer run from a state, a step at a time, with nothing kept for backward.

    `LSTM.step`, made quick for the thousands of steps of generated text: weights
    prepared, constants and buffers allocated once, one tanh for all four
    gates, and h multiplied with the weights of the next step as soon as it is
    known, so that a single sequence needs one product for them and the logits.

    Parameters
    ----------
    layer
        The layer. Its weights are copied: later changes do not count.
    state
        The initial state, copied too.
    dense
        The output layer, on the top LSTM.
    """

    def __init__(self, layer: LSTM, state: State, dense: Dense | None = None) -> None:
        state = layer.begin_steps(state, dense)
        (B, H), dtype = state.h.shape, layer.Wh.dtype
        self.h, self.c = state.h.copy(), state.c.copy()
        self.Wx, self.b = prescaled(layer.Wx), prescaled(layer.b[:, None])
        self.picked = self.Wx + self.b  # (4, D, H), for ids
        self.products = StepProducts(self.h, prescaled(layer.Wh), dense)
        self.z = aligned_empty((4, B, H), dtype)
        self.ifo, self.gates = self.z[:3], tuple(self.z)

    def step(self, x: Array) -> Array:
        """One step on.

        Takes ids, (B,), or vectors, (B, D); returns the logits, (B, V), or
        without a dense layer h, (B, H), valid until the next step.
        """
        z, h, c = self.z, self.h, self.c
        require_step(x, len(h), self.Wx.shape[1])
        i, f, o, g = self.gates
        if x.ndim == 1:
            self.picked.take(x, axis=1, out=z, mode="clip")
        else:
            matmul(x, self.Wx, z)
            z += self.b
        z += self.products.sums
        activate(z, z, self.ifo)
        c *= f
        g *= i
        c += g
        tanh(c, h)
        h *= o
        return self.products.multiply()
