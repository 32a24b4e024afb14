"""Models on disk: written whole or not at all, read with suspicion.

A file is an ``.npz`` with stored (uncompressed) members: ``configuration``, a
JSON text as bytes, and one array for each name. There is no pickle in it, so a
stranger's file can at worst be refused. Knows nothing of what the arrays mean:
``model.py`` does.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from npchar.parameters import Array

if TYPE_CHECKING:
    import zipfile  # where it is used: it would add a tenth to the time of `import npchar`

CONFIGURATION = "configuration"


class CheckpointError(ValueError):
    """A file that is not a model of npchar's, or no longer whole."""


def write(
    path: str | os.PathLike[str], configuration: dict[str, Any], arrays: Mapping[str, Array]
) -> None:
    """Write a configuration and named arrays to `path`, replacing what was there.

    The new file takes the old one's place only once it is on the disk: whatever
    happens on the way, `path` holds the old content or the new.
    """
    import tempfile

    text = json.dumps(configuration, ensure_ascii=True).encode()
    members: dict[str, Any] = {CONFIGURATION: np.frombuffer(text, np.uint8), **arrays}
    path = os.path.abspath(path)
    folder = os.path.dirname(path)
    try:
        descriptor, temporary = tempfile.mkstemp(dir=folder, prefix=".npchar-", suffix=".tmp")
    except OSError as error:
        raise type(error)(error.errno, f"cannot write {path}: {error.strerror}", folder) from None
    try:
        with os.fdopen(descriptor, "wb") as file:
            np.savez(file, **members)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~current_umask())  # mkstemp's is for the owner alone
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    sync_folder(folder)


def current_umask() -> int:
    """The permissions that new files are made without."""
    umask = os.umask(0)
    os.umask(umask)
    return umask


def sync_folder(folder: str) -> None:
    """Put a folder's entries on the disk, where the system can."""
    with contextlib.suppress(OSError):  # Windows opens no folder, and some disks cannot
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def read(path: str | os.PathLike[str]) -> tuple[dict[str, Any], dict[str, Array]]:
    """The configuration and the arrays that `write` put into `path`.

    Raises
    ------
    CheckpointError
        When the file is of another kind, or damaged.
    OSError
        When there is no such file, or it cannot be read.
    """
    import zipfile

    name = os.fspath(path)
    with open(path, "rb") as file:
        try:
            with zipfile.ZipFile(file) as archive:
                arrays = read_members(archive)
            configuration = json.loads(arrays.pop(CONFIGURATION).tobytes())
            if not isinstance(configuration, dict):
                raise ValueError("its configuration is not a table")
        except zipfile.BadZipFile as error:
            raise CheckpointError(f"{name} is damaged or not a saved model: {error}") from None
        except KeyError:
            raise CheckpointError(f"{name} has no configuration: npchar did not save it") from None
        except (ValueError, EOFError, NotImplementedError, RuntimeError) as error:
            raise CheckpointError(f"{name} is not a saved model: {error}") from None
    return configuration, arrays


def read_members(archive: zipfile.ZipFile) -> dict[str, Array]:
    """All arrays of a zip file, none larger than the bytes it takes in the file."""
    import zipfile

    arrays: dict[str, Array] = {}
    for info in archive.infolist():
        member = info.filename.removesuffix(".npy")
        if member == info.filename or member in arrays:
            raise ValueError(f"the member {info.filename!r} has no place in it")
        if info.compress_type != zipfile.ZIP_STORED:
            raise ValueError(f"the member {info.filename!r} is compressed")
        with archive.open(info) as stream:
            arrays[member] = read_array(stream, info.file_size, member)
    return arrays


def read_array(stream: Any, size: int, name: str) -> Array:
    """One ``.npy`` of `size` bytes: its header is believed only if it accounts for them all."""
    file: BinaryIO = stream
    version = np.lib.format.read_magic(file)
    if version != (1, 0):
        raise ValueError(f"the array {name!r} has a format version other than 1.0")
    shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
    if fortran or dtype.hasobject or dtype.str not in ("|u1", "<f4", "<f8"):
        raise ValueError(f"the array {name!r} has the type {dtype}, in an unexpected order")
    data = file.read()
    if len(data) != dtype.itemsize * int(np.prod(shape, dtype=object)) or file.tell() != size:
        raise ValueError(f"the array {name!r} has {len(data)} bytes, and not what it declares")
    return np.frombuffer(data, dtype).reshape(shape)
