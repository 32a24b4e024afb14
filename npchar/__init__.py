r"""Character-level language models in plain NumPy, every gradient by hand.

>>> text = "the cat sat on the mat. " * 40
>>> model = npchar.Model(npchar.Vocabulary.from_text(text), hidden_size=16)
>>> history = model.fit(text, epochs=3, maxlen=20, workers=1, verbose=False)
>>> len(model.generate("the ", 20, temperature=0.5, seed=1))
20

Shapes use these letters: T time, B batch, V vocabulary, H hidden, D a layer's input. Losses are in
nats per character; bits are called bits. All randomness comes from a `seed`. The examples run
after ``import npchar`` and ``import numpy as np``.

Start with `Model`. The chapters, in the order of their dependencies:

- `npchar.text`: texts, vocabularies, batches, n-gram baselines.
- `npchar.layers`: LSTM, GRU, plain RNN, convolution, output layer and loss.
- `npchar.network`: layers in a stack, and the gradient check.
- `npchar.files`: model files and their format.
- `npchar.generation`: temperature, sampling, text from a prompt.
- `npchar.analysis`: scores, activations, originality, plots and a page.
- `npchar.training`: the trainer, optimizers, checkpoints, worker processes and MPI.

The code
========
A package imports only from the packages before it in this list, which a test checks.

- ``arrays.py``, ``arguments.py``, ``threads.py``, ``version.py``: the array type and aligned
  memory, checks of arguments, threads of NumPy and of its BLAS, the version.
- ``text/``: ``corpus`` loads texts from names, files, folders and addresses. ``download``
  downloads, ``encoding`` decodes bytes and names a likely encoding. ``vocabulary`` turns characters
  or tokens into ids, also unknown ones. ``compressed`` decompresses. ``document_files`` separates
  the documents in files; ``documents`` joins documents to one array of ids. ``batches`` lays out
  shuffled batches of windows or of documents. ``ngrams`` has the baselines. ``examine`` checks a
  text before training.
- ``layers/``: the code to read. ``lstm``, ``gru``, ``rnn`` and ``conv`` have the equations, forward
  and backward, and the order of the gates; ``dense`` is the output layer and ``loss`` its loss;
  ``layer`` is the base class of layers; ``parameters`` is one flat vector with named views.
- ``fast/``: the code that runs instead of ``layers/``, with the same results. ``recurrent`` has the
  buffers, the loop over time and the stepper; ``lstm``, ``gru`` and ``rnn`` have the equations of
  one step on views of these buffers; ``dense`` computes the output layer with its loss; ``matmul``
  splits matrix products into tiles. Only the convolution has no fast version.
- ``network/``: ``registry`` lists the layers, plain and fast, by name: a new layer is added there.
  ``network`` stacks layers, ``long_text`` reads one long text in segments side by side,
  ``gradcheck`` compares gradients with complex step and central differences.
- ``files.py``: the file format of a model; writes files atomically and validates what it reads.
- ``generation/``: ``sampling`` has temperature, top-k, top-p and the filter of repeats; ``stream``
  reads prompts and generates.
- ``analysis/``: ``scoring`` has the losses and probabilities of a text, ``activations`` the gates
  and cells while a model reads, ``originality`` what a generated text copies from its source.
  ``colouring``, ``plots`` and ``summary`` show them. ``page/`` makes the interactive page:
  ``network.js`` computes the model in the browser, ``view.js`` draws it.
- ``training/``: ``fit`` connects the arguments of `Model.fit` to a training. ``config`` resolves
  their defaults. ``trainer`` has the epochs, validation and callbacks. ``step`` makes one step:
  gradient, sum over processes, clip, update; workers run its ``run_worker``. ``distributed`` starts
  worker processes and has what they and the ranks of MPI send: batches and weights to all,
  gradients back. ``optimizers``, ``schedule`` (learning rates). ``divergence`` notices a loss that
  jumps, returns to the best weights and lowers the learning rate. ``checkpoint`` saves and resumes
  a training. ``interrupts`` handles Ctrl-C. ``history`` has the results by epoch, ``progress``
  prints them.
- ``model.py``: the methods of `Model`, which delegate to these packages.
- ``exchange.py``: PyTorch, Keras, ONNX. ``cli/``: ``options`` has the options of the command line,
  ``train`` and ``commands`` run its commands, ``inputs`` reads the models and texts that they name.

Stability
=========
npchar follows semantic versioning. These stay compatible within version 2: the names in
``npchar.__all__`` with their documented arguments, methods and results; the commands and options of
``npchar``; and model files, which load from every version since 0.1. Import from ``npchar``, since
modules may move. The same seed gives the same weights to the bit on the same machine with the same
versions of npchar and NumPy.
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
    """Raise an AttributeError, which names the replacement of a name of version 1."""
    from npchar.arguments import removed_name

    raise removed_name("npchar", name)
