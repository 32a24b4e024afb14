"""A character-level LSTM language model in plain NumPy, every gradient by hand.

Dimensions, everywhere: T time, B batch, V vocabulary, H hidden, D a layer's
input. Losses are nats per character unless they say bits.

To read the code, follow the data: ``corpus.py``, ``text.py`` and
``batches.py`` (text to ids to windows), ``parameters.py``, ``lstm.py``,
``dense.py`` and ``network.py`` (ids to loss and gradient), ``gradcheck.py``
(the proof), ``optim.py``, ``guard.py`` and ``training.py`` (gradient to better
weights), ``parallel.py`` and ``distributed.py`` (the same by several
processes), ``stepper.py``, ``sampling.py`` and ``generation.py`` (weights to
text), ``checkpoint.py`` and ``resume.py`` (weights and trainings to disk), and
``model.py``, which is all of it for a user. What hangs off it: ``scoring.py``,
``originality.py`` and ``activations.py`` (what a model thinks and how),
``exchange.py`` (other libraries), ``page.py`` (a browser), ``plots.py`` and
``command.py``.
"""

from npchar.activations import Activations, gradient_flow
from npchar.batches import windows
from npchar.checkpoint import CheckpointError
from npchar.corpus import load_corpus
from npchar.dense import Dense, softmax_cross_entropy
from npchar.distributed import MissingMPIError, rank
from npchar.doctor import examine
from npchar.download import CorpusError, DownloadError
from npchar.exchange import from_keras, from_torch, to_keras, to_onnx, to_torch
from npchar.gradcheck import check_gradients
from npchar.guard import TrainingDiverged
from npchar.history import History
from npchar.lstm import LSTM
from npchar.model import Model
from npchar.optim import RMSprop
from npchar.originality import Originality, originality
from npchar.parallel import WorkerError
from npchar.rnn import RNN
from npchar.sampling import entropy, reweight_distribution, sample
from npchar.scoring import Evaluation, Score
from npchar.text import UnknownCharacterError, Vocabulary
from npchar.version import __version__ as __version__

__all__ = [
    "LSTM",
    "RNN",
    "Activations",
    "CheckpointError",
    "CorpusError",
    "Dense",
    "DownloadError",
    "Evaluation",
    "History",
    "MissingMPIError",
    "Model",
    "Originality",
    "RMSprop",
    "Score",
    "TrainingDiverged",
    "UnknownCharacterError",
    "Vocabulary",
    "WorkerError",
    "check_gradients",
    "entropy",
    "examine",
    "from_keras",
    "from_torch",
    "gradient_flow",
    "load_corpus",
    "originality",
    "rank",
    "reweight_distribution",
    "sample",
    "softmax_cross_entropy",
    "to_keras",
    "to_onnx",
    "to_torch",
    "windows",
]
