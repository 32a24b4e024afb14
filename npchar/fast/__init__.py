"""Optimized layers, with which `npchar.Model` trains and generates.

`npchar.FastLSTM`, `npchar.FastGRU` and `npchar.FastRNN` have the same arrays as the plain layers in
`npchar.layers` and compute the same results, to rounding. Tests compare the two.
`npchar.check_gradients` compares the backward passes of the optimized layers with numerical
derivatives of the plain forward passes.

A cell, in ``lstm``, ``gru`` or ``rnn``, has the equations of one step on views of buffers.
``recurrent`` has the code that all cells share: the buffers of all steps, the loop over time in
both directions, the matrix products, and the stepper for generation. ``dense`` is the output layer
with the loss. ``matmul`` multiplies matrices in tiles.

>>> plain = npchar.GRU.create(input_size=5, hidden_size=3)
>>> fast = npchar.FastGRU(**plain.arrays)
>>> tape = fast.tape(T=4, B=2)  # buffers, for any number of passes
>>> x = np.array([[0, 1], [4, 2], [2, 3], [1, 0]])
>>> np.allclose(fast.forward(x, tape=tape).outputs, plain.forward(x).outputs, atol=1e-6)
True
"""

__all__ = ["recurrent", "lstm", "gru", "rnn", "dense", "matmul"]  # noqa: RUF022  (in the order of reading)
