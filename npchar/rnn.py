"""A plain recurrent layer, for comparison: what the LSTM was invented to mend.

Elman's network of 1990: the hidden state is all the memory there is, and every step
squeezes it through the same matrix and tanh. Its gradient, going back, meets that
matrix at every step, and grows or shrinks like its powers (Bengio et al. 1994).
Nothing else here uses it; see ``lstm.py`` for the layer that the models are made of.

    h = tanh(x Wx + h₋ Wh + b)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from npchar.parameters import Array

if TYPE_CHECKING:
    from numpy.typing import DTypeLike


class RNN:
    """A plain recurrent layer.

    Parameters
    ----------
    Wx
        Input weights, (D, H).
    Wh
        Recurrent weights, (H, H).
    b
        Biases, (H,).
    """

    def __init__(self, Wx: Array, Wh: Array, b: Array) -> None:
        self.Wx, self.Wh, self.b = Wx, Wh, b

    @classmethod
    def create(
        cls, input_size: int, hidden_size: int, seed: int = 0, dtype: DTypeLike = "float32"
    ) -> RNN:
        """A layer with weights as Keras begins: Glorot-uniform, orthogonal, zero."""
        D, H = input_size, hidden_size
        rng = np.random.default_rng(seed)
        limit = np.sqrt(6 / (D + H))
        q, r = np.linalg.qr(rng.standard_normal((H, H)))
        return cls(
            rng.uniform(-limit, limit, (D, H)).astype(dtype),
            (q * np.sign(np.diag(r))).astype(dtype),
            np.zeros(H, dtype),
        )

    def forward(self, x: Array, h: Array | None = None) -> Array:
        """Run over T steps.

        Parameters
        ----------
        x
            Ids, (T, B), or vectors, (T, B, D).
        h
            The state before the first step, (B, H); zeros when not given.

        Returns
        -------
        Array
            (T + 1, B, H): the state before the first step, and after each.
        """
        T, B = x.shape[:2]
        states = np.zeros((T + 1, B, len(self.b)), self.Wh.dtype)
        states[0] = 0 if h is None else h
        for t in range(T):
            from_x = self.Wx[x[t]] if x.ndim == 2 else x[t] @ self.Wx  # (B, H)
            states[t + 1] = np.tanh(from_x + states[t] @ self.Wh + self.b)
        return states

    def backward(self, x: Array, states: Array, dh: Array, gradient: RNN) -> Array:
        """Backpropagate through time.

        Parameters
        ----------
        x, states
            What went into `forward` and came out of it.
        dh
            The gradient of the loss by each output alone, (T, B, H).
        gradient
            A layer of the same shapes; its arrays are overwritten.

        Returns
        -------
        Array
            (T + 1, B, H): the gradient by each state, with all that comes through
            later ones. Its lengths over time show what vanishes or explodes.
        """
        T, _, H = dh.shape
        flow = np.zeros_like(states)
        flow[1:] = dh
        dz = np.empty_like(dh)  # by what is inside tanh
        for t in range(T - 1, -1, -1):
            dz[t] = flow[t + 1] * (1 - states[t + 1] ** 2)
            flow[t] += dz[t] @ self.Wh.T
        rows = dz.reshape(-1, H)
        inputs = np.eye(len(self.Wx), dtype=dz.dtype)[x] if x.ndim == 2 else x
        gradient.Wx[...] = inputs.reshape(len(rows), -1).T @ rows
        gradient.Wh[...] = states[:-1].reshape(-1, H).T @ rows
        gradient.b[...] = rows.sum(axis=0)
        return flow
