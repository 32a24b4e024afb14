"""What the fast layers have in common: how inputs come in, and how gates lie in memory.

Each of ``layers/lstm_fast.py``, ``gru_fast.py`` and ``rnn_fast.py`` computes what its plain
layer does, to rounding, on buffers that are made once for a (T, B) and used for every batch:
fresh memory would cost more than the arithmetic on it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from npchar.arrays import Array
from npchar.layers.layer import HiddenState, Layer

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

MANY = 256  # symbols, from which it pays to touch only the rows in use
ONE = np.ones((), np.float32)  # a Python number takes 0.5 µs more, half of a small operation


class HiddenTape:
    """The outputs of one forward pass of a layer whose state is its output."""

    def __init__(self, T: int, B: int, H: int, dtype: DTypeLike) -> None:
        self.shape = (T, B)
        self.h = np.empty((T + 1, B, H), dtype)
        self.x: Array | None = None

    @property
    def outputs(self) -> Array:
        """The hidden state after each step, (T, B, H)."""
        return self.h[1:]

    @property
    def final_state(self) -> HiddenState:
        """A copy of the state after the last step."""
        return HiddenState(self.h[-1].copy())


def taken(tape: Any) -> Array:
    """The input of a tape's forward pass, for the one backward pass that may follow it."""
    x: Array | None = tape.x
    if x is None:
        raise ValueError(
            "this tape has no forward pass to backpropagate: a fast layer uses the tape up; run "
            "forward again, or use the plain layer, whose tapes last"
        )
    tape.x = None
    return x


def require_tape(tape: Any, layer: Layer, x: Array) -> None:
    """Raise a ValueError unless it is a tape of such a layer, for T and B of `x`."""
    if not isinstance(tape, layer.tape_type):
        raise ValueError(
            f"expected a {layer.tape_type.__name__}, as {type(layer).__name__}.tape makes it, got "
            f"a {type(tape).__name__}"
        )
    if tape.shape != x.shape[:2]:
        raise ValueError(f"expected x of the tape's (T, B) = {tape.shape}, got {x.shape[:2]}")
    H, outputs = layer.sizes[1], tape.outputs
    if outputs.shape[2] != H or outputs.dtype != layer.dtype:
        raise ValueError(
            f"expected a tape of {H} {layer.dtype} units, got {outputs.shape[2]} {outputs.dtype}"
        )


def added_at_the_end(dh: Array | None, dh_next: Array) -> Array | None:
    """Add a gradient with respect to the last output alone, (B, H), to the final state's.

    Returns what is left to add step by step: (T, B, H), or None.
    """
    if dh is not None and dh.ndim == 2:
        dh_next += dh
        return None
    return dh


def joined(W: Array) -> Array:
    """(G, D, H) as one matrix, (D, GH), the gates side by side: a copy."""
    return W.swapaxes(0, 1).reshape(W.shape[1], -1)


def parted(W: Array, gates: int) -> Array:
    """(D, GH), the gates side by side, as (G, D, H): a view."""
    return W.reshape(W.shape[0], gates, -1).swapaxes(0, 1)


def rows_in_use(x: Array, D: int) -> tuple[Array | slice, Array]:
    """Which rows of (D, ·) input weights some ids pick, and the place of each id among them.

    All of them where there are few: only of many is it worth the search.
    """
    if D < MANY:
        return slice(None), x
    used, places = np.unique(x, return_inverse=True)
    return used, places.reshape(x.shape)


def input_gradient(x: Array, rows: Array, D: int) -> Array:
    """The gradient of input weights, (D, ·), from that of each step's sums, (TB, ·).

    With ids, (T, B), of many symbols the rows of each symbol are summed up, which takes a
    tenth of the time of a product with one-hot rows at 4,000 of them; of few it is slower.
    """
    if x.ndim == 3 or D < MANY:
        inputs = np.empty((len(rows), D), rows.dtype)
        as_rows(x, D, inputs)
        product: Array = inputs.T @ rows
        return product
    order = np.argsort(x, axis=None, kind="stable")
    ids = x.reshape(-1)[order]
    first = np.flatnonzero(np.diff(ids, prepend=-1))  # of each symbol
    gradient = np.zeros((D, rows.shape[1]), rows.dtype)
    gradient[ids[first]] = np.add.reduceat(rows[order], first, axis=0)
    return gradient


def as_rows(x: Array, D: int, out: Array) -> None:
    """Write ids, (T, B), as one-hot rows, or vectors, (T, B, D), to `out`, (TB, D).

    The gradient of input weights is then a product, which for ids is far quicker than adding
    to the rows that they pick.
    """
    if x.ndim == 3:
        out[...] = x.reshape(-1, D)
    else:
        out[...] = 0
        out[np.arange(len(out)), x.reshape(-1)] = 1
