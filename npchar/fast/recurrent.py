"""The common code of the fast recurrent layers.

A cell (``fast/lstm.py``, ``fast/gru.py``, ``fast/rnn.py``) defines the equations of one step, as
functions bound to views of the buffers. This module has the code for all cells: the buffers, the
loop over time, the matrix products and the stepper.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, ClassVar, Generic, NamedTuple

import numpy as np
from numpy import add, copyto, dot, matmul

from npchar.arrays import Array, aligned_empty
from npchar.fast.matmul import MatmulPlan
from npchar.layers.dense import Dense
from npchar.layers.layer import Layer, LayerState, require_step

ByGate = Array | list[Array]  # one array for each gate

# Arrays instead of Python numbers, whose conversion takes half the time of a small operation.
ONE = np.ones((), np.float32)
HALF = np.full((), 0.5, np.float32)

CHUNK = 256  # rows of a gradient copied at a time: 512 KB for an LSTM of 128 units


class Weights(NamedTuple):
    """The weights of a layer by gate, in the cell's order of gates.

    The hidden state feeds the first gates, the input feeds the last gates, and all have biases.
    """

    Wx: ByGate  # (D, H) each
    Wh: ByGate  # (H, H) each
    b: ByGate  # (H,) each


class StepBuffers(NamedTuple):
    """The memory of one time step, from which a cell takes its views.

    G is the number of gates, n the number of gates that the hidden state feeds, and S the number of
    arrays in the state.
    """

    gates: Array  # (G, B, H), computed by forward; backward may overwrite them
    before: Array  # (S, B, H), the state before the step; in a stepper the same memory as `after`
    after: Array  # (S, B, H), the state after the step
    saved: Array  # (saved_arrays, B, H), other values for backward
    sums: Array  # (n, B, H), forward: the sums of the first gates
    x_sums: Array  # (G, B, H), forward: the contribution of the input and the biases to the sums
    dgates: Array  # (G, B, H), backward: the gradients of the sums
    dstate: Array  # (S, B, H), backward: the gradient of `after`, overwritten by that of `before`
    scratch: Array  # (2, B, H)


class Cell(ABC):
    """The equations of one step of a fast layer, on views of buffers."""

    gate_scale: ClassVar[Array]  # of the sums of each gate, (G, 1, 1)
    saved_arrays: ClassVar[int] = 0  # arrays that backward needs besides the gates and the state

    @staticmethod
    @abstractmethod
    def by_gate(layer: Any) -> Weights:
        """The arrays of a layer, or of its gradient, by gate."""

    @staticmethod
    @abstractmethod
    def bind_forward(buffers: StepBuffers) -> Callable[[], None]:
        """Create a function that computes the gates and the new state from the sums."""

    @staticmethod
    @abstractmethod
    def bind_backward(buffers: StepBuffers) -> Callable[[], Array | None]:
        """Create a function that computes the gradients of the sums and of the previous state.

        For h, the function returns only the part of the gradient that does not pass through Wh, or
        None if there is no such part.
        """


class FastTape(Generic[LayerState]):
    """The buffers of passes over T steps of B sequences.

    A tape is created once per (T, B) and used for every batch of this size. This avoids fresh
    memory, which costs more than the arithmetic, and slicing in the loops.
    """

    def __init__(self, layer: FastRecurrent[LayerState], T: int, B: int) -> None:
        H, dtype, S = layer.sizes[1], layer.dtype, len(layer.state_shapes(B))
        _, Wh, b = layer.cell.by_gate(layer)
        G, n = len(b), len(Wh)
        self.key, self.shape = _tape_key(layer, T, B), (T, B)
        self.state_type = layer.state_type
        self.x: Array | None = None

        def buffer(*axes: int) -> Array:
            return aligned_empty((*axes, B, H), dtype)

        self.gates, self.states = buffer(T, G), buffer(S, T + 1)
        self.saved, self.scratch = buffer(T, layer.cell.saved_arrays), buffer(2)
        self.sums, self.x_sums = buffer(n), buffer(G)
        self.dgates, self.dstate = buffer(G), buffer(S)
        # The gradients of a step overwrite its gates, with the gates of a sequence side by side,
        # which halves the memory of backward. Cells first write them to contiguous memory, which is
        # faster.
        self.drows = [*self.rows.reshape(T, B, G, H).swapaxes(1, 2)]  # (G, B, H) each
        dgates = self.drows if G == 1 else [self.dgates] * T
        before, after = self.states[:, :-1].swapaxes(0, 1), self.states[:, 1:].swapaxes(0, 1)
        self.buffers = [
            StepBuffers(gates, h_, h, saved, self.sums, self.x_sums, d, self.dstate, self.scratch)
            for gates, h_, h, saved, d in zip(self.gates, before, after, self.saved, dgates)
        ]
        self.forward_steps = [layer.cell.bind_forward(buffers) for buffers in self.buffers]
        self._cell = layer.cell

        self.plan = MatmulPlan(B, H, H, dtype)
        self.h_tiles = [self.plan.left(h[None]) for h in self.states[0, :-1]]
        self.sum_tiles = self.plan.out(self.sums)
        # One product of all gradients with Wh also sums over the gates, which is faster. If it is
        # too long for tiles, one product per gate is faster.
        joined_plan = MatmulPlan(B, n * H, H, dtype)
        self.is_split = self.plan.is_tiled and not joined_plan.is_tiled
        self.backward_plan = self.plan if self.is_split else joined_plan
        self.dh_parts = buffer(n) if self.is_split else self.dstate[:1]
        self.dh_tiles = self.backward_plan.out(self.dh_parts)

    @cached_property
    def backward_steps(self) -> list[tuple[Callable[[], Array | None], Array, Array]]:
        """The function of the cell, the item of `drows` and the factor of Wh, for each step.

        They are created by the first backward pass, because many tapes are used only forward.
        """
        (T, B), (n, _, H), left = self.shape, self.sums.shape, self.backward_plan.left
        rows = self.rows.reshape(T, 1, B, -1)[..., : n * H]
        return [
            (self._cell.bind_backward(s), drows, left(s.dgates[:n] if self.is_split else factor))
            for s, drows, factor in zip(self.buffers, self.drows, rows)
        ]

    @property
    def rows(self) -> Array:
        """The memory of the gates as (TB, GH): a row for each step and sequence."""
        T, G, B, H = self.gates.shape
        return self.gates.reshape(T * B, G * H)

    @property
    def outputs(self) -> Array:
        """The hidden state after each step, (T, B, H)."""
        return self.states[0, 1:]

    @property
    def final_state(self) -> LayerState:
        """A copy of the state after the last step."""
        return self.state_type(*self.states[:, -1].copy())


class FastRecurrent(Layer[LayerState]):
    """Base class of optimized recurrent layers, with the arrays and results of the plain layers.

    Examples
    --------
    >>> plain = npchar.GRU.create(input_size=5, hidden_size=3, dtype="float64")
    >>> fast = npchar.FastGRU(**plain.arrays)
    >>> x = np.array([[0], [4], [2]])
    >>> tape = fast.tape(3, 1)  # buffers, for every pass of this T and B
    >>> tape = fast.forward(x, tape=tape)
    >>> np.allclose(tape.outputs, plain.forward(x).outputs, rtol=0, atol=1e-12)
    True
    >>> stepper = fast.stepper(tape.final_state)
    >>> stepper.step(np.array([1])).shape
    (1, 3)
    >>> dx, dstate = fast.backward(tape, np.ones((3, 1, 3)), None, fast.zeros_like())
    """

    cell: ClassVar[type[Cell]]

    def tape(self, T: int, B: int) -> FastTape[LayerState]:
        """Create buffers for passes over T steps of B sequences."""
        return FastTape(self, T, B)

    def _stepper(self, state: LayerState, dense: Dense | None) -> FastStepper[LayerState]:
        return FastStepper(self, state, dense)

    def forward(
        self, x: Array, state: LayerState | None = None, tape: FastTape[LayerState] | None = None
    ) -> FastTape[LayerState]:
        """Run over T steps: see `Layer.forward`."""
        x, state = self._begin(x, state)
        (T, B), (D, H) = x.shape[:2], self.sizes
        tape = self.tape(T, B) if tape is None else tape
        self._require_tape(tape, T, B)
        tape.states[:, 0] = state
        Wx, Wh, b = (np.asarray(gates) for gates in self.cell.by_gate(self))
        n, first = len(Wh), len(b) - len(Wx)  # h feeds gates[:n], and x feeds gates[first:]
        Wh_tiles = tape.plan.right(Wh, self.cell.gate_scale[:n])
        sums, sum_tiles, x_sums = tape.sums, tape.sum_tiles, tape.x_sums
        x_sums_of_h, rest = x_sums[:n], x_sums[n:]

        # The row of an id replaces a product with a one-hot vector. The product of the vectors of
        # all steps is stored in the memory of the gates until each step needs it.
        inputs: Sequence[Array] | Array
        is_ids = x.ndim == 2
        if is_ids:
            x = x.astype(np.intp, copy=False)
            symbols, inputs = _symbols_in_use(x)
            table = _symbol_table(self.cell, Wx, b, symbols)
        else:
            inputs = tape.drows
            tape.rows[:, : first * H] = 0
            scaled = _side_by_side(Wx * self.cell.gate_scale[first:])
            matmul(x.reshape(T * B, D), scaled, tape.rows[:, first * H :])
            tape.rows[...] += (b * self.cell.gate_scale[:, 0]).reshape(-1)
        tape.x = x

        for x_t, h_tiles, step in zip(inputs, tape.h_tiles, tape.forward_steps):
            matmul(h_tiles, Wh_tiles, sum_tiles)
            if is_ids:
                table.take(x_t, 1, x_sums, "clip")  # the default, "raise", makes a copy
                add(sums, x_sums_of_h, sums)
            else:
                add(sums, x_t[:n], sums)
                if len(rest):
                    copyto(rest, x_t[n:])
            step()
        return tape

    def backward(
        self,
        tape: FastTape[LayerState],
        dh: Array | None,
        dstate: LayerState | None,
        gradient: Layer[LayerState],
    ) -> tuple[Array | None, LayerState]:
        """Backpropagate through time: see `Layer.backward`. A tape can be used only once."""
        above, dstate = self._begin_backward(tape, FastTape, dh, dstate, gradient)
        (T, B), (D, H) = tape.shape, self.sizes
        self._require_tape(tape, T, B)
        x, tape.x = tape.x, None
        if x is None:
            raise ValueError(
                "expected a tape with a new forward pass, got one that backward has used; run "
                "forward again, or use the plain layer, whose tapes can be used more than once"
            )
        Wx, Wh, b = (np.asarray(gates) for gates in self.cell.by_gate(self))
        is_split = tape.is_split
        WhT_tiles = tape.backward_plan.right(Wh.swapaxes(1, 2), is_joined=not is_split)
        tape.dstate[...] = dstate
        dh_next, dgates, dh_tiles = tape.dstate[0], tape.dgates, tape.dh_tiles
        has_gaps, steps = len(b) > 1, tape.backward_steps
        for t in reversed(range(T)):
            step, drows, factor = steps[t]
            add(dh_next, above[t], dh_next)
            dh_direct = step()
            if has_gaps:
                copyto(drows, dgates)
            matmul(factor, WhT_tiles, dh_tiles)
            if is_split:
                add.reduce(tape.dh_parts, 0, None, dh_next)
            if dh_direct is not None:
                add(dh_next, dh_direct, dh_next)

        # A product of (TB, ·) matrices sums over time and batch.
        dWx, dWh, db = self.cell.by_gate(gradient)
        rows, dx = tape.rows, None
        h_ = tape.states[0, :-1].reshape(T * B, H)
        _write(dWh, h_.T @ rows[:, : len(Wh) * H])
        if x.ndim == 2:
            symbols, symbol_sums = _symbol_sums(x.reshape(-1), rows)
            _write(db, symbol_sums.sum(axis=0))
            for gate, values in zip(dWx, _split(symbol_sums, len(b))[-len(Wx) :]):
                gate[symbols] = values
        else:
            _write(db, np.ones(T * B, rows.dtype) @ rows)
            rows = rows[:, -len(Wx) * H :]
            _write(dWx, x.reshape(T * B, D).T @ rows)
            dx = (rows @ _side_by_side(Wx).T).reshape(x.shape)
        return dx, self.state_type(*tape.dstate.copy())

    def _require_tape(self, tape: FastTape[LayerState], T: int, B: int) -> None:
        """Raise a ValueError unless the tape fits the layer, T and B."""
        expected = _tape_key(self, T, B)
        key = tape.key if isinstance(tape, FastTape) else type(tape).__name__
        if key != expected:
            raise ValueError(
                f"expected a tape for (layer, units, dtype, T, B) = {expected}, got {key}"
            )


class FastStepper(Generic[LayerState]):
    """A stepper of a fast layer: the cell on the buffers of one step. See `Layer.stepper`.

    Parameters
    ----------
    layer
        The layer, which is copied.
    state
        The initial state, which is copied.
    dense
        The output layer, if `layer` is the top layer. It is copied.
    """

    def __init__(
        self, layer: FastRecurrent[LayerState], state: LayerState, dense: Dense | None = None
    ) -> None:
        (B, H), (D, _) = state[0].shape, layer.sizes
        dtype, scale = layer.dtype, layer.cell.gate_scale
        self.B, self.D, self.is_top = B, D, dense is not None
        Wx, Wh, b = (np.asarray(gates) for gates in layer.cell.by_gate(layer))
        G, n, m = len(b), len(Wh), len(Wx)
        self.table = _symbol_table(layer.cell, Wx, b, np.arange(D))
        self.Wx, self.b = Wx * scale[-m:], b[-m:, None] * scale[-m:]
        # The state after a step overwrites the state before it.
        states = aligned_empty((len(state), B, H), dtype)
        states[...] = state
        self.h: Array = states[0]
        # One product of h computes the sums of the next step and the logits, which is faster.
        self.W = _side_by_side(Wh * scale[:n])  # (H, nH)
        if dense is not None:
            self.W = np.concatenate([self.W, dense.W], axis=1)  # (H, nH + V)
            self.dense_b = dense.b.copy()
        self.product = dot(self.h, self.W)
        self.sums = aligned_empty((n, B, H), dtype)
        self.sums_of_h = _split(self.product[:, : n * H], n)
        self.logits: Array = self.product[:, n * H :]
        gates, self.x_sums = aligned_empty((2, G, B, H), dtype)
        self.x_sums[...] = b[:, None] * scale
        self.x_sums_of_h, self.x_sums_of_x = self.x_sums[:n], self.x_sums[-m:]
        saved, scratch = (
            aligned_empty((count, B, H), dtype) for count in (layer.cell.saved_arrays, 2)
        )
        buffers = gates, states, states, saved, self.sums, self.x_sums, gates, states, scratch
        self.cell_step = layer.cell.bind_forward(StepBuffers(*buffers))

    def step(self, x: Array) -> Array:
        """Run one step with ids, (B,), or vectors, (B, D).

        Returns the logits, (B, V), or h, (B, H), if there is no output layer. The result is valid
        until the next step.
        """
        require_step(x, self.B, self.D)
        if x.ndim == 1:
            self.table.take(x, 1, self.x_sums, "clip")
        else:
            matmul(x, self.Wx, self.x_sums_of_x)
            add(self.x_sums_of_x, self.b, self.x_sums_of_x)
        add(self.sums_of_h, self.x_sums_of_h, self.sums)
        self.cell_step()
        dot(self.h, self.W, self.product)
        if not self.is_top:
            return self.h
        add(self.logits, self.dense_b, self.logits)
        return self.logits


def _tape_key(layer: Layer[Any], T: int, B: int) -> tuple[str, int, str, int, int]:
    """The layer and the sizes of a tape."""
    return layer.name, layer.sizes[1], layer.dtype.type.__name__, T, B


def _symbol_table(cell: type[Cell], Wx: Array, b: Array, symbols: Array) -> Array:
    """The contributions of each symbol and the biases to the sums, (G, symbols, H)."""
    first = len(b) - len(Wx)
    table = aligned_empty((len(b), len(symbols), Wx.shape[2]), Wx.dtype)
    table[:first] = 0
    Wx.take(symbols, 1, table[first:], "clip")
    table += b[:, None]
    table *= cell.gate_scale
    return table


def _side_by_side(W: Array) -> Array:
    """(G, D, H) as one matrix, (D, GH), with the gates side by side."""
    return W.swapaxes(0, 1).reshape(W.shape[1], -1)


def _split(rows: Array, gates: int) -> Array:
    """(D, GH) or (GH,), with the gates side by side, as a view, (G, D or 1, H)."""
    return rows.reshape(-1, gates, rows.shape[-1] // gates).swapaxes(0, 1)


def _write(arrays: ByGate, values: Array) -> None:
    """Write values with the gates side by side, (D, GH) or (GH,), to the array of each gate."""
    for gate, value in zip(arrays, _split(values, len(arrays))):
        gate[...] = value


def _symbols_in_use(ids: Array) -> tuple[Array, Array]:
    """The sorted symbols in ids, and the index of the symbol of each id.

    With a large vocabulary, this avoids a copy of most rows of Wx.
    """
    is_used = np.bincount(ids.reshape(-1)) > 0
    return np.flatnonzero(is_used), (is_used.cumsum() - 1)[ids]


def _symbol_sums(ids: Array, rows: Array) -> tuple[Array, Array]:
    """The sorted symbols in ids, (n,), and the sum of the rows, (n, GH), of each symbol.

    This is several times faster than a product with one-hot vectors.
    """
    order = np.argsort(ids, kind="stable")  # the rows of a symbol follow each other
    symbols = np.flatnonzero(per_symbol := np.bincount(ids))
    counts = per_symbol[symbols].tolist()
    sums = aligned_empty((len(counts), rows.shape[1]), rows.dtype)
    # The rows are copied in chunks, which stay in the cache until they are summed.
    chunk = aligned_empty((max(CHUNK, *counts), rows.shape[1]), rows.dtype)
    ones = np.ones(len(chunk), rows.dtype)
    first = start = stop = 0  # the first row of a symbol; the rows in the chunk
    for out, count in zip(sums, counts):
        if first + count > stop:
            start, stop = first, first + len(chunk)
            copied = order[start:stop]
            rows.take(copied, 0, chunk[: len(copied)], "clip")
        dot(ones[:count], chunk[first - start :][:count], out)  # a sum, by BLAS
        first += count
    return symbols, sums
