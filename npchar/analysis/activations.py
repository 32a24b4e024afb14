"""The activations of a model over a text: its gates and cells, and what they depend on.

``model.py`` computes them for a text; ``analysis/colouring.py`` colours the text by a cell.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from npchar.analysis.colouring import as_ansi, as_html
from npchar.arguments import require_positive
from npchar.arrays import Array
from npchar.layers.layer import Layer, LayerState
from npchar.network.network import Network
from npchar.text.vocabulary import Text

__all__ = ["Activations", "gradient_flow"]

CHUNK = 1000  # characters read at once


class UnitCorrelation(NamedTuple):
    """A unit that correlates with a feature."""

    layer: int
    unit: int
    correlation: float  # −1 to 1


@dataclass(frozen=True, repr=False, eq=False)
class Activations:
    """The gates, cells and outputs of every layer after each character of a text.

    Examples
    --------
    >>> model = npchar.Model.pretrained("nietzsche")
    >>> seen = model.activations("the (soul) of man")
    >>> seen
    Activations(i, f, o, g, c, h of 1 layers of 300 over 17)
    >>> seen.f.shape  # the forget gates: (T, layers, H)
    (17, 1, 300)
    """

    text: Text
    """The text, T symbols."""
    values: dict[str, Array]
    """(T, layers, H) each, by their names in the equations of the layers: of LSTMs i, f, o, g,
    c and h, of GRUs r, z, n and h, of plain RNNs h, of convolutions v, g and h. Each is an
    attribute, too: ``seen.h``."""

    @classmethod
    def of(cls, network: Network, text: Text, ids: Array) -> Activations:
        """The activations over a text, from a zero state.

        Examples
        --------
        >>> model = npchar.Model(npchar.Vocabulary("abc"), hidden_size=4)
        >>> ids = model.vocabulary.encode("cab")
        >>> npchar.Activations.of(model.network, "cab", ids).h.shape
        (3, 1, 4)
        """
        _, H, layers, *_ = network.config
        values: dict[str, Array] = {}
        for start, _, tapes in network.plain().read(ids[:, None], length=CHUNK):
            for k, tape in enumerate(tapes):
                for name, array in tape.values.items():  # (T, 1, H)
                    if name not in values:
                        values[name] = np.empty((len(ids), layers, H), array.dtype)
                    values[name][start : start + CHUNK, k] = array[:, 0]
        return cls(text, values)

    def __getattr__(self, name: str) -> Array:
        if name not in self.__dict__.get("values", ()):
            raise AttributeError(f"there is no {name!r} in {self!r}")
        return self.values[name]

    def _named(self, of: str | None) -> str:
        """The name of a value: when not given, the memory, c or h."""
        name = ("c" if "c" in self.values else "h") if of is None else of
        if name not in self.values:
            raise ValueError(f"of is {of!r}; expected one of {', '.join(self.values)}")
        return name

    def unit(self, unit: int, *, layer: int = 0, of: str | None = None) -> Array:
        """The values of one unit over the text, (T,).

        Parameters
        ----------
        unit, layer
            The indices of the unit and of its layer.
        of
            A name of `values`. Default: c, or h if there is no c.

        Raises
        ------
        ValueError
            Where there is no such unit, layer or value.

        Examples
        --------
        >>> seen = npchar.Model.pretrained("nietzsche").activations("the soul")
        >>> seen.unit(17).shape, float(seen.unit(17, of="f").min()) > 0  # a cell; its forget gate
        ((8,), True)
        """
        _, layers, H = self.h.shape
        if layer not in range(layers) or unit not in range(H):
            raise ValueError(
                f"there is no unit {unit!r} in a layer {layer!r}; there are layers 0 to "
                f"{layers - 1}, with units 0 to {H - 1}"
            )
        return self.values[self._named(of)][:, layer, unit]

    def html(self, unit: int, *, layer: int = 0, of: str | None = None) -> ColouredText:
        """The text coloured by a unit: red above zero, blue below; for notebooks.

        What has no bounds, as a cell, is shown through tanh, as an LSTM's output gate sees it.

        Examples
        --------
        >>> seen = npchar.Model.pretrained("nietzsche").activations("the soul")
        >>> "</span>" in seen.html(17)  # in a notebook, it shows itself
        True
        """
        titles = [f"{value:.2f}" for value in self.unit(unit, layer=layer, of=of)]
        return ColouredText(as_html(self.text, self._shades(unit, layer, of), titles))

    def ansi(self, unit: int, *, layer: int = 0, of: str | None = None) -> str:
        """The same for a terminal.

        Examples
        --------
        >>> seen = npchar.Model.pretrained("nietzsche").activations("the soul")
        >>> len(seen.ansi(17)) > len("the soul")  # with the codes of the colours
        True
        """
        return as_ansi(self.text, self._shades(unit, layer, of))

    def _shades(self, unit: int, layer: int, of: str | None) -> Array:
        values = self.unit(unit, layer=layer, of=of)
        unbounded = ("c",) if "c" in self.values else ("v", "h") if "v" in self.values else ()
        return np.tanh(values) if self._named(of) in unbounded else values

    def find(
        self, feature: Sequence[float] | Array, n: int = 5, *, of: str | None = None
    ) -> list[UnitCorrelation]:
        """The n units that correlate most with a feature of the text.

        Parameters
        ----------
        feature
            A number after each character, (T,): how far into the line it is, whether a
            quotation is open.
        n
            How many to return.
        of
            A name of `values`. Default: c, or h if there is no c.

        Returns
        -------
        list of UnitCorrelation
            By Pearson's correlation, the strongest first, whatever its sign. Among
            hundreds of units some correlate with anything by chance: check them on
            another text too.

        Raises
        ------
        ValueError
            For a feature of another length, or one that is the same everywhere.

        Examples
        --------
        >>> text = "the soul (of man) and the state"
        >>> seen = npchar.Model.pretrained("nietzsche").activations(text)
        >>> inside = [text[:k + 1].count("(") - text[:k + 1].count(")") for k in range(len(text))]
        >>> best = seen.find(inside, n=1)[0]
        >>> best.layer, abs(best.correlation) > 0.5
        (0, True)
        """
        require_positive(n=n)
        target = np.asarray(feature, np.float64)
        valid = target.shape == (len(self.text),) and np.isfinite(target).all()
        if not valid or np.ptp(target) == 0:
            raise ValueError(
                f"expected a feature of {len(self.text)} finite numbers, not all equal, got one of "
                f"the shape {target.shape} from {target.min(initial=0)} to {target.max(initial=0)}"
            )
        array = self.values[self._named(of)]  # (T, layers, H)
        values = array.reshape(len(target), -1).astype(np.float64)  # (T, units)
        values -= values.mean(axis=0)
        target = target - target.mean()
        norms = np.linalg.norm(values, axis=0) * np.linalg.norm(target)
        correlations = target @ values / np.where(norms > 0, norms, np.inf)
        best = np.argsort(-np.abs(correlations), kind="stable")[:n].tolist()
        H = array.shape[2]
        return [UnitCorrelation(k // H, k % H, float(correlations[k])) for k in best]

    def __repr__(self) -> str:
        T, layers, H = self.values["h"].shape
        return f"Activations({', '.join(self.values)} of {layers} layers of {H} over {T:,})"


class ColouredText(str):
    """HTML that a notebook renders."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"ColouredText({len(self):,} characters of HTML)"

    def _repr_html_(self) -> str:
        return str(self)


def saliency(network: Network, ids: Array) -> Array:
    """The norms of the gradient of log p(last id) by each one-hot vector before it, (n − 1,)."""
    x = network.layers[0].vectors(ids[:-1, None])
    dx = network.gradients(x, ids[-1:].astype(np.intp)).inputs
    assert dx is not None  # the gradient by vectors; ids have none
    norms: Array = np.linalg.norm(dx[:, 0], axis=1)
    return norms


def gradient_flow(
    layer: Layer[LayerState], x: Array, dh: Array, state: LayerState | None = None
) -> list[LayerState]:
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

    Raises
    ------
    ValueError
        For a convolution, or a `dh` of another shape.

    Examples
    --------
    >>> layer = npchar.LSTM.create(input_size=5, hidden_size=3)
    >>> flow = npchar.gradient_flow(layer, np.array([[0], [4], [2]]), np.ones((1, 3), "float32"))
    >>> len(flow), flow[0].c.shape
    (4, (1, 3))
    >>> bool(np.abs(flow[0].h).sum() < np.abs(flow[-1].h).sum())  # less of it, further back
    True
    """
    if layer.reach is not None:
        raise ValueError(f"expected a recurrent layer, got {layer!r}, which has no h to go back by")
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
