"""What simple models make of a text, to tell what a loss is worth.

Counts of the n − 1 characters before each character and of the character itself,
smoothed by Witten and Bell's way (1991; Chen and Goodman 1999 compare it with
others): what an order has seen little of, the order below decides. Ids come
from ``text.py``; ``training.py`` and ``model.py`` show the losses.
"""

from __future__ import annotations

import numpy as np

from npchar.parameters import Array

ORDER = 5  # characters that the longest model looks at, its own included
MOST_COUNTED = 1_000_000  # characters to count: some arrays of 8 bytes each
MOST_FORETOLD = 200_000  # and to foretell


def baselines(learned: Array, held_out: Array, vocabulary_size: int) -> dict[str, float]:
    """The losses on a held-out text of models that know another text.

    Parameters
    ----------
    learned
        The ids to count, (n,): of a long text the last million.
    held_out
        The ids to foretell, (m,), at least two; the first is only looked at. Of a
        long text the first 200,000.
    vocabulary_size
        How many characters there may be, V.

    Returns
    -------
    dict of str to float
        Nats per character: "uniform" (every character alike: log V), "unigram"
        (by how often it comes), and up to "5-gram".
    """
    V = vocabulary_size
    held_out = held_out[:MOST_FORETOLD]
    orders = [n for n in range(1, ORDER + 1) if n <= len(learned) and V**n < 1 << 62]
    losses = {"uniform": float(np.log(V))}
    p = np.full(len(held_out) - 1, 1 / V)
    for n in orders:
        before = codes(learned[-MOST_COUNTED:], n, V)
        grams, counts = np.unique(before, return_counts=True)
        contexts, starts = np.unique(grams // V, return_index=True)
        totals = np.add.reduceat(counts, starts)
        followers = np.diff(np.append(starts, len(grams)))  # different ones, of each context

        # The held-out text has a beginning of its own: its first characters have
        # less before them, and stay with the order below.
        wanted = codes(held_out, n, V)[1 if n == 1 else 0 :]
        count = np.where(found(grams, wanted), counts[place(grams, wanted)], 0)
        known = found(contexts, wanted // V)
        at = place(contexts, wanted // V)
        later = p[len(p) - len(wanted) :]
        interpolated = (count + followers[at] * later) / (totals[at] + followers[at])
        later[known] = interpolated[known]
        losses["unigram" if n == 1 else f"{n}-gram"] = -float(np.log(p).mean())
    return losses


def codes(ids: Array, n: int, V: int) -> Array:
    """A number for each run of n ids, (len(ids) − n + 1,); its last id is the code modulo V."""
    size = max(0, len(ids) - n + 1)
    code = np.zeros(size, np.int64)
    for k in range(n):
        code *= V
        code += ids[k : k + size]
    return code


def place(values: Array, wanted: Array) -> Array:
    """Where in sorted values each wanted one stands or would stand, but for the end."""
    return np.minimum(np.searchsorted(values, wanted), len(values) - 1)


def found(values: Array, wanted: Array) -> Array:
    """Whether each wanted one is among sorted values."""
    same: Array = values[place(values, wanted)] == wanted
    return same
