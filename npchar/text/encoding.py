"""Decodes the bytes of a file, and detects files that are not text.

``text/corpus.py`` reads the bytes, ``text/compressed.py`` decompresses them, and
``text/examine.py`` checks the decoded text. If a file is not text in the expected encoding,
`likely_encoding` decodes it in other encodings and compares the results. A wrong encoding turns
frequent letters of a language into rare ones.
"""

from __future__ import annotations

import codecs
import re
from collections import Counter
from collections.abc import Iterator
from typing import Literal, TypeAlias

from npchar.text.compressed import decompress
from npchar.text.download import CorpusError

Errors: TypeAlias = Literal["strict", "replace", "ignore"]

BYTE_ORDER_MARKS = {  # UTF-32 first, because its mark begins like the mark of UTF-16
    b"\xff\xfe\x00\x00": "utf-32",
    b"\x00\x00\xfe\xff": "utf-32",
    b"\xff\xfe": "utf-16",
    b"\xfe\xff": "utf-16",
    b"\xef\xbb\xbf": "utf-8-sig",
}
FORMATS = {  # the first bytes of files that are not plain text
    b"%PDF": "a PDF",
    b"PK\x03\x04": "a .zip, .docx, .odt, .epub or another archive",
    b"7z\xbc\xaf'\x1c": "a 7-Zip archive",
    b"Rar!\x1a": "a RAR archive",
    b"\x28\xb5\x2f\xfd": "a Zstandard archive",
    b"\xd0\xcf\x11\xe0": "an old Word or Excel file",
    b"{\\rtf": "an RTF file",
    b"PAR1": "a Parquet table",
    b"\x89PNG": "a picture",
    b"\xff\xd8\xff": "a picture",
    b"GIF8": "a picture",
    b"\x93NUMPY": "a NumPy array",
    b"SQLite format 3": "a database",
}
# Control characters, which occur in texts only in UTF-16 and UTF-32
CONTROLS = bytes([*range(0x01, 0x07), *range(0x10, 0x1B), *range(0x1C, 0x20)])
# In a decoded text: a zero byte, or a byte that could not be decoded ("surrogateescape")
ODD = re.compile("[\udc80-\udcff\0]")
# A character outside the Basic Multilingual Plane in CESU-8: two surrogates of three bytes each
CESU_8 = re.compile(rb"\xed[\xa0-\xaf][\x80-\xbf]\xed[\xb0-\xbf][\x80-\xbf]")
MOST_LINES = 5  # line numbers in a message

# Encodings, the most common first, and the non-ASCII letters of their languages by frequency
LETTERS = {
    "cp1252 mac-roman cp850": (
        "éàçñ’“”—‘–…", "üäöß", "éàèêçôîâûùœëï", "óíáéñúü¿¡", "ãéçáíêóúõàâô", "èàùòéì", "äåöøæé",
    ),
    "cp1250 iso8859-2 cp852": (
        "łężąóśćńź", "íáěžřéčšýůúťľôďňóä", "éáöóőüíúű", "ščžćđ", "ăşîţâ",
    ),
    "cp1257": ("ėųšžąįūčę", "āīēšūņļžķģč", "äõüöšž"),
    "cp1254": ("ıüşçğöâî",),
    "cp1251 koi8-u cp866 iso8859-5": (
        "оеаитнсрвлкдмпуяыьгбзчйжхшюцэщфё", "оаніивтерскудлмпзябьгйчцхжїюшщєфґ",
    ),
    "cp1253 iso8859-7": ("ατοσιςενρπκμηυλίάόέγδωήχθύφώβξζψ",),
    "cp1255": ("יוהלאתרבמשענםדכחקפסןגזצטךףץ",),
    "cp1256 iso8859-6": (
        "اليمنورتعبدةفهكسأقحجىصشطخذإضثزغءئظآؤ", "ایرندهومبتسکشلزفخگعقجحپآچطصضغظذثئژ",
    ),
    "cp874": ("านรอกเงมยลวดทส่ต้ปบคหะิีแัขจพใชุไูำโถณึศธผซ์ื็ภญษฟฉๆ",),
    "cp932 euc-jp iso-2022-jp": (
        "、。ーのいてなにたでしるとはがかっをすもらうんれまだこりあくよさそけきおどえわちねめつじせみゃろ"
        "ンストイルラリクア大本見出一分時事中言思年行間気生自人日",
    ),
    "cp949 iso-2022-kr": (
        "이다는에하고가을지의로서은아한어도기사니있를나해리시그요인들자일게대라으스수만보제면정주전부여거과장했"
        "상안마구었데오야내원우신적것성국되세위와무할동생소트드모미진문중말화공까러비습간없",
    ),
    "gb18030": (
        "，。、？！“”的是一在不了有人我国这为中个们他大会和年来以上要到时对么你能就可发也地生说家于出后之而所"
        "与成学过行用日自现多都没作下得还开经动法好方事分看子里当",
    ),
    "big5": (
        "，。、？！「」的是不我一有大在人了中到資要以可這個你會好為上來學就交也用能如時文說沒他看那問生提下過請"
        "天們所多想得之還出對都自後子而去心只家國成何道地無然",
    ),
}  # fmt: skip
WIDE = ("utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be")
SYMBOLS = "’“”–\u00a0«»—‘…„°·•§©€£"  # common in texts of any language
SAMPLE = 8_000  # bytes to compare, a multiple of 4
ENOUGH, LEAD = 0.5, 0.1  # points per character: the best score, and its lead over the next


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


