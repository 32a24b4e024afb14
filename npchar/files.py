"""Model files, written atomically and validated when they are read.

`npchar.Model.save` and `npchar.Model.load` use this module. A file is an ``.npz`` that
``numpy.load`` opens: named arrays and one JSON text. It contains no pickle, so a file from a
stranger cannot run code.

>>> model = npchar.Model(npchar.Vocabulary("abc"), hidden_size=4)
>>> model.save("abc.npz")
>>> with np.load("abc.npz") as file:
...     print({name: file[name].shape for name in file if name.startswith("lstm")})
...     print(file["configuration"].tobytes().decode()[:23])
{'lstm0.Wx': (4, 3, 4), 'lstm0.Wh': (4, 4, 4), 'lstm0.b': (4, 4)}
{"format": 1, "npchar":

The format
==========
All members are stored without compression. Numbers are little-endian.

- ``configuration``: bytes of JSON. ``format`` is 1, or 2 for files that the first release cannot
  read. ``npchar`` is the version that wrote the file. ``model`` has ``characters`` (a string, in
  the order of their ids) or ``tokens`` (a list; tuples become lists), ``hidden_size``,
  ``num_layers``, ``dropout`` and ``dtype``. It also has these keys if they differ from the default:
  ``layer`` ("lstm"), ``recurrent_dropout`` (0), ``stored`` (the type in the file: ``dtype``; or
  "float16") and ``stand_in`` (none). Version 2 adds these keys beside ``model``:
  ``epochs_trained``; ``trained_on``, the ``sha256`` of the ids of the text of the latest training
  and its ``validation_split`` (an empty table for an untrained model, no key for an unknown text);
  ``documents`` (false: U+0003 is a character of the text; without this key it is the end of a
  document); and ``lower_case`` (true: the command line lower-cases texts for this model).
- ``lstmK.Wx`` (4, D, H), ``lstmK.Wh`` (4, H, H), ``lstmK.b`` (4, H) for each layer K from 0, gates
  in the order i, f, o, g. Other layers: ``gruK.Wx`` (3, D, H), ``gruK.Wh`` (3, H, H), ``gruK.b``
  (3, H), ``gruK.bq`` (H,), gates in the order r, z, n; ``rnnK.Wx`` (D, H), ``rnnK.Wh`` (H, H),
  ``rnnK.b`` (H,); ``convK.W`` (2, 2, D, H) for the value and the gate, for the input now and the
  one before, ``convK.b`` (2, H).
- ``dense.W`` (H, V), ``dense.b`` (V,) for the output layer.
- ``training.v``, ``training.best``, ``training.best_v`` in a checkpoint: the state of the
  optimizer, the best weights so far, and the state of the optimizer at that time, as flat vectors.
  The configuration of a checkpoint has the table ``training``: settings, position, history, the
  random generator, and a hash of the text.

A new file replaces an old one only when it is complete and on the disk. A file is read only if it
has the members, types and shapes that its configuration implies. Files of formats 1 and 2 load in
every later version.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import stat
import sys
import zlib
from collections.abc import Callable, Mapping
from typing import IO, Any, NamedTuple

import numpy as np

from npchar.arrays import Array
from npchar.network.network import Network, NetworkConfig
from npchar.text.vocabulary import END, Vocabulary
from npchar.version import __version__, in_browser

__all__ = ["CheckpointError", "training_settings"]

FORMATS = (1, 2)
FORMAT_2 = {"stored", "recurrent_dropout", "stand_in"}  # keys that the first release cannot read
CONFIGURATION = "configuration"
TRAINING = "training."  # how the names of arrays begin that only a checkpoint has
DTYPES = ("float32", "float64")  # of a model
STORED = ("float16", *DTYPES)  # of the weights in its file
DERIVED = ("optimizer_arguments", "warm_up", "epsilon")  # settings that are no arguments of `fit`
MAX_LAYERS = 1000

Configuration = dict[str, Any]  # JSON


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


class ModelFile(NamedTuple):
    """The content of a model file."""

    configuration: Configuration
    arrays: dict[str, Array]
    vocabulary: Vocabulary
    sizes: NetworkConfig

    def network(self) -> Network:
        """A new network with the weights of the file."""
        network = Network(self.sizes, dtype=self.configuration["model"]["dtype"])
        for name in network.parameters:
            network.parameters[name] = self.arrays[name]
        network.epochs_trained = self.configuration.get("epochs_trained", 0)
        return network


# Writing


def write_model_file(
    path: str | os.PathLike[str], configuration: Configuration, arrays: Mapping[str, Array]
) -> None:
    """Write a configuration and named arrays, whole or not at all: see `write_whole`."""
    import json
    import zipfile  # these here, because `import npchar` need not wait for them

    text = np.frombuffer(json.dumps(configuration).encode(), np.uint8)

    def write_members(file: IO[bytes]) -> None:
        # numpy.savez leaves the archive open after an error in some versions of NumPy.
        with zipfile.ZipFile(file, "w") as archive:
            for name, array in {CONFIGURATION: text, **arrays}.items():
                with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                    np.lib.format.write_array(member, array, allow_pickle=False)

    write_whole(path, write_members)


def write_whole(path: str | os.PathLike[str], write_to: Callable[[IO[bytes]], object]) -> None:
    """Write a file whole or not at all: `write_to` is called with a new file in its folder.

    Links are followed. A file that is replaced keeps its mode and, where the system allows it,
    its owner. Temporary files that a killed process left for the same file are removed.

    Raises
    ------
    OSError
        If the file cannot be written, or the path names a folder, a device or a FIFO.
    """
    target, temporary = os.path.realpath(path), None
    try:
        try:
            old = os.stat(path)
            if kind := _special_kind(old.st_mode):
                number = errno.EISDIR if kind == "folder" else errno.EINVAL
                raise OSError(number, f"expected a regular file, got a {kind}")
            mode = old.st_mode & 0o777 | 0o600
        except FileNotFoundError:
            old, mode = None, 0o666  # the system applies the umask
        descriptor, temporary = _open_temporary(target, mode)
        with os.fdopen(descriptor, "wb") as file:
            write_to(file)
            file.flush()
            if old is not None:
                _set_owner_and_mode(file.fileno(), old)
            _sync(file.fileno())
            if sys.platform != "win32":  # the lock ends when the file is closed
                os.replace(temporary, target)
        if sys.platform == "win32":  # an open file cannot be renamed
            os.replace(temporary, target)
    except OSError as error:
        untouched = "; the file that was there is untouched" if os.path.isfile(target) else ""
        why = f"cannot write {target}: {error.strerror or error}{untouched}"
        raise type(error)(error.errno, why) from None
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
    with contextlib.suppress(OSError):  # Windows opens no folder, and some disks cannot sync one
        descriptor = os.open(os.path.dirname(target), os.O_RDONLY)
        try:
            _sync(descriptor)
        finally:
            os.close(descriptor)


def _special_kind(mode: int) -> str | None:
    """Return the kind of a file that is not a regular one; None for a regular file."""
    kinds = {stat.S_IFREG: None, stat.S_IFDIR: "folder", stat.S_IFIFO: "FIFO",
             stat.S_IFSOCK: "socket"}  # fmt: skip
    return kinds.get(stat.S_IFMT(mode), "device")


def _open_temporary(target: str, mode: int) -> tuple[int, str]:
    """Make and lock a temporary file for `target`; remove those of killed processes."""
    import glob

    folder, name = os.path.split(target)
    # A hash of the name, because a long name leaves no room for more.
    start = os.path.join(folder, f".npchar-{zlib.crc32(os.fsencode(name)):08x}-")
    for stale in glob.glob(glob.escape(start) + "*.tmp"):
        with contextlib.suppress(OSError), open(stale, "rb+") as file:
            if lock_file(file.fileno()):  # no process is writing it
                os.unlink(stale)
    flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | getattr(os, "O_BINARY", 0)
    while True:
        temporary = f"{start}{os.urandom(4).hex()}.tmp"
        descriptor = os.open(temporary, flags, mode)
        if lock_file(descriptor) is not False and os.path.exists(temporary):
            return descriptor, temporary
        os.close(descriptor)  # another process took it for a stale one before it was locked


def _set_owner_and_mode(descriptor: int, old: os.stat_result) -> None:
    """Give a new file the owner and mode of the file that it replaces, where possible."""
    with contextlib.suppress(AttributeError):  # on Windows
        for owner in ((-1, old.st_gid), (old.st_uid, -1)):
            with contextlib.suppress(OSError):
                os.fchown(descriptor, *owner)
        with contextlib.suppress(OSError):  # some disks have one mode for all files
            os.fchmod(descriptor, old.st_mode & 0o777)


def _sync(descriptor: int) -> None:
    """Write an open file to the disk."""
    if not in_browser():
        os.fsync(descriptor)


def lock_file(descriptor: int) -> bool | None:
    """Lock an open file; return False if it is locked already, None where there are no locks."""
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except (ImportError, OSError):  # some systems, and some network disks
        return None
    return True


# Reading


def read_model_file(path: str | os.PathLike[str]) -> ModelFile:
    """Read and validate a model file.

    Raises
    ------
    CheckpointError
        If the file is of another kind, or damaged.
    OSError
        If there is no such file, or it cannot be read.
    """
    name = os.fspath(path)
    kind = _special_kind(os.stat(path).st_mode)
    if kind not in (None, "folder"):  # a FIFO blocks, and a device may have no end
        raise CheckpointError(f"{name} is not a saved model: expected a regular file, got a {kind}")
    with open(path, "rb") as file:
        try:
            return _read_members(file)
        except CheckpointError as error:
            raise CheckpointError(f"{name} {error}") from None
        except Exception as error:  # zipfile, json and NumPy raise many kinds for hostile files
            why = str(error) if type(error) is ValueError else f"{type(error).__name__}: {error}"
            raise CheckpointError(f"{name} is damaged or not a saved model: {why}") from None


def _read_members(file: IO[bytes]) -> ModelFile:
    """Read a model file; raise any kind of error if it is damaged."""
    import json
    import zipfile

    members: dict[str, zipfile.ZipInfo] = {}
    with zipfile.ZipFile(file) as archive:
        for info in archive.infolist():
            name = info.filename.removesuffix(".npy")
            if name == info.filename or name in members:
                raise ValueError(f"{info.filename!r} has no place in it")
            if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
                raise ValueError(f"{info.filename!r} is compressed")
            members[name] = info
        if sum(info.file_size for info in members.values()) > os.fstat(file.fileno()).st_size:
            raise ValueError("its members are larger than the file")
        text = _parse_array(archive.read(members.pop(CONFIGURATION)))
        configuration: Configuration = json.loads(text.tobytes())
        if configuration.get("format") not in FORMATS:
            raise CheckpointError(
                f"has the format version {configuration.get('format')!r}; this npchar reads "
                f"{' and '.join(map(str, FORMATS))}: install a newer one"
            )
        vocabulary, sizes, expected = _parse_configuration(configuration)
        is_checkpoint = "training" in configuration
        names = {n for n in members if not (is_checkpoint and n.startswith(TRAINING))}
        if odd := sorted(names ^ expected.keys()):
            raise ValueError(f"of the arrays {odd[:3]}, some are missing and some too many")
        arrays = {name: _parse_array(archive.read(info)) for name, info in members.items()}
    for name, (dtype, shape) in expected.items():
        if (arrays[name].dtype, arrays[name].shape) != (dtype, shape):
            raise ValueError(
                f"the array {name!r} is {arrays[name].dtype} {arrays[name].shape} and should be "
                f"{dtype} {shape}"
            )
    return ModelFile(configuration, arrays, vocabulary, sizes)


def _parse_array(data: bytes) -> Array:
    """The array of a ``.npy``, whose header may declare anything."""
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
    lower_case: bool = False,
    trained_on: dict[str, Any] | None = None,
    stored: str | None = None,
) -> Configuration:
    """The configuration of a model's file. `stored` is the type of the weights in it."""
    import json

    dtype = str(network.parameters.flat.dtype)
    usual = NetworkConfig._field_defaults | {"vocabulary_size": len(vocabulary)}
    model = {k: v for k, v in network.config._asdict().items() if v != usual.get(k)}
    symbols = "tokens" if vocabulary.tokens else "characters"
    model |= {symbols: vocabulary.symbols, "dtype": dtype}
    if stored not in (None, dtype):
        model["stored"] = stored
    if vocabulary.unknown_symbol is not None:
        model["stand_in"] = vocabulary.unknown_symbol
    model = json.loads(json.dumps(model))  # tuples become lists, as in the file
    if not vocabulary.tokens and model[symbols] != vocabulary.symbols:
        model[symbols] = list(vocabulary)  # lone surrogates, which JSON would join to pairs
    configuration: Configuration = {
        "format": 2 if FORMAT_2 & model.keys() else 1,
        "npchar": __version__,
        "epochs_trained": network.epochs_trained,
        "model": model,
    }
    if lower_case:
        configuration["lower_case"] = True
    if END in vocabulary and not vocabulary.documents:
        configuration["documents"] = False
    if trained_on is not None:
        configuration["trained_on"] = trained_on
    return configuration


