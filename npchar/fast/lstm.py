"""The optimized LSTM: the equations of ``layers/lstm.py``, for ``fast/recurrent.py``."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy import add, multiply, subtract, tanh

from npchar.fast.recurrent import HALF, ONE, Cell, FastRecurrent, StepBuffers, Weights
from npchar.layers.lstm import LSTM, State

__all__ = ["FastLSTM"]


class LSTMCell(Cell):
    """The equations of ``layers/lstm.py``."""

    # σ(z) = ½ + ½ tanh(z/2), so that one tanh computes all four gates if the sums are halved.
    gate_scale = np.array([0.5, 0.5, 0.5, 1], np.float32)[:, None, None]
    saved_arrays = 1  # tanh(c), so that backward does not compute it again

    @staticmethod
    def by_gate(layer: LSTM) -> Weights:
        """The arrays of a layer, or of its gradient, by gate."""
        return Weights(layer.Wx, layer.Wh, layer.b)

    @staticmethod
    def bind_forward(buffers: StepBuffers) -> Callable[[], None]:
        """The equations of a step, bound to the buffers."""
        sums, gates, ifo, ig = buffers.sums, buffers.gates, buffers.gates[:3], buffers.scratch[0]
        i, f, o, g = gates
        (_, c_), (h, c), (tanh_c,) = buffers.before, buffers.after, buffers.saved

        def step() -> None:
            tanh(sums, gates)
            multiply(ifo, HALF, ifo)
            add(ifo, HALF, ifo)
            multiply(f, c_, c)
            multiply(i, g, ig)
            add(c, ig, c)  # c = f c₋ + i g
            tanh(c, tanh_c)
            multiply(o, tanh_c, h)  # h = o tanh(c)

        return step

    @staticmethod
    def bind_backward(buffers: StepBuffers) -> Callable[[], None]:
        """The gradients of the plain layer, regrouped so that all four share the last factor.

        dc += dh o (1 − tanh²(c))
        dz = (dc i g, dc f c₋, dh o tanh(c), dc i) (1 − (i, f, o, g²))
        """
        gates, dgates, a = buffers.gates, buffers.dgates, buffers.scratch[0]
        (i, f, o, g), (dz_i, dz_f, dz_o, dz_g) = gates, dgates
        (_, c_), (tanh_c,), (dh, dc) = buffers.before, buffers.saved, buffers.dstate

        def step() -> None:
            multiply(dh, o, a)
            add(dc, a, dc)
            multiply(a, tanh_c, dz_o)
            multiply(dz_o, tanh_c, a)
            subtract(dc, a, dc)
            multiply(dc, i, dz_g)
            multiply(dz_g, g, dz_i)
            multiply(dc, f, dc)
            multiply(dc, c_, dz_f)
            multiply(g, g, g)
            subtract(ONE, gates, gates)
            multiply(dgates, gates, dgates)

        return step


class FastLSTM(FastRecurrent[State], LSTM):
    """An optimized `LSTM` with the same arrays, and the same results to rounding.

    Examples
    --------
    >>> plain = npchar.LSTM.create(input_size=5, hidden_size=3)
    >>> fast = npchar.FastLSTM(**plain.arrays)
    >>> x = np.array([[0], [4], [2]])
    >>> np.allclose(fast.forward(x).outputs, plain.forward(x).outputs, atol=1e-6)
    True
    """

    cell = LSTMCell
