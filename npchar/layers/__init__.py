"""Layers: ids to logits to a loss, and back to gradients.

Each is a file that reads like its paper: the equations in its docstring, forward and backward,
then a class in which every line is one of them. `npchar.LSTM` (Hochreiter & Schmidhuber 1997;
Gers et al. 2000) is the one to read first; `npchar.GRU` (Cho et al. 2014), `npchar.RNN` (Elman
1990) and the causal convolution `npchar.Conv` (van den Oord et al. 2016; Dauphin et al. 2017; Bai
et al. 2018) are written alike. Models train with the same layers made fast, `npchar.FastLSTM`,
`npchar.FastGRU` and `npchar.FastRNN` (`npchar.fast`), which tests compare with the plain ones.

T time, B batch, V vocabulary, H hidden, D a layer's input. A layer maps ids, (T, B), or vectors,
(T, B, D), to outputs, (T, B, H). The state between two steps is a value that goes in and comes out,
and what backward needs of forward is on a *tape*, so that a layer holds its weights alone.

>>> layer = npchar.LSTM.create(input_size=5, hidden_size=3)
>>> dense = npchar.Dense.create(input_size=3, output_size=5)
>>> ids = np.array([[0], [4], [2], [1]])  # one sequence, (T + 1, B)
>>> tape = layer.forward(ids[:-1])
>>> loss, dlogits = npchar.softmax_cross_entropy(dense.forward(tape.outputs), ids[1:])
>>> gradient, dgradient = layer.zeros_like(), npchar.Dense(dense.W * 0, dense.b * 0)
>>> dh = dense.backward(tape.outputs, dlogits, dgradient)  # (T, B, H)
>>> dx, dstate = layer.backward(tape, dh, None, gradient)
>>> gradient.Wh.shape  # four gates
(4, 3, 3)

`npchar.check_gradients` compares any of it with numerical derivatives that need the forward pass
alone: a complex step, which is exact to rounding, and central differences.

Next: `npchar.training`, which makes steps of these gradients.
"""

__all__ = [  # noqa: RUF022  (in the order of reading)
    "lstm",
    "gru",
    "rnn",
    "conv",
    "layer",
    "dense",
    "loss",
    "parameters",
]
