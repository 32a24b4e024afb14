"""Finds the passages that a text copies verbatim from a corpus.

The text of an overfitted model may be good only because it copies the training text.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from npchar.analysis.colouring import as_html
from npchar.arguments import require_positive
from npchar.arrays import Array
from npchar.text.vocabulary import Text

__all__ = ["Originality", "originality"]

FILTER = 20  # symbols: with longer runs, the first pass over the corpus is slower


class Passage(NamedTuple):
    """A run of symbols that occurs both in a text and in the corpus, and cannot be extended."""

    text: Text
    position: int  # in the text, from 0
    source: int  # in the corpus


@dataclass(frozen=True, repr=False)
class Originality:
    """The passages that a text copies from a corpus.

    Examples
    --------
    >>> result = npchar.originality("as it is, so be it", "it is as it is", least=6)
    >>> result.passages
    [Passage(text='as it is', position=0, source=6)]
    >>> result
    Originality(44% of 18 copied in runs of 6 or more, the longest 8)
    """

    text: Text
    """The text."""
    passages: list[Passage]
    """The runs of at least `least` symbols that occur in the corpus, the longest first. No passage
    is part of another passage."""
    least: int
    """The minimum length of a passage."""

    @property
    def longest(self) -> int:
        """The length of the longest passage; 0 if there is none.

        Examples
        --------
        >>> npchar.originality("as it is, it is so", "it is as it is", least=6).longest
        8
        """
        return len(self.passages[0].text) if self.passages else 0

    @property
    def copied(self) -> float:
        """The fraction of the text that is in a passage, 0 to 1.

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
        """The text for notebooks, with the passages in colour."""
        return as_html(self.text, 0.6 * self._is_copied()) + f"<div>{self!r}</div>".replace(
            "Originality", ""
        )


def originality(text: Text, corpus: Text, *, least: int = 20) -> Originality:
    """Find the passages that a text copies verbatim from a corpus.

    Parameters
    ----------
    text
        The generated text, a string or a list of tokens.
    corpus
        The training text.
    least
        The minimum length of a passage. Unrelated texts share phrases of up to about twenty
        characters.

    Returns
    -------
    Originality
        The passages, the longest first. A notebook shows them in the text.

    Raises
    ------
    TypeError
        If one argument is a string and the other is not.

    Examples
    --------
    The fraction of generated documents that occur in the corpus, with each document as a token:

    >>> npchar.originality(["anna", "bena", "nils"], ["nils", "anna", "ben"], least=1).copied
    0.6666666666666666
    """
    require_positive(least=least)
    a, b = _as_strings(text, corpus)
    size = min(least, FILTER)
    runs = {a[i : i + size] for i in range(len(a) - size + 1)}
    common_runs = runs.intersection(b[j : j + size] for j in range(len(b) - size + 1))
    passages = []
    start = end = 0  # `end` is the end of the last passage
    while start + least <= len(a):
        step = 1
        if a[start : start + size] in common_runs:
            shortest = max(least, end + 1 - start)  # a shorter run is part of the last passage
            length, source = _longest_run(a, start, b, shortest)
            if source >= 0:
                passages.append(Passage(text[start : start + length], start, source))
                end = start + length
                # A passage that starts before `end` must end after it.
                starts = range(start + 1, end)
                step += bisect_left(starts, True, key=lambda i: a[i : end + 1] in b)
        start += step
    passages.sort(key=lambda passage: -len(passage.text))
    return Originality(text, passages, least)


def _longest_run(a: str, start: int, b: str, length: int) -> tuple[int, int]:
    """The longest run of a from `start` that occurs in b, and its position in b, or -1."""
    source = -1
    while start + length <= len(a):
        place = b.find(a[start : start + length], source + 1)
        if place < 0:
            break
        source = place
        limit = min(len(a) - start, len(b) - source)
        while length < limit and a[start + length] == b[source + length]:
            length += 1
        length += 1  # continue with longer runs only
    return length - 1, source


def _as_strings(text: Text, corpus: Text) -> tuple[str, str]:
    """Convert tokens to characters, because Python searches strings fast."""
    if isinstance(text, str) and isinstance(corpus, str):
        return text, corpus
    if isinstance(text, str) or isinstance(corpus, str):
        raise TypeError(
            "expected text and corpus to be both strings, or both lists of tokens, got "
            f"{type(text).__name__} and {type(corpus).__name__}"
        )
    characters = {token: chr(k) for k, token in enumerate(dict.fromkeys(text), start=1)}
    a, b = ("".join(characters.get(token, "\0") for token in tokens) for tokens in (text, corpus))
    return a, b
