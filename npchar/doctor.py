"""What there is to know about a text before hours are spent on it.

``corpus.py`` tells what it found in a file's bytes and did to them; this looks at
the text that came out, and ``training.py`` says it before the first step. It
changes nothing.
"""

from __future__ import annotations

import unicodedata
from collections import Counter

RARE = 5  # a character seen less often cannot be learned
LEAST = 20_000  # characters below which a model learns by heart rather than to write


def examine(text: str, *, maxlen: int = 60, validation_split: float = 0.1) -> list[str]:
    """What may be wrong with a text for training: a sentence for each finding.

    Parameters
    ----------
    text
        The text.
    maxlen, validation_split
        As for `Model.fit`.

    Examples
    --------
    >>> examine("to be or not to be " * 2000)
    []
    """
    findings = []
    split = len(text) - int(len(text) * validation_split)
    learned, held_out = counted(text, 0, split), counted(text, split, len(text))
    counts = learned + held_out
    needed = maxlen + 1
    if split < needed or 0 < len(text) - split < needed:
        findings.append(
            f"too short: {len(text):,} characters, where a window of maxlen={maxlen} needs "
            f"{needed} to learn from and {needed} held out"
        )
    elif len(text) < LEAST:
        findings.append(
            f"a small text, {len(text):,} characters: expect it to be learned by heart; "
            f"{LEAST:,} and more make for text of its own"
        )
    if controls := [c for c in counts if unicodedata.category(c) == "Cc" and c not in "\n\t"]:
        findings.append(f"control characters, kept as they are: {named(controls, counts)}")
    if "\ufffd" in counts:
        findings.append(
            f"{counts[chr(0xFFFD)]:,} replacement characters (U+FFFD): it was decoded with errors "
            "before it came here"
        )
    if (marks := counts["Ã"] + counts["â"]) and any(m in text for m in ("Ã©", "Ã¼", "Ã¤", "â€")):
        findings.append(
            f"{marks:,} characters like Ã and â: perhaps UTF-8 that was read as another encoding"
        )
    if hidden := [c for c in "\ufeff\u200b\u200e\u200f\u00ad" if c in counts]:
        findings.append(f"characters that nobody sees, kept: {named(hidden, counts)}")
    if combining := [c for c in counts if unicodedata.combining(c)]:
        findings.append(
            f"accents as characters of their own: {named(combining, counts)}; "
            "unicodedata.normalize('NFC', text) joins them to their letters"
        )
    rare = [c for c, n in counts.items() if n < RARE]
    if rare and len(text) >= LEAST:
        findings.append(
            f"{len(rare)} of {len(counts)} characters come fewer than {RARE} times, too few to "
            f"learn: {named(rare, counts)}"
        )
    if late := sorted(held_out.keys() - learned.keys()):
        findings.append(f"only in the held-out part, and so never learned: {named(late, counts)}")
    return findings


def counted(text: str, start: int, stop: int) -> Counter[str]:
    """How often each character comes in a part of a text, without a copy of the part."""
    counts: Counter[str] = Counter()
    for at in range(start, stop, 1 << 20):
        counts.update(text[at : min(at + (1 << 20), stop)])
    return counts


def named(characters: list[str], counts: Counter[str], most: int = 8) -> str:
    """Characters with their code points and how often they come, the most frequent first."""
    ordered = sorted(characters, key=lambda c: (-counts[c], c))
    parts = [
        (repr(c) if c.isprintable() and not unicodedata.combining(c) else "")
        + (" " if c.isprintable() and not unicodedata.combining(c) else "")
        + f"U+{ord(c):04X} ×{counts[c]:,}"
        for c in ordered[:most]
    ]
    rest = len(ordered) - most
    return ", ".join(parts) + (f" and {rest} more" if rest > 0 else "")
