"""A plain recurrent layer (Elman 1990), for comparison with the LSTM.

The hidden state is the only memory. Every step multiplies it by the same matrix and applies tanh:

    h = tanh(x Wx + h₋ Wh + b)

The argument of tanh is called z. In the backward pass, dv is the gradient of the loss with respect
to v, and dh comes from the following step:

    dh  = dh + the gradient from the layer above
    dz  = dh (1 − h²)                     tanh' = 1 − tanh²
    dWx = Σ xᵀ dz                         over time and batch
    dWh = Σ h₋ᵀ dz
    db  = Σ dz
    dx  = dz Wxᵀ
    dh₋ = dz Whᵀ

Every backward step multiplies the gradient by 1 − h² and Whᵀ, so the gradient shrinks or grows
exponentially with the number of steps (Bengio et al. 1994).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from npchar.arrays import Array
from npchar.layers.layer import AnyTape, HiddenState, Layer, orthogonal

__all__ = ["RNN"]


class RNNTape(NamedTuple):
    """The inputs and the hidden states of one forward pass."""

    x: Array  # (T, B, D)
    h: Array  # (T + 1, B, H)
    ids: bool  # whether x was ids

    @property
    def outputs(self) -> Array:
        """The hidden state after each step, (T, B, H)."""
        return self.h[1:]

    @property
    def final_state(self) -> HiddenState:
        """The state after the last step."""
        return HiddenState(self.h[-1])

    @property
    def values(self) -> dict[str, Array]:
        """The output after each step, (T, B, H)."""
        return {"h": self.outputs}


class RNN(Layer[HiddenState]):
    """A plain recurrent layer.

    Parameters
    ----------
    Wx
        Input weights, (D, H).
    Wh
        Recurrent weights, (H, H).
    b
        Biases, (H,).

    Notes
    -----
    A pass over T steps and B sequences costs about 2 TBH (D + H) floating-point
    operations forward and twice that backward: a quarter of the cost of an LSTM.

    Examples
    --------
    >>> npchar.RNN.shapes(5, 3)["Wx"]
    (5, 3)
    >>> layer = npchar.RNN.create(input_size=5, hidden_size=3)
    >>> layer.initialise(np.random.default_rng(1))  # other weights
    >>> tape = layer.forward(np.array([[0], [4], [2]]))  # three ids, (T, B)
    >>> tape.outputs.shape, layer.state_shapes(1)  # of h, from step to step
    ((3, 1, 3), ((1, 3),))
    >>> gradient = layer.zeros_like()
    >>> dx, dstate = layer.backward(tape, np.ones((3, 1, 3)), None, gradient)
    >>> gradient.Wx.shape, dstate.h.shape
    ((5, 3), (1, 3))
    >>> h, state = layer.step(np.array([1]), tape.final_state)  # one id more
    >>> h.shape
    (1, 3)
    """

    name = "rnn"
    state_type = HiddenState
    tape_size = 2

    def __init__(self, Wx: Array, Wh: Array, b: Array) -> None:
        self.Wx, self.Wh, self.b = Wx, Wh, b
        self._set_sizes()

    @staticmethod
    def shapes(input_size: int, hidden_size: int) -> dict[str, tuple[int, ...]]:
        """The names and shapes of a layer's arrays."""
        D, H = input_size, hidden_size
        return {"Wx": (D, H), "Wh": (H, H), "b": (H,)}

    def initialise(self, rng: np.random.Generator) -> None:
        """Fill the weights as Keras does: Glorot-uniform, orthogonal, zero."""
        limit = np.sqrt(6 / sum(self.Wx.shape))
        self.Wh[...] = orthogonal(rng, *self.Wh.shape)
        self.Wx[...] = rng.uniform(-limit, limit, self.Wx.shape)
        self.b[...] = 0

    def forward(self, x: Array, state: HiddenState | None = None, tape: AnyTape = None) -> AnyTape:
        """Run over T steps: see `Layer.forward`. Each call creates a new tape."""
        x, state = self._begin(x, state)
        T, B = x.shape[:2]
        vectors = self.vectors(x)  # (T, B, D)
        h = np.empty((T + 1, B, len(self.b)), self.Wh.dtype)
        h[0] = state.h
        for t in range(T):
            h[t + 1] = np.tanh(vectors[t] @ self.Wx + h[t] @ self.Wh + self.b)
        return RNNTape(vectors, h, ids=x.ndim == 2)

    def backward(
        self, tape: AnyTape, dh: Array | None, dstate: HiddenState | None, gradient: RNN
    ) -> tuple[Array | None, HiddenState]:
        """Backpropagate through time: see `Layer.backward`."""
        above, dstate = self._begin_backward(tape, RNNTape, dh, dstate, gradient)
        dx = np.empty(tape.x.shape, self.Wx.dtype)
        (dh,) = dstate
        for t in reversed(range(len(above))):
            dh = dh + above[t]
            dz = dh * (1 - tape.h[t + 1] ** 2)  # (B, H)
            gradient.Wx += tape.x[t].T @ dz
            gradient.Wh += tape.h[t].T @ dz
            gradient.b += dz.sum(axis=0)
            dx[t] = dz @ self.Wx.T
            dh = dz @ self.Wh.T
        return (None if tape.ids else dx), HiddenState(dh)
