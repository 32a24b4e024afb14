r"""Character-level language models in plain NumPy, every gradient by hand.

>>> text = "the cat sat on the mat. " * 40
>>> model = npchar.Model(npchar.Vocabulary.from_text(text), hidden_size=16)
>>> history = model.fit(text, epochs=3, maxlen=20, workers=1, verbose=False)
>>> len(model.generate("the ", 20, temperature=0.5, seed=1))
20

Dimensions, everywhere: T time, B batch, V vocabulary, H hidden, D a layer's input. Losses are nats
per character unless they say bits. Randomness comes from a `seed` alone. All examples here run as
they stand, after ``import npchar`` and ``import numpy as np``.

Where to begin: `Model` has nearly all of it. The chapters, in the order of their dependencies:

- `npchar.text`: a text, its vocabulary and ids, windows of them, n-gram baselines.
- `npchar.layers`: ids to logits to a loss, and back: LSTM, GRU, plain RNN, convolution.
- `npchar.files`: model files and checkpoints, and their format.
- `npchar.generation`: temperature, sampling, text from a prompt.
- `npchar.analysis`: scores, activations, originality, plots and a page.
- `npchar.training`: the training loop, optimizers, checkpoints, several cores and machines.

The code
========
Follow the data. A package imports only from those before it here, which a test checks.

- ``arrays.py``, ``arguments.py``, ``threads.py``, ``version.py``: the type of arrays, checks of
  arguments, and work for several threads.
- ``text/``: ``corpus``, ``download``, ``decoding``, ``detection``: text from names, files and
  addresses, and its encoding.
  ``vocabulary``: characters or tokens to ids and back. ``documents``: many texts instead of one.
  ``batches``: shuffled batches of them, views, no copies. ``ngrams``: baselines. ``examine``:
  checks of a text before training.
- ``layers/``: ``lstm``: the LSTM as in the papers; ``gru``, ``rnn`` and ``conv`` in the same form.
  ``layer``: the interface of a layer. ``dense`` and ``loss``. ``parameters``: one flat vector with
  named views.
- ``fast/``: the same layers made fast. ``lstm``, ``gru``, ``rnn``: the equations of a step on
  views of buffers. ``recurrent``: buffers, the loop over time, products and the stepper of any of
  them. ``dense``: the output layer with the loss. ``matmul``: matrix products in tiles.
- ``network/``: ``network``: a stack of layers as one function. ``registry``: the layers by name.
  ``gradcheck``: complex step and central differences.
- ``files/``: ``archive``: files written whole or not at all, and validated when read.
  ``description``: the JSON that describes a model. ``resume``: checkpoints of a training.
- ``generation/``: ``sampling``: temperature, top-k and top-p. ``stream``: prefill of prompts, and
  generation.
- ``analysis/``: ``scoring``, ``activations``, ``originality``; and ``colouring``, ``plots``,
  ``summary``, ``page`` to show them.
- ``training/``: ``trainer``: epochs, batches, validation, history, checkpoints. ``config``: the
  arguments of `Model.fit` with their defaults resolved. ``step``: gradient, all-reduce, clip,
  update, the same on every rank. ``distributed``: how ranks communicate. ``optimizers``,
  ``schedule``. ``divergence``: best weights, spikes, rolling back. ``history``, ``progress``.
  ``interrupts``: Ctrl-C between two steps.
- ``model.py``: the API.
- ``exchange.py``, ``options.py``, ``command.py``: Keras, PyTorch and ONNX; the command line.

What is stable
==============
npchar follows semantic versioning. Until version 2 these stay as they are, or grow by arguments
with a default: the names in ``npchar.__all__`` that are classes, functions and exceptions, their
documented arguments, methods and results; the commands and options of ``npchar``; and every file
that a version since 0.1 has written loads. The packages may be rearranged: import from ``npchar``
itself. The same seed gives the same weights to the bit on the same machine, with the same
versions of npchar and NumPy; a new version may train better, and so differently.
"""

__docformat__ = "numpy"

from npchar import analysis, files, generation, layers, network, text, training  # noqa: F401
from npchar.analysis.activations import Activations, gradient_flow, saliency
from npchar.analysis.originality import Originality, originality
from npchar.analysis.plots import plot_entropies
from npchar.analysis.scoring import Evaluation, Score
from npchar.exchange import from_keras, from_torch, to_keras, to_onnx, to_torch
from npchar.fast.gru import FastGRU
from npchar.fast.lstm import FastLSTM
from npchar.fast.rnn import FastRNN
from npchar.files.archive import CheckpointError
from npchar.files.description import training_settings
from npchar.generation.sampling import entropies, entropy, reweight_distribution, sample
from npchar.layers.conv import Conv
from npchar.layers.dense import Dense
from npchar.layers.gru import GRU
from npchar.layers.loss import mean_squared_error, softmax_cross_entropy
from npchar.layers.lstm import LSTM
from npchar.layers.parameters import Parameters
from npchar.layers.rnn import RNN
from npchar.model import Model
from npchar.network.gradcheck import check_gradients
from npchar.text.batches import windows
from npchar.text.corpus import load_corpus
from npchar.text.download import CorpusError, DownloadError
from npchar.text.examine import examine
from npchar.text.vocabulary import UnknownCharacterError, Vocabulary
from npchar.training.distributed import MissingMPIError
from npchar.training.divergence import TrainingDiverged
from npchar.training.history import History
from npchar.training.optimizers import SGD, Adam, RMSprop, clip_by_global_norm
from npchar.training.schedule import Schedule
from npchar.version import __version__ as __version__

__all__ = [  # noqa: RUF022  (in the order of reading: so the API reference prints them)
    "Model",
    "History",
    "load_corpus",
    "Vocabulary",
    "windows",
    "examine",
    "Score",
    "Evaluation",
    "Activations",
    "saliency",
    "originality",
    "Originality",
    "reweight_distribution",
    "sample",
    "entropy",
    "entropies",
    "plot_entropies",
    "LSTM",
    "GRU",
    "RNN",
    "Conv",
    "FastLSTM",
    "FastGRU",
    "FastRNN",
    "Dense",
    "Parameters",
    "softmax_cross_entropy",
    "mean_squared_error",
    "check_gradients",
    "gradient_flow",
    "RMSprop",
    "Adam",
    "SGD",
    "Schedule",
    "clip_by_global_norm",
    "training_settings",
    "to_torch",
    "from_torch",
    "to_keras",
    "from_keras",
    "to_onnx",
    "CheckpointError",
    "CorpusError",
    "DownloadError",
    "MissingMPIError",
    "TrainingDiverged",
    "UnknownCharacterError",
]


def __getattr__(name: str) -> object:
    """Raise an AttributeError, which names the replacement of a name of version 1."""
    from npchar.arguments import REMOVED

    advice = f"; use {REMOVED[name]}" if name in REMOVED else ""
    raise AttributeError(f"module 'npchar' has no attribute {name!r}{advice}")
