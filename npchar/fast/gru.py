"""The optimized GRU: the equations of ``layers/gru.py``, for ``fast/recurrent.py``."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy import add, copyto, multiply, subtract, tanh

from npchar.arrays import Array
from npchar.fast.recurrent import HALF, ONE, Cell, FastRecurrent, StepBuffers, Weights
from npchar.layers.gru import GRU
from npchar.layers.layer import HiddenState

__all__ = ["FastGRU"]


class GRUCell(Cell):
    """The equations of ``layers/gru.py``.

    The gates are in the order q, r, z, n: Wh feeds the first three, and Wx the last three.
    """

    gate_scale = np.array([1, 0.5, 0.5, 1], np.float32)[:, None, None]  # halves: see `LSTMCell`

    @staticmethod
    def by_gate(layer: GRU) -> Weights:
        """The arrays of a layer, or of its gradient, by gate."""
        r, z, q = layer.Wh
        return Weights(layer.Wx, [q, r, z], [layer.bq, *layer.b])

    @staticmethod
    def bind_forward(buffers: StepBuffers) -> Callable[[], None]:
        """The equations of a step, bound to the buffers."""
        (q, r, z, n), rz = buffers.gates, buffers.gates[1:3]
        q_sum, rz_sums, n_sum = buffers.sums[0], buffers.sums[1:], buffers.x_sums[3]
        (h_,), (h,) = buffers.before, buffers.after

        def step() -> None:
            tanh(rz_sums, rz)
            multiply(rz, HALF, rz)
            add(rz, HALF, rz)
            copyto(q, q_sum)
            multiply(r, q, n)
            add(n, n_sum, n)
            tanh(n, n)
            subtract(h_, n, h)
            multiply(h, z, h)
            add(h, n, h)  # h = n + z (h₋ − n)

        return step

    @staticmethod
    def bind_backward(buffers: StepBuffers) -> Callable[[], Array]:
        """The gradients of a step, bound to the buffers."""
        (q, r, z, n), (dq, da_r, da_z, da_n) = buffers.gates, buffers.dgates
        (h_,), (dh,), a = buffers.before, buffers.dstate, buffers.scratch[0]
        dh_direct: Array = buffers.scratch[1]

        def step() -> Array:
            multiply(dh, z, dh_direct)
            subtract(dh, dh_direct, dh)  # dh (1 − z)
            multiply(n, n, a)
            subtract(ONE, a, a)
            multiply(dh, a, da_n)
            subtract(h_, n, a)
            multiply(a, dh, a)
            multiply(a, z, da_z)  # dh (1 − z) (h₋ − n) z
            multiply(da_n, r, dq)
            subtract(ONE, r, a)
            multiply(a, q, a)
            multiply(a, dq, da_r)
            return dh_direct

        return step


class FastGRU(FastRecurrent[HiddenState], GRU):
    """An optimized `GRU` with the same arrays, and the same results to rounding.

    Examples
    --------
    >>> plain = npchar.GRU.create(input_size=5, hidden_size=3)
    >>> fast = npchar.FastGRU(**plain.arrays)
    >>> x = np.array([[0], [4], [2]])
    >>> np.allclose(fast.forward(x).outputs, plain.forward(x).outputs, atol=1e-6)
    True
    """

    cell = GRUCell
