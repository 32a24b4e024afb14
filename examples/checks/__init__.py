"""What checks the exercises: a module for each notebook, against NumPy and npchar.

Each check calls a student's function on random cases and compares its result with npchar's own;
dictionaries have sentences on usual mistakes, with the results that these lead to.
"""

from checks import (  # noqa: F401  each registers its checks
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
