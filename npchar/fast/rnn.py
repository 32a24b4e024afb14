"""The plain RNN made fast: the equations of ``layers/rnn.py``, for ``fast/recurrent.py``."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy import multiply, subtract, tanh

from npchar.arrays import Array
from npchar.fast.recurrent import ONE, FastRecurrent, StepBuffers, Weights
from npchar.layers.layer import HiddenState
from npchar.layers.rnn import RNN

__all__ = ["FastRNN"]


class FastRNN(FastRecurrent[HiddenState], RNN):
    """An `RNN` made fast: the same arrays, the same results to rounding.

    Examples
    --------
    >>> plain = npchar.RNN.create(input_size=5, hidden_size=3)
    >>> fast = npchar.FastRNN(**plain.arrays)
    >>> x = np.array([[0], [4], [2]])
    >>> np.allclose(fast.forward(x).outputs, plain.forward(x).outputs, atol=1e-6)
    True
    """

    _scale = np.ones((1, 1, 1), np.float32)

    @staticmethod
    def _by_gate(arrays: Mapping[str, Array]) -> Weights:
        return Weights(*([arrays[name]] for name in ("Wx", "Wh", "b")))

    @staticmethod
    def _bind_forward(buffers: StepBuffers) -> Callable[[], None]:
        sums, h = buffers.sums[0], buffers.after[0]
        return lambda: tanh(sums, h)

    @staticmethod
    def _bind_backward(buffers: StepBuffers) -> Callable[[], None]:
        h, dh, dz = buffers.after[0], buffers.dstate[0], buffers.dgates[0]

        def step() -> None:
            multiply(h, h, dz)
            subtract(ONE, dz, dz)
            multiply(dz, dh, dz)

        return step