def decode(
    data: bytes, encoding: str, name: str, errors: Errors = "strict"
) -> tuple[str, list[str]]:
    """Decode the bytes of a file; return the text, and notes on changes and problems.

    Parameters
    ----------
    data, encoding
        The bytes and their expected encoding. A byte order mark overrides the encoding.
    name
        The name of the file, for messages.
    errors
        How to handle zero bytes and bytes that cannot be decoded: "strict" raises an error,
        "replace" replaces them with U+FFFD, and "ignore" removes them. "replace" and "ignore" also
        decode CESU-8.

    Raises
    ------
    CorpusError
        If there are such bytes and `errors` is "strict".
    NotTextError
        If the file is not plain text.
    """
    if errors not in ("strict", "replace", "ignore"):
        raise CorpusError(f"errors is {errors!r}; expected 'strict', 'replace' or 'ignore'")
    data = decompress(data, name)
    formats = (kind for beginning, kind in FORMATS.items() if data.startswith(beginning))
    if kind := "a tar archive" if data[257:262] == b"ustar" else next(formats, ""):
        advice = "unpack it, or open it and save it" if "archive" in kind else "open it and save it"
        raise NotTextError(f"{name} is {kind}; {advice} as plain text", kind)
    notes = []
    mark = next((mark for mark in BYTE_ORDER_MARKS if data.startswith(mark)), None)
    if mark:
        encoding = BYTE_ORDER_MARKS[mark]
        notes.append(f"{encoding.removesuffix('-sig')}, by its byte order mark, which is removed")
    try:
        codec = codecs.lookup(encoding).name
        if errors != "strict" and codec.startswith("utf-8"):
            data = CESU_8.sub(_join_surrogates, data)
        text = data.decode(encoding)
    except LookupError:
        raise CorpusError(
            f"there is no encoding {encoding!r}; use a name such as 'utf-8', 'cp1252' or 'gb18030'"
        ) from None
    except UnicodeDecodeError:
        text = _decode_marked(data, encoding)
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
        notes.append("line endings were converted to line feeds")
    if odd := _odd_bytes(text):
        hint = None if mark else likely_encoding(data, text, codec)
        is_wide = codec.startswith(("utf-16", "utf-32")) or (hint and hint[0] in WIDE)
        if not is_wide and _is_binary(data):
            raise NotTextError(f"{name} is a binary file; expected a text", "a binary file")
        if errors == "strict":
            raise _encoding_error(f"{name} is not {codec} text: it has {odd}", hint)
        notes.append(f"{odd}: {'replaced with U+FFFD' if errors == 'replace' else 'removed'}")
        text = ODD.sub("\ufffd" if errors == "replace" else "", text)
    elif codec == "utf-8" and b"\x1b$" in data and (hint := likely_encoding(data, text, codec)):
        raise _encoding_error(f"{name} contains escape sequences of another encoding", hint)
    if not text:
        raise NotTextError(f"{name} is empty", "empty")
    return text, notes


def _decode_marked(data: bytes, encoding: str) -> str:
    """The text, with a lone surrogate for each byte that cannot be decoded."""
    try:
        return data.decode(encoding, "surrogateescape")
    except UnicodeDecodeError:  # UTF-16 and UTF-32 do not support "surrogateescape"
        return data.decode(encoding, "replace").replace("\ufffd", "\udcff")


def _join_surrogates(pair: re.Match[bytes]) -> bytes:
    """Convert a character from two surrogates in CESU-8 to UTF-8."""
    surrogates = pair[0].decode("utf-8", "surrogatepass")
    return surrogates.encode("utf-16", "surrogatepass").decode("utf-16").encode("utf-8")


