"""Layers: the forward pass from ids to a loss, and the backward pass to gradients.

Each layer is one file. Its docstring gives the equations of the forward and the backward pass, and
each line of its class is one of these equations. Start with `npchar.LSTM` (Hochreiter &
Schmidhuber 1997; Gers et al. 2000). `npchar.GRU` (Cho et al. 2014), `npchar.RNN` (Elman 1990) and
the causal convolution `npchar.Conv` (van den Oord et al. 2016; Dauphin et al. 2017; Bai et al.
2018) have the same structure. Models train with optimized versions of these layers,
`npchar.FastLSTM`, `npchar.FastGRU` and `npchar.FastRNN` (see `npchar.fast`). Tests compare the
optimized layers with the plain ones.

Shapes use these letters: T time, B batch, V vocabulary, H hidden, D a layer's input. A layer maps
ids, (T, B), or vectors, (T, B, D), to outputs, (T, B, H). A layer stores only its weights. The
state between two steps is an argument and a result of each call. The forward pass records the
values that the backward pass needs on a *tape*.

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

`npchar.check_gradients` compares the gradients with two numerical derivatives that need only the
forward pass: the complex step, which is exact to rounding, and central differences.

Next: `npchar.training`, which updates the weights with these gradients.
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
