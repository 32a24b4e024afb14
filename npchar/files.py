"""Model files, written atomically and validated when they are read.

`npchar.Model.save` and `npchar.Model.load` use this module. A model file is an ``.npz`` with named
arrays and one JSON text, which ``numpy.load`` can open. It contains no pickle, so that loading a
file cannot run code.

>>> model = npchar.Model(npchar.Vocabulary("abc"), hidden_size=4)
>>> model.save("abc.npz")
>>> with np.load("abc.npz") as file:
...     print({name: file[name].shape for name in file if name.startswith("lstm")})
...     print(file["configuration"].tobytes().decode()[:23])
{'lstm0.Wx': (4, 3, 4), 'lstm0.Wh': (4, 4, 4), 'lstm0.b': (4, 4)}
{"format": 2, "npchar":

The format
==========
All members are stored without compression. Numbers are little-endian.

- ``configuration``: bytes of JSON. ``format`` is 2; files of npchar 0.1 and many of 1.0 have 1.
  ``npchar`` is the version that wrote the file. ``model`` has ``characters`` (a string, in the
  order of their ids) or ``tokens`` (a list; tuples become lists), ``hidden_size``, ``num_layers``,
  ``dropout``, ``dtype``, ``layer``, ``recurrent_dropout``, ``stored`` (the type in the file:
  ``dtype``, or "float16") and ``stand_in`` (the unknown symbol, or null). Files of version 1 may
  lack the last four; their defaults are "lstm", 0, ``dtype`` and null. Version 2 adds these keys
  next to ``model``: ``epochs_trained``; ``trained_on``, the ``sha256`` of the ids of the latest
  training text and its ``validation_split`` (an empty table for an untrained model, null for an
  unknown text); ``documents``, whether U+0003 is the end of a document (the default) or a character
  of the text; and ``reading``, how the command line reads texts for this model (see `Reading`).
- ``lstmK.Wx`` (4, D, H), ``lstmK.Wh`` (4, H, H), ``lstmK.b`` (4, H) for each layer K from 0, gates
  in the order i, f, o, g. Other layers: ``gruK.Wx`` (3, D, H), ``gruK.Wh`` (3, H, H), ``gruK.b``
  (3, H), ``gruK.bq`` (H,), gates in the order r, z, n; ``rnnK.Wx`` (D, H), ``rnnK.Wh`` (H, H),
  ``rnnK.b`` (H,); ``convK.W`` (2, 2, D, H), by value and gate, and by the input of the same step
  and the earlier input, ``convK.b`` (2, H).
- ``dense.W`` (H, V), ``dense.b`` (V,) for the output layer.
- ``training.v``, ``training.best``, ``training.best_v`` in a checkpoint: the state of the
  optimizer, the best weights so far, and the state of the optimizer at that time, as flat vectors.
  The configuration of a checkpoint has the table ``training``, with settings, position, history and
  the state of the random generator.

A new file replaces an existing file only after it has been written completely to the disk. A file
is loaded only if it has the members, types and shapes that its configuration implies. Files of
formats 1 and 2 load in every later version.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import io
import os
import stat
import time
import zipfile  # here, because a later import could fail on a full disk or on Ctrl-C
from collections.abc import Mapping
from typing import IO, Any, NamedTuple, TypeAlias, TypedDict

import numpy as np

from npchar.arrays import Array
from npchar.network.network import Network, NetworkConfig
from npchar.text.vocabulary import END, Vocabulary
from npchar.version import __version__, in_browser

__all__ = ["CheckpointError", "training_settings"]

FORMAT, FORMATS = 2, (1, 2)
CONFIGURATION = "configuration"
TRAINING = "training."  # the prefix of arrays that only checkpoints have
DTYPES = ("float32", "float64")  # of a model
STORED = ("float16", *DTYPES)  # of the weights in a file
READING = {"lower_case": bool, "documents": str, "field": str}  # the types of `Reading`
DERIVED = ("optimizer_arguments", "warm_up", "epsilon")  # settings that are not arguments of `fit`
MAX_LAYERS = 1000
STALE = 3600  # seconds after which a temporary file belongs to a process that was killed

Table: TypeAlias = dict[str, Any]  # JSON


class CheckpointError(ValueError):
    """A file is not a model file, is damaged, or belongs to another model, text or training.

    Examples
    --------
    >>> from pathlib import Path
    >>> _ = Path("odd.npz").write_text("not a model")
    >>> try:
    ...     npchar.Model.load("odd.npz")
    ... except npchar.CheckpointError as error:
    ...     print(error)
    odd.npz is damaged or not a saved model: BadZipFile: File is not a zip file
    """


class TrainedOn(TypedDict, total=False):
    """The text of the latest training of a model; empty before the first training."""

    sha256: str
    validation_split: float


class Reading(TypedDict, total=False):
    """How the command line reads texts for a model: in the same way as its training text."""

    lower_case: bool
    documents: str  # as for `load_corpus`
    field: str  # as for `load_corpus`


class Configuration(TypedDict, total=False):
    """The configuration of a model file."""

    format: int
    npchar: str
    model: Table
    epochs_trained: int
    trained_on: TrainedOn | None
    documents: bool
    reading: Reading
    training: Table


class ModelFile(NamedTuple):
    """The content of a model file."""

    configuration: Configuration
    arrays: dict[str, Array]
    vocabulary: Vocabulary
    network_config: NetworkConfig

    def network(self) -> Network:
        """Create a network with the weights of the file."""
        network = Network(self.network_config, dtype=self.configuration["model"]["dtype"])
        for name in network.parameters:
            network.parameters[name] = self.arrays[name]
        network.epochs_trained = self.configuration.get("epochs_trained", 0)
        return network


# Writing


def write_model_file(
    path: str | os.PathLike[str], configuration: Configuration, arrays: Mapping[str, Array]
) -> None:
    """Write a configuration and named arrays atomically: see `write_whole`.

    Raises
    ------
    ValueError
        If the stored type is not valid, or a weight is too large for it.
    OSError
        If the file cannot be written.
    """
    import json  # here, because `import npchar` need not wait for it

    stored = configuration["model"]["stored"]
    if stored not in STORED:
        raise ValueError(f"dtype is {stored!r}; expected one of {', '.join(STORED)}")
    text = np.frombuffer(json.dumps(configuration).encode(), np.uint8)
    members: dict[str, Any] = {CONFIGURATION: text}
    try:
        with np.errstate(over="raise", under="ignore"):
            members |= {name: array.astype(stored, copy=False) for name, array in arrays.items()}
    except FloatingPointError:
        raise ValueError(
            f"expected weights within the range of {stored}, got a larger one; save without dtype"
        ) from None
    buffer = io.BytesIO()
    np.savez(buffer, **members)
    write_whole(path, buffer.getbuffer())


def write_whole(path: str | os.PathLike[str], data: bytes | memoryview) -> None:
    """Write a file atomically, by means of a temporary file in the same folder.

    Links are followed. A replaced file keeps its mode and, if the system allows it, its owner. Old
    temporary files of killed processes in the folder are removed.

    Raises
    ------
    OSError
        If the file cannot be written, or the path names a folder, a device or a FIFO.
    """
    import glob

    target = os.path.realpath(path)
    folder = os.path.dirname(target)
    temporary = os.path.join(folder, f".npchar-{os.urandom(8).hex()}.tmp")
    try:
        old = os.stat(target) if os.path.lexists(target) else None
        if old is not None and not stat.S_ISREG(old.st_mode):
            raise OSError(errno.EINVAL, "expected a regular file")
        mode = 0o666 if old is None else old.st_mode & 0o777 | 0o600  # the system applies the umask
        opener = functools.partial(os.open, mode=mode)
        with open(temporary, "xb", opener=opener) as file:
            file.write(data)
            file.flush()
            if not in_browser():
                os.fsync(file.fileno())
        if old is not None:
            with contextlib.suppress(AttributeError, OSError):  # on Windows, and some disks
                os.chmod(temporary, old.st_mode & 0o777)
                os.chown(temporary, old.st_uid, old.st_gid)
        os.replace(temporary, target)
        _sync_folder(folder)
        for other in glob.glob(os.path.join(glob.escape(folder), ".npchar-*.tmp")):
            with contextlib.suppress(OSError):
                if time.time() - os.path.getmtime(other) > STALE:
                    os.unlink(other)
    except OSError as error:
        why = f"cannot write {target}: {error.strerror or error}"
        raise OSError(error.errno, why) from None
    finally:
        with contextlib.suppress(OSError):  # after an error
            os.unlink(temporary)


def _sync_folder(folder: str) -> None:
    """Write the entry of a new file to the disk, so that a power failure cannot undo it."""
    with contextlib.suppress(AttributeError, OSError):  # Windows, a browser, and some disks
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


# Reading


def read_model_file(path: str | os.PathLike[str]) -> ModelFile:
    """Read and validate a model file.

    Raises
    ------
    CheckpointError
        If the file is not a model file, or is damaged.
    OSError
        If there is no such file, or it cannot be read.
    """
    name = os.fspath(path)
    if os.path.exists(path) and not os.path.isfile(path):  # a FIFO blocks, a device may not end
        raise CheckpointError(f"{name} is not a saved model: expected a regular file")
    with open(path, "rb") as file:
        try:
            return _read_members(file)
        except Exception as error:  # zipfile, json and NumPy raise many types for malicious files
            why = str(error) if type(error) is ValueError else f"{type(error).__name__}: {error}"
            raise CheckpointError(f"{name} is damaged or not a saved model: {why}") from None


def _read_members(file: IO[bytes]) -> ModelFile:
    """Read a model file; raise an error of any type if it is damaged."""
    import json

    with zipfile.ZipFile(file) as archive:
        infos = archive.infolist()
        if any(info.compress_type or info.compress_size != info.file_size for info in infos):
            raise ValueError("it is compressed")
        # Members can overlap, so that a small malicious file would expand to a large one.
        if sum(info.file_size for info in infos) > os.fstat(file.fileno()).st_size:
            raise ValueError("its members are larger than the file")
        members = {info.filename.removesuffix(".npy"): archive.read(info) for info in infos}
    if len(members) < len(infos):
        raise ValueError("a member occurs twice")
    arrays = {name: _parse_array(data) for name, data in members.items()}
    configuration: Configuration = json.loads(arrays.pop(CONFIGURATION).tobytes())
    if configuration.get("format") not in FORMATS:
        raise ValueError(
            f"expected format {' or '.join(map(str, FORMATS))}, got "
            f"{configuration.get('format')!r}; install a newer npchar"
        )
    vocabulary, network_config = _parse_model(configuration)
    model = configuration["model"]
    dtype = np.dtype(model.get("stored", model["dtype"]))
    expected = {name: (dtype, shape) for name, shape in network_config.shapes().items()}
    layout = {n: (a.dtype, a.shape) for n, a in arrays.items() if not n.startswith(TRAINING)}
    if layout != expected:
        raise ValueError("its arrays do not match its configuration")
    return ModelFile(configuration, arrays, vocabulary, network_config)


def _parse_array(data: bytes) -> Array:
    """The array of a ``.npy`` member, whose header is validated."""
    stream = io.BytesIO(data)
    version = np.lib.format.read_magic(stream)
    shape, fortran_order, dtype = np.lib.format.read_array_header_1_0(stream)
    if version != (1, 0) or fortran_order or dtype.kind not in "fu":
        raise ValueError(f"an array has the type {dtype} or another format")
    return np.frombuffer(data, dtype, offset=stream.tell()).reshape(shape)


# The configuration


def describe_model(
    network: Network,
    vocabulary: Vocabulary,
    reading: Reading | None = None,
    trained_on: TrainedOn | None = None,
    stored: str | None = None,
) -> Configuration:
    """The configuration of a model file. `stored` is the type of the weights in the file."""
    import json

    if not _is_reading(reading or {}):
        raise ValueError(f"expected a reading with {', '.join(READING)}, got {reading!r}")
    dtype = str(network.parameters.flat.dtype)
    symbols = vocabulary.symbols
    if any("\ud800" <= symbol <= "\udfff" for symbol in symbols if isinstance(symbol, str)):
        symbols = tuple(symbols)  # in a JSON string, two surrogates would become one character
    model = network.config._asdict() | {
        "tokens" if vocabulary.tokens else "characters": symbols,
        "dtype": dtype,
        "stored": stored or dtype,
        "stand_in": vocabulary.unknown_symbol,
    }
    del model["vocabulary_size"]
    return {
        "format": FORMAT,
        "npchar": __version__,
        "model": json.loads(json.dumps(model)),  # tuples become lists, as in the file
        "epochs_trained": network.epochs_trained,
        "trained_on": trained_on,
        "documents": vocabulary.documents,
        "reading": reading or {},
    }


def _is_reading(reading: object) -> bool:
    """Whether a value is a `Reading`."""
    return isinstance(reading, dict) and all(
        isinstance(value, READING.get(name, ())) for name, value in reading.items()
    )


def _parse_model(configuration: Configuration) -> tuple[Vocabulary, NetworkConfig]:
    """The vocabulary and the configuration of the network, after validation."""
    model = dict(configuration["model"])
    dtype = model.pop("dtype")
    stored, unknown_symbol = model.pop("stored", dtype), model.pop("stand_in", None)
    tokens = "tokens" in model
    symbols = model.pop("tokens" if tokens else "characters")
    if isinstance(symbols, list):
        symbols = _lists_to_tuples(symbols) if tokens else "".join(symbols)
    documents = configuration.get("documents", END in symbols)
    vocabulary = Vocabulary(
        symbols,
        tokens=tokens,
        unknown_symbol=_lists_to_tuples(unknown_symbol),
        documents=documents,
    )
    network_config = NetworkConfig(len(vocabulary), **model).checked()
    epochs_trained = configuration.get("epochs_trained", 0)
    text = configuration.get("trained_on") or {"sha256": "", "validation_split": 0.0}
    reading = configuration.get("reading", {})
    checks = [
        vocabulary.symbols == symbols and len(vocabulary) >= 2,
        isinstance(documents, bool),
        _is_reading(reading),
        isinstance(epochs_trained, int) and epochs_trained >= 0,
        network_config.num_layers <= MAX_LAYERS,
        dtype in DTYPES and stored in STORED,
        isinstance(text["sha256"], str) and 0 <= text["validation_split"] < 1,
    ]
    if not all(checks):
        raise ValueError(f"its configuration is not valid: {configuration!r:.500}")
    return vocabulary, network_config


def _lists_to_tuples(value: Any) -> Any:
    """Convert lists, as which JSON stores tuples, back to tuples."""
    return tuple(map(_lists_to_tuples, value)) if isinstance(value, list) else value


def text_digest(ids: Array) -> str:
    """The SHA-256 of the ids of a text, in hexadecimal."""
    import hashlib

    return hashlib.sha256(ids.data).hexdigest()


def training_settings(path: str | os.PathLike[str]) -> Table | None:
    """The arguments of the `Model.fit` that wrote a checkpoint; None for other model files.

    ``Model.load(path).fit(text, checkpoint=path, resume=True, **settings)`` resumes the run
    with the same text.

    Raises
    ------
    CheckpointError
        If the file is not a model file, or is damaged.

    Examples
    --------
    >>> text = "the cat sat on the mat. " * 40
    >>> model = npchar.Model(npchar.Vocabulary.from_text(text), hidden_size=8)
    >>> history = model.fit(text, epochs=1, maxlen=20, workers=1, verbose=False, checkpoint="a.npz")
    >>> settings = npchar.training_settings("a.npz")
    >>> settings["epochs"], settings["maxlen"], settings["optimizer"]
    (1, 20, 'rmsprop')
    """
    training = read_model_file(path).configuration.get("training")
    if training is None:
        return None
    # `fit` reads the arguments of the optimizer and the schedule from the checkpoint.
    return {name: value for name, value in training["settings"].items() if name not in DERIVED}


def unfinished(path: str | os.PathLike[str]) -> str | None:
    """The progress of the unfinished run in a model file; None for other model files."""
    training = read_model_file(path).configuration.get("training")
    if training is None or training["position"]["finished"]:
        return None
    return f"{training['position']['epochs']} of {training['settings']['epochs']} epochs"
