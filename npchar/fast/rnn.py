"""The optimized plain RNN: the equations of ``layers/rnn.py``, for ``fast/recurrent.py``."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy import multiply, subtract, tanh

from npchar.fast.recurrent import ONE, Cell, FastRecurrent, StepBuffers, Weights
from npchar.layers.layer import HiddenState
from npchar.layers.rnn import RNN

__all__ = ["FastRNN"]


class RNNCell(Cell):
    """The equations of ``layers/rnn.py``."""

    gate_scale = np.ones((1, 1, 1), np.float32)

    @staticmethod
    def by_gate(layer: RNN) -> Weights:
        """The arrays of a layer, or of its gradient, by gate."""
        return Weights([layer.Wx], [layer.Wh], [layer.b])

    @staticmethod
    def bind_forward(buffers: StepBuffers) -> Callable[[], None]:
        """The equations of a step, bound to the buffers."""
        sums, h = buffers.sums[0], buffers.after[0]
        return lambda: tanh(sums, h)

    @staticmethod
    def bind_backward(buffers: StepBuffers) -> Callable[[], None]:
        """The gradients of a step, bound to the buffers."""
        h, dh, dz = buffers.after[0], buffers.dstate[0], buffers.dgates[0]

        def step() -> None:
            multiply(h, h, dz)
            subtract(ONE, dz, dz)
            multiply(dz, dh, dz)

        return step


class FastRNN(FastRecurrent[HiddenState], RNN):
    """An optimized `RNN` with the same arrays, and the same results to rounding.

    Examples
    --------
    >>> plain = npchar.RNN.create(input_size=5, hidden_size=3)
    >>> fast = npchar.FastRNN(**plain.arrays)
    >>> x = np.array([[0], [4], [2]])
    >>> np.allclose(fast.forward(x).outputs, plain.forward(x).outputs, atol=1e-6)
    True
    """

    cell = RNNCell
