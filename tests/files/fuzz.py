"""Damaged and hostile model files: each loads as the same model or is refused.

The script damages a model file and a checkpoint. It changes bits and bytes, truncates, repeats and
appends data. It changes the structure of the zip file (compressed members that would expand a
thousandfold, duplicate, additional and missing members, pickles), the headers of arrays (huge,
negative and false shapes, other types, unclosed brackets) and the configuration (other types and
sizes). Only the library's own errors are allowed. No pickle may run, and no file may take more
than a second or more than 20 MB of memory.
"""

from __future__ import annotations

import io
import json
import pickle
import random
import tempfile
import time
import tracemalloc
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np

import npchar

Members = dict[str, bytes]
MARKER = Path(tempfile.gettempdir()) / "npchar-fuzz-was-here"


class Bomb:
    """An object whose pickle runs code when it is read."""

    def __reduce__(self) -> tuple[Callable[[str], object], tuple[str]]:
        return eval, (f"open({str(MARKER)!r}, 'w')",)


def members_of(content: bytes) -> Members:
    """The members of a zip file."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {info.filename: archive.read(info) for info in archive.infolist()}


def zipped(members: list[tuple[str, bytes]], compression: int = zipfile.ZIP_STORED) -> bytes:
    """A zip file of these members, with duplicate names if given."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # for duplicate names
        with zipfile.ZipFile(buffer, "w", compression) as archive:
            for name, data in members:
                archive.writestr(name, data)
    return buffer.getvalue()


def npy(header: str, data: bytes = b"", version: bytes = b"\x01\x00") -> bytes:
    """An array file with this header, which may be false."""
    text = header.encode("latin-1", "replace")
    text += b" " * (-(len(text) + 11) % 64) + b"\n"
    return b"\x93NUMPY" + version + len(text).to_bytes(2, "little") + text + data


def damaged_bytes(content: bytes, rng: random.Random) -> bytes:
    """Damage bytes without knowledge of the format."""
    data = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 5, 40))):
        at, length = rng.randrange(len(data) + 1), rng.choice((0, 1, 8, 64, 4096))
        piece = rng.choice(
            (b"", rng.randbytes(8), b"\xff" * 8, b"\0" * 8, bytes(data[at - 30 : at]))
        )
        if rng.random() < 0.5 and at < len(data):  # one bit
            data[at] ^= 1 << rng.randrange(8)
        else:
            data[at : at + length if rng.random() < 0.9 else None] = piece
    return bytes(data)


SHAPES = (
    *("()", "(0,)", "(-1,)", "(1,)", "(10000000000000,)", "(4, -57, 128)", "(2, 2, 2, 2)"),
    *("(99999999999999999999999,)", "(1.5,)", "('a',)", "(True,)", "(4,57,8)", "(None,)"),
    *("((((((((", "(" * 4000, "(1" + ", 1" * 3000 + ")", "__import__('os')", "9" * 5000),
)
TYPES = ("'<f4'", "'<f8'", "'>f4'", "'|O'", "'|u1'", "'<U9'", "'|V99999999'", "[('a', '<f4')]",
         "'<c8'", "'<M8[ns]'", "'|S0'", "''", "None", "'<f2'", "'<f16'", "'junk'")  # fmt: skip
VALUES = (None, True, -1, 0, 1, 2, 7, 1.5, 10**6, 10**12, 10**400, 1e308, float("nan"),
          float("inf"), "", "abc", "float32", "object", "\ud800", [], [1], {}, {"a": 1},
          "ab" * 50_000)  # fmt: skip


