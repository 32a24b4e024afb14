"""The LSTM as in the papers, written for reading; ``fast/lstm.py`` is used for training.

The input is ids from ``text/batches.py`` or vectors from a layer below. The hidden states are the
input of the next layer or of ``layers/dense.py``.

The equations of each step are those of Hochreiter & Schmidhuber (1997) with the forget gate of
Gers et al. (2000), in the notation that is common today. Vectors are rows.

    i = σ(x Wx[0] + h₋ Wh[0] + b[0])      input gate: how much of g to write
    f = σ(x Wx[1] + h₋ Wh[1] + b[1])      forget gate: how much of c₋ to keep
    o = σ(x Wx[2] + h₋ Wh[2] + b[2])      output gate: how much of c to show
    g = tanh(x Wx[3] + h₋ Wh[3] + b[3])   the candidate to write
    c = f c₋ + i g                        the cell state, the long-term memory
    h = o tanh(c)                         the hidden state, the output

where h₋ and c₋ are the state before the step. The arguments of σ and tanh are called z. The first
axis of Wx, Wh and b is the gate, in the order i, f, o, g.

In the backward pass, da is the gradient of the loss with respect to a. The steps run from the last
to the first, and dh and dc come from the following step. Each line is the derivative of a line
above, by the chain rule:

    dh   = dh + the gradient from the layer above
    dc   = dc + dh o (1 − tanh²(c))       of h = o tanh(c), and tanh' = 1 − tanh²
    dz_i = dc g i (1 − i)                 of c = f c₋ + i g, and σ' = σ (1 − σ)
    dz_f = dc c₋ f (1 − f)
    dz_o = dh tanh(c) o (1 − o)           of h = o tanh(c)
    dz_g = dc i (1 − g²)                  of c = f c₋ + i g
    dWx  = Σ xᵀ dz                        for each gate, over time and batch
    dWh  = Σ h₋ᵀ dz
    db   = Σ dz
    dx   = Σ dz Wxᵀ                       over the four gates
    dh₋  = Σ dz Whᵀ
    dc₋  = dc f                           of c = f c₋ + i g

This is the full gradient over all steps (Graves & Schmidhuber 2005). The 1997 paper truncates the
gradient at the gates.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from npchar.arrays import Array
from npchar.layers.layer import AnyTape, Layer, orthogonal, sigmoid

__all__ = ["LSTM"]


class State(NamedTuple):
    """The state of an LSTM between two steps."""

    h: Array  # (B, H)
    c: Array  # (B, H)


class Step(NamedTuple):
    """The values of one step; ``_`` marks the value before it."""

    x: Array  # (B, D)
    h_: Array  # (B, H), as are all others
    c_: Array
    i: Array
    f: Array
    o: Array
    g: Array
    c: Array
    h: Array


class Tape(NamedTuple):
    """The steps of one forward pass, and whether their inputs were ids."""

    steps: list[Step]
    ids: bool

    @property
    def outputs(self) -> Array:
        """The hidden state after each step, (T, B, H)."""
        return np.stack([step.h for step in self.steps])

    @property
    def final_state(self) -> State:
        """The state after the last step."""
        return State(self.steps[-1].h, self.steps[-1].c)

    @property
    def values(self) -> dict[str, Array]:
        """The gates, the candidate, the cell and the output of each step, (T, B, H) each."""
        return {name: np.stack([getattr(s, name) for s in self.steps]) for name in "ifogch"}


class LSTM(Layer[State]):
    """A long short-term memory layer.

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
    operations forward and twice that backward. Weights can have any floating-point type. The
    gradient check uses complex weights.

    Examples
    --------
    >>> npchar.LSTM.shapes(5, 3)["Wx"]
    (4, 5, 3)
    >>> layer = npchar.LSTM.create(input_size=5, hidden_size=3)
    >>> layer.initialise(np.random.default_rng(1))  # other weights
    >>> tape = layer.forward(np.array([[0], [4], [2]]))  # three ids, (T, B)
    >>> tape.outputs.shape, layer.state_shapes(1)  # of h and c
    ((3, 1, 3), ((1, 3), (1, 3)))
    >>> gradient = layer.zeros_like()
    >>> dx, dstate = layer.backward(tape, np.ones((3, 1, 3)), None, gradient)
    >>> gradient.Wx.shape, dstate.h.shape
    ((4, 5, 3), (1, 3))
    >>> h, state = layer.step(np.array([1]), tape.final_state)  # one id more
    >>> h.shape
    (1, 3)
    >>> x = layer.vectors(np.array([0]))  # a step by hand: one-hot
    >>> np.array_equal(layer.equations(x, *layer.zero_state(1)).h, tape.outputs[0])
    True
    """

    name = "lstm"
    state_type = State
    tape_size = 7

    def __init__(self, Wx: Array, Wh: Array, b: Array) -> None:
        self.Wx, self.Wh, self.b = Wx, Wh, b
        self._set_sizes()

    @staticmethod
    def shapes(input_size: int, hidden_size: int) -> dict[str, tuple[int, ...]]:
        """The names and shapes of a layer's arrays."""
        D, H = input_size, hidden_size
        return {"Wx": (4, D, H), "Wh": (4, H, H), "b": (4, H)}

    def initialise(self, rng: np.random.Generator) -> None:
        """Fill the weights as Keras does.

        Input weights are Glorot-uniform and recurrent weights orthogonal. Biases are 0, except
        those of the forget gate, which are 1, so that a new cell keeps most of its value
        (Jozefowicz et al. 2015).
        """
        D, H = self.Wx.shape[1:]
        limit = np.sqrt(6 / (D + 4 * H))  # the four gates count as one (D, 4H) matrix
        self.Wx[...] = rng.uniform(-limit, limit, self.Wx.shape)
        self.Wh[...] = orthogonal(rng, 4 * H, H).reshape(4, H, H).swapaxes(1, 2)
        self.b[...] = 0
        self.b[1] = 1

    def forward(self, x: Array, state: State | None = None, tape: AnyTape = None) -> AnyTape:
        """Run over T steps: see `Layer.forward`. Each call creates a new `Tape`."""
        x, state = self._begin(x, state)
        steps = []
        for x_t in self.vectors(x):  # (B, D)
            steps.append(self.equations(x_t, *state))
            state = State(steps[-1].h, steps[-1].c)
        return Tape(steps, ids=x.ndim == 2)

    def equations(self, x: Array, h_: Array, c_: Array) -> Step:
        """Compute one step from input vectors, (B, D), and the previous state, (B, H) each."""
        z = x @ self.Wx + h_ @ self.Wh + self.b[:, None]  # (4, B, H)
        i = sigmoid(z[0])
        f = sigmoid(z[1])
        o = sigmoid(z[2])
        g = np.tanh(z[3])
        c = f * c_ + i * g
        h = o * np.tanh(c)
        return Step(x, h_, c_, i, f, o, g, c, h)

    def backward(
        self, tape: AnyTape, dh: Array | None, dstate: State | None, gradient: LSTM
    ) -> tuple[Array | None, State]:
        """Backpropagate through time: see `Layer.backward`."""
        above, dstate = self._begin_backward(tape, Tape, dh, dstate, gradient)
        T, B, _ = above.shape
        dx = np.empty((T, B, self.Wx.shape[1]), self.Wx.dtype)
        WxT, WhT = self.Wx.swapaxes(1, 2), self.Wh.swapaxes(1, 2)

        dh, dc = dstate
        for t in reversed(range(T)):
            x, h_, c_, i, f, o, g, c, _ = tape.steps[t]
            dh = dh + above[t]
            dc = dc + dh * o * (1 - np.tanh(c) ** 2)
            dz_i = dc * g * i * (1 - i)
            dz_f = dc * c_ * f * (1 - f)
            dz_o = dh * np.tanh(c) * o * (1 - o)
            dz_g = dc * i * (1 - g**2)
            dz = np.stack([dz_i, dz_f, dz_o, dz_g])  # (4, B, H)
            gradient.Wx += x.T @ dz
            gradient.Wh += h_.T @ dz
            gradient.b += dz.sum(axis=1)
            dx[t] = (dz @ WxT).sum(axis=0)
            dh = (dz @ WhT).sum(axis=0)
            dc = dc * f
        return (None if tape.ids else dx), State(dh, dc)
