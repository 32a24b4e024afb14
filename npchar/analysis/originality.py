"""Originality: the passages that a text has word for word from a corpus.

A model that overfits writes well by copying its train text; this measures it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from npchar.analysis.colouring import as_html
from npchar.arguments import require_positive
from npchar.arrays import Array
from npchar.text.vocabulary import Text

__all__ = ["Originality", "originality"]

CHUNK = 1 << 20  # symbols of the corpus that are looked at together, some 30 bytes each
PAIRS = 1 << 11  # pairs of equal fingerprints at a time: the next ones are held to longer runs


class Passage(NamedTuple):
    """A run of symbols in a text and in the corpus, as long as it goes."""

    text: Text
    position: int  # in the text, from 0
    source: int  # in the corpus


@dataclass(frozen=True, repr=False)
class Originality:
    """What a text copies from a corpus.

    Examples
    --------
    >>> found = npchar.originality("as it is, so be it", "it is as it is", least=6)
    >>> found.passages
    [Passage(text='as it is', position=0, source=6)]
    >>> found
    Originality(44% of 18 copied in runs of 6 or more, the longest 8)
    """

    text: Text
    """The text."""
    passages: list[Passage]
    """The runs of `least` symbols or more that are in the corpus too, the longest first; none
    lies within another."""
    least: int
    """The shortest run that counts."""

    @property
    def longest(self) -> int:
        """The length of the longest passage; 0 where there is none.

        Examples
        --------
        >>> npchar.originality("as it is, it is so", "it is as it is", least=6).longest
        8
        """
        return len(self.passages[0].text) if self.passages else 0

    @property
    def copied(self) -> float:
        """The share of the text that is in a passage, 0 to 1.

        Examples
        --------
        >>> npchar.originality("abcd", "bcd", least=3).copied
        0.75
        """
        return float(self._is_copied().sum()) / max(1, len(self.text))

    def _is_copied(self) -> Array:
        mask = np.zeros(len(self.text), bool)
        for passage in self.passages:
            mask[passage.position : passage.position + len(passage.text)] = True
        return mask

    def __repr__(self) -> str:
        return (
            f"Originality({self.copied:.0%} of {len(self.text):,} copied in runs of {self.least} "
            f"or more, the longest {self.longest:,})"
        )

    def __str__(self) -> str:
        lines = [
            f"{self.copied:.0%} of {len(self.text):,} symbols are in the corpus in runs of "
            f"{self.least} or more"
        ]
        for text, position, source in self.passages[:10]:
            lines.append(f"{len(text):6,}  at {position:,}, corpus {source:,}: {text!r}")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        """For notebooks: the text, what is copied coloured."""
        return as_html(self.text, 0.6 * self._is_copied()) + f"<div>{self!r}</div>".replace(
            "Originality", ""
        )


def originality(text: Text, corpus: Text, *, least: int = 20) -> Originality:
    """The longest passages that a text has verbatim from a corpus.

    Finds all runs of `least` that are in both by their fingerprints, and makes each as
    long as it goes: for a generated page and a corpus of ten megabytes in a second or two,
    where a search by ``str.find`` from place to place takes ten.

    Parameters
    ----------
    text
        The generated text; a string, or a list of tokens.
    corpus
        The train text.
    least
        The shortest run that counts. Some twenty characters in a row are common
        phrases that any writer shares with any other.

    Returns
    -------
    Originality
        The passages, the longest first; it shows itself in a notebook.

    Raises
    ------
    TypeError
        Unless both are strings, or both lists of tokens.

    Examples
    --------
    Of generated documents, how many stand in the corpus: they are tokens then.

    >>> npchar.originality(["anna", "bena", "nils"], ["nils", "anna", "ben"], least=1).copied
    0.6666666666666666
    """
    require_positive(least=least)
    a, b = as_numbers(text, corpus)
    # The longest run from each place in a that is known, and where it stands in b.
    longest, source = np.zeros((2, len(a)), np.intp)
    for starts in common_starts(a, b, least):
        for i, j in extensible(a, b, *starts, longest):
            known = longest[i]  # which may have grown since the pair was chosen
            if i + known < len(a) and j + known < len(b) and a[i + known] == b[j + known]:
                length = common_length(a[i:], b[j:])
                if length > known:
                    longest[i], source[i] = length, j
    passages = []
    reach = 0  # the furthest end of those before: one that ends there lies within another
    # Two runs may have one fingerprint, and be equal for less than `least`
    for i in np.flatnonzero(longest >= least).tolist():
        length = int(longest[i])
        if i + length > reach:
            passages.append(Passage(text[i : i + length], i, int(source[i])))
            reach = i + length
    passages.sort(key=lambda passage: -len(passage.text))
    return Originality(text, passages, least)


def as_numbers(text: Text, corpus: Text) -> tuple[Array, Array]:
    """Both as numbers, equal where their symbols are."""
    if isinstance(text, str) != isinstance(corpus, str):
        raise TypeError(
            "expected text and corpus to be both strings, or both lists of tokens, got "
            f"{type(text).__name__} and {type(corpus).__name__}"
        )
    if isinstance(text, str) and isinstance(corpus, str):
        a, b = (
            np.frombuffer(one.encode("utf-32-le", "surrogatepass"), "<u4") for one in (text, corpus)
        )
        return a, b
    numbers: dict[object, int] = {}
    a, b = (
        np.array([numbers.setdefault(token, len(numbers)) for token in one], np.uint32)
        for one in (text, corpus)
    )
    return a, b


def common_starts(a: Array, b: Array, k: int) -> Iterator[tuple[Array, Array]]:
    """Where common runs of k may begin, in a and in b: equal fingerprints there, not before.

    Places of b are sorted by fingerprint and by the symbol before, so that pairs with the same
    symbol before, of which two rules of dashes have millions, are never made.
    """
    marks, ranks = np.unique(fingerprints(a, k), return_inverse=True)
    if not len(marks):
        return
    base = int(max(a.max(initial=0), b.max(initial=0))) + 3  # more than any symbol, and two more
    before_a = np.concatenate([[base - 2], a[: len(ranks) - 1]]).astype(np.int64)
    for start in range(0, len(b) - k + 1, CHUNK):
        wanted = fingerprints(b[start : start + CHUNK + k - 1], k)
        rank = np.minimum(np.searchsorted(marks, wanted), len(marks) - 1)
        j = np.flatnonzero(marks[rank] == wanted)
        keys = rank[j] * base
        j += start
        keys += np.where(j > 0, b[j - 1], base - 1)
        order = np.argsort(keys, kind="stable")
        j, keys = j[order], keys[order]
        # For each place of a: the places of b from low to high, except those from skip to resume.
        low, high = (np.searchsorted(keys, (ranks + n) * base) for n in (0, 1))
        skip, resume = (
            np.searchsorted(keys, ranks * base + before_a, side) for side in ("left", "right")
        )
        counts = (high - low) - (resume - skip)
        ends = np.cumsum(counts)  # the pairs of place i end at ends[i]
        for first in range(0, int(ends[-1]), PAIRS):
            pair = np.arange(first, min(first + PAIRS, int(ends[-1])))
            i = np.searchsorted(ends, pair, "right")
            place = low[i] + pair - (ends[i] - counts[i])
            place += np.where(place >= skip[i], resume[i] - skip[i], 0)
            yield i, j[place]


def extensible(a: Array, b: Array, i: Array, j: Array, known: Array) -> Iterator[tuple[int, int]]:
    """The places i in a and j in b that may begin a longer run than is known at i."""
    inside = (i + known[i] < len(a)) & (j + known[i] < len(b))
    i, j = i[inside], j[inside]
    same = a[i + known[i]] == b[j + known[i]]
    return zip(i[same].tolist(), j[same].tolist())


def fingerprints(ids: Array, k: int) -> Array:
    """A number for each run of k, (n − k + 1,) uint64, the same for the same run.

    A polynomial in an odd number, modulo 2⁶⁴, put together from runs of 1, 2, 4, …
    """
    n = len(ids) - k + 1
    if n < 1:
        return np.empty(0, np.uint64)
    power = np.uint64(0x9E3779B97F4A7C15)  # of the base, to the run's length
    runs = (ids.astype(np.uint64) + np.uint64(1)) * np.uint64(0xD6E8FEB86659FD93)
    runs ^= runs >> np.uint64(29)  # so that neighbours in the alphabet are far apart
    size, done = 1, 0
    marks = np.zeros(len(ids), np.uint64)
    with np.errstate(over="ignore"):
        while True:
            if k & size:
                m = len(ids) - done - size + 1
                marks = marks[:m] * power + runs[done : done + m]
                done += size
            if done == k:
                return marks
            m = len(runs) - size
            runs = runs[:m] * power + runs[size:]
            power = power * power
            size *= 2


def common_length(a: Array, b: Array) -> int:
    """How many symbols both begin with."""
    n = min(len(a), len(b))
    start, size = 0, 64
    while start < n:
        stop = min(start + size, n)
        different = a[start:stop] != b[start:stop]
        if different.any():
            return start + int(different.argmax())
        start, size = stop, 2 * size
    return n
