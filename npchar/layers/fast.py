"""What the fast layers have in common: inputs, gates in memory, the products of a step.

Each of ``layers/lstm_fast.py``, ``gru_fast.py`` and ``rnn_fast.py`` computes what its plain
layer does, to rounding, on buffers that are made once for a (T, B) and used for every batch:
fresh memory would cost more than the arithmetic on it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from npchar.arrays import Array, aligned_empty
from npchar.layers.dense import Dense
from npchar.layers.layer import HiddenState, Layer
from npchar.layers.products import column_tiles, product_tiles, row_tiles, tiling

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

MANY = 256  # symbols, from which it pays to touch only the rows in use
ROWS_AT_ONCE = 256  # rows of a gradient copied at once: 512 KB for an LSTM of 128 units
FEW = 4  # sequences, for which one product with all weights is quicker than one for each matrix
ONE = np.ones((), np.float32)  # a Python number takes 0.5 µs more, half of a small operation
HALF = np.full((), 0.5, np.float32)


class HiddenTape:
    """The outputs of one forward pass of a layer whose state is its output."""

    def __init__(self, T: int, B: int, H: int, dtype: DTypeLike) -> None:
        self.shape = (T, B)
        self.h = aligned_empty((T + 1, B, H), dtype)
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
    """(G, D, H) as one matrix, (D, GH), the gates side by side: a copy, or of one gate a view."""
    return W.swapaxes(0, 1).reshape(W.shape[1], -1)


def parted(W: Array, gates: int) -> Array:
    """(D, GH), the gates side by side, as (G, D, H): a view."""
    return W.reshape(W.shape[0], gates, -1).swapaxes(0, 1)


def rows_in_use(W: Array, x: Array) -> tuple[Array, Array]:
    """A copy of the rows of (…, D, H) input weights that ids pick, and each id's place in it.

    All of them where there are few: only of many is it worth the search.
    """
    if W.shape[-2] < MANY:
        return W.copy(), x
    used, places = np.unique(x, return_inverse=True)
    return W.take(used, axis=-2), places.reshape(x.shape)


def write_input_gradient(x: Array, rows: Array, out: Array) -> Array:
    """Write the gradient of input weights; return that of the biases beside them, (GH,).

    With ids the rows of each symbol are summed up: of 57 symbols a quarter to a third of
    the time of a product with one-hot rows at 64 sequences, of 4,000 a tenth.

    Parameters
    ----------
    x
        What came in: ids, (T, B), or vectors, (T, B, D).
    rows
        The gradient of each step's sums, (TB, GH), the gates side by side.
    out
        Where that of the weights is written, (G, D, H).
    """
    G, D, H = out.shape
    if x.ndim == 3:
        inputs = x.reshape(-1, D).astype(rows.dtype, copy=False)
        out[...] = parted(inputs.T @ rows, G)
        total: Array = rows.sum(axis=0)
        return total
    ids, rows = x.reshape(-1), np.ascontiguousarray(rows)  # take would copy all of a view each time
    order = np.argsort(ids, kind="stable")  # the steps of a symbol one after the other
    counts = np.bincount(ids)
    used = np.flatnonzero(counts)
    own_rows = counts[used].tolist()
    sums = aligned_empty((len(used), G * H), rows.dtype)
    # Some symbols' rows at a time: they stay in the cache between their copy and their sum.
    together = min(len(rows), max(ROWS_AT_ONCE, *own_rows))
    some, ones = aligned_empty((together, G * H), rows.dtype), np.ones(together, rows.dtype)
    start, first, last = 0, 0, 0  # of this symbol's rows, and of those copied
    for own, count in zip(sums, own_rows):
        if start + count > last:
            first, last = start, min(start + together, len(rows))
            rows.take(order[first:last], 0, some[: last - first], "clip")  # "raise" buffers
        np.dot(ones[:count], some[start - first : start - first + count], own)  # a sum, by BLAS
        start += count
    out[...] = 0
    for gate, own in zip(out, parted(sums, G)):
        gate[used] = own
    total = sums.sum(axis=0)
    return total


class StepProducts:
    """The products of h that a step of generation needs: the next step's sums, and the logits.

    Parameters
    ----------
    h
        The hidden state, (B, H), which `multiply` reads.
    Wh
        The recurrent weights, (G, H, H), copied.
    dense
        The output layer, copied; None where another layer is above.
    """

    def __init__(self, h: Array, Wh: Array, dense: Dense | None) -> None:
        (B, H), G, dtype = h.shape, len(Wh), Wh.dtype
        V = 0 if dense is None else dense.W.shape[1]
        self.h, self.few = h, B < FEW
        self.dense_b = None if dense is None else dense.b.copy()
        dense_W = np.empty((H, 0), dtype) if dense is None else dense.W
        if self.few:
            self.W = np.concatenate([joined(Wh), dense_W], axis=1)  # (H, GH + V)
            self.products = np.empty((B, G * H + V), dtype)
            self.sums = self.products[:, : G * H].reshape(B, G, H).swapaxes(0, 1)
            self.logits = self.products[:, G * H :]
        else:
            rows, columns = tiling(B, H, H, dtype)
            self.h_tiles = row_tiles(h, rows, leading=1)
            self.Wh = column_tiles(Wh, columns)
            self.sums, self.logits = aligned_empty((G, B, H), dtype), aligned_empty((B, V), dtype)
            self.sum_tiles = product_tiles(self.sums, rows, columns)
            self.dense_W = dense_W.copy()
        self.multiply()

    def multiply(self) -> Array:
        """Write `sums`, (G, B, H); return the logits, (B, V), or without an output layer h."""
        if self.few:
            np.dot(self.h, self.W, self.products)
        else:
            np.matmul(self.h_tiles, self.Wh, self.sum_tiles)
        if self.dense_b is None:
            return self.h
        logits = self.logits
        if not self.few:
            np.dot(self.h, self.dense_W, logits)
        logits += self.dense_b
        return logits
