"""Character-level language models in plain NumPy, every gradient by hand.

Dimensions, everywhere: T time, B batch, V vocabulary, H hidden, D a layer's
input. Losses are nats per character unless they say bits.

The packages, in the order of their dependencies; each imports only from those
before it:

``text``
    Loading a corpus, its vocabulary and ids, windows and batches of them, n-gram
    baselines, and checks of a text before training.
``layers``
    Ids to logits to loss, and back to gradients: LSTM, GRU, RNN, convolution, output layer, on one
    flat parameter vector; and the proof that the gradients are right.
``files``, ``generation``, ``analysis``
    Model files and checkpoints; sampling text; scores, activations, originality,
    plots and an HTML page.
``training``
    The training loop, optimizers, recovery from divergence, worker processes, MPI.

On top of them ``model.py`` has the API, ``exchange.py`` converts weights for other
libraries, ``command.py`` is the command line.
"""

import npchar.start  # noqa: F401  (the first of all: see there)

# isort: split
from npchar.analysis.activations import Activations, gradient_flow, saliency
from npchar.analysis.originality import Originality, originality
from npchar.analysis.plots import plot_entropies
from npchar.analysis.scoring import Evaluation, Score
from npchar.exchange import from_keras, from_torch, to_keras, to_onnx, to_torch
from npchar.files.archive import CheckpointError
from npchar.files.description import training_settings
from npchar.generation.sampling import entropies, entropy, reweight_distribution, sample
from npchar.layers.conv import Conv
from npchar.layers.dense import Dense
from npchar.layers.gradcheck import check_gradients
from npchar.layers.gru import GRU
from npchar.layers.gru_fast import FastGRU
from npchar.layers.loss import mean_squared_error, softmax_cross_entropy
from npchar.layers.lstm import LSTM
from npchar.layers.lstm_fast import FastLSTM
from npchar.layers.parameters import Parameters
from npchar.layers.rnn import RNN
from npchar.layers.rnn_fast import FastRNN
from npchar.model import Model
from npchar.text.corpus import load_corpus
from npchar.text.download import CorpusError, DownloadError
from npchar.text.examine import examine
from npchar.text.vocabulary import UnknownCharacterError, Vocabulary
from npchar.text.windows import windows
from npchar.training.guard import TrainingDiverged
from npchar.training.history import History
from npchar.training.mpi import MissingMPIError, rank
from npchar.training.optimizers import SGD, Adam, RMSprop, clip_by_global_norm
from npchar.training.parallel import WorkerError
from npchar.version import __version__ as __version__

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "SGD",
    "Activations",
    "Adam",
    "CheckpointError",
    "Conv",
    "CorpusError",
    "Dense",
    "DownloadError",
    "Evaluation",
    "FastGRU",
    "FastLSTM",
    "FastRNN",
    "History",
    "MissingMPIError",
    "Model",
    "Originality",
    "Parameters",
    "RMSprop",
    "Score",
    "TrainingDiverged",
    "UnknownCharacterError",
    "Vocabulary",
    "WorkerError",
    "check_gradients",
    "clip_by_global_norm",
    "entropies",
    "entropy",
    "examine",
    "from_keras",
    "from_torch",
    "gradient_flow",
    "load_corpus",
    "mean_squared_error",
    "originality",
    "plot_entropies",
    "rank",
    "reweight_distribution",
    "saliency",
    "sample",
    "softmax_cross_entropy",
    "to_keras",
    "to_onnx",
    "to_torch",
    "training_settings",
    "windows",
]
