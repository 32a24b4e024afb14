"""The LSTM: forward, backward through time, and a single step.

Ids or vectors come from ``text.py`` or a layer below; the hidden states go to
the next LSTM or to ``dense.py``. A layer is its three arrays and nothing else:
the recurrent state is a value that goes in and comes out, and what backward
needs of forward lies on a `Tape`.

The equations, for each time t (Hochreiter & Schmidhuber 1997, with the forget
gate of Gers et al. 2000, in the symbols now usual; vectors are rows)::

    i = σ(x Wx[0] + h₋ Wh[0] + b[0])      input gate: how much of g to write
    f = σ(x Wx[1] + h₋ Wh[1] + b[1])      forget gate: how much of c₋ to keep
    o = σ(x Wx[2] + h₋ Wh[2] + b[2])      output gate: how much of c to show
    g = tanh(x Wx[3] + h₋ Wh[3] + b[3])   the candidate to write
    c = f c₋ + i g                        the cell, the long memory
    h = o tanh(c)                         the hidden state, the output

where h₋ and c₋ are the state before the step. The gradient is the full one, to
the first step (Graves & Schmidhuber 2005; the paper of 1997 cuts it short at
the gates). Every gate array leads with the
four gates, in that order, so that each gate is one contiguous slab.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from npchar.parameters import Array

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

ONE = np.ones((), np.float32)  # a Python number takes 0.5 µs more, half of a small operation


class State(NamedTuple):
    """What an LSTM remembers between two characters."""

    h: Array  # (B, H)
    c: Array  # (B, H)


class Step(NamedTuple):
    """The views of one time step on a tape; ``_`` marks the value before the step."""

    gates: Array  # (4, B, H)
    ifo: Array  # (3, B, H) those that are sigmoids
    i: Array  # (B, H), and so the rest unless it says otherwise
    f: Array
    o: Array
    g: Array
    terms: Array  # (2, B, H)
    ig: Array
    fc_: Array
    tanh_c: Array
    h_: Array
    h: Array
    # On the memory of the gates, but with a row's four gates together:
    dz_ifo: Array  # (3, B, H)
    dz_g: Array


class Tape:
    """The buffers of one forward pass, for backward to read.

    Made once for a (T, B) and used for every batch of that size: fresh memory
    would cost more than the arithmetic on it. It takes 8 TBH numbers, and 10 BH
    of scratch.
    """

    def __init__(self, T: int, B: int, H: int, dtype: DTypeLike) -> None:
        self.shape = (T, B)
        self.gates = np.empty((T, 4, B, H), dtype)
        self.terms = np.empty((T, 2, B, H), dtype)  # i g and f c₋, whose sum is the cell
        self.tanh_c = np.empty((T, B, H), dtype)
        self.h = np.empty((T + 1, B, H), dtype)
        self.c = np.empty((B, H), dtype)  # of the latest step
        self.scratch = np.empty((10, B, H), dtype)
        self.x: Array | None = None
        # The loops below run T times a batch: slicing these views there instead
        # costs 2 µs a step.
        dz = self.rows.reshape(T, B, 4, H).transpose(0, 2, 1, 3)
        self.steps = [
            Step(
                gates,
                gates[:3],
                *(gates[0], gates[1], gates[2], gates[3]),
                terms,
                *(terms[0], terms[1]),
                *(tanh_c, h_, h),
                *(dz_t[:3], dz_t[3]),
            )
            for gates, terms, tanh_c, h_, h, dz_t in zip(
                self.gates, self.terms, self.tanh_c, self.h, self.h[1:], dz
            )
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
    def cells(self) -> Array:
        """The cell after each step, (T, B, H): f c₋ + i g."""
        c: Array = self.terms.sum(axis=1)
        return c

    @property
    def final_state(self) -> State:
        """A copy of the state after the last step."""
        return State(self.h[-1].copy(), self.c.copy())


class LSTM:
    """A layer of long short-term memory: its weights, and what is done with them.

    Parameters
    ----------
    Wx
        Input weights, (4, D, H), gates in the order i, f, o, g.
    Wh
        Recurrent weights, (4, H, H).
    b
        Biases, (4, H).

    Notes
    -----
    A pass over T steps and B sequences costs about 8 TBH (D + H) floating-point
    operations forward and twice that backward; with ids for input, D costs
    nothing forward. All arrays have the weights' dtype: float32, float64,
    and for the gradient check longdouble and complex128.
    """

    def __init__(self, Wx: Array, Wh: Array, b: Array) -> None:
        self.Wx, self.Wh, self.b = Wx, Wh, b

    @staticmethod
    def shapes(input_size: int, hidden_size: int) -> dict[str, tuple[int, ...]]:
        """The names and shapes of a layer's arrays."""
        D, H = input_size, hidden_size
        return {"Wx": (4, D, H), "Wh": (4, H, H), "b": (4, H)}

    @classmethod
    def create(
        cls, input_size: int, hidden_size: int, seed: int = 0, dtype: DTypeLike = "float32"
    ) -> LSTM:
        """A layer of its own, outside a model, with initialised weights."""
        shapes = cls.shapes(input_size, hidden_size)
        layer = cls(**{name: np.zeros(shape, dtype) for name, shape in shapes.items()})
        layer.initialise(np.random.default_rng(seed))
        return layer

    def initialise(self, rng: np.random.Generator) -> None:
        """Fill the weights as Keras does.

        Glorot-uniform input weights, orthogonal recurrent weights, zero biases
        but for the forget gate's, which are 1: a cell remembers until it learns
        not to (Jozefowicz et al. 2015).
        """
        D, H = self.Wx.shape[1:]
        limit = np.sqrt(6 / (D + 4 * H))  # the four gates count as one (D, 4H) matrix
        self.Wx[...] = rng.uniform(-limit, limit, self.Wx.shape)
        q, r = np.linalg.qr(rng.standard_normal((4 * H, H)))  # (4H, H), orthonormal columns
        q *= np.sign(np.diag(r))  # without it the draw favours some rotations
        self.Wh[...] = q.reshape(4, H, H).swapaxes(1, 2)
        self.b[...] = 0
        self.b[1] = 1

    def zero_state(self, B: int) -> State:
        """The state before the first character: all zeros."""
        h = np.zeros((B, self.Wh.shape[1]), self.Wh.dtype)
        return State(h, h.copy())

    def forward(self, x: Array, state: State | None = None, tape: Tape | None = None) -> Tape:
        """Run over T steps.

        Parameters
        ----------
        x
            Ids, (T, B), which stand for one-hot vectors; or vectors, (T, B, D).
        state
            The state before the first step; zeros when not given.
        tape
            A tape of an earlier pass of the same size, to use again.

        Returns
        -------
        Tape
            Its `outputs` are h after each step, its `final_state` the state
            after the last.
        """
        T, B = x.shape[:2]
        H = self.Wh.shape[1]
        tape = Tape(T, B, H, self.Wh.dtype) if tape is None else tape
        if tape.shape != (T, B):
            raise ValueError(f"the tape is for (T, B) = {tape.shape}; x has {(T, B)}")
        if x.ndim == 2:
            D = self.Wx.shape[1]
            if x.size and not 0 <= x.min() <= x.max() < D:
                raise ValueError(f"ids run from {x.min()} to {x.max()}; they must be 0 to {D - 1}")
            x = x.astype(np.intp, copy=False)  # what take wants: spares T casts
        tape.x = x
        tape.h[0], tape.c[...] = self.zero_state(B) if state is None else state
        c = tape.c

        sums, x_sums = tape.scratch[:8].reshape(2, 4, B, H)
        Wh = prescaled(self.Wh)

        # What the input adds to the sums. An id picks a row of Wx, which costs a
        # fraction of the product with a one-hot vector. Vectors of all steps go in one
        # product; it waits on the memory that the gates will take, step by step.
        if x.ndim == 2:
            picked = prescaled(self.Wx + self.b[:, None])  # (4, D, H)
        else:
            np.matmul(x.reshape(T * B, -1), joined(prescaled(self.Wx)), out=tape.rows)  # (TB, 4H)
            tape.rows[...] += prescaled(self.b[:, None]).reshape(-1)
            waiting = tape.rows.reshape(T, B, 4, H).swapaxes(1, 2)  # (T, 4, B, H)

        with np.errstate(over="ignore"):
            for t, step in enumerate(tape.steps):
                gates, _, i, f, o, g, _, ig, fc_, tanh_c, h_, h, _, _ = step
                np.matmul(h_, Wh, out=sums)  # (4, B, H)
                if x.ndim == 2:
                    np.take(picked, x[t], axis=1, out=x_sums, mode="clip")  # "raise" buffers
                    sums += x_sums
                else:
                    sums += waiting[t]
                activate(sums, gates, g)

                np.multiply(f, c, out=fc_)
                np.multiply(i, g, out=ig)
                np.add(fc_, ig, out=c)  # c = f c₋ + i g
                np.tanh(c, out=tanh_c)
                np.multiply(o, tanh_c, out=h)  # h = o tanh(c)
        return tape

    def step(self, x: Array, state: State) -> State:
        """One step, with nothing kept for backward; ``stepper.py`` does it quickly.

        Parameters
        ----------
        x
            Ids, (B,), or vectors, (B, D).
        state
            The state before the step.
        """
        x_sum = self.Wx[:, x] if x.ndim == 1 else x @ self.Wx  # (4, B, H)
        z = x_sum + self.b[:, None] + state.h @ self.Wh
        with np.errstate(over="ignore"):
            i, f, o = sigmoid(z[:3], out=z[:3])
        g = np.tanh(z[3])
        c = f * state.c + i * g
        return State(o * np.tanh(c), c)

    def backward(
        self, tape: Tape, dh: Array | None, dstate: State | None, gradient: LSTM
    ) -> tuple[Array | None, State]:
        """Backpropagate through time.

        With da for the gradient of the loss by a, and dh, dc gathering what
        comes from the output above and from the step after::

            dc += dh o (1 − tanh²c)
            dzᵢ = dc i g (1 − i)        dz are the gradients of the gates' sums,
            dz_f = dc f c₋ (1 − f)      of what is inside σ and tanh above
            dzₒ = dh h (1 − o)
            dz_g = dc i (1 − g²)
            dc₋ = dc f
            dh₋ = Σ dz Whᵀ              over the four gates, and so dx = Σ dz Wxᵀ
            dWx = Σ xᵀ dz, dWh = Σ h₋ᵀ dz, db = Σ dz    over time and batch

        The first three are alike, what a gate has let through by what it has held
        back, and are computed as one.

        Parameters
        ----------
        tape
            The tape that `forward` returned. It is used up: the gates on it are
            overwritten by their gradients, which halves the memory to pass over.
        dh
            The gradient by each output, (T, B, H); None for zeros, as with a
            loss at the last character alone.
        dstate
            The gradient by the final state; None for zeros.
        gradient
            A layer of the same shapes; its arrays are overwritten with the
            gradients by this layer's.

        Returns
        -------
        dx, dstate
            The gradients by the vectors that came in, (T, B, D) (None for ids),
            and by the initial state.
        """
        (T, B), H = tape.shape, self.Wh.shape[1]
        x = tape.x
        assert x is not None
        # The four products and their sum as one product: a sixth of the loop's time.
        WhT = self.Wh.swapaxes(1, 2).reshape(4 * H, H)
        dh_next, dc, dc_, a = tape.scratch[:4]  # (B, H) each
        through, held = tape.scratch[4:7], tape.scratch[7:10]  # (3, B, H) each
        dc_terms, dh_h = through[:2], through[2]
        dh_next[...], dc[...] = (0, 0) if dstate is None else dstate

        for t in range(T - 1, -1, -1):
            _, ifo, i, f, o, g, terms, ig, _, tanh_c, _, h, dz_ifo, dz_g = tape.steps[t]
            if dh is not None:
                dh_next += dh[t]
            np.multiply(dh_next, o, out=a)
            dc += a
            np.multiply(dh_next, h, out=dh_h)  # dh o tanh(c)
            np.multiply(dh_h, tanh_c, out=a)
            dc -= a  # both together: dc += dh o (1 − tanh²c)

            np.multiply(terms, dc, out=dc_terms)
            np.subtract(ONE, ifo, out=held)
            np.multiply(ig, g, out=a)
            np.subtract(i, a, out=a)  # i (1 − g²)
            np.multiply(dc, f, out=dc_)

            # From here on the gates are needed no more: dz takes their memory.
            np.multiply(through, held, out=dz_ifo)
            np.multiply(a, dc, out=dz_g)
            dc, dc_ = dc_, dc
            np.matmul(tape.rows[t * B : (t + 1) * B], WhT, out=dh_next)

        # A product of (TB, ·) matrices sums over time and batch at once. That of h₋ and
        # that of x in one: 3 % of a step. Ids go in as one-hot rows, as adding to the
        # rows that they pick would be far slower.
        dz_rows = tape.rows  # (TB, 4H)
        D = self.Wx.shape[1]
        inputs = np.empty((T * B, H + D), dz_rows.dtype)
        inputs[:, :H] = tape.h[:-1].reshape(T * B, H)
        if x.ndim == 3:
            inputs[:, H:] = x.reshape(T * B, D)
        else:
            inputs[:, H:] = 0
            inputs[np.arange(T * B), H + x.reshape(-1)] = 1
        dW = parted(inputs.T @ dz_rows)  # (4, H + D, H)
        gradient.Wh[...], gradient.Wx[...] = dW[:, :H], dW[:, H:]
        if x.ndim == 3:
            gradient.b[...] = dz_rows.sum(axis=0).reshape(4, H)
            dx = (dz_rows @ joined(self.Wx).T).reshape(x.shape)
        else:
            np.add.reduce(gradient.Wx, axis=1, out=gradient.b)  # one-hot rows sum to 1
            dx = None
        return dx, State(dh_next.copy(), dc.copy())


