"""Loads the models and texts that are named on the command line."""

from __future__ import annotations

import re
import sys
import unicodedata
from argparse import Namespace
from collections import Counter
from collections.abc import Callable, Iterable
from typing import TypeVar

from npchar.cli.options import STANDARD_INPUT
from npchar.files import CheckpointError, Reading, Table, read_model_file, unfinished
from npchar.model import PRETRAINED, Model
from npchar.text.corpus import load_corpus
from npchar.text.document_files import separate
from npchar.text.download import CorpusError
from npchar.text.encoding import decode
from npchar.text.vocabulary import END

NEEDS_DOCUMENTS = "{} is a model of documents; add --documents lines, files or paragraphs"

TextOrDocuments = TypeVar("TextOrDocuments", str, "str | list[str]")


def say(sentence: str) -> None:
    """Print to standard error, so that standard output has only results."""
    print(sentence, file=sys.stderr, flush=True)


def load_model(name: str, *, warn: bool = True) -> Model:
    """Load a model file or a shipped model; warn if its run is unfinished."""
    if is_shipped(name):
        return Model.pretrained(name)
    if name in PRETRAINED:
        say(f"loading the file {name} instead of the shipped model with that name")
    model = Model.load(name)
    if model.vocabulary.tokens:
        raise ValueError(f"expected a model of characters, got one of tokens, {name}; use it in "
                         "Python with npchar.Model.load")  # fmt: skip
    if warn and (epochs := unfinished(name)):
        say(f"{name} is an unfinished run, after {epochs}; resume it with `npchar resume`")
    return model


def is_shipped(name: str) -> bool:
    """Whether a name is that of a shipped model, and not of a model file in the current folder."""
    if name not in PRETRAINED:
        return False
    try:
        read_model_file(name)
    except (CheckpointError, OSError):
        return True
    return False


def load_texts(
    files: list[str], options: Namespace, reading: Reading, held_out: float = 0.0
) -> str | list[str]:
    """Load the text of all files, with the validation part of each at the end, or documents."""
    text: str | list[str]
    how: Table = {name: reading.get(name) for name in ("documents", "field")}
    if STANDARD_INPUT not in files:
        text = load_corpus(
            files,
            encoding=options.encoding,
            errors=options.errors,
            held_out=held_out,
            **how,
        )
        if 0 < held_out < 1 and isinstance(text, str) and len(files) > 1:
            say(f"held out: the last {held_out:.0%} of each of {len(files)} files")
    elif len(files) > 1:
        raise CorpusError("expected - (standard input) or files, got both; pass only one of them")
    else:
        text = read_standard_input(options)
        if any(how.values()):
            text = separate([("standard input", text)], **how)
    if isinstance(text, list) and (n := sum(document.count(END) for document in text)):
        say(f"removed {n:,} U+0003 from the documents, because it marks the end of a document")
        text = [document.replace(END, "") for document in text]
        text = [document for document in text if document.strip()]
    return text


def reading_of(options: Namespace, model: Model | None = None) -> Reading:
    """How to read texts: as given by the options, or else as the training text of the model."""
    reading: Reading = {} if model is None else model.reading.copy()
    if options.documents is not None or options.field is not None:
        reading.pop("documents", None)
        reading.pop("field", None)
        if options.documents is not None:
            reading["documents"] = unescape(options.documents)
        if options.field is not None:
            reading["field"] = options.field
    return reading


def unescape(text: str) -> str:
    r"""Replace the escapes \n, \t and \\ in a text from the command line."""
    return re.sub(r"\\([nt\\])", lambda match: {"n": "\n", "t": "\t"}.get(match[1], "\\"), text)


def read_standard_input(options: Namespace) -> str:
    """The decoded text of standard input."""
    if sys.stdin is None:
        raise CorpusError("expected a text from standard input, but it is closed")
    text, notes = decode(
        sys.stdin.buffer.read(), options.encoding, "standard input", options.errors
    )
    if notes:
        say(f"standard input: {'; '.join(notes)}")
    return text


def load_model_and_text(options: Namespace) -> tuple[Model, str | list[str], str]:
    """Load the model and a text for it; return both, and a note on unknown characters."""
    model = load_model(options.model)
    vocabulary = model.vocabulary
    text = as_trained(load_texts(options.files, options, reading_of(options, model)), model)
    if vocabulary.documents and isinstance(text, str):
        unknown = vocabulary.unknown_symbol is None and not set(text) <= set(vocabulary)
        if unknown and options.unknown == "error":
            raise ValueError(NEEDS_DOCUMENTS.format(options.model))
        say(NEEDS_DOCUMENTS.format(options.model))
    if options.unknown == "error":
        return model, text, ""
    counts = Counter("".join(text))
    total = counts.total()
    n = sum(count for character, count in counts.items() if character not in vocabulary)
    verb = "skipped" if options.unknown == "skip" else "replaced"
    note = f"{verb} {n:,} of {total:,} characters ({n / total:.0%}), which are unknown" if n else ""
    known = map_text(lambda one: vocabulary.decode(vocabulary.encode(one, options.unknown)), text)
    if isinstance(known, list):
        known = [document for document in known if document]
    if not known:
        raise ValueError(f"all characters of the text are unknown to {options.model}")
    return model, known, note


def as_trained(text: TextOrDocuments, model: Model) -> TextOrDocuments:
    """Convert line endings, accents and case of a text to those of the model's vocabulary."""
    known = frozenset(model.vocabulary.characters)
    if "\r" not in known:
        text = map_text(lambda one: one.replace("\r\n", "\n").replace("\r", "\n"), text)
    if not known.issuperset("".join(text)):
        composed = map_text(lambda one: unicodedata.normalize("NFC", one), text)
        if len(set("".join(composed)) - known) < len(set("".join(text)) - known):
            text = composed
    return lower_as_trained(text, model)


def lower_as_trained(text: TextOrDocuments, model: Model) -> TextOrDocuments:
    """Convert a text to lower case if the model was trained on a text in lower case.

    Files of version 1.0 and files saved in Python do not record this. In this case, the text is
    converted if it has unknown characters and the vocabulary is in lower case and has no unknown
    symbol, which may stand for rare capitals.
    """
    known = model.vocabulary.characters
    lower = model.reading.get("lower_case", False)
    if known == known.lower() and model.vocabulary.unknown_symbol is None:
        lower |= not frozenset(known).issuperset("".join(text))
    lowered = map_text(str.lower, text) if lower else text
    if lowered != text:
        say("reading the text in lower case, because the model's vocabulary is in lower case")
    return lowered


def map_text(function: Callable[[str], str], text: TextOrDocuments) -> TextOrDocuments:
    """Apply a function to a text, or to each of several documents."""
    return function(text) if isinstance(text, str) else [function(one) for one in text]


def selected(options: Namespace, names: Iterable[str]) -> Table:
    """The options with these names, except those that are None."""
    return {n: value for n, value in vars(options).items() if n in names and value is not None}


def first_prompt(model: Model) -> str:
    """The default prompt: a line feed, or else the first character of the vocabulary."""
    known = model.vocabulary
    return "\n" if "\n" in known else known.characters[0]
