"""A character-level LSTM language model in plain NumPy, every gradient by hand.

Dimensions, everywhere: T time, B batch, V vocabulary, H hidden, D a layer's
input. Losses are nats per character unless they say bits.

To read the code, follow the data: ``corpus.py`` and ``text.py`` (text to ids to
windows), ``parameters.py``, ``lstm.py``, ``dense.py`` and ``network.py`` (ids to
loss and gradient), ``gradcheck.py`` (the proof), ``optim.py``, ``guard.py`` and
``training.py`` (gradient to better weights), ``parallel.py`` and
``distributed.py`` (the same by several processes), ``stepper.py``,
``sampling.py`` and ``generation.py`` (weights to text), ``checkpoint.py`` and
``resume.py`` (weights and trainings to disk), and ``model.py``, which is all of
it for a user.
"""

from npchar.checkpoint import CheckpointError
from npchar.corpus import load_corpus
from npchar.dense import Dense, softmax_cross_entropy
from npchar.distributed import MissingMPIError, rank
from npchar.doctor import examine
from npchar.download import CorpusError, DownloadError
from npchar.gradcheck import check_gradients
from npchar.guard import TrainingDiverged
from npchar.history import History
from npchar.lstm import LSTM
from npchar.model import Model
from npchar.optim import RMSprop
from npchar.parallel import WorkerError
from npchar.sampling import entropy, reweight_distribution, sample
from npchar.text import UnknownCharacterError, Vocabulary, windows
from npchar.version import __version__ as __version__

__all__ = [
    "LSTM",
    "CheckpointError",
    "CorpusError",
    "Dense",
    "DownloadError",
    "History",
    "MissingMPIError",
    "Model",
    "RMSprop",
    "TrainingDiverged",
    "UnknownCharacterError",
    "Vocabulary",
    "WorkerError",
    "check_gradients",
    "entropy",
    "examine",
    "load_corpus",
    "rank",
    "reweight_distribution",
    "sample",
    "softmax_cross_entropy",
    "windows",
]
