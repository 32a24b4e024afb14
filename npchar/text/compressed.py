"""Decompresses the bytes of gzip, bzip2 and xz files."""

from __future__ import annotations

import io
import re
from importlib import import_module

from npchar.text.download import CorpusError

BEGINNINGS = {rb"\x1f\x8b": "gzip", rb"BZh[1-9]1AY&SY": "bz2", rb"\xfd7zXZ\x00": "lzma"}
LARGEST = 1 << 30  # bytes after decompression


def decompress(data: bytes, name: str) -> bytes:
    """The bytes of a compressed file after decompression, and of other files unchanged.

    Raises
    ------
    CorpusError
        For a damaged file, or more than `LARGEST` bytes.
    """
    module = next((module for start, module in BEGINNINGS.items() if re.match(start, data)), None)
    if module is None:
        return data
    try:
        with import_module(module).open(io.BytesIO(data)) as file:
            decompressed: bytes = file.read(LARGEST + 1)
    except Exception as error:  # each module has errors of its own
        raise CorpusError(f"cannot decompress {name}: {error}") from None
    if len(decompressed) > LARGEST:
        raise CorpusError(
            f"{name} has more than {LARGEST:,} bytes after decompression; decompress it and pass "
            "a part of it"
        )
    return decompressed
