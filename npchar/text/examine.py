"""Checks a text before training.

``text/encoding.py`` checks the bytes of a file; this module checks the decoded text and does not
change it. ``Model.fit`` prints the findings before the first step.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Hashable, Iterable

from npchar.text.vocabulary import Text

__all__ = ["examine"]

RARE = 5  # occurrences: fewer are too few to learn a symbol
LARGE, ENOUGH = 500, 200  # symbols of a large vocabulary, and mean occurrences that they need
MANY = 30  # rare symbols; Chinese has more, English has fewer
LEAST = 20_000  # characters: with fewer, a model overfits


def examine(text: Text, *, maxlen: int = 60, validation_split: float = 0.1) -> list[str]:
    """Check a text for faults before training.

    Parameters
    ----------
    text
        A string, or a list of tokens.
    maxlen, validation_split
        As for `Model.fit`.

    Returns
    -------
    list of str
        One sentence per finding; empty if there are no findings.

    Examples
    --------
    >>> npchar.examine("to be or not to be " * 2000)
    []
    """
    findings = []
    split = len(text) - int(len(text) * validation_split)
    train, held_out = Counter[Hashable](text[:split]), Counter[Hashable](text[split:])
    counts = train + held_out
    needed = maxlen + 1
    symbols = "characters" if isinstance(text, str) else "tokens"
    if split < needed or 0 < len(text) - split < needed:
        findings.append(
            f"too short: {len(text):,} {symbols}; a window of maxlen={maxlen} needs {needed} for "
            f"training and {needed} for validation"
        )
    elif len(text) < LEAST:
        findings.append(
            f"a small text, {len(text):,} {symbols}: the model may memorize it; use {LEAST:,} or "
            "more"
        )
    if isinstance(text, str):
        findings += _odd_characters(text, counts) + _not_normalized(text, counts)
    elif len(counts) > 0.9 * len(text):
        findings.append(
            f"{len(counts):,} of {len(text):,} tokens are different: if each is a whole text, such "
            "as a tweet, make the vocabulary with Vocabulary.from_documents"
        )
    if len(counts) > LARGE and len(text) < ENOUGH * len(counts):
        findings.append(
            f"{len(counts):,} different {symbols} in {len(text):,}, {len(text) // len(counts)} of "
            f"each: with fewer than {ENOUGH} a model learns only the frequent ones"
        )
    rare = [c for c, n in counts.items() if n < RARE]
    if rare and len(text) >= LEAST:
        advice = (
            f"; replace them by one unknown symbol with min_count={RARE} in Python or --min-count "
            f"{RARE} on the command line"
        )
        findings.append(
            f"{len(rare)} of {len(counts)} {symbols} occur fewer than {RARE} times, too few to "
            f"learn: {_named(rare, counts)}" + advice * (len(rare) > MANY)
        )
    if late := sorted(held_out.keys() - train.keys(), key=str):
        findings.append(f"only in the validation set, so never learned: {_named(late, counts)}")
    return findings


def _odd_characters(text: str, counts: Counter[Hashable]) -> list[str]:
    """Findings on characters that suggest a fault in earlier processing of the text."""
    findings = []
    if controls := [c for c in set(text) if unicodedata.category(c) == "Cc" and c not in "\n\t"]:
        findings.append(f"control characters, which are kept: {_named(controls, counts)}")
    if "\ufffd" in counts:
        findings.append(
            f"{counts[chr(0xFFFD)]:,} replacement characters (U+FFFD): the text was decoded "
            "with errors"
        )
    if (marks := counts["Ã"] + counts["â"]) and any(m in text for m in ("Ã©", "Ã¼", "Ã¤", "â€")):
        findings.append(
            f"{marks:,} characters such as Ã and â: the text may be UTF-8 that was decoded with "
            "another encoding"
        )
    if hidden := [c for c in "\ufeff\u200b\u200e\u200f\u00ad" if c in counts]:
        findings.append(f"invisible characters, which are kept: {_named(hidden, counts)}")
    return findings


def _not_normalized(text: str, counts: Counter[Hashable]) -> list[str]:
    """A finding on characters that Unicode normalization to NFC changes."""
    if unicodedata.is_normalized("NFC", text):
        return []
    gone = counts - Counter[Hashable](unicodedata.normalize("NFC", text))
    changed = f"{_named(gone, gone)} have" if gone else "accents in an unusual order have"
    return [
        f"{changed} another form in Unicode normalization NFC, the form of most texts; normalize "
        "the text"
    ]


def _named(symbols: Iterable[Hashable], counts: Counter[Hashable], most: int = 8) -> str:
    """Symbols and their counts, the most frequent first; characters with code points."""
    ordered = sorted(symbols, key=lambda c: (-counts[c], str(c)))
    parts = []
    for c in ordered[:most]:
        name = repr(c)
        if isinstance(c, str) and len(c) == 1:
            is_visible = c.isprintable() and not unicodedata.combining(c)
            name = f"{name} U+{ord(c):04X}" if is_visible else f"U+{ord(c):04X}"
        parts.append(f"{name} ×{counts[c]:,}")
    rest = len(ordered) - most
    return ", ".join(parts) + (f" and {rest} more" if rest > 0 else "")
