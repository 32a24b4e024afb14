"""Checks of the exercises: a module for each notebook.

Each check calls a student's function on random cases and compares the result with npchar or NumPy.
A dictionary maps a sentence about each usual mistake to the result of this mistake.
"""

from checks import (  # noqa: F401  each registers its checks
    attention,
    backpropagation,
    cells,
    lstm_forward,
    plain_rnn,
    randomness,
    text_to_tensors,
    training,
    why_lstm,
)
from checks.checking import check as check
from checks.checking import main as main
