"""Models on disk: written whole or not at all, read with suspicion.

A file is an ``.npz`` with stored (uncompressed) members: ``configuration``, a
JSON text as bytes, and one array for each name. There is no pickle in it, so a
stranger's file can at worst be refused. What the arrays mean is not decided here:
``model.py`` says which there must be, ``training/trainer.py`` adds what it needs to go
on later.
"""

from __future__ import annotations

import contextlib
import errno
import math
import os
import stat
from collections.abc import Callable, Mapping
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from npchar.arrays import Array
from npchar.version import in_browser

try:
    import fcntl
except ImportError:  # on Windows
    fcntl = None  # type: ignore[assignment]

if TYPE_CHECKING:
    import zipfile  # this, json and re where they are used: `import npchar` need not wait

__all__ = ["CheckpointError"]

FORMAT = 1  # the version of the files' format, where nothing in them asks for another
FORMATS = (1, 2)  # 2: what the first release could not read, such as weights of 16 bits
CONFIGURATION = "configuration"
DTYPES = ("<f2", "<f4", "<f8", "|u1", "<u2", "<u4", "<u8")

Layout = dict[str, tuple[str, tuple[int, ...]]]  # each array's dtype and shape


class CheckpointError(ValueError):
    """A file that is not one of npchar's, is no longer whole, or belongs to something else.

    Examples
    --------
    >>> from pathlib import Path
    >>> _ = Path("odd.npz").write_text("not a model")
    >>> try:
    ...     npchar.Model.load("odd.npz")
    ... except npchar.CheckpointError as error:
    ...     print(error)
    odd.npz is damaged or not a saved model: File is not a zip file
    """


def write(
    path: str | os.PathLike[str], configuration: dict[str, Any], arrays: Mapping[str, Array]
) -> None:
    """Write a configuration and named arrays to `path`, replacing what was there.

    The new file takes the old one's place only once it is on the disk: whatever
    happens on the way, `path` holds the old content or the new.

    Raises
    ------
    OSError
        Of the kind that the system raised, saying which file could not be written.
    """
    import json
    import zipfile

    text = json.dumps({"format": FORMAT, **configuration}, ensure_ascii=True).encode()
    members: dict[str, Any] = {CONFIGURATION: np.frombuffer(text, np.uint8), **arrays}

    def write_members(file: IO[bytes]) -> None:
        # As numpy.savez does, but closed where a write fails: older ones leave the
        # archive to the garbage collector, which complains on the terminal.
        with zipfile.ZipFile(file, "w") as archive:
            for name, array in members.items():
                with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                    np.lib.format.write_array(member, array, allow_pickle=False)

    write_whole(path, write_members)


def write_whole(path: str | os.PathLike[str], write_to: Callable[[IO[bytes]], object]) -> None:
    """Write a file whole or not at all: `write_to` is called with a new file in its folder.

    Links are followed. A file that is replaced keeps its mode and, where the system allows it,
    its owner. Temporary files that a killed process left of the same file are removed.

    Raises
    ------
    OSError
        When the file cannot be written, or the path names a folder, a device or a FIFO.
    """
    import zlib

    target = os.path.realpath(path)
    folder, name = os.path.split(target)
    temporary = None
    try:
        try:
            old = os.stat(path)
        except FileNotFoundError:
            old = None
        if old is not None and (kind := _special_kind(old.st_mode)):
            number = errno.EISDIR if kind == "folder" else errno.EINVAL
            raise OSError(number, f"expected a regular file, got a {kind}")
        start = f".npchar-{zlib.crc32(os.fsencode(name)):08x}-"  # a long name has no room for more
        _remove_stale(folder, start)
        mode = 0o666 if old is None else old.st_mode & 0o777 | 0o600
        descriptor, temporary = _open_temporary(os.path.join(folder, start), mode)
        with os.fdopen(descriptor, "wb") as file:
            write_to(file)
            file.flush()
            if old is not None:
                _keep_owner_and_mode(file.fileno(), old)
            sync(file.fileno())
            if fcntl is not None:  # the lock ends with the file
                os.replace(temporary, target)
        if fcntl is None:  # Windows replaces no file by an open one
            os.replace(temporary, target)
    except BaseException as error:
        if temporary is not None:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
        if isinstance(error, OSError):
            why = f"cannot write {target}: {error.strerror or error}"
            if os.path.isfile(target):
                why += "; the file that was there is untouched"
            raise type(error)(error.errno, why) from None
        raise
    sync_folder(folder)


