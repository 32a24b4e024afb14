"""Loads texts from files, folders, named corpora and https URLs.

This is the first step of the pipeline; the next is ``text/vocabulary.py``. Files are downloaded by
``text/download.py``, decoded by ``text/encoding.py``, and split into documents by
``text/document_files.py``.
"""

from __future__ import annotations

import os
import re
import stat
import sys
from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise
from typing import NamedTuple, TypeAlias, overload

from npchar.text.document_files import separate
from npchar.text.download import CorpusError, fetched
from npchar.text.encoding import Errors, NotTextError, decode, markup

__all__ = ["load_corpus"]


class Source(NamedTuple):
    """The URL of a named corpus and the SHA-256 of its file."""

    url: str
    sha256: str


CORPORA = {
    "nietzsche": Source(
        "https://s3.amazonaws.com/text-datasets/nietzsche.txt",
        "23cf69874ab69d3d256099ab530ea4be24d47d9675b673bcc67cbcd6298ec647",
    ),
    # "Tiny Shakespeare" of char-rnn, torch-rnn and nanoGPT: 1,115,394 characters.
    "shakespeare": Source(
        "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt",
        "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
    ),
}

MOST_LEFT_OUT = 5  # names in a message

Name: TypeAlias = str | os.PathLike[str]


@overload
def load_corpus(
    source: Name | Sequence[Name],
    *,
    encoding: str = ...,
    errors: Errors = ...,
    progress: bool = ...,
    documents: None = ...,
    field: None = ...,
    held_out: float = ...,
) -> str: ...


@overload
def load_corpus(
    source: Name | Sequence[Name],
    *,
    encoding: str = ...,
    errors: Errors = ...,
    progress: bool = ...,
    documents: str,
    field: None = ...,
) -> list[str]: ...


def load_corpus(
    source: Name | Sequence[Name],
    *,
    encoding: str = "utf-8",
    errors: Errors = "strict",
    progress: bool = True,
    documents: str | None = None,
    field: str | None = None,
    held_out: float = 0.0,
) -> str | list[str]:
    """Load a corpus as one text, or as a list of documents.

    Parameters
    ----------
    source
        A file, a folder, an https URL, a named corpus ("nietzsche", "shakespeare"), or a list of
        these. A local file or folder takes precedence over a named corpus of the same name.
        Several texts are concatenated in their order. A line feed is added to each text that does
        not end with one. A folder stands for all files in it and its subfolders, sorted by name,
        without hidden files. Files in a folder that are not plain text are skipped: empty files,
        pictures, archives, other binary files, broken links, links to folders, and devices. Files
        compressed with gzip, bzip2 or xz are decompressed. Downloads are cached in
        `npchar.text.download.cache_directory()`.
    encoding
        The encoding of all files. A byte order mark at the start of a file overrides the encoding
        and is removed. All line endings are converted to line feeds.
    errors
        How to handle zero bytes and bytes that cannot be decoded. "strict" raises an error with
        their number and lines, "replace" replaces them with U+FFFD, and "ignore" removes them.
        "replace" and "ignore" also decode CESU-8 (UTF-8 with surrogate pairs).
    progress
        Report to standard error: downloads, changes to a text, skipped files, and a local file or
        folder with the name of a corpus.
    documents
        How to split the texts into a list of documents, for `Vocabulary.from_documents`: "lines"
        (each line that is not blank), "paragraphs" (separated by blank lines), "files" (each
        file), or a marker between documents, such as "<|endoftext|>". Default: one text.
    field
        The column of CSV files, named in their first line, or the field of JSON Lines files that
        contains the documents. It cannot be combined with `documents`.
    held_out
        The `validation_split` of a later `Model.fit`. With several files, this fraction of each
        file is moved to the end of the text, so that the validation set has a part of every file.

    Returns
    -------
    str, or list of str
        The text; with `documents` or `field`, a list of texts.

    Raises
    ------
    CorpusError
        If a name is unknown, a file is missing, is a device or is not text, a folder has no texts,
        a marker or field is missing, or both `documents` and `field` are given.
    DownloadError
        If a download fails. This is a subclass of CorpusError.

    Examples
    --------
    >>> from pathlib import Path
    >>> _ = Path("names.txt").write_text("anna, ben")
    >>> npchar.load_corpus("names.txt")
    'anna, ben'
    >>> npchar.load_corpus(["names.txt", "names.txt"], documents="lines")
    ['anna, ben', 'anna, ben']
    """
    if None not in (documents, field):
        raise CorpusError("expected documents or field, got both; pass only one of them")
    sources = [source] if isinstance(source, (str, os.PathLike)) else list(source)
    if not sources:
        raise CorpusError("expected at least one name, path or URL of a corpus, got none")
    options = encoding, errors, progress, field is None
    texts: list[tuple[str, str]] = []  # names and contents
    for name in [os.path.expanduser(os.fspath(one)) for one in sources]:
        is_folder = os.path.isdir(name)
        if progress and name in CORPORA and os.path.lexists(name):
            _report(f"reading the local {name!r} instead of the corpus with that name")
        texts += _load_folder(name, *options) if is_folder else [_load_file(name, *options)]
    if documents is None and field is None:
        return joined([text for _, text in texts], held_out)
    return separate(texts, documents, field)


