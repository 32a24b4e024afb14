"""The LSTM one step at a time: how text is written.

The layer and its equations come from ``lstm.py``; ``network.py`` stacks these
for ``generation.py``.
"""

from __future__ import annotations

import numpy as np

from npchar.lstm import LSTM, State
from npchar.parameters import Array


class Stepper:
    """A layer that goes on from a state, a step at a time, with nothing kept for backward.

    `LSTM.step`, made quick for the thousands of steps of generated text: weights
    prepared and buffers allocated once, and one exponential for all four gates,
    since tanh(z) = 2σ(2z) − 1. One sequence takes two thirds of `LSTM.step`'s
    time (17 µs beside 25).

    Parameters
    ----------
    layer
        The layer. Its weights are copied: later changes do not count.
    state
        The state to go on from, copied too.
    """

    def __init__(self, layer: LSTM, state: State) -> None:
        # exp(−z) is what σ needs, exp(−2z) what tanh does: the factors go into the weights.
        factors = np.array([-1, -1, -1, -2], layer.Wh.dtype)[:, None, None]
        self.rows = factors * (layer.Wx + layer.b[:, None])  # (4, D, H), for ids
        self.Wx, self.b = factors * layer.Wx, factors * layer.b[:, None]
        self.Wh = factors * layer.Wh
        self.h, self.c = state.h.copy(), state.c.copy()
        self.z, self.x_sums = np.empty((2, 4, *state.h.shape), layer.Wh.dtype)  # (4, B, H)

    def step(self, x: Array) -> Array:
        """One step on: ids, (B,), or vectors, (B, D); returns h, (B, H), valid until the next."""
        z, x_sums, h, c = self.z, self.x_sums, self.h, self.c
        i, f, o, g = z
        np.matmul(h, self.Wh, out=z)
        if x.ndim == 1:
            self.rows.take(x, axis=1, out=x_sums, mode="clip")
        else:
            np.matmul(x, self.Wx, out=x_sums)
            z += self.b
        z += x_sums
        if z.dtype.kind == "f":  # σ(−80) is 0 for all purposes, and exp(80) no overflow
            np.minimum(z, 80, out=z)
        np.exp(z, out=z)
        z += 1
        np.reciprocal(z, out=z)
        g += g
        g -= 1
        c *= f
        g *= i
        c += g
        np.tanh(c, out=h)
        h *= o
        return h