def weights_as(dtype: str | None, weights: Mapping[str, Array]) -> Mapping[str, Array]:
    """Convert weights to the type in which a file stores them; None leaves them as they are."""
    if dtype is None:
        return weights
    if dtype not in STORED:
        raise ValueError(f"dtype is {dtype!r}; expected one of {', '.join(STORED)}")
    with np.errstate(over="ignore", under="ignore"):
        arrays = {name: array.astype(dtype) for name, array in weights.items()}
    for name, array in arrays.items():
        if np.isinf(array).any() and not np.isinf(weights[name]).any():
            raise ValueError(f"{name} has a weight too large for {dtype}; save it as it is")
    return arrays


def _parse_configuration(
    configuration: Configuration,
) -> tuple[Vocabulary, NetworkConfig, dict[str, tuple[Any, tuple[int, ...]]]]:
    """The vocabulary, the sizes, and the dtype and shape of each array."""
    arguments = dict(configuration["model"])
    dtype = arguments.pop("dtype")
    stored = arguments.pop("stored", dtype)
    tokens = "tokens" in arguments
    symbols = arguments.pop("tokens" if tokens else "characters")
    if isinstance(symbols, list):
        symbols = _lists_to_tuples(symbols) if tokens else "".join(symbols)
    documents = configuration.get("documents", END in symbols)  # version 1.0 did not write it
    vocabulary = Vocabulary(
        symbols,
        tokens=tokens,
        unknown_symbol=_lists_to_tuples(arguments.pop("stand_in", None)),
        documents=documents,
    )
    sizes = NetworkConfig(len(vocabulary), **arguments).checked()
    epochs_trained = configuration.get("epochs_trained", 0)
    checks = [
        vocabulary.symbols == symbols and len(vocabulary) >= 2,
        isinstance(documents, bool) and isinstance(configuration.get("lower_case", False), bool),
        isinstance(epochs_trained, int) and epochs_trained >= 0,
        sizes.num_layers <= MAX_LAYERS,
        dtype in DTYPES and stored in STORED,
    ]
    if not all(checks):
        raise ValueError(f"its configuration is {configuration!r:.500}")
    trained_on(configuration)
    shapes = sizes.shapes()
    return vocabulary, sizes, {n: (np.dtype(stored), shape) for n, shape in shapes.items()}