def joined(texts: list[str], held_out: float = 0.0) -> str:
    """Concatenate texts, with the last fraction `held_out` of each text at the end of the result.

    These parts are exactly the validation set of `Model.fit` with this `validation_split`.
    """
    texts = [text if text.endswith("\n") else text + "\n" for text in texts[:-1]] + texts[-1:]
    if not 0 < held_out < 1 or len(texts) == 1:
        return "".join(texts)
    ends = [0, *accumulate(map(len, texts))]
    parts = [int(b * held_out) - int(a * held_out) for a, b in pairwise(ends)]
    first = "".join(text[: len(text) - part] for text, part in zip(texts, parts))
    return first + "".join(text[len(text) - part :] for text, part in zip(texts, parts))


def _load_folder(
    folder: str, encoding: str, errors: Errors, progress: bool, is_plain: bool
) -> list[tuple[str, str]]:
    """The names and texts of all text files in a folder and its subfolders."""
    texts: list[tuple[str, str]] = []
    left_out: list[str] = []
    for path in _files_in(folder):
        try:
            if not os.path.isfile(path):
                raise NotTextError(f"{path} is not a file", "not a file")
            texts.append(_read(path, encoding, errors, progress, is_plain))
        except NotTextError as error:
            left_out.append(f"{os.path.relpath(path, folder)} ({error.kind})")
    more = len(left_out) - MOST_LEFT_OUT
    names = ", ".join(left_out[:MOST_LEFT_OUT]) + (f" and {more:,} more" if more > 0 else "")
    if not texts:
        note = f"; skipped: {names}" if left_out else ""
        raise CorpusError(f"expected text files in the folder {folder}, got none{note}")
    if left_out and progress:
        _report(f"skipped in {folder}: {names}")
    return texts


def _files_in(folder: str) -> Iterator[str]:
    """The paths of the visible files, and links to folders, in a folder and its subfolders."""

    def fail(error: OSError) -> None:
        raise CorpusError(f"cannot read {error.filename}: {error.strerror}")

    for parent, folders, names in os.walk(folder, onerror=fail):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        links = [name for name in folders if os.path.islink(os.path.join(parent, name))]
        for name in sorted(names + links):
            if not name.startswith("."):
                yield os.path.join(parent, name)


def _load_file(
    name: str, encoding: str, errors: Errors, progress: bool, is_plain: bool
) -> tuple[str, str]:
    """The name and text of a single file, named corpus or URL."""
    path: Name = name
    if name in CORPORA and not os.path.lexists(name):
        path = fetched(CORPORA[name].url, CORPORA[name].sha256, progress)
    elif name.startswith("https://"):
        path = fetched(name, None, progress)
    elif re.match(r"[a-z][a-z0-9+.-]+://", name, re.IGNORECASE):
        raise CorpusError(f"cannot download {name}: only https:// URLs are supported")
    elif not os.path.exists(name):
        corpora = ", ".join(CORPORA)
        raise CorpusError(f"there is no file {name!r}, and no corpus of that name ({corpora})")
    elif stat.S_ISCHR(os.stat(name).st_mode):  # /dev/zero has no end
        raise CorpusError(f"expected a file with text, got the device {name}")
    return _read(path, encoding, errors, progress, is_plain)


def _read(
    path: Name, encoding: str, errors: Errors, progress: bool, is_plain: bool
) -> tuple[str, str]:
    """The name and text of a file. If the text should be plain, a note reports markup."""
    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError as error:
        raise CorpusError(f"cannot read {path}: {error.strerror}") from None
    text, notes = decode(data, encoding, str(path), errors)
    if is_plain and (kind := markup(text)):
        notes.append(f"it looks like {kind}; the model will also learn the markup")
    if notes and progress:
        _report(f"{path}: {'; '.join(notes)}")
    return str(path), text


def _report(sentence: str) -> None:
    """Print a sentence to standard error."""
    print(sentence, file=sys.stderr)
