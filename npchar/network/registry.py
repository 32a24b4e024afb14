"""The layers of networks, by name."""

from __future__ import annotations

from npchar.fast.gru import FastGRU
from npchar.fast.lstm import FastLSTM
from npchar.fast.rnn import FastRNN
from npchar.layers.conv import Conv
from npchar.layers.gru import GRU
from npchar.layers.layer import AnyLayer
from npchar.layers.lstm import LSTM
from npchar.layers.rnn import RNN

# For training and generation
FAST: dict[str, type[AnyLayer]] = {"lstm": FastLSTM, "gru": FastGRU, "rnn": FastRNN, "conv": Conv}

DEFAULT_LAYERS = {"conv": 6}  # 1 for other kinds; 6 convolutions have a receptive field of 64

# For reading, and for the gradient check
PLAIN: dict[str, type[AnyLayer]] = {"lstm": LSTM, "gru": GRU, "rnn": RNN, "conv": Conv}
