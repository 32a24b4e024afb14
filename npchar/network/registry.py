"""The layers that a network can be made of, by name."""

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

DEFAULT_LAYERS = {"conv": 6}  # where nobody says how many; 1 of others. 6 see 64 characters

# The same equations, to read
PLAIN: dict[str, type[AnyLayer]] = {"lstm": LSTM, "gru": GRU, "rnn": RNN, "conv": Conv}
