"""Decompression of gzip, bzip2 and xz files."""

from __future__ import annotations

import io
import re
from importlib import import_module

from npchar.text.download import CorpusError

BEGINNINGS = {rb"\x1f\x8b": "gzip", rb"BZh[1-9]1AY&SY": "bz2", rb"\xfd7zXZ\x00": "lzma"}
LARGEST = 1 << 30  # bytes after decompression


def decompress(data: bytes, name: str) -> bytes:
    """Decompress the bytes of a compressed file. Other bytes are returned unchanged.

    Raises
    ------
    CorpusError
        If the file is damaged, or has more than `LARGEST` bytes after decompression.
    """
    module = next((module for start, module in BEGINNINGS.items() if re.match(start, data)), None)
    if module is None:
        return data
    try:
        with import_module(module).open(io.BytesIO(data)) as file:
            decompressed: bytes = file.read(LARGEST + 1)
    except Exception as error:  # each module raises different errors
        raise CorpusError(f"cannot decompress {name}: {error}") from None
    if len(decompressed) > LARGEST:
        raise CorpusError(
            f"expected at most {LARGEST:,} bytes after decompression, got more in {name}; "
            "decompress it and pass a part of it"
        )
    return decompressed
