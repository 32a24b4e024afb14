"""The recurrent layers that a network can be made of, by name."""

from __future__ import annotations

from npchar.layers.layer import Layer
from npchar.layers.lstm import LSTM
from npchar.layers.lstm_fast import FastLSTM
from npchar.layers.rnn import RNN

FAST: dict[str, type[Layer]] = {"lstm": FastLSTM, "rnn": RNN}  # for training and generation
PLAIN: dict[str, type[Layer]] = {
    "lstm": LSTM,
    "rnn": RNN,
}  # the same equations, to read
