"""Many texts that have nothing to do with each other: names, tweets, poems, files.

They become one sequence of ids in which `END` stands before, between and after them, and
pieces of it to train on. A document begins after an `END` from the zero state, and ends
with one that is predicted like any symbol: so a model knows how documents begin, and when
they are over. What a text alone is cut into is in ``text/windows.py``.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from npchar.arrays import Array
from npchar.text.vocabulary import (
    END,
    Text,
    UnknownCharacterError,
    Vocabulary,
    as_list,
    require_documents,
)

NOTHING = -1  # in a batch, after the end of a shorter piece


class Ids(NamedTuple):
    """The ids of a text, or of documents.

    Attributes
    ----------
    ids
        (n,). Of documents: END, the first of them, END, the second, ... END.
    ends
        (documents + 1,): where each END stands. None for a single text.
    """

    ids: Array
    ends: Array | None = None


def as_text(text: Any, tokens: bool) -> Any:
    """A text or documents as a str or a list; a TypeError for what cannot be either."""
    if isinstance(text, (str, bytes)):
        return text
    return as_list(text, "a list of tokens" if tokens else "a str or a list of documents")


def read_text(text: Any, vocabulary: Vocabulary, at_least: int = 0) -> tuple[Any, Ids]:
    """A text of at least this many symbols, or documents, as a str or a list; and the ids."""
    text = as_text(text, vocabulary.tokens)
    if is_documents(text, vocabulary.tokens):
        return text, joined(text, vocabulary)
    return text, Ids(vocabulary.ids_of(text, at_least))


def is_documents(text: Any, tokens: bool) -> bool:
    """Whether it is a list of texts, not a text: of strings, or of lists of tokens."""
    if tokens:
        return len(text) > 0 and all(isinstance(one, list) for one in text)
    return not isinstance(text, (str, bytes))


def joined(documents: Sequence[Text], vocabulary: Vocabulary) -> Ids:
    """Documents as one sequence of ids.

    Raises
    ------
    ValueError
        For no documents, an empty one or one with an END in it, or a vocabulary of a text.
    """
    require_end(vocabulary)
    require_documents(documents)
    end = vocabulary.encode([END] if vocabulary.tokens else END)
    parts = [end]
    for k, document in enumerate(documents):
        try:
            parts += [vocabulary.ids_of(document), end]
        except UnknownCharacterError as error:
            error.args = (f"in document {k}, {error}",)
            raise
    ends = np.cumsum([0, *(len(document) + 1 for document in documents)])
    return Ids(np.concatenate(parts), ends)


def require_end(vocabulary: Vocabulary) -> None:
    """Raise a ValueError unless the vocabulary is one for documents."""
    if not vocabulary.documents:
        raise ValueError(
            "the model is of a text, not of documents: its vocabulary has no end of a document. "
            "Make one with npchar.Vocabulary.from_documents(documents), or train --documents on "
            "the command line"
        )


def split(n: int, share: float, seed: int) -> tuple[Array, Array]:
    """Which of n documents are trained on and which are held out, drawn by a seed.

    At least one is trained on; and one is held out where a share is to be and there are two.
    """
    held_out = min(n - 1, max(1, int(n * share))) if share else 0
    order = np.random.default_rng([seed, n]).permutation(n)
    return np.sort(order[held_out:]), np.sort(order[:held_out])


def only(text: Ids, which: Array) -> Ids:
    """Some of the documents."""
    ids, ends = text
    assert ends is not None
    parts = [ids[:1], *(ids[ends[k] + 1 : ends[k + 1] + 1] for k in which)]
    lengths = np.diff(ends)[which]
    return Ids(np.concatenate(parts), np.concatenate([[0], np.cumsum(lengths)]))


class Pieces:
    """What documents are cut into for training: pieces of at most `maxlen` symbols.

    Batches have pieces of about the same length side by side, so many that a batch has
    about as many symbols as one of windows would: short documents are as quick as long texts.

    Parameters
    ----------
    ids, ends
        As of `Ids`.
    maxlen
        Input symbols of a piece, at most.
    batch_size
        How many pieces of `maxlen` make a batch.
    """

    def __init__(self, ids: Array, ends: Array, maxlen: int, batch_size: int) -> None:
        self.ids = ids
        each = [np.arange(a, b, maxlen) for a, b in itertools.pairwise(ends)]
        self.starts = np.concatenate(each)
        last = np.repeat(ends[1:], [len(starts) for starts in each])
        self.lengths = np.minimum(last - self.starts, maxlen)
        self.maxlen, self.batch_size = maxlen, batch_size
        # Where batches end, in the order of lengths: the same in each epoch
        ordered = np.sort(self.lengths)[::-1]
        self.bounds = [0]
        while self.bounds[-1] < len(ordered):
            longest = int(ordered[self.bounds[-1]])
            count = max(1, batch_size * maxlen // longest)
            self.bounds.append(min(len(ordered), self.bounds[-1] + count))

    def __len__(self) -> int:
        return len(self.starts)

    @property
    def batch_count(self) -> int:
        """How many batches there are."""
        return len(self.bounds) - 1

    @property
    def widest(self) -> int:
        """The most pieces in a batch."""
        return int(np.diff(self.bounds).max())

    def batches(self, order: Array, first: int = 0) -> Iterator[Array]:
        """All pieces once, in batches that come in a random order.

        Parameters
        ----------
        order
            The numbers of the pieces in a random order, on which all depends.
        first
            The number of the batch to begin with.

        Yields
        ------
        Array
            (T + 1, B) ids, time first, with `NOTHING` after the end of a shorter piece.
        """
        by_length = order[np.argsort(-self.lengths[order], kind="stable")]
        groups = [by_length[a:b] for a, b in zip(self.bounds, self.bounds[1:])]
        place = np.empty(len(order), np.intp)
        place[order] = np.arange(len(order))
        groups.sort(key=lambda group: int(place[group[0]]))
        for group in groups[first:]:
            yield side_by_side(self.ids, self.starts[group], self.lengths[group])


def side_by_side(ids: Array, starts: Array, lengths: Array) -> Array:
    """Pieces of a sequence, with the symbol after each, (T + 1, B); `NOTHING` after the end."""
    t = np.arange(lengths.max() + 1)[:, None]  # (T + 1, 1)
    batch: Array = ids[np.minimum(starts + t, len(ids) - 1)].astype(np.intp)  # (T + 1, B)
    batch[t > lengths] = NOTHING
    return batch
