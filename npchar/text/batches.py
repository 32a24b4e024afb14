"""Batches of ids for training: windows of one text, or pieces of documents.

The ids come from ``text/vocabulary.py``, and ``training/trainer.py`` iterates over the batches.
Batches are taken from one array of ids, without one-hot vectors or a copy of the corpus.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Protocol

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from npchar.arguments import require_positive
from npchar.arrays import Array
from npchar.text.documents import stack

__all__ = ["windows"]


def windows(ids: Array, maxlen: int = 60, step: int = 3) -> Array:
    """Every `step`-th window of `maxlen` ids and the next id.

    Parameters
    ----------
    ids
        The ids of a text, (n,).
    maxlen
        Input characters in a window.
    step
        Characters between the starts of two windows.

    Returns
    -------
    Array
        (windows, maxlen + 1), a read-only view of `ids`.

    Raises
    ------
    ValueError
        If the text is too short for one window, or `maxlen` or `step` is below 1.

    Examples
    --------
    >>> npchar.windows(np.arange(10), maxlen=4, step=3)
    array([[0, 1, 2, 3, 4],
           [3, 4, 5, 6, 7]])
    """
    require_positive(maxlen=maxlen, step=step)
    if len(ids) < maxlen + 1:
        raise ValueError(
            f"expected at least {maxlen + 1} symbols (maxlen={maxlen} and the next one), got "
            f"{len(ids)}; pass a longer text or a smaller maxlen"
        )
    return sliding_window_view(ids, maxlen + 1)[::step]


def shuffled(n: int, rng: np.random.Generator) -> Array:
    """The numbers from 0 to n − 1 in a random order, (n,), in the smallest unsigned dtype."""
    order = np.arange(n, dtype=np.min_scalar_type(n))
    rng.shuffle(order)
    return order


class Batches(Protocol):
    """The sequences of one epoch, in batches."""

    batch_count: int
    """The number of batches."""

    def __len__(self) -> int:
        """Return the number of sequences."""

    def shifted(self, rng: np.random.Generator) -> Batches:
        """The batches of another epoch, whose windows may start at other positions."""

    def batches(self, order: Array, first: int = 0) -> Iterator[Array]:
        """Iterate over all sequences once.

        Parameters
        ----------
        order
            The indices of the sequences in a random order.
        first
            The index of the first batch.

        Yields
        ------
        Array
            (T + 1, B) ids, time first. All rows except the last are the inputs, and all rows
            except the first are the targets. Ids of -1 are padding.
        """


class WindowBatches:
    """The windows of one text.

    Parameters
    ----------
    ids
        The ids of the text, (n,).
    maxlen, step
        As for `windows`.
    batch_size
        Windows in a batch. The last batch may be smaller.
    targets
        "all": a target after every input character. "last": a target only after the window.
    """

    def __init__(self, ids: Array, maxlen: int, step: int, batch_size: int, targets: str) -> None:
        require_positive(batch_size=batch_size)
        self.ids, self.maxlen, self.step, self.targets = ids, maxlen, step, targets
        self.batch_size = batch_size
        self.view = windows(ids, maxlen, step)
        self.batch_count = math.ceil(len(self) / batch_size)

    def __len__(self) -> int:
        """Return the number of windows."""
        return len(self.view)

    def shifted(self, rng: np.random.Generator) -> WindowBatches:
        """The windows from a random position onward.

        Each character then has another distance from the start of its window in each epoch, which
        lowers the validation loss.
        """
        if self.targets != "all":
            return self
        first = int(rng.integers(min(self.step, len(self.ids) - self.maxlen)))
        return WindowBatches(
            self.ids[first:], self.maxlen, self.step, self.batch_size, self.targets
        )

    def batches(self, order: Array, first: int = 0) -> Iterator[Array]:
        """Iterate over all windows once: see `Batches`."""
        for start in range(first * self.batch_size, len(order), self.batch_size):
            yield np.ascontiguousarray(self.view[order[start : start + self.batch_size]].T)


class DocumentBatches:
    """Pieces of documents, with at most `maxlen` symbols each.

    A batch has pieces of similar length. It has about as many symbols as a batch of windows, so
    that short documents train as fast as long texts.

    Parameters
    ----------
    ids, ends
        As in `Ids`.
    maxlen
        The largest number of input symbols in a piece.
    batch_size
        The number of pieces in a batch of pieces with `maxlen` symbols.
    """

    def __init__(self, ids: Array, ends: Array, maxlen: int, batch_size: int) -> None:
        self.ids = ids
        each = [np.arange(a, b, maxlen) for a, b in itertools.pairwise(ends)]
        self.starts = np.concatenate(each)
        last = np.repeat(ends[1:], [len(starts) for starts in each])
        self.lengths = np.minimum(last - self.starts, maxlen)
        # The boundaries of batches in the order of lengths, which are the same in each epoch.
        ordered = np.sort(self.lengths)[::-1]
        self.bounds = [0]
        while self.bounds[-1] < len(ordered):
            longest = int(ordered[self.bounds[-1]])
            count = max(1, batch_size * maxlen // longest)
            self.bounds.append(min(len(ordered), self.bounds[-1] + count))
        self.batch_count = len(self.bounds) - 1

    def __len__(self) -> int:
        """Return the number of pieces."""
        return len(self.starts)

    def shifted(self, rng: np.random.Generator) -> DocumentBatches:  # noqa: ARG002
        """The same pieces, because documents are always read from their start."""
        return self

    def batches(self, order: Array, first: int = 0) -> Iterator[Array]:
        """Iterate over all pieces once, in batches in a random order: see `Batches`."""
        by_length = order[np.argsort(-self.lengths[order], kind="stable")]
        groups = [by_length[a:b] for a, b in itertools.pairwise(self.bounds)]
        place = np.empty(len(order), np.intp)
        place[order] = np.arange(len(order))
        groups.sort(key=lambda group: int(place[group[0]]))
        for group in groups[first:]:
            yield stack(self.ids, self.starts[group], self.lengths[group])