def damaged_structure(content: bytes, rng: random.Random) -> bytes:
    """Damage the structure of a zip file, with correct checksums."""
    members = members_of(content)
    name = rng.choice(list(members))
    kind = rng.randrange(9)
    compression = zipfile.ZIP_STORED
    if kind == 0:  # the header of an array
        array = np.lib.format.read_array(io.BytesIO(members[name]))
        shape, dtype = str(array.shape), repr(array.dtype.str)
        shape = rng.choice(SHAPES) if rng.random() < 0.6 else shape
        dtype = rng.choice(TYPES) if rng.random() < 0.5 else dtype
        order = rng.choice(("False", "False", "True", "None", "0"))
        header = f"{{'descr': {dtype}, 'fortran_order': {order}, 'shape': {shape}, }}"
        version = rng.choice((b"\x01\x00", b"\x01\x00", b"\x02\x00", b"\x09\x09"))
        members[name] = npy(header, array.tobytes(), version)
    elif kind == 1:  # the configuration
        configuration = json.loads(np.load(io.BytesIO(members["configuration.npy"])).tobytes())
        place = configuration
        while True:
            key = rng.choice(list(place))
            if not isinstance(place[key], dict) or not place[key] or rng.random() < 0.2:
                break
            place = place[key]
        if rng.random() < 0.2:
            del place[key]
        else:
            place[rng.choice((key, key, key, "surprise"))] = rng.choice(VALUES)
        members["configuration.npy"] = as_npy(json.dumps(configuration).encode())
    elif kind == 2:  # a configuration that is not JSON
        junk = rng.choice((b"", b"{", b"[" * 50_000, b'{"a":' * 50_000, b"\xff\xfe", b"nul",
                           b"9" * 9000, b'{"format": 1}', rng.randbytes(99)))  # fmt: skip
        members["configuration.npy"] = as_npy(junk)
    elif kind == 3:  # a few compressed kB that would expand to many MB
        members[name] += b"\0" * rng.choice((0, 10_000_000))
        compression = rng.choice((zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA))
    elif kind == 7:  # a pickle
        header = "{'descr': '|O', 'fortran_order': False, 'shape': (1,), }"
        members[name] = rng.choice((npy(header), b"")) + pickle.dumps([Bomb()])
    elif kind == 8:  # trailing bytes inside and outside of a member
        members[name] += rng.randbytes(rng.choice((1, 64)))
    parts = list(members.items())
    if kind == 4:  # a duplicate member
        parts.insert(rng.randrange(len(parts) + 1), (name, rng.choice((members[name], b"x"))))
    elif kind == 5:  # an additional member
        extra = rng.choice(("extra.npy", "extra", "../../escape.npy", "/etc/passwd", "a/", ".npy",
                            name.upper(), "configuration"))  # fmt: skip
        parts.insert(rng.randrange(len(parts) + 1), (extra, rng.choice((members[name], b""))))
    elif kind == 6:  # a missing member
        parts = [part for part in parts if part[0] != name]
    return zipped(parts, compression)


def as_npy(data: bytes) -> bytes:
    """Bytes as an array file."""
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, np.frombuffer(data, np.uint8))
    return buffer.getvalue()


def describes(model: npchar.Model) -> tuple[object, ...]:
    """All properties that identify a model."""
    flat = model.parameters.flat
    return model.vocabulary, model.network.config, flat.dtype, flat.tobytes()


def fuzz(count: int, seed: int, folder: Path) -> dict[str, object]:
    """Try `count` files; raise an AssertionError for the first harmful one."""
    rng = random.Random(seed)
    text = "the cat sat on the mat, and the rat sat on the cat. " * 20
    originals = []
    for checkpoint in (False, True):
        model = npchar.Model(npchar.Vocabulary.from_text(text), hidden_size=8, num_layers=2)
        path = folder / "original.npz"
        path.unlink(missing_ok=True)
        if checkpoint:
            model.fit(text, epochs=1, maxlen=20, verbose=False, workers=1, checkpoint=path)
        else:
            model.save(path)
        originals.append((path.read_bytes(), describes(model)))
    MARKER.unlink(missing_ok=True)
    outcomes: Counter[str] = Counter()
    slowest, most = 0.0, 0
    path = folder / "damaged.npz"
    for n in range(count):
        content, expected = rng.choice(originals)
        damage = rng.choice((damaged_bytes, damaged_structure))
        path.write_bytes(damage(content, rng))
        tracemalloc.start()
        start = time.perf_counter()
        try:
            found = npchar.Model.load(path)
        except npchar.CheckpointError:
            outcomes["refused"] += 1
        else:
            # Another configuration that is consistent with the arrays (a version, a position in a
            # training) is not damage.
            assert describes(found)[:3] == expected[:3] or damage is damaged_structure, n
            assert describes(found)[3] == expected[3], f"file {n} loads as another model"
            outcomes["the same model"] += 1
        slowest = max(slowest, time.perf_counter() - start)
        most = max(most, tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert not MARKER.exists(), f"file {n} ran a pickle"
        assert slowest < 1, f"file {n} took {slowest:.1f} s"
        assert most < 20e6, f"file {n} took {most:,} bytes of memory"
    return {"files": count, **outcomes, "slowest, seconds": round(slowest, 3),
            "most memory, MB": round(most / 1e6, 1)}  # fmt: skip
