"""Text from a name, files or the network, decoded.

The first step of the pipeline; next is ``text/vocabulary.py``. Downloads are made by
``text/download.py``.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from typing import NamedTuple

from npchar.text.download import CorpusError, fetched


class Source(NamedTuple):
    """Where a named corpus comes from, and how to know it."""

    url: str
    sha256: str


CORPORA = {
    "nietzsche": Source(
        "https://s3.amazonaws.com/text-datasets/nietzsche.txt",
        "23cf69874ab69d3d256099ab530ea4be24d47d9675b673bcc67cbcd6298ec647",
    ),
    # "Tiny Shakespeare" of char-rnn, torch-rnn and nanoGPT: 1,115,394 letters as they are.
    "shakespeare": Source(
        "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt",
        "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
    ),
}

MARKS = {  # byte order marks; the longer first, as one begins like another
    b"\xff\xfe\x00\x00": "utf-32",
    b"\x00\x00\xfe\xff": "utf-32",
    b"\xff\xfe": "utf-16",
    b"\xfe\xff": "utf-16",
    b"\xef\xbb\xbf": "utf-8-sig",
}


def load_corpus(
    source: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    *,
    encoding: str = "utf-8",
    progress: bool = True,
) -> str:
    """The text of a corpus.

    Parameters
    ----------
    source
        A name ("nietzsche", "shakespeare"), the path of a file, or an https URL; or several of
        them, whose texts are joined in their order, with a line feed between two
        where the first has none at its end. What is fetched is kept in
        `npchar.text.download.cache_directory()`, and from then on the network is not
        asked again.
    encoding
        Of the files. A byte order mark at the beginning goes before it, and is left
        out; line ends of every kind become a single line feed.
    progress
        Tell on standard error how a download goes, and what was changed in a file.

    Raises
    ------
    CorpusError
        For an unknown name, a missing file, a folder, bytes that are not text.
    DownloadError
        When the network does not deliver; it is a CorpusError too.
    """
    if isinstance(source, (str, os.PathLike)):
        return load_one(source, encoding, progress)
    if not source:
        raise CorpusError(
            "expected at least one corpus, got none; pass a name, a path or an address"
        )
    text = ""
    for one in source:
        joint = "\n" if text and not text.endswith("\n") else ""
        text += joint + load_one(one, encoding, progress)
    return text


def load_one(source: str | os.PathLike[str], encoding: str, progress: bool) -> str:
    """The text of a single file, name or address."""
    from pathlib import Path  # here, as it would add to the time of `import npchar`

    name = os.fspath(source)
    if name in CORPORA:
        path = fetched(CORPORA[name].url, CORPORA[name].sha256, progress)
    elif name.startswith("https://"):
        path = fetched(name, None, progress)
    elif re.match(r"[a-z][a-z0-9+.-]+://", name, re.IGNORECASE):
        raise CorpusError(f"cannot fetch {name}: only https:// addresses are fetched")
    else:
        path = Path(name).expanduser()
        if not path.exists():
            raise CorpusError(
                f"there is no file {name!r}, nor a corpus of that name; the named ones are: "
                + ", ".join(CORPORA)
            )
        if path.is_dir():
            raise CorpusError(f"{name} is a folder; pass the path of a text file in it")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise CorpusError(f"cannot read {path}: {error.strerror}") from None
    text, done = decode(data, encoding, str(path))
    if done and progress:
        print(f"{path}: {'; '.join(done)}", file=sys.stderr)
    return text


def decode(data: bytes, encoding: str, name: str) -> tuple[str, list[str]]:
    """The text of a file's bytes, and what was changed to make it one."""
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
        raise CorpusError(
            f"{name} is not {encoding.removesuffix('-sig')} text: the byte "
            f"0x{data[error.start]:02x} at offset {error.start} (line {line}) cannot be decoded; "
            "if it is text in another encoding, pass that, as in encoding='cp1252'"
        ) from None
    if "\0" in text:
        raise CorpusError(
            f"{name} is not a text file: it has a zero byte, at character {text.index(chr(0))}"
        )
    if not text:
        raise CorpusError(f"{name} is empty")
    if "\r" in text:
        both = text.count("\r\n")
        alone = text.count("\r") - both
        text = text.replace("\r\n", "\n").replace("\r", "\n")
        ends = [f"{n:,} {kind}" for n, kind in ((both, "CRLF"), (alone, "CR")) if n]
        done.append(f"{' and '.join(ends)} line ends became line feeds")
    return text, done
