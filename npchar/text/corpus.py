"""Text from a name, files or the network, decoded.

The first step of the pipeline; next is ``text/vocabulary.py``. Downloads are made by
``text/download.py``.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Literal, NamedTuple, TypeAlias, overload

from npchar.text.decoding import decode
from npchar.text.download import CorpusError, fetched

__all__ = ["load_corpus"]


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

Name: TypeAlias = str | os.PathLike[str]
Documents = Literal["lines", "files"]


@overload
def load_corpus(
    source: Name | Sequence[Name],
    *,
    encoding: str = ...,
    progress: bool = ...,
    documents: None = ...,
    held_out: float = ...,
) -> str: ...


@overload
def load_corpus(
    source: Name | Sequence[Name],
    *,
    encoding: str = ...,
    progress: bool = ...,
    documents: Documents,
    held_out: float = ...,
) -> list[str]: ...


def load_corpus(
    source: Name | Sequence[Name],
    *,
    encoding: str = "utf-8",
    progress: bool = True,
    documents: Documents | None = None,
    held_out: float = 0.0,
) -> str | list[str]:
    """The text of a corpus, or its documents.

    Parameters
    ----------
    source
        A name ("nietzsche", "shakespeare"), the path of a file, or an https URL; or several of
        them, whose texts are joined in their order, with a line feed between two
        where the first has none at its end. A folder is all files in it and in its folders,
        in the order of their names, but for hidden ones. What is fetched is kept in
        `npchar.text.download.cache_directory()`, and from then on the network is not
        asked again.
    encoding
        Of the files. A byte order mark at the beginning goes before it, and is left
        out; line ends of every kind become a single line feed.
    progress
        Tell on standard error how a download goes, and what was changed in a file.
    documents
        When given, a list of texts is returned that have nothing to do with each other, for
        `Vocabulary.from_documents`: "lines", each line that is not blank, or "files", each
        file.
    held_out
        The `validation_split` of a `Model.fit` that is to follow. Of several files, such a
        share of each is put at the end of the text then, so that all of them are held
        out from, and not the last one alone.

    Returns
    -------
    str, or list of str
        The text; or, with `documents`, the texts.

    Raises
    ------
    CorpusError
        For an unknown name, a missing file, a folder without files, bytes that are not text.
    DownloadError
        When the network does not deliver; it is a CorpusError too.

    Examples
    --------
    >>> from pathlib import Path
    >>> _ = Path("names.txt").write_text("anna, ben")
    >>> npchar.load_corpus("names.txt")
    'anna, ben'
    >>> npchar.load_corpus(["names.txt", "names.txt"], documents="lines")
    ['anna, ben', 'anna, ben']
    """
    if documents not in (None, "lines", "files"):
        raise CorpusError(f"documents is {documents!r}; expected 'lines', 'files' or None")
    sources = [source] if isinstance(source, (str, os.PathLike)) else list(source)
    if not sources:
        raise CorpusError(
            "expected at least one corpus, got none; pass a name, a path or an address"
        )
    files = [file for one in sources for file in files_of(one)]
    texts = [load_one(file, encoding, progress) for file in files]
    if documents == "files":
        return texts
    if documents == "lines":
        return [line for text in texts for line in lines_of(text)]
    return joined(texts, held_out)


def joined(texts: list[str], held_out: float = 0.0) -> str:
    """Several texts as one; with their ends, of the share `held_out`, at its end.

    The share is of the whole, to the character, as `Model.fit` holds it out.
    """
    texts = [text if text.endswith("\n") else text + "\n" for text in texts[:-1]] + texts[-1:]
    if not 0 < held_out < 1 or len(texts) == 1:
        return "".join(texts)
    ends = [0, *accumulate(map(len, texts))]
    parts = [int(b * held_out) - int(a * held_out) for a, b in pairwise(ends)]
    first = "".join(text[: len(text) - part] for text, part in zip(texts, parts))
    return first + "".join(text[len(text) - part :] for text, part in zip(texts, parts))


def lines_of(text: str) -> list[str]:
    """The lines of a text that are not blank, each a document."""
    return [line for line in text.split("\n") if line.strip()]


def files_of(source: str | os.PathLike[str]) -> list[str | os.PathLike[str]]:
    """The files of a folder; of anything else, itself alone."""
    if os.fspath(source) in CORPORA or not os.path.isdir(source):
        return [source]
    files: list[str | os.PathLike[str]] = []
    for folder, folders, names in os.walk(source):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        files += [os.path.join(folder, n) for n in sorted(names) if not n.startswith(".")]
    if not files:
        raise CorpusError(f"{os.fspath(source)} is a folder without files; name one with texts")
    return files


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
    try:
        data = path.read_bytes()
    except OSError as error:
        raise CorpusError(f"cannot read {path}: {error.strerror}") from None
    text, done = decode(data, encoding, str(path))
    if done and progress:
        print(f"{path}: {'; '.join(done)}", file=sys.stderr)
    return text
