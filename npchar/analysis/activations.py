"""The activations of a model over a text: its gates and cells, and what they depend on.

``model.py`` computes them for a text; ``analysis/colouring.py`` colours the text by a cell.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np

from npchar.analysis.colouring import as_ansi, as_html
from npchar.arguments import require_positive
from npchar.arrays import Array
from npchar.layers.layer import Layer, as_vectors
from npchar.layers.network import Network
from npchar.text.vocabulary import Text, Vocabulary

NAMES = ("i", "f", "o", "g", "c", "h")
CHUNK = 1000  # characters read at once


class Found(NamedTuple):
    """A unit that correlates with a feature."""

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
        cell and the output, in the symbols of ``layers/lstm.py``.
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
        """The activations over a text, from a zero state."""
        _, H, layers, *_ = network.sizes
        network = network.plain()  # its tapes have all of them by name
        arrays = np.empty((len(NAMES), len(ids), layers, H), network.parameters.flat.dtype)
        for start, _, tapes in network.read(ids[:, None], CHUNK):
            for k, tape in enumerate(tapes):
                for array, name in zip(arrays, NAMES):
                    array[start : start + CHUNK, k] = [getattr(s, name)[0] for s in tape.steps]
        return cls(text, *arrays)

    def unit(self, unit: int, *, layer: int = 0, of: str = "c") -> Array:
        """One unit's values over the text, (T,): of the cell, or of another of `NAMES`."""
        if of not in NAMES:
            raise ValueError(f"of is {of!r}; expected one of {', '.join(NAMES)}")
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

        A cell, whose values have no bounds, is shown through tanh, as the output gate sees it.
        """
        values = self.unit(unit, layer=layer, of=of)
        titles = [f"{value:.2f}" for value in values]
        return Coloured(as_html(self.text, np.tanh(values) if of == "c" else values, titles))

    def ansi(self, unit: int, *, layer: int = 0, of: str = "c") -> str:
        """The same for a terminal."""
        values = self.unit(unit, layer=layer, of=of)
        return as_ansi(self.text, np.tanh(values) if of == "c" else values)

    def find(self, feature: Sequence[float] | Array, n: int = 5, *, of: str = "c") -> list[Found]:
        """The n units that correlate most with a feature of the text.

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
            hundreds of units some correlate with anything by chance: check them on
            another text too.
        """
        require_positive(n=n)
        wanted = np.asarray(feature, np.float64)
        right = wanted.shape == (len(self.text),) and len(wanted) and np.isfinite(wanted).all()
        if not right or wanted.std() == 0:
            raise ValueError(
                f"the feature has the shape {wanted.shape} and runs from {wanted.min(initial=0)} "
                f"to {wanted.max(initial=0)}; expected {len(self.text)} finite "
                "numbers, not all equal"
            )
        self.unit(0, of=of)  # raises for a wrong name
        values = getattr(self, of).reshape(len(wanted), -1).astype(np.float64)  # (T, units)
        values = values - values.mean(axis=0)
        wanted = wanted - wanted.mean()
        norms = np.sqrt((values**2).sum(axis=0) * (wanted**2).sum())  # of both, multiplied
        correlations = wanted @ values / np.where(norms > 0, norms, np.inf)
        best = np.argsort(-np.abs(correlations), kind="stable")[:n]
        H = self.c.shape[2]
        return [Found(int(k) // H, int(k) % H, float(correlations[k])) for k in best]

    def __repr__(self) -> str:
        T, layers, H = self.c.shape
        return f"Activations({', '.join(NAMES)} of {layers} layers of {H} over {T:,})"


class Coloured(str):
    """HTML that a notebook renders."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"Coloured({len(self):,} characters of HTML)"

    def _repr_html_(self) -> str:
        return str(self)


class LanguageModel(Protocol):
    """What `saliency` needs of a model."""

    @property
    def network(self) -> Network:
        """The layers as one function."""

    @property
    def vocabulary(self) -> Vocabulary:
        """The symbols and their ids."""


def saliency(model: LanguageModel, text: Text) -> Array:
    """How much each character of a text matters for the prediction of its last.

    Parameters
    ----------
    model
        The model.
    text
        Two characters or more.

    Returns
    -------
    Array
        (n − 1,): the norm of the gradient of log p(last character) with respect to
        each character before it, as a one-hot vector. Near 0, a small change of that
        character would hardly matter.
    """
    ids = model.vocabulary.ids_of(text, at_least=2)
    x = as_vectors(ids[:-1, None], len(model.vocabulary), model.network.parameters.flat.dtype)
    dx = model.network.gradients(x, ids[-1:].astype(np.intp)).inputs  # an id has none
    assert dx is not None
    norms: Array = np.linalg.norm(dx[:, 0], axis=1)
    return norms


def gradient_flow(layer: Layer, x: Array, dh: Array, state: Any = None) -> list[Any]:
    """The gradient at the end of a text, backpropagated to each step before it.

    Parameters
    ----------
    layer
        A recurrent layer.
    x
        Ids, (T, B), or vectors, (T, B, D).
    dh
        The gradient of some loss with respect to the last h, (B, H).
    state
        The state before the first step.

    Returns
    -------
    list of states
        The gradients with respect to the state before each step, first to last, and at
        the end those with respect to the final state: `dh`, and zeros for the rest. T + 1.
    """
    needed = layer.zero_state(x.shape[1])[0].shape
    if dh.shape != needed:
        raise ValueError(f"expected dh of the shape {needed} for this x and layer, got {dh.shape}")
    tapes = []
    for t in range(len(x)):
        tapes.append(layer.forward(x[t : t + 1], state))
        state = tapes[-1].final_state
    scratch = layer.zeros_like()
    zeros = layer.zero_state(len(dh))
    flow = [type(zeros)(dh, *zeros[1:])]
    for tape in reversed(tapes):
        flow.append(layer.backward(tape, None, flow[-1], scratch)[1])
    return flow[::-1]
