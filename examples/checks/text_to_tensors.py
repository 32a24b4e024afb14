"""Checks of notebook 1: one-hot vectors, windows, and rows instead of products."""

from __future__ import annotations

import numpy as np

import npchar
from checks.checking import B, D, H, T, V, Wrong, call, exercise, expect


@exercise("1.1", "one_hot")
def check_one_hot(function, rng):
    """Compared with the rows of the identity."""
    ids = rng.integers(0, V, (T, B))
    ids[0, 0] = V - 1
    came = call(function, ids, V)
    expected = np.eye(V)[ids]
    mistakes = {
        "V is the first axis; it should be the last": np.moveaxis(expected, 2, 0),
        "B is the first axis; T should be the first": expected.swapaxes(0, 1),
        "each 1 is one place too far left": np.roll(expected, -1, axis=2),
    }
    expect(came, expected, mistakes=mistakes)


@exercise("1.2", "windows")
def check_windows(function, rng):
    """Compared with `npchar.windows` for two steps; the result must be a view."""
    ids, maxlen = rng.integers(0, V, rng.integers(20, 40)), int(rng.integers(3, 8))
    for step in (2, int(rng.integers(5, 9))):
        check_windows_at(function, ids, maxlen, step)


def check_windows_at(function, ids, maxlen, step):
    """For one step."""
    came = call(function, ids, maxlen, step)
    expected = npchar.windows(ids, maxlen, step)
    every = npchar.windows(ids, maxlen, 1)
    narrow = np.lib.stride_tricks.sliding_window_view(ids, maxlen)
    mistakes = {
        "the windows have maxlen ids; they should include the next id too": narrow[::step],
        "the last window is missing": expected[:-1],
        "windows begin at every place; they should begin at every step-th place": every,
        "windows begin maxlen apart; they should begin step apart": every[::maxlen],
        "windows begin 3 apart, whatever `step` is": every[::3],
        "time is the first axis; the windows should be the first": expected.T,
    }
    expect(came, expected, mistakes=mistakes, case=f"{len(ids)} ids, {maxlen = }, {step = }")
    if not (isinstance(came, np.ndarray) and np.may_share_memory(came, ids)):
        raise Wrong("the numbers are right, but the result is a copy; expected a view")


@exercise("1.3", "gather_rows")
def check_gather_rows(function, rng):
    """Compared with the product; NaN in the other rows reveals a multiplication."""
    ids = rng.integers(0, 4, (T, B))  # below 4, so that the wrong axis raises no error
    Wx = rng.normal(size=(4, D, H))
    expected = np.eye(D)[ids] @ Wx[:, None]
    Wx[:, 4:] = np.nan
    came = call(function, Wx, ids)
    mistakes = {
        "NaN comes from rows that no id picks: this is a product; use an index": np.full_like(
            expected, np.nan
        ),
        "the ids pick gates, Wx's first axis; they should pick rows, its second": Wx[ids],
        "the gates come after T and B; they should be the first axis": np.moveaxis(expected, 0, 2),
    }
    expect(came, expected, mistakes=mistakes)


@exercise("1.4", "add_rows")
def check_add_rows(function, rng):
    """Compared with the product."""
    ids, rows = rng.integers(0, 3, 12), rng.normal(size=(12, H))  # every id is repeated
    came = call(function, rows, ids, V)
    expected = np.eye(V)[ids].T @ rows
    last = np.zeros((V, H))
    last[ids] = rows
    counts = np.bincount(ids, minlength=V)[:, None]
    mistakes = {
        "if an id is repeated, only the last row counts: use `np.add.at`": last,
        "these are means; they should be sums": expected / np.maximum(counts, 1),
        "rows are missing for the ids that never occur": expected[:3],
    }
    expect(came, expected, mistakes=mistakes)
