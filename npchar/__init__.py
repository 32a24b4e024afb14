r"""Character-level language models in pure NumPy, with all gradients derived by hand.

>>> text = "the cat sat on the mat. " * 40
>>> model = npchar.Model(npchar.Vocabulary.from_text(text), hidden_size=16)
>>> history = model.fit(text, epochs=3, maxlen=20, workers=1, verbose=False)
>>> len(model.generate("the ", 20, temperature=0.5, seed=1))
20

Shapes use these letters: T time, B batch, V vocabulary, H hidden, D a layer's input. Losses are in
nats per character unless they are called bits. All random numbers depend on a `seed`. The examples
assume ``import npchar`` and ``import numpy as np``.

Start with `Model`, or with the user guide, `npchar.guide`. The packages, in the order of their
dependencies:

- `npchar.text`: texts, vocabularies, batches and n-gram baselines.
- `npchar.layers`: LSTM, GRU, plain RNN, convolution, output layer and loss.
- `npchar.network`: stacks of layers, and the gradient check.
- `npchar.files`: model files and their format.
- `npchar.generation`: sampling, and text generation from a prompt.
- `npchar.analysis`: scores, activations, originality, plots and an interactive page.
- `npchar.training`: the trainer, optimizers, checkpoints, worker processes and MPI.

The code
========
A package imports only from packages before it in this list. A test checks this rule.

- ``arrays.py``, ``arguments.py``, ``threads.py``, ``version.py``: the array type and aligned
  memory, checks of arguments, BLAS threads, and the version.
- ``text/``: ``corpus`` loads texts from files, folders, URLs and named corpora. ``download``
  downloads files, ``compressed`` decompresses them, and ``encoding`` decodes them and suggests
  encodings. ``vocabulary`` converts characters or tokens to ids. ``document_files`` splits files
  into documents, and ``documents`` stores documents as one array of ids. ``batches`` creates
  shuffled batches of windows or documents. ``ngrams`` computes the baselines. ``examine`` checks a
  text before training.
- ``layers/``: the plain layers, for reading. ``lstm``, ``gru``, ``rnn`` and ``conv`` contain the
  equations of the forward and the backward pass, and the order of the gates. ``dense`` is the
  output layer, and ``loss`` computes the losses. ``layer`` is the base class. ``parameters`` is one
  flat vector with named views.
- ``fast/``: the optimized layers, for training and generation, with the same results.
  ``recurrent`` contains the buffers, the loop over time and the stepper. ``lstm``, ``gru`` and
  ``rnn`` apply the equations of one step to views of these buffers. ``dense`` is the output layer
  with its loss. ``matmul`` splits matrix products into tiles. The convolution has no optimized
  version.
- ``network/``: ``registry`` lists the plain and optimized layers by name; new layers are added
  there. ``network`` stacks layers. ``long_text`` reads a long text as a batch of segments.
  ``gradcheck`` compares gradients with the complex step and central differences.
- ``files.py``: the format of model files, which are written atomically and validated when read.
- ``generation/``: ``sampling`` applies temperature, top-k, top-p and the filter of repeats.
  ``stream`` reads prompts and generates text.
- ``analysis/``: ``scoring`` computes the losses and probabilities of a text, ``activations`` the
  gates and cells, and ``originality`` the passages that a generated text copies. ``colouring``,
  ``plots`` and ``summary`` display results. ``page/`` creates the interactive page: ``network.js``
  runs the model in the browser, and ``view.js`` displays it.
- ``training/``: ``fit`` connects the arguments of `Model.fit` to a run. ``config`` resolves
  their defaults. ``trainer`` runs the epochs, validation and callbacks. ``step`` is one training
  step (gradient, sum over processes, clipping, update), and its ``run_worker`` runs in workers.
  ``distributed`` starts worker processes and exchanges batches, weights and gradients with them or
  with MPI ranks. ``optimizers`` and ``schedule`` update the weights. ``divergence`` detects
  divergence and restores the best weights. ``checkpoint`` saves and resumes a run.
  ``interrupts`` delays Ctrl-C. ``time_budget`` chooses the number of epochs for a given time.
  ``history`` stores the results of each epoch, and ``progress`` prints them.
- ``model.py``: the methods of `Model`, which delegate to these packages.
- ``exchange.py``: conversion to and from PyTorch and Keras, and to ONNX. ``cli/``: ``options``
  defines the options of the command line, ``train`` and ``commands`` implement its commands, and
  ``inputs`` loads models and texts.
- ``guide/``: the user guide in Markdown, and a module for each page, for the API reference.

Stability
=========
npchar follows semantic versioning. The following stay compatible within version 2: the names in
``npchar.__all__`` with their documented arguments, methods and results; the commands and options of
``npchar``; and model files, which load from every version since 0.1. Import names from ``npchar``,
because modules may move. The same seed gives bit-identical weights on the same machine with the
same versions of npchar and NumPy.
"""

__docformat__ = "numpy"

from npchar import analysis, files, generation, layers, network, text, training  # noqa: F401
from npchar.analysis.activations import Activations, gradient_flow
from npchar.analysis.originality import Originality, originality
from npchar.analysis.plots import plot_entropies
from npchar.analysis.scoring import Evaluation, Score
from npchar.exchange import from_keras, from_torch, to_keras, to_onnx, to_torch
from npchar.fast.gru import FastGRU
from npchar.fast.lstm import FastLSTM
from npchar.fast.rnn import FastRNN
from npchar.files import CheckpointError, training_settings
from npchar.generation.sampling import entropy, reweight_distribution, sample
from npchar.generation.stream import NewDocuments
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
from npchar.training.optimizers import SGD, Adam, Muon, RMSprop, clip_by_global_norm
from npchar.training.schedule import Schedule
from npchar.version import __version__ as __version__

__all__ = [  # noqa: RUF022  (in reading order, which the API reference uses)
    "Model",
    "History",
    "load_corpus",
    "Vocabulary",
    "windows",
    "examine",
    "Score",
    "Evaluation",
    "Activations",
    "originality",
    "Originality",
    "NewDocuments",
    "reweight_distribution",
    "sample",
    "entropy",
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
    "Muon",
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
    """Raise an AttributeError, which names the replacement of a removed name."""
    from npchar.arguments import removed_name

    raise removed_name("npchar", name)
