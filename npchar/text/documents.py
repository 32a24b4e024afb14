"""Documents: independent texts such as names, tweets, poems or files.

Documents are stored as one sequence of ids, with an `END` before, between and after them. Each
document is read from the zero state, starting with an `END`. The `END` after the document is
predicted like any other symbol. In this way, a model learns how documents start and end.
``text/batches.py`` creates the batches.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeGuard

import numpy as np

from npchar.arrays import Array
from npchar.text.vocabulary import (
    END,
    Decoded,
    Text,
    UnknownCharacterError,
    Vocabulary,
    as_list,
    require_documents,
)

PADDING = -1  # in a batch, after the end of a shorter piece


class Ids(NamedTuple):
    """The ids of a text, or of documents.

    Attributes
    ----------
    ids
        (n,). For documents: END, the first document, END, the second document, ... END.
    ends
        (documents + 1,): the position of each END. None for a single text.
    """

    ids: Array
    ends: Array | None = None


def as_text(text: Text, tokens: bool) -> Text:
    """Return a text or documents as a str or a list; raise a TypeError for other types."""
    if isinstance(text, (str, bytes)):
        return text
    return as_list(text, "a list of tokens" if tokens else "a str or a list of documents")


def read_text(text: Text, vocabulary: Vocabulary, at_least: int = 0) -> tuple[Decoded, Ids]:
    """Return a text of at least `at_least` symbols, or documents, and their ids."""
    text = as_text(text, vocabulary.tokens)
    if is_documents(text, vocabulary.tokens):
        return text, concatenate(text, vocabulary)
    return text, Ids(vocabulary.encode(text, at_least=at_least))


def is_documents(text: Text, tokens: bool) -> TypeGuard[Sequence[Text]]:
    """Whether `text` is a list of documents: strings, or lists of tokens."""
    if tokens:
        return len(text) > 0 and all(isinstance(item, list) for item in text)
    return not isinstance(text, (str, bytes))


def concatenate(documents: Sequence[Text], vocabulary: Vocabulary) -> Ids:
    """Encode documents as one sequence of ids.

    Raises
    ------
    ValueError
        If there are no documents, a document is empty or contains END, or the vocabulary is not
        one for documents.
    """
    require_end(vocabulary)
    require_documents(documents)
    end = vocabulary.encode([END] if vocabulary.tokens else END)
    parts = [end]
    for k, document in enumerate(documents):
        try:
            parts += [vocabulary.encode(document), end]
        except UnknownCharacterError as error:
            error.args = (f"in document {k}, {error}",)
            raise
    ends = np.cumsum([0, *(len(document) + 1 for document in documents)])
    return Ids(np.concatenate(parts), ends)


def require_end(vocabulary: Vocabulary) -> None:
    """Raise a ValueError unless the vocabulary is one for documents."""
    if not vocabulary.documents:
        raise ValueError(
            "expected a model of documents, got a vocabulary with no symbol for their end; create "
            "it with npchar.Vocabulary.from_documents(documents), or train with --documents on the "
            "command line"
        )


def split(n: int, share: float, seed: int) -> tuple[Array, Array]:
    """Draw the documents of the training and the validation set; return their indices.

    If `share` is above 0 and n above 1, neither set is empty.
    """
    held_out = min(n - 1, max(1, int(n * share))) if share else 0
    order = np.random.default_rng([seed, n]).permutation(n)
    return np.sort(order[held_out:]), np.sort(order[:held_out])


def only(text: Ids, which: Array) -> Ids:
    """Select the documents with the indices `which`."""
    ids, ends = text
    assert ends is not None
    parts = [ids[:1], *(ids[ends[k] + 1 : ends[k + 1] + 1] for k in which)]
    lengths = np.diff(ends)[which]
    return Ids(np.concatenate(parts), np.concatenate([[0], np.cumsum(lengths)]))


def stack(ids: Array, starts: Array, lengths: Array) -> Array:
    """Pieces of a sequence, each with the next symbol, (T + 1, B), and `PADDING` after the end."""
    t = np.arange(lengths.max() + 1)[:, None]  # (T + 1, 1)
    batch: Array = ids[np.minimum(starts + t, len(ids) - 1)].astype(np.intp)  # (T + 1, B)
    batch[t > lengths] = PADDING
    return batch


def extended_vocabulary(vocabulary: Vocabulary, text: Text, min_count: int) -> Vocabulary:
    """A vocabulary with the added symbols of a text or of documents: see `Model.extend`."""
    text = as_text(text, vocabulary.tokens)
    texts: Sequence[Text] = [text]
    if is_documents(text, vocabulary.tokens):
        texts = text
        new = Vocabulary.from_documents(texts, min_count=min_count)
    else:
        new = Vocabulary.from_text(vocabulary.require_text(text), min_count=min_count)
    symbols = {*vocabulary} | ({*new} - {new.unknown_symbol})
    unknown_symbol = vocabulary.unknown_symbol
    if unknown_symbol is None and not all(map(symbols.issuperset, texts)):
        unknown_symbol = new.unknown_symbol
        symbols.add(unknown_symbol)
    return Vocabulary(
        symbols,
        tokens=vocabulary.tokens,
        unknown_symbol=unknown_symbol,
        documents=vocabulary.documents or new.documents,
    )


def require_vocabulary(vocabulary: Vocabulary) -> None:
    """Raise an error unless `vocabulary` is a vocabulary of at least two symbols."""
    if not isinstance(vocabulary, Vocabulary):
        raise TypeError(
            f"expected a Vocabulary, got {type(vocabulary).__name__}; create one with "
            "npchar.Vocabulary.from_text(text)"
        )
    if len(vocabulary) < 2:
        raise ValueError(
            f"expected a vocabulary of at least two {vocabulary.symbol_name}s, got only "
            f"{vocabulary.symbols!r}"
        )
