"""Decodes a file's bytes: byte order marks, odd bytes, line ends, and files that are not text.

``text/corpus.py`` reads the bytes; ``text/detection.py`` names a likely encoding; the decoded
text is checked by ``text/examine.py``.
"""

from __future__ import annotations

import codecs
import contextlib
import re
from collections.abc import Callable
from typing import Literal, TypeAlias

from npchar.text.download import CorpusError

Errors: TypeAlias = Literal["strict", "replace", "ignore"]

BYTE_ORDER_MARKS = {  # the longer first, as one begins like another
    b"\xff\xfe\x00\x00": "utf-32",
    b"\x00\x00\xfe\xff": "utf-32",
    b"\xff\xfe": "utf-16",
    b"\xfe\xff": "utf-16",
    b"\xef\xbb\xbf": "utf-8-sig",
}

# The first bytes of formats that are not plain text, and how to get at their text
FORMATS = {
    b"%PDF": ("a PDF", "save it as text, as pdftotext does"),
    b"PK\x03\x04": ("a .docx, .odt, .epub or another archive", "open it and save it as plain text"),
    b"\xd0\xcf\x11\xe0": ("an old Word or Excel file", "open it and save it as plain text"),
    b"{\\rtf": ("an RTF file", "open it and save it as plain text"),
    b"\x1f\x8b": ("a gzip archive", "unpack it"),
    b"\x89PNG": ("a picture", "name a text"),
    b"\xff\xd8\xff": ("a picture", "name a text"),
    b"GIF8": ("a picture", "name a text"),
    b"\x93NUMPY": ("a NumPy array", "name a text"),
    b"SQLite format 3": ("a database", "export its texts"),
}
# Control characters that texts in no encoding have, except UTF-16 and UTF-32
BINARY = bytes([*range(0x01, 0x07), *range(0x10, 0x1B), *range(0x1C, 0x20)])
NOT_BINARY = bytes(set(range(256)) - set(BINARY))
# In a decoded text: a byte that could not be decoded (as "surrogateescape" marks it), a zero byte
ODD = re.compile("[\udc80-\udcff\0]")
# A character outside the Basic Multilingual Plane in CESU-8: two surrogates of three bytes each
CESU = re.compile(rb"\xed[\xa0-\xaf][\x80-\xbf]\xed[\xb0-\xbf][\x80-\xbf]")
# Byte sequences in encodings that use only ASCII bytes
SEVEN_BIT = (
    (b"\x1b$B", ("iso-2022-jp", "iso2022_jp_2", "iso2022_jp_3", "iso2022_jp_ext")),
    (b"\x1b$@", ("iso-2022-jp", "iso2022_jp_ext")),
    (b"\x1b$)C", ("iso-2022-kr",)),
    (b"~{", ("hz",)),
    (b"+", ("utf-7",)),
)
WIDE = ("utf-32-le", "utf-32-be", "utf-16-le", "utf-16-be")
UTF_8 = ("utf-8", "utf-8-sig")
MOST_LINES = 5  # line numbers in a message


class NotTextError(CorpusError):
    """A file without plain text: empty, or of another format.

    Attributes
    ----------
    kind
        The format in a few words.
    """

    def __init__(self, message: str, kind: str = "") -> None:
        super().__init__(message)
        self.kind = kind


class EncodingError(CorpusError):
    """Bytes that are not text in the expected encoding.

    Attributes
    ----------
    what
        The fault.
    hint
        The likely encoding, or None.
    reading
        A few words of the file in that encoding.
    repair
        Advice on ``errors``, if it helps.
    """

    def __init__(
        self, what: str, hint: str | None = None, reading: str = "", repair: str = ""
    ) -> None:
        self.what, self.hint, self.reading, self.repair = what, hint, reading, repair
        super().__init__(self.message(lambda name, value: f"{name}={value!r}"))

    def message(self, option: Callable[[str, str], str]) -> str:
        """The fault and advice, with arguments written by `option(name, value)`."""
        parts = [self.what]
        if self.hint:
            parts.append(f"the encoding may be {self.hint}, which reads {self.reading!r}: use "
                         f"{option('encoding', self.hint)}, which applies to all files, if that is "
                         "right")  # fmt: skip
        if self.repair:
            replace, ignore = option("errors", "replace"), option("errors", "ignore")
            parts.append(self.repair.format(replace=replace, ignore=ignore))
        if len(parts) == 1:
            parts.append(f"name its encoding with {option('encoding', 'NAME')}")
        return "; ".join(parts)