def _lists_to_tuples(value: Any) -> Any:
    """The tuples of tokens, which are lists in JSON."""
    return tuple(map(_lists_to_tuples, value)) if isinstance(value, list) else value


def text_digest(ids: Array) -> str:
    """The SHA-256 of a text's ids, in hexadecimal."""
    import hashlib

    return hashlib.sha256(ids.data).hexdigest()


def trained_on(configuration: Configuration) -> dict[str, Any] | None:
    """The `Model.trained_on` of a file; raises an error if it is invalid."""
    text: dict[str, Any] | None = configuration.get("trained_on")
    if "training" in configuration:
        settings, digest = (configuration["training"][name] for name in ("settings", "corpus"))
        text = {"sha256": digest, "validation_split": settings.get("validation_split", 0.1)}
    if text not in (None, {}) and not (
        isinstance(text["sha256"], str) and 0 <= text["validation_split"] < 1
    ):
        raise ValueError(f"its trained_on is {text!r:.150}")
    return text


def training_settings(path: str | os.PathLike[str]) -> dict[str, Any] | None:
    """The arguments of the `Model.fit` that wrote a checkpoint; None for a file without a training.

    With the same text, ``Model.load(path).fit(text, checkpoint=path, resume=True,
    **settings)`` resumes the training.

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
    # `fit` takes the arguments of optimizer and schedule from the checkpoint.
    return {name: value for name, value in training["settings"].items() if name not in DERIVED}


def unfinished(path: str | os.PathLike[str]) -> str | None:
    """The progress of the training in a checkpoint; None if it has finished, or there is none."""
    training = read_model_file(path).configuration.get("training")
    if training is None or training["position"]["finished"]:
        return None
    return f"{training['position']['epochs']} of {training['settings']['epochs']} epochs"
