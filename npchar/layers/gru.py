"""The GRU in cuDNN's form, written for reading; ``fast/gru.py`` is used for training.

A gated recurrent unit (Cho et al. 2014) has no cell, only a hidden state, and three weight
matrices instead of the LSTM's four. As in cuDNN, PyTorch and Keras, the reset gate is applied
after the product with Wh, so that a step needs only one product with the hidden state. In the
published paper, the reset gate is applied before the product.

    r = σ(x Wx[0] + h₋ Wh[0] + b[0])      reset gate: how much of h₋ the candidate uses
    z = σ(x Wx[1] + h₋ Wh[1] + b[1])      update gate: how much of h₋ to keep
    q = h₋ Wh[2] + bq                     the part of the candidate that r scales
    n = tanh(x Wx[2] + r q + b[2])        the candidate
    h = (1 − z) n + z h₋                  the hidden state, the output

where h₋ is the state before the step. The arguments of σ and tanh are called a. The first axis of
Wx, Wh and b is the gate, in the order r, z, n.

In the backward pass, dv is the gradient of the loss with respect to v. The steps run from the last
to the first, and dh comes from the following step. Each line is the derivative of a line above, by
the chain rule:

    dh   = dh + the gradient from the layer above
    da_n = dh (1 − z) (1 − n²)            of h = (1 − z) n + z h₋, and tanh' = 1 − tanh²
    da_z = dh (h₋ − n) z (1 − z)          and σ' = σ (1 − σ)
    da_r = da_n q r (1 − r)               of r q
    dq   = da_n r
    dWx  = Σ xᵀ da                        for each gate, over time and batch
    db   = Σ da
    dWh  = Σ h₋ᵀ (da_r, da_z, dq)
    dbq  = Σ dq
    dx   = Σ da Wxᵀ                       over the three gates
    dh₋  = dh z + Σ (da_r, da_z, dq) Whᵀ
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from npchar.arrays import Array
from npchar.layers.layer import AnyTape, HiddenState, Layer, orthogonal, sigmoid

__all__ = ["GRU"]


class GRUStep(NamedTuple):
    """The values of one step; ``_`` marks the value before it."""

    x: Array  # (B, D)
    h_: Array  # (B, H), as are all others
    r: Array
    z: Array
    q: Array
    n: Array
    h: Array


class GRUTape(NamedTuple):
    """The steps of one forward pass, and whether their inputs were ids."""

    steps: list[GRUStep]
    ids: bool

    @property
    def outputs(self) -> Array:
        """The hidden state after each step, (T, B, H)."""
        return np.stack([step.h for step in self.steps])

    @property
    def final_state(self) -> HiddenState:
        """The state after the last step."""
        return HiddenState(self.steps[-1].h)

    @property
    def values(self) -> dict[str, Array]:
        """The two gates, the candidate and the output of each step, (T, B, H) each."""
        return {name: np.stack([getattr(s, name) for s in self.steps]) for name in "rznh"}


class GRU(Layer[HiddenState]):
    """A gated recurrent unit layer.

    Parameters
    ----------
    Wx
        Input weights, (3, D, H), gates in the order r, z, n.
    Wh
        Recurrent weights, (3, H, H).
    b
        Biases, (3, H).
    bq
        The bias of q, (H,), which the reset gate also scales.

    Notes
    -----
    A pass over T steps and B sequences costs about 6 TBH (D + H) floating-point
    operations forward and twice that backward: three quarters of the cost of an LSTM.

    Examples
    --------
    >>> npchar.GRU.shapes(5, 3)["Wx"]
    (3, 5, 3)
    >>> layer = npchar.GRU.create(input_size=5, hidden_size=3)
    >>> layer.initialise(np.random.default_rng(1))  # other weights
    >>> tape = layer.forward(np.array([[0], [4], [2]]))  # three ids, (T, B)
    >>> tape.outputs.shape, layer.state_shapes(1)  # of h, from step to step
    ((3, 1, 3), ((1, 3),))
    >>> gradient = layer.zeros_like()
    >>> dx, dstate = layer.backward(tape, np.ones((3, 1, 3)), None, gradient)
    >>> gradient.Wx.shape, dstate.h.shape
    ((3, 5, 3), (1, 3))
    >>> h, state = layer.step(np.array([1]), tape.final_state)  # one id more
    >>> h.shape
    (1, 3)
    >>> x = layer.vectors(np.array([0]))  # a step by hand: one-hot
    >>> np.array_equal(layer.equations(x, layer.zero_state(1).h).h, tape.outputs[0])
    True
    """

    name = "gru"
    state_type = HiddenState
    tape_size = 5

    def __init__(self, Wx: Array, Wh: Array, b: Array, bq: Array) -> None:
        self.Wx, self.Wh, self.b, self.bq = Wx, Wh, b, bq
        self._set_sizes()

    @staticmethod
    def shapes(input_size: int, hidden_size: int) -> dict[str, tuple[int, ...]]:
        """The names and shapes of a layer's arrays."""
        D, H = input_size, hidden_size
        return {"Wx": (3, D, H), "Wh": (3, H, H), "b": (3, H), "bq": (H,)}

    def initialise(self, rng: np.random.Generator) -> None:
        """Fill the weights as Keras does: Glorot-uniform, orthogonal, zero."""
        D, H = self.Wx.shape[1:]
        limit = np.sqrt(6 / (D + 3 * H))  # the three gates count as one (D, 3H) matrix
        self.Wx[...] = rng.uniform(-limit, limit, self.Wx.shape)
        self.Wh[...] = orthogonal(rng, 3 * H, H).reshape(3, H, H).swapaxes(1, 2)
        self.b[...] = self.bq[...] = 0

    def forward(self, x: Array, state: HiddenState | None = None, tape: AnyTape = None) -> AnyTape:
        """Run over T steps: see `Layer.forward`. Each call creates a new `GRUTape`."""
        x, (h,) = self._begin(x, state)
        steps = []
        for x_t in self.vectors(x):  # (B, D)
            steps.append(self.equations(x_t, h))
            h = steps[-1].h
        return GRUTape(steps, ids=x.ndim == 2)

    def equations(self, x: Array, h_: Array) -> GRUStep:
        """Compute one step from input vectors, (B, D), and the previous state, (B, H)."""
        r = sigmoid(x @ self.Wx[0] + h_ @ self.Wh[0] + self.b[0])  # (B, H)
        z = sigmoid(x @ self.Wx[1] + h_ @ self.Wh[1] + self.b[1])
        q = h_ @ self.Wh[2] + self.bq
        n = np.tanh(x @ self.Wx[2] + r * q + self.b[2])
        h = (1 - z) * n + z * h_
        return GRUStep(x, h_, r, z, q, n, h)

    def backward(
        self, tape: AnyTape, dh: Array | None, dstate: HiddenState | None, gradient: GRU
    ) -> tuple[Array | None, HiddenState]:
        """Backpropagate through time: see `Layer.backward`."""
        above, dstate = self._begin_backward(tape, GRUTape, dh, dstate, gradient)
        T, B, _ = above.shape
        dx = np.empty((T, B, self.Wx.shape[1]), self.Wx.dtype)
        WxT, WhT = self.Wx.swapaxes(1, 2), self.Wh.swapaxes(1, 2)

        (dh,) = dstate
        for t in reversed(range(T)):
            x, h_, r, z, q, n, _ = tape.steps[t]
            dh = dh + above[t]
            da_n = dh * (1 - z) * (1 - n**2)
            da_z = dh * (h_ - n) * z * (1 - z)
            da_r = da_n * q * r * (1 - r)
            dq = da_n * r
            da = np.stack([da_r, da_z, da_n])  # (3, B, H)
            dah = np.stack([da_r, da_z, dq])
            gradient.Wx += x.T @ da
            gradient.b += da.sum(axis=1)
            gradient.Wh += h_.T @ dah
            gradient.bq += dq.sum(axis=0)
            dx[t] = (da @ WxT).sum(axis=0)
            dh = dh * z + (dah @ WhT).sum(axis=0)
        return (None if tape.ids else dx), HiddenState(dh)
