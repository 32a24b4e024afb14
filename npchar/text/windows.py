"""Ids to windows to batches.

Ids come from ``text/vocabulary.py``, batches of them go to ``layers/lstm.py``. Windows and batches
index one array of ids: no one-hot tensor, no copy of the corpus.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from npchar.arguments import require_positive
from npchar.arrays import Array

__all__ = ["windows"]


def windows(ids: Array, maxlen: int = 60, step: int = 3) -> Array:
    """Every `step`-th window of `maxlen` ids and the one after it.

    Parameters
    ----------
    ids
        A text's ids, (n,).
    maxlen
        Input characters of a window.
    step
        Characters between the starts of two windows.

    Returns
    -------
    Array
        (windows, maxlen + 1), a read-only view of `ids`: nothing is copied.

    Raises
    ------
    ValueError
        For a text too short for one window, or a `maxlen` or `step` below 1.

    Examples
    --------
    >>> npchar.windows(np.arange(10), maxlen=4, step=3)
    array([[0, 1, 2, 3, 4],
           [3, 4, 5, 6, 7]])
    """
    require_positive(maxlen=maxlen, step=step)
    if len(ids) < maxlen + 1:
        raise ValueError(
            f"expected at least {maxlen + 1} symbols, for a window of maxlen={maxlen} and the next "
            f"symbol, got {len(ids)}; pass a longer text or a smaller maxlen"
        )
    return sliding_window_view(ids, maxlen + 1)[::step]


def shuffled(n: int, rng: np.random.Generator) -> Array:
    """The numbers below n in a random order, (n,), in the smallest unsigned type."""
    order = np.arange(n, dtype=np.min_scalar_type(n))
    rng.shuffle(order)
    return order


class Windows:
    """The windows of one text, in batches: a pass over it. For documents see `Pieces`.

    Parameters
    ----------
    ids
        The text's, (n,).
    maxlen, step
        As for `windows`.
    batch_size
        Windows in a batch; the last batch has what is left.
    """

    def __init__(self, ids: Array, maxlen: int, step: int, batch_size: int) -> None:
        self.view, self.batch_size = windows(ids, maxlen, step), batch_size

    def __len__(self) -> int:
        return len(self.view)

    @property
    def batch_count(self) -> int:
        """How many batches there are."""
        return -(-len(self) // self.batch_size)

    def batches(self, order: Array, first: int = 0) -> Iterator[Array]:
        """All windows in a given order, from a batch on: see the function `batches`."""
        return batches(self.view, order, self.batch_size, first)


def batches(view: Array, order: Array, batch_size: int, first: int = 0) -> Iterator[Array]:
    """The windows in a given order, in batches: one pass over the text.

    Parameters
    ----------
    view
        What `windows` returned, (n, maxlen + 1).
    order
        Which of them, one after the other.
    batch_size
        Windows in a batch; the last batch has what is left.
    first
        The number of the batch to begin with.

    Yields
    ------
    Array
        (maxlen + 1, B) ids, time first. The rows up to the last are a batch's
        inputs, the rows from the second its targets.
    """
    require_positive(batch_size=batch_size)
    for start in range(first * batch_size, len(order), batch_size):
        yield np.ascontiguousarray(view[order[start : start + batch_size]].T)
