"""What goes on inside a model while it reads: its gates and cells, and what they heed.

``model.py`` makes these for a text; ``colouring.py`` shows a text by a cell.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from npchar.arguments import require_positive
from npchar.colouring import as_ansi, as_html
from npchar.lstm import LSTM, State
from npchar.network import Network
from npchar.parameters import Array
from npchar.text import Text

NAMES = ("i", "f", "o", "g", "c", "h")
CHUNK = 1000  # characters read at once


class Found(NamedTuple):
    """A unit that goes along with something."""

    layer: int
    unit: int
    correlation: float  # −1 to 1


@dataclass(frozen=True, repr=False, eq=False)
class Activations:
    """The gates, cells and outputs of every LSTM after each character of a text.

    Attributes
    ----------
    text
        The text, T symbols.
    i, f, o, g, c, h
        (T, layers, H) each: the input, forget and output gates, the candidate, the
        cell and the output, in the symbols of ``lstm.py``.
    """

    text: Text
    i: Array
    f: Array
    o: Array
    g: Array
    c: Array
    h: Array

    @classmethod
    def of(cls, network: Network, text: Text, ids: Array) -> Activations:
        """Read a text, from an empty memory."""
        _, H, layers, _ = network.sizes
        arrays = np.empty((len(NAMES), len(ids), layers, H), network.parameters.flat.dtype)
        states = None
        for start in range(0, len(ids), CHUNK):
            _, tapes = network.forward(ids[start : start + CHUNK, None], states)
            states = [tape.final_state for tape in tapes]
            for k, tape in enumerate(tapes):
                here = arrays[:, start : start + CHUNK, k]  # (6, T, H)
                here[:4] = tape.gates[:, :, 0].swapaxes(0, 1)
                here[4] = tape.cells[:, 0]
                here[5] = tape.outputs[:, 0]
        return cls(text, *arrays)

    def unit(self, unit: int, *, layer: int = 0, of: str = "c") -> Array:
        """One unit's values over the text, (T,): of the cell, or of another of `NAMES`."""
        if of not in NAMES:
            raise ValueError(f"of is {of!r}; it must be one of {', '.join(NAMES)}")
        _, layers, H = self.c.shape
        if layer not in range(layers) or unit not in range(H):
            raise ValueError(
                f"there is no unit {unit!r} in a layer {layer!r}; there are layers 0 to "
                f"{layers - 1}, with units 0 to {H - 1}"
            )
        values: Array = getattr(self, of)[:, layer, unit]
        return values

    def html(self, unit: int, *, layer: int = 0, of: str = "c") -> Coloured:
        """The text coloured by a unit: red above zero, blue below; for notebooks.

        A cell, which knows no bounds, is shown through tanh, as the output gate sees it.
        """
        values = self.unit(unit, layer=layer, of=of)
        titles = [f"{value:.2f}" for value in values]
        return Coloured(as_html(self.text, np.tanh(values) if of == "c" else values, titles))

    def ansi(self, unit: int, *, layer: int = 0, of: str = "c") -> str:
        """The same for a terminal."""
        values = self.unit(unit, layer=layer, of=of)
        return as_ansi(self.text, np.tanh(values) if of == "c" else values)

    def find(self, feature: Sequence[float] | Array, n: int = 5, *, of: str = "c") -> list[Found]:
        """The n units that go along best with a feature of the text.

        Parameters
        ----------
        feature
            A number after each character, (T,): how far into the line it is, whether a
            quotation is open.
        n
            How many to return.
        of
            What to compare: "c", "h" or a gate.

        Returns
        -------
        list of Found
            By Pearson's correlation, the strongest first, whatever its sign. Among
            hundreds of units some go along with anything by chance: see whether they
            do on another text too.
        """
        require_positive(n=n)
        wanted = np.asarray(feature, np.float64)
        right = wanted.shape == (len(self.text),) and len(wanted) and np.isfinite(wanted).all()
        if not right or wanted.std() == 0:
            raise ValueError(
                f"the feature has the shape {wanted.shape} and runs from {wanted.min(initial=0)} "
                f"to {wanted.max(initial=0)}; it must have {len(self.text)} finite "
                "numbers, not all alike"
            )
        self.unit(0, of=of)  # complains of a wrong name
        values = getattr(self, of).reshape(len(wanted), -1).astype(np.float64)  # (T, units)
        values = values - values.mean(axis=0)
        wanted = wanted - wanted.mean()
        lengths = np.sqrt((values**2).sum(axis=0) * (wanted**2).sum())
        correlations = wanted @ values / np.where(lengths > 0, lengths, np.inf)
        best = np.argsort(-np.abs(correlations), kind="stable")[:n]
        H = self.c.shape[2]
        return [Found(int(k) // H, int(k) % H, float(correlations[k])) for k in best]

    def __repr__(self) -> str:
        T, layers, H = self.c.shape
        return f"Activations({', '.join(NAMES)} of {layers} layers of {H} over {T:,})"


class Coloured(str):
    """HTML that a notebook shows as what it means."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"Coloured({len(self):,} characters of HTML)"

    def _repr_html_(self) -> str:
        return str(self)


def saliency(network: Network, ids: Array) -> Array:
    """See `Model.saliency`; `ids` are the text's, (n,)."""
    V = network.sizes.vocabulary_size
    x = np.zeros((len(ids) - 1, 1, V), network.parameters.flat.dtype)
    x[np.arange(len(ids) - 1), 0, ids[:-1]] = 1  # one-hot: an id has no gradient
    dx = network.gradients(x, ids[-1:].astype(np.intp)).inputs
    assert dx is not None
    lengths: Array = np.linalg.norm(dx[:, 0], axis=1)
    return lengths


def gradient_flow(layer: LSTM, x: Array, dh: Array, state: State | None = None) -> list[State]:
    """How much of a gradient at the end of a text arrives at each step before it.

    Parameters
    ----------
    layer
        An LSTM.
    x
        Ids, (T, B), or vectors, (T, B, D).
    dh
        The gradient of some loss by the last h, (B, H).
    state
        The state before the first step.

    Returns
    -------
    list of State
        The gradients by h and c before each step, first to last, and at the end those
        by the last h and c: T + 1.
    """
    if dh.shape != (x.shape[1], layer.Wh.shape[1]):
        raise ValueError(f"dh has the shape {dh.shape}; x and the layer need "
                         f"{(x.shape[1], layer.Wh.shape[1])}")  # fmt: skip
    tapes = []
    for t in range(len(x)):
        tapes.append(layer.forward(x[t : t + 1], state))
        state = tapes[-1].final_state
    scratch = LSTM(*(np.empty_like(array) for array in (layer.Wx, layer.Wh, layer.b)))
    flow = [State(dh, np.zeros_like(dh))]
    for tape in reversed(tapes):
        flow.append(layer.backward(tape, None, flow[-1], scratch)[1])
    return flow[::-1]