def _special_kind(mode: int) -> str | None:
    """Return the kind of a file that is not a regular one; None for a regular file."""
    kinds = {stat.S_IFREG: None, stat.S_IFDIR: "folder", stat.S_IFIFO: "FIFO",
             stat.S_IFSOCK: "socket"}  # fmt: skip
    return kinds.get(stat.S_IFMT(mode), "device")


def _open_temporary(start: str, mode: int) -> tuple[int, str]:
    """Make a new file and lock it, so that no other process takes it for a stale one."""
    flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | getattr(os, "O_BINARY", 0)
    while True:
        temporary = f"{start}{os.urandom(4).hex()}.tmp"
        descriptor = os.open(temporary, flags, mode)  # the system applies the umask
        is_locked = fcntl is None or lock_file(descriptor) is not False
        if is_locked and os.path.exists(temporary):
            return descriptor, temporary
        os.close(descriptor)  # another process removed it before it was locked


def _remove_stale(folder: str, start: str) -> None:
    """Remove temporary files of killed processes: no process has a lock on them."""
    if fcntl is None:
        return
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(start) and entry.is_file(follow_symlinks=False):
                with contextlib.suppress(OSError):
                    descriptor = os.open(entry.path, os.O_RDWR)
                    try:
                        if lock_file(descriptor):
                            os.unlink(entry.path)
                    finally:
                        os.close(descriptor)


def _keep_owner_and_mode(descriptor: int, old: os.stat_result) -> None:
    """Give a new file the owner and mode of the file that it is to replace, where possible."""
    for owner in ((-1, old.st_gid), (old.st_uid, -1)):
        with contextlib.suppress(OSError, AttributeError):  # Windows has no fchown
            os.fchown(descriptor, *owner)
    with contextlib.suppress(OSError, AttributeError):  # some disks have one mode for all files
        os.fchmod(descriptor, old.st_mode & 0o777)


def lock_file(descriptor: int) -> bool | None:
    """Lock an open file; return False if it is locked already, None where there are no locks."""
    try:
        if fcntl is not None:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        else:
            import msvcrt

            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
    except (BlockingIOError, PermissionError):
        return False
    except (ImportError, OSError):  # some systems, and some network disks
        return None
    return True


def sync(descriptor: int) -> None:
    """Put an open file on the disk, where there is one."""
    if not in_browser() and hasattr(os, "fsync"):
        os.fsync(descriptor)


def sync_folder(folder: str) -> None:
    """Put a folder's entries on the disk, where the system can."""
    with contextlib.suppress(OSError):  # Windows opens no folder, and some disks cannot
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            sync(descriptor)
        finally:
            os.close(descriptor)


def read(
    path: str | os.PathLike[str], layout: Callable[[dict[str, Any]], Layout]
) -> tuple[dict[str, Any], dict[str, Array]]:
    """The configuration and the arrays that `write` put into `path`.

    Parameters
    ----------
    path
        The file.
    layout
        Tells from a configuration which arrays there must be, and raises a
        ValueError, KeyError or TypeError for one that makes no sense. No array
        is read before all that the file has are found to be as it says.

    Raises
    ------
    CheckpointError
        When the file is of another kind, or damaged.
    OSError
        When there is no such file, or it cannot be read.
    """
    import zipfile

    name = os.fspath(path)
    kind = _special_kind(os.stat(path).st_mode)
    if kind not in (None, "folder"):  # a FIFO blocks, and a device may have no end
        raise CheckpointError(f"{name} is not a saved model: expected a regular file, got a {kind}")
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        try:
            with zipfile.ZipFile(file) as archive:
                return read_members(archive, size, layout)
        except zipfile.BadZipFile as error:
            reason = f"is damaged or not a saved model: {error}"
        except CheckpointError as error:
            reason = str(error)
        except Exception as error:
            # What a hostile file makes zipfile and json raise is not to be listed: OSError
            # for an offset, RuntimeError for a password, RecursionError for brackets...
            reason = f"is not a saved model: {type(error).__name__}: {error}"
    raise CheckpointError(f"{name} {reason}")