def _odd_bytes(text: str) -> str:
    """The number of undecodable and zero bytes, and their lines; "" if there are none."""
    if not (count := len(ODD.findall(text))):
        return ""
    lines = [str(k) for k, line in enumerate(text.split("\n"), 1) if ODD.search(line)]
    more = ", ..." if len(lines) > MOST_LINES else ""
    return f"{count:,} undecodable or zero bytes (in line {', '.join(lines[:MOST_LINES])}{more})"


def _encoding_error(fault: str, hint: tuple[str, str] | None) -> CorpusError:
    """Create the error for a fault, with advice."""
    if hint:
        advice = f"use encoding={hint[0]!r} (for all files) if the text should read {hint[1]!r}"
    else:
        advice = (
            "name its encoding with encoding='NAME', or use errors='replace' to replace them by "
            "U+FFFD, or errors='ignore' to remove them"
        )
    return CorpusError(f"{fault}; {advice}")


def _is_binary(data: bytes) -> bool:
    """Whether bytes have more control characters of more kinds than any text."""
    controls = data.translate(None, bytes({*range(256)} - {*CONTROLS}))
    return len(set(controls)) >= 4 and len(controls) > 0.002 * (len(data) - data.count(0))


def markup(text: str) -> str | None:
    """The kind of a text with markup; None for other texts."""
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


def likely_encoding(data: bytes, text: str, codec: str) -> tuple[str, str] | None:
    """The likely encoding of bytes and a decoded sample; None without a clearly best encoding.

    Parameters
    ----------
    data
        The bytes.
    text, codec
        The text as `decode` reads it in the expected encoding, and the name of this encoding.
    """
    good = len(re.findall("[^\x00-\x7f\udc80-\udcff]", text))
    if not codec.startswith("utf-8") and (utf_8 := data.decode("utf-8", "ignore")).encode() == data:
        return None if "\0" in utf_8 else ("utf-8", _words(utf_8))
    if good and good >= len(ODD.findall(text)):
        return None  # most of the text is in the expected encoding
    readings = list(_readings(data))
    score, _, sample = max(readings)
    rival = max((score for score, _, other in readings if other != sample), default=-1.0)
    if score < ENOUGH or score - rival < max(LEAD, 0.25 / max(1, len(_non_ascii(sample)))):
        return None
    # If several encodings give the same text, the most common one is first.
    encoding = next(
        name for points, name, other in readings if other == sample and points >= ENOUGH
    )
    return None if codecs.lookup(encoding).name == codec else (encoding, _words(sample))


def _readings(data: bytes) -> Iterator[tuple[float, str, str]]:
    """Yield the score, the name, and a decoded sample for each encoding."""
    lines = b"\n".join(line for line in data.split(b"\n") if not line.isascii())
    for encodings, alphabets in LETTERS.items():
        for k, encoding in enumerate(encodings.split()):
            text = (lines or data)[:SAMPLE].decode(encoding, "replace")
            score = max(_score(text, letters) for letters in alphabets)
            yield score - 0.1 * (k > 0), encoding, text  # the others are rare
    if b"\0" in data:
        every = [letters for alphabets in LETTERS.values() for letters in alphabets]
        for encoding in WIDE:
            text = data[: min(SAMPLE, len(data) // 4 * 4)].decode(encoding, "replace")
            yield max(_score(text, letters) for letters in every), encoding, text


def _score(text: str, letters: str) -> float:
    """The mean points of the non-ASCII characters, from −1 to 1 for the most frequent letters."""
    # `LETTERS` has only half of the ideographs in a typical text, so these count twice.
    is_latin, is_ideographic = letters < "\u0370", len(letters) > 70
    points = 0.0
    characters = _non_ascii(text)
    for c, n in Counter(characters).items():
        if c in letters:
            points += n * (2 if is_ideographic else 1 - letters.index(c) / 30)
        elif c in SYMBOLS:
            points += n / 2
        elif c.lower() in letters:
            points += n / 5
        elif not (is_ideographic and c.isalpha()):
            points -= n
    if not is_latin:  # "café" in another alphabet is "cafй"
        points -= len(re.findall(r"[A-Za-z][^\W\x00-\x7f]|[^\W\x00-\x7f][A-Za-z]", text))
    return points / len(characters) if characters else 1.0


def _non_ascii(text: str) -> str:
    """The characters that are not ASCII, and control characters."""
    return re.sub("[\t\n\f\r -\x7f]", "", text)


def _words(text: str) -> str:
    """The words around the first non-ASCII character of a text."""
    match = re.search(r".{0,10}[^\x00-\x7f].{0,20}", text) or re.search(".{0,30}", text)
    return match[0].strip() if match else ""
