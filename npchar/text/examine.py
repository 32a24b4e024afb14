"""Checks of a text before hours are spent on training with it.

``text/corpus.py`` reports what it found in a file's bytes and changed in them; this module
examines the decoded text, and ``Model.fit`` prints the findings before the first step. The
text is not changed.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from typing import Any

from npchar.text.vocabulary import Text

__all__ = ["examine"]

RARE = 5  # a character seen less often cannot be learned
LARGE, ENOUGH = 500, 200  # a large vocabulary, and how often its symbols should come on average
MANY = 30  # rare ones, as Chinese has and English has not
LEAST = 20_000  # characters; with fewer a model overfits: it memorises the text


def examine(text: Text, *, maxlen: int = 60, validation_split: float = 0.1) -> list[str]:
    """What may be wrong with a text for training: a sentence for each finding.

    Parameters
    ----------
    text
        The text: a string, or a list of tokens.
    maxlen, validation_split
        As for `Model.fit`.

    Returns
    -------
    list of str
        Empty where nothing was found.

    Examples
    --------
    >>> npchar.examine("to be or not to be " * 2000)
    []
    """
    findings = []
    split = len(text) - int(len(text) * validation_split)
    train, held_out = count(text, 0, split), count(text, split, len(text))
    counts = train + held_out
    needed = maxlen + 1
    symbols = "characters" if isinstance(text, str) else "tokens"
    if split < needed or 0 < len(text) - split < needed:
        findings.append(
            f"too short: {len(text):,} {symbols}, where a window of maxlen={maxlen} needs "
            f"{needed} to train on and {needed} held out"
        )
    elif len(text) < LEAST:
        findings.append(
            f"a small text, {len(text):,} {symbols}: expect overfitting, the text "
            f"learned by heart; use {LEAST:,} or more"
        )
    if isinstance(text, str):
        findings += odd_characters(text, counts)
    elif len(counts) > 0.9 * len(text):
        findings.append(
            f"of {len(text):,} tokens {len(counts):,} are different: if each is a text of its own, "
            "as a tweet is, make the vocabulary by Vocabulary.from_documents"
        )
    if len(counts) > LARGE and len(text) < ENOUGH * len(counts):
        findings.append(
            f"{len(counts):,} different {symbols} in {len(text):,}, {len(text) // len(counts)} of "
            f"each: with fewer than {ENOUGH} a model learns the frequent ones alone"
        )
    rare = [c for c, n in counts.items() if n < RARE]
    if rare and len(text) >= LEAST:
        findings.append(
            f"{len(rare)} of {len(counts)} {symbols} come fewer than {RARE} times, too few to "
            f"learn: {named(rare, counts)}"
            + (
                f"; Vocabulary.from_text(text, min_count={RARE}) has one stand-in for all of them "
                f"(on the command line: --min-count {RARE})"
                if len(rare) > MANY
                else ""
            )
        )
    if late := sorted(held_out.keys() - train.keys(), key=str):
        findings.append(f"only in the held-out part, and so never learned: {named(late, counts)}")
    return findings


def odd_characters(text: str, counts: Counter[Any]) -> list[str]:
    """Findings on characters that hint at a fault in earlier processing of the text."""
    findings = []
    if controls := [c for c in counts if unicodedata.category(c) == "Cc" and c not in "\n\t"]:
        findings.append(f"control characters, kept as they are: {named(controls, counts)}")
    if "\ufffd" in counts:
        findings.append(
            f"{counts[chr(0xFFFD)]:,} replacement characters (U+FFFD): it was decoded with errors "
            "earlier"
        )
    if (marks := counts["Ã"] + counts["â"]) and any(m in text for m in ("Ã©", "Ã¼", "Ã¤", "â€")):
        findings.append(
            f"{marks:,} characters like Ã and â: perhaps UTF-8 that was read as another encoding"
        )
    if hidden := [c for c in "\ufeff\u200b\u200e\u200f\u00ad" if c in counts]:
        findings.append(f"invisible characters, kept: {named(hidden, counts)}")
    if combining := [c for c in counts if unicodedata.combining(c)]:
        findings.append(
            f"accents as characters of their own: {named(combining, counts)}; "
            "unicodedata.normalize('NFC', text) joins them to their letters"
        )
    return findings


def count(text: Text, start: int, stop: int) -> Counter[Any]:
    """How often each symbol comes in a part of a text, without a copy of the part."""
    counts: Counter[Any] = Counter()
    for at in range(start, stop, 1 << 20):
        counts.update(text[at : min(at + (1 << 20), stop)])
    return counts


def named(symbols: list[Any], counts: Counter[Any], most: int = 8) -> str:
    """Symbols with how often they come, the most frequent first; characters with code points."""
    ordered = sorted(symbols, key=lambda c: (-counts[c], str(c)))
    parts = []
    for c in ordered[:most]:
        is_character = isinstance(c, str) and len(c) == 1
        point = f"U+{ord(c):04X} " if is_character else ""
        shown = not is_character or (c.isprintable() and not unicodedata.combining(c))
        parts.append((f"{c!r} " if shown else "") + f"{point}×{counts[c]:,}")
    rest = len(ordered) - most
    return ", ".join(parts) + (f" and {rest} more" if rest > 0 else "")