def read_members(
    archive: zipfile.ZipFile, size: int, layout: Callable[[dict[str, Any]], Layout]
) -> tuple[dict[str, Any], dict[str, Array]]:
    """The configuration and arrays of a zip file of `size` bytes."""
    import json
    import zipfile

    members: dict[str, zipfile.ZipInfo] = {}
    for info in archive.infolist():
        member = info.filename.removesuffix(".npy")
        if member == info.filename or member in members:
            raise CheckpointError(f"is not a saved model: {info.filename!r} has no place in it")
        if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
            raise CheckpointError(f"is not a saved model: {info.filename!r} is compressed")
        members[member] = info
    if sum(info.file_size for info in members.values()) > size:
        raise CheckpointError("is not a saved model: its members are larger than the file")
    if CONFIGURATION not in members:
        raise CheckpointError("has no configuration: npchar did not save it")

    def opened(member: str, expected: tuple[str, tuple[int, ...]] | None) -> IO[bytes]:
        stream = archive.open(members[member])
        dtype, shape, length = read_header(stream, member)
        if expected is not None and (dtype, shape) != expected:
            raise CheckpointError(
                f"is not a saved model: the array {member!r} is {dtype} {shape} and should be "
                f"{expected[0]} {expected[1]}"
            )
        if members[member].file_size != length + math.prod(shape) * np.dtype(dtype).itemsize:
            raise CheckpointError(
                f"is not a saved model: the array {member!r} is not of the size that it declares"
            )
        return stream

    with opened(CONFIGURATION, None) as stream:
        configuration = json.loads(stream.read())
    if not isinstance(configuration, dict):
        raise CheckpointError("is not a saved model: its configuration is not a table")
    if configuration.get("format") not in FORMATS:
        raise CheckpointError(
            f"has the format version {configuration.get('format')!r}; this npchar reads "
            f"{' and '.join(map(str, FORMATS))}: install a newer one"
        )
    try:
        expected = layout(configuration)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise CheckpointError(f"does not describe a model: {error!r}") from None
    if expected.keys() != members.keys() - {CONFIGURATION}:
        odd = sorted(expected.keys() ^ (members.keys() - {CONFIGURATION}))[:3]
        raise CheckpointError(
            f"is not a saved model: of the arrays {odd}, some are missing and some too many"
        )
    for member, description in expected.items():
        opened(member, description).close()
    arrays = {}
    for member, (dtype, shape) in expected.items():
        with opened(member, (dtype, shape)) as stream:
            arrays[member] = np.frombuffer(stream.read(), dtype).reshape(shape)
    return configuration, arrays


def read_header(stream: IO[bytes], name: str) -> tuple[str, tuple[int, ...], int]:
    """The dtype and shape that a ``.npy`` declares, and the length of its header."""
    try:
        version = np.lib.format.read_magic(stream)
        if version != (1, 0):
            raise ValueError(f"its format has the version {version}")
        shape, fortran_order, dtype = np.lib.format.read_array_header_1_0(stream)
        if fortran_order or dtype.str not in DTYPES:
            raise ValueError(f"its type is {dtype.str}")
    except ValueError as error:
        raise CheckpointError(
            f"is not a saved model: the array {name!r} has another format: {error}"
        ) from None
    return dtype.str, shape, stream.tell()