def sigmoid(z: Array, out: Array) -> Array:
    """σ(z) = 1/(1 + exp(−z)), in `out`; `z` is used up.

    For very negative z the exponential is inf, and σ rightly 0.
    """
    np.negative(z, out=z)
    np.exp(z, out=z)
    z += 1
    return np.reciprocal(z, out=out)


def prescaled(W: Array) -> Array:
    """A copy of (4, D, H), with i, f and o times −1 and g times −2: see `activate`."""
    scaled: Array = W * np.array([-1, -1, -1, -2], W.dtype)[:, None, None]
    return scaled


def activate(z: Array, gates: Array, g: Array) -> None:
    """The gates, (4, B, H), of `prescaled` sums; `z` is used up, `g` is gates[3].

    One exponential for all four, since tanh(z) = 2σ(2z) − 1, and no pass for the
    sign, since the weights have it: 4 % of a step of training. NumPy's tanh costs
    two of its exponentials.
    """
    np.exp(z, out=z)
    z += ONE
    np.reciprocal(z, out=gates)
    g += g
    g -= ONE


def joined(W: Array) -> Array:
    """(4, D, H) as one matrix, (D, 4H), the gates side by side: a copy."""
    return W.swapaxes(0, 1).reshape(W.shape[1], -1)


def parted(W: Array) -> Array:
    """(D, 4H), the gates side by side, as (4, D, H): a view."""
    return W.reshape(W.shape[0], 4, -1).swapaxes(0, 1)
