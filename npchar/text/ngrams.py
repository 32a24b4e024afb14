"""N-gram baselines, with which the loss of a network can be compared.

An n-gram model predicts each character from the n − 1 characters before it, by counts. The counts
are smoothed by the method of Witten and Bell (1991), which Chen and Goodman (1999) compare with
others: each order is interpolated with the next lower order, which has more weight if counts are
low. The ids come from ``text/vocabulary.py``. ``training/trainer.py`` and ``model.py`` report the
losses.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from npchar.arrays import Array

ORDER = 5  # n of the longest n-grams
MOST_COUNTED = 1_000_000  # characters to count, which limits time and memory
MOST_PREDICTED = 200_000  # characters to predict


def baselines(train: Array, held_out: Array, vocabulary_size: int) -> dict[str, float]:
    """The losses of n-gram models on a validation set.

    Parameters
    ----------
    train
        The ids of the training set, (n,). Only the last million ids are counted.
    held_out
        The ids of the validation set, (m,), at least two. Only the first 200,000 ids are used. The
        first id is not predicted.
    vocabulary_size
        The size of the vocabulary, V.

    Returns
    -------
    dict of str to float
        Nats per character: "uniform" (all characters equally probable, log V), "unigram" (the
        frequencies of characters), "2-gram" and so on up to "5-gram".
    """
    train, held_out = train[-MOST_COUNTED:], held_out[:MOST_PREDICTED]
    losses = {"uniform": float(np.log(vocabulary_size))}
    for n, p in ngram_probabilities(train, held_out, vocabulary_size, ORDER):
        losses["unigram" if n == 1 else f"{n}-gram"] = -float(np.log(p).mean())
    return losses


def ngram_probabilities(
    train: Array, held_out: Array, V: int, order: int
) -> Iterator[tuple[int, Array]]:
    """For each n up to `order`, the probability of each id of `held_out` after the first, (m − 1,).

    Each order updates the same array in place.
    """
    p = np.full(len(held_out) - 1, 1 / V)
    for n in (n for n in range(1, order + 1) if n <= len(train) and V**n < 1 << 62):
        grams, counts = _count(codes(train, n, V))
        contexts, starts = np.unique(grams // V, return_index=True)
        totals = np.add.reduceat(counts, starts)
        followers = np.diff(np.append(starts, len(grams)))  # distinct next ids of each context

        # The first characters of the held-out text have a shorter context, so they keep the
        # probabilities of the lower order.
        wanted = codes(held_out, n, V)[1 if n == 1 else 0 :]
        count = np.where(contains(grams, wanted), counts[place(grams, wanted)], 0)
        known = contains(contexts, wanted // V)
        at = place(contexts, wanted // V)
        later = p[len(p) - len(wanted) :]
        interpolated = (count + followers[at] * later) / (totals[at] + followers[at])
        later[known] = interpolated[known]
        yield n, p


def _count(codes: Array) -> tuple[Array, Array]:
    """The distinct values and their counts, as by `numpy.unique`, but without a copy."""
    codes.sort()
    firsts = np.append(0, np.flatnonzero(codes[1:] != codes[:-1]) + 1)
    return codes[firsts], np.diff(firsts, append=len(codes))


def codes(ids: Array, n: int, V: int) -> Array:
    """A number for each n-gram, (len(ids) − n + 1,). Modulo V, it is the last id of the n-gram."""
    size = max(0, len(ids) - n + 1)
    code = np.zeros(size, np.int64)
    for k in range(n):
        code *= V
        code += ids[k : k + size]
    return code


def place(values: Array, wanted: Array) -> Array:
    """The index of each wanted value in sorted values, or of the next larger value."""
    return np.minimum(np.searchsorted(values, wanted), len(values) - 1)


def contains(values: Array, wanted: Array) -> Array:
    """Whether sorted values contain each wanted value, as booleans."""
    same: Array = values[place(values, wanted)] == wanted
    return same
