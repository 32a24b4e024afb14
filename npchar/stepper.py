"""The network one step at a time: how text is written.

The layers and their equations come from ``lstm.py`` and ``dense.py``;
``network.py`` stacks these for ``generation.py``.
"""

from __future__ import annotations

import numpy as np

from npchar.dense import Dense
from npchar.lstm import LSTM, State, activate, joined, prescaled
from npchar.parameters import Array


class Stepper:
    """A layer that goes on from a state, a step at a time, with nothing kept for backward.

    `LSTM.step`, made quick for the thousands of steps of generated text: weights
    prepared, constants and buffers allocated once, one exponential for all four
    gates, and h multiplied with the weights of the next step as soon as it is
    known, so that a single sequence needs one product for them and the logits.

    Parameters
    ----------
    layer
        The layer. Its weights are copied: later changes do not count.
    state
        The state to go on from, copied too.
    dense
        The output layer, above the top LSTM.
    """

    def __init__(self, layer: LSTM, state: State, dense: Dense | None = None) -> None:
        (B, H), dtype = state.h.shape, layer.Wh.dtype
        self.h, self.c = state.h.copy(), state.c.copy()
        self.Wx, self.b = prescaled(layer.Wx), prescaled(layer.b[:, None])
        self.picked = self.Wx + self.b  # (4, D, H), for ids
        self.dense_b = None if dense is None else dense.b.copy()

        # One product of h for the next step's sums and the logits: its columns.
        W = [joined(prescaled(layer.Wh))] + ([] if dense is None else [dense.W])
        self.W = np.concatenate(W, axis=1)  # (H, 4H + V)
        self.products = np.empty((B, self.W.shape[1]), dtype)
        self.h_sums = self.products[:, : 4 * H].reshape(B, 4, H).swapaxes(0, 1)  # (4, B, H)
        self.logits = self.products[:, 4 * H :]
        np.dot(self.h, self.W, out=self.products)

        self.z = np.empty((4, B, H), dtype)
        self.gates = tuple(self.z)
        # σ(−80) is 0 for all purposes, and exp(80) no overflow
        self.most = np.full((), 80, dtype) if dtype.kind == "f" else None

    def step(self, x: Array) -> Array:
        """One step on.

        Takes ids, (B,), or vectors, (B, D); returns the logits, (B, V), or
        without a dense layer h, (B, H), valid until the next step.
        """
        z, h, c = self.z, self.h, self.c
        i, f, o, g = self.gates
        if x.ndim == 1:
            self.picked.take(x, axis=1, out=z, mode="clip")
        else:
            np.matmul(x, self.Wx, out=z)
            z += self.b
        z += self.h_sums
        if self.most is not None:
            np.minimum(z, self.most, out=z)
        activate(z, z, g)
        c *= f
        g *= i
        c += g
        np.tanh(c, out=h)
        h *= o
        np.dot(h, self.W, out=self.products)
        if self.dense_b is None:
            return h
        logits = self.logits
        logits += self.dense_b
        return logits
