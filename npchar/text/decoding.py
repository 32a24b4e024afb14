"""A file's bytes as text: its encoding, its line ends, and what is no text at all.

``text/corpus.py`` reads the bytes; what is wrong with the characters is for
``text/examine.py``.
"""

from __future__ import annotations

from npchar.text.download import CorpusError

MARKS = {  # byte order marks; the longer first, as one begins like another
    b"\xff\xfe\x00\x00": "utf-32",
    b"\x00\x00\xfe\xff": "utf-32",
    b"\xff\xfe": "utf-16",
    b"\xfe\xff": "utf-16",
    b"\xef\xbb\xbf": "utf-8-sig",
}

# By their first bytes: what is no text, and how to get the text out of it
OTHERS = {
    b"%PDF": ("a PDF", "save it as text, as pdftotext does"),
    b"PK\x03\x04": ("a .docx, .odt, .epub or another archive", "open it and save it as plain text"),
    b"\xd0\xcf\x11\xe0": ("an old Word or Excel file", "open it and save it as plain text"),
    b"{\\rtf": ("an RTF file", "open it and save it as plain text"),
    b"\x1f\x8b": ("a gzip archive", "unpack it"),
    b"\x89PNG": ("a picture", "name a text"),
    b"\xff\xd8\xff": ("a picture", "name a text"),
    b"SQLite format 3": ("a database", "export its texts"),
}
LOOKED_AT = 100_000  # bytes, for a hint
ENCODINGS = ("utf-8", "utf-16-le", "utf-16-be", "gb18030", "cp1252", "latin-1")


class EncodingError(CorpusError):
    """Bytes that are not text in the encoding that was named.

    Attributes
    ----------
    what
        What is wrong, a clause without a full stop.
    hint
        An encoding that fits better.
    """

    def __init__(self, what: str, hint: str) -> None:
        super().__init__(f"{what}. If it is text, perhaps it is in another: encoding={hint!r}")
        self.what, self.hint = what, hint


def decode(data: bytes, encoding: str, name: str) -> tuple[str, list[str]]:
    """The text of a file's bytes, and what was changed, or is to be known of it.

    Raises
    ------
    CorpusError
        For bytes that are not text in that encoding, or of a format that is no plain text.
    """
    for beginning, (kind, advice) in OTHERS.items():
        if data.startswith(beginning):
            raise CorpusError(f"{name} is {kind}, not a plain text: {advice}")
    done = []
    for mark, marked in MARKS.items():
        if data.startswith(mark):
            encoding = marked
            done.append(f"a byte order mark says {marked.removesuffix('-sig')}; it is left out")
            break
    try:
        text = data.decode(encoding)
    except LookupError:
        raise CorpusError(f"there is no encoding {encoding!r}") from None
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise EncodingError(
            f"{name} is not {encoding.removesuffix('-sig')} text: the byte "
            f"0x{data[error.start]:02x} at offset {error.start} (line {line}) cannot be decoded",
            likely_encoding(data, encoding),
        ) from None
    if "\0" in text:
        hint = likely_encoding(data, encoding)
        wrong = f"{name} is not a text file: it has a zero byte, at character {text.index(chr(0))}"
        raise EncodingError(wrong, hint) if hint.startswith("utf-16") else CorpusError(wrong)
    if not text:
        raise CorpusError(f"{name} is empty")
    if "\r" in text:
        both = text.count("\r\n")
        alone = text.count("\r") - both
        text = text.replace("\r\n", "\n").replace("\r", "\n")
        ends = [f"{n:,} {kind}" for n, kind in ((both, "CRLF"), (alone, "CR")) if n]
        done.append(f"{' and '.join(ends)} line ends became line feeds")
    if markup := markup_of(text):
        done.append(f"it looks like {markup}, which is learned with the rest, as characters; "
                    "to learn the texts alone, take them out first")  # fmt: skip
    return text, done


def likely_encoding(data: bytes, tried: str) -> str:
    """An encoding that the bytes may be in, other than the one that was tried."""
    sample = data[:LOOKED_AT]
    zeros = [sample[k::2].count(0) / max(1, len(sample) // 2) for k in (0, 1)]
    likely = list(ENCODINGS[3:])
    if max(zeros) > 0.2:  # every other byte of a European text is zero in UTF-16
        likely.insert(0, ENCODINGS[1] if zeros[1] > zeros[0] else ENCODINGS[2])
    else:
        likely.insert(0, ENCODINGS[0])
    for encoding in likely:
        try:
            text = data.decode(encoding)
        except UnicodeDecodeError:
            continue
        if encoding == tried or (encoding == "gb18030" and not mostly_chinese(text[:LOOKED_AT])):
            continue
        return encoding
    return "latin-1"


def mostly_chinese(text: str) -> bool:
    """Whether most of what is not ASCII are common Chinese characters."""
    other = [c for c in text if c > "\x7f"]
    chinese = sum("\u4e00" <= c <= "\u9fff" or "\u3000" <= c <= "\u303f" or c >= "\uff00"
                  for c in other)  # fmt: skip
    # In cp1252 an accent is alone among ASCII letters, and read as half of such a pair.
    return chinese > 0.8 * len(other) and len(other) > 0.2 * len(text)


def markup_of(text: str) -> str | None:
    """What a text is besides prose: "HTML", "JSON" or "a table"; None if nothing else is seen."""
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