def decode(
    data: bytes, encoding: str, name: str, errors: Errors = "strict"
) -> tuple[str, list[str]]:
    """The text of a file's bytes, and notes on changes and oddities.

    Parameters
    ----------
    data, encoding
        The bytes and their expected encoding. A byte order mark overrides it.
    name
        The file's name, for messages.
    errors
        What happens to bytes that cannot be decoded and to zero bytes: "strict" raises an error,
        "replace" puts U+FFFD in their place, "ignore" drops them. The latter two decode CESU-8.

    Raises
    ------
    EncodingError
        With ``errors="strict"``, for such bytes.
    NotTextError
        For a file without plain text.
    """
    if errors not in ("strict", "replace", "ignore"):
        raise CorpusError(f"expected errors 'strict', 'replace' or 'ignore', got {errors!r}")
    for beginning, (kind, advice) in FORMATS.items():
        if data.startswith(beginning):
            raise NotTextError(f"{name} is {kind}, not a plain text: {advice}", kind)
    notes = []
    mark = next((mark for mark in BYTE_ORDER_MARKS if data.startswith(mark)), None)
    if mark:
        encoding = BYTE_ORDER_MARKS[mark]
        notes.append(f"a byte order mark says {encoding.removesuffix('-sig')}; it is left out")
    start = wide = None
    try:
        codec = codecs.lookup(encoding).name
        if errors != "strict" and codec in UTF_8:
            data, pairs = CESU.subn(_join_surrogates, data)
            if pairs:
                notes.append(f"{pairs:,} characters in CESU-8 were decoded")
        text = data.decode(encoding)
    except LookupError:
        raise CorpusError(f"there is no encoding {encoding!r}") from None
    except UnicodeDecodeError as error:
        start = error.start
        text = _decode_marked(data, encoding)
    if "\r" in text:
        both = text.count("\r\n")
        alone = text.count("\r") - both
        text = text.replace("\r\n", "\n").replace("\r", "\n")
        ends = [f"{n:,} {kind}" for n, kind in ((both, "CRLF"), (alone, "CR")) if n]
        notes.append(f"{' and '.join(ends)} line ends became line feeds")
    if start is not None or "\0" in text:
        if not codec.startswith(("utf-16", "utf-32")):
            wide = _utf_16_or_32(data)
            if wide is None and _is_binary(data):
                raise NotTextError(f"{name} is a binary file; expected a text", "a binary file")
        if errors == "strict":
            hint = None if mark else wide or _likely_encoding(data, codec, start)
            raise _encoding_error(data, text, codec, name, start, hint)
        done = "replaced by U+FFFD" if errors == "replace" else "dropped"
        notes.append(f"{_odd_bytes(text)}: {done}")
        text = ODD.sub("\ufffd" if errors == "replace" else "", text)
    elif codec in ("utf-8", "ascii") and (hint := _seven_bit_encoding(data)):
        what = f"{name} is not {codec} text: it has the escape sequences of {hint}"
        raise EncodingError(what, hint, _reading(data, 0, hint))
    if not text:
        raise NotTextError(f"{name} is empty", "empty")
    if markup := _markup(text):
        notes.append(f"it looks like {markup}, whose tags and punctuation are learned too; to "
                     "learn only the texts, extract them first")  # fmt: skip
    return text, notes


def _decode_marked(data: bytes, encoding: str) -> str:
    """The text, with a lone surrogate for each byte that cannot be decoded."""
    try:
        return data.decode(encoding, "surrogateescape")
    except UnicodeDecodeError:  # UTF-16 and UTF-32 cannot do that
        return data.decode(encoding, "replace").replace("\ufffd", "\udcff")


def _join_surrogates(pair: re.Match[bytes]) -> bytes:
    """A character in UTF-8 from its two surrogates in CESU-8."""
    surrogates = pair[0].decode("utf-8", "surrogatepass")
    return surrogates.encode("utf-16", "surrogatepass").decode("utf-16").encode("utf-8")


