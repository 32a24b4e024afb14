"""What checks the exercises: a module for each notebook, in which NumPy and npchar judge.

Each check calls a student's function on random cases and compares what comes with npchar's own
result; dictionaries have sentences on usual mistakes, with what these lead to.
"""

from checks import (  # noqa: F401  each registers its checks
    backpropagation,
    cells,
    lstm_forward,
    randomness,
    text_to_tensors,
    training,
    why_lstm,
)
from checks.checking import main as main
