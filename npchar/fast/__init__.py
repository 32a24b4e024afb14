"""The layers made fast: what `npchar.Model` trains and generates with.

`npchar.FastLSTM`, `npchar.FastGRU` and `npchar.FastRNN` have the arrays of the plain layers in
`npchar.layers` and compute the same results, to rounding. Tests compare the two, and
`npchar.check_gradients` compares the backward passes here with numerical derivatives of the plain
forward passes.

A cell, in ``lstm``, ``gru`` or ``rnn``, is the equations of one step on views of buffers.
``recurrent`` has everything else once for all cells: the buffers of all steps, the loop over time
in both directions, the products and the stepper for generation. ``dense`` is the output layer with
the loss. ``matmul`` multiplies matrices in tiles. Each optimization states what it saves.

>>> plain = npchar.GRU.create(input_size=5, hidden_size=3)
>>> fast = npchar.FastGRU(**plain.arrays)
>>> tape = fast.tape(T=4, B=2)  # buffers, for any number of passes
>>> x = np.array([[0, 1], [4, 2], [2, 3], [1, 0]])
>>> np.allclose(fast.forward(x, tape=tape).outputs, plain.forward(x).outputs, atol=1e-6)
True
"""

__all__ = ["recurrent", "lstm", "gru", "rnn", "dense", "matmul"]  # noqa: RUF022  (in the order of reading)