def _encoding_error(
    data: bytes, text: str, codec: str, name: str, start: int | None, hint: str | None
) -> EncodingError:
    """The error for a text with odd bytes, with the advice that fits."""
    bad = _bad_bytes(text)
    pairs = len(CESU.findall(data)) if codec in UTF_8 else 0
    what = f"{name} has {_odd_bytes(text)}"
    if start is not None:
        what = (f"{name} is not {codec.removesuffix('-sig')} text: it has {_odd_bytes(text)}; the "
                f"first is 0x{data[start]:02x} at offset {start:,}")  # fmt: skip
    good = len(text) - len(text.encode("ascii", "ignore")) - bad
    bad -= 6 * pairs
    if codec in UTF_8 and good >= bad and hint not in WIDE:
        hint = None  # most of it is UTF-8
    repair = ""
    if pairs or (bad <= max(good, len(text) // 100) and hint not in WIDE):
        repair = "use {replace} to put U+FFFD in the place of each, or {ignore} to drop them"
        if pairs:
            repair += f"; both decode the {pairs:,} characters in CESU-8"
    reading = _reading(data, start or 0, hint) if hint else ""
    return EncodingError(what, hint, reading, repair)


def _bad_bytes(text: str) -> int:
    """The number of bytes that could not be decoded, which are surrogates in the text."""
    return len(text) - len(text.encode("utf-8", "ignore").decode("utf-8"))


def _odd_bytes(text: str) -> str:
    """How many odd bytes a text has, and in which lines."""
    zeros = text.count("\0")
    bad = _bad_bytes(text)
    counts = []
    if bad:
        counts.append(f"{bad:,} byte{'s' * (bad > 1)} that cannot be decoded")
    if zeros:
        counts.append(f"{zeros:,} zero byte{'s' * (zeros > 1)}")
    lines = [str(k) for k, line in enumerate(text.split("\n"), 1) if ODD.search(line)]
    shown = ", ".join(lines[:MOST_LINES])
    more = f" and {len(lines) - MOST_LINES:,} more" if len(lines) > MOST_LINES else ""
    return f"{' and '.join(counts)} (line{'s' * (len(lines) > 1)} {shown}{more})"


def _is_binary(data: bytes) -> bool:
    """Whether bytes have many control characters of several kinds, as no text has."""
    controls = data.translate(None, NOT_BINARY)
    return len(set(controls)) >= 4 and len(controls) > 0.002 * (len(data) - data.count(0))


def _likely_encoding(data: bytes, codec: str, start: int | None) -> str | None:
    """The likely encoding of bytes that are not text in `codec`; None if it is unclear."""
    if start is None:  # only zero bytes are odd
        return None
    if codec not in UTF_8:
        with contextlib.suppress(UnicodeDecodeError):
            data.decode("utf-8")
            return "utf-8"
    from npchar.text.detection import detect_encoding  # rarely needed, so it is imported here

    hint = detect_encoding(data, start)
    return None if hint is None or codecs.lookup(hint).name == codec else hint


def _utf_16_or_32(data: bytes) -> str | None:
    """The encoding of UTF-16 or UTF-32 without a byte order mark; None for other bytes."""
    zero = max(data.find(0), 0)
    first = max(0, zero - 2000) // 4 * 4
    sample = data[first : first + 4000]
    if sample.count(0) < max(1, len(sample) // 1000):
        return None
    from npchar.text.detection import is_plausible

    sample = sample[: len(sample) // 4 * 4]
    for encoding in WIDE:
        with contextlib.suppress(UnicodeDecodeError):
            text = sample.decode(encoding)
            if "\0" not in text and is_plausible(text):
                return encoding
    return None


def _seven_bit_encoding(data: bytes) -> str | None:
    """The encoding of an ASCII text with the escape sequences of another; None for any other."""
    if not data.isascii():
        return None
    for sequence, encodings in SEVEN_BIT:
        is_there = sequence[:1] in data and sequence in data  # one byte is found far more quickly
        for encoding in encodings if is_there else ():
            with contextlib.suppress(UnicodeDecodeError):
                text = data.decode(encoding)
                from npchar.text.detection import is_plausible

                if not text.isascii() and is_plausible(text):
                    return encoding
    return None


def _reading(data: bytes, start: int, encoding: str) -> str:
    """The words around the first non-ASCII character from an offset on, in an encoding."""
    line = data.rfind(b"\n", 0, start) + 1
    line = line if start - line < 200 else start
    text = data[line : line + 100_000].decode(encoding, "replace")
    found = re.search(r"[^\x00-\x7f]", text)
    if found and found.start() > 10:
        text = text[found.start() - 10 :]
    return text.split("\n")[0][:30].strip()


def _markup(text: str) -> str | None:
    """The kind of a text with markup: "HTML or XML", "JSON", "a table (CSV)"; None for others."""
    begins = text[:1000].lstrip().lower()
    if begins.startswith(("<!doctype html", "<html", "<?xml")):
        return "HTML or XML"
    if begins.startswith(('{"', "[{", '["')):
        return "JSON"
    lines = [line for line in text[:5000].split("\n")[:-1] if line][:10]
    for separator in (",", ";", "\t"):
        counts = {line.count(separator) for line in lines}
        if len(lines) >= 3 and len(counts) == 1 and counts.pop() >= 2:
            return "a table (CSV)"
    return None
