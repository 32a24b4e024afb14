"""The activations of a model over a text, and gradients with respect to its inputs and states.

`npchar.Model.activations` and `npchar.Model.saliency` use this module. ``analysis/colouring.py``
colours a text by the values of a unit.
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

CHUNK = 1000  # characters read at a time


class UnitCorrelation(NamedTuple):
    """A unit and its correlation with a feature."""

    layer: int
    unit: int
    correlation: float  # −1 to 1


@dataclass(frozen=True, repr=False, eq=False)
class Activations:
    """The gates, cells and outputs of all layers after each character of a text.

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
    """Arrays by their names in the equations of the layers, (T, layers, H) each: i, f, o, g, c and
    h for LSTMs; r, z, n and h for GRUs; h for plain RNNs; v, g and h for convolutions. Each array
    is also an attribute, such as ``seen.h``."""

    @classmethod
    def of(cls, network: Network, text: Text, ids: Array) -> Activations:
        """Compute the activations over a text, starting from the zero state.

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
            raise AttributeError(f"{self!r} has no {name!r}")
        return self.values[name]

    def _named(self, of: str | None) -> str:
        """Check and return the name of a value. Default: c, or h if there is no c."""
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
            If there is no such unit, layer or value.

        Examples
        --------
        >>> seen = npchar.Model.pretrained("nietzsche").activations("the soul")
        >>> seen.unit(17).shape, float(seen.unit(17, of="f").min()) > 0  # a cell; its forget gate
        ((8,), True)
        """
        _, layers, H = self.h.shape
        if layer not in range(layers) or unit not in range(H):
            raise ValueError(
                f"expected a layer from 0 to {layers - 1} and a unit from 0 to {H - 1}, got layer "
                f"{layer!r} and unit {unit!r}"
            )
        return self.values[self._named(of)][:, layer, unit]

    def html(self, unit: int, *, layer: int = 0, of: str | None = None) -> ColouredText:
        """The text for notebooks, coloured by a unit: red above zero, blue below zero.

        Values without bounds, such as those of cells, are shown as their tanh.

        Examples
        --------
        >>> seen = npchar.Model.pretrained("nietzsche").activations("the soul")
        >>> "</span>" in seen.html(17)  # a notebook renders the result
        True
        """
        titles = [f"{value:.2f}" for value in self.unit(unit, layer=layer, of=of)]
        return ColouredText(as_html(self.text, self._shades(unit, layer, of), titles))

    def ansi(self, unit: int, *, layer: int = 0, of: str | None = None) -> str:
        """The text for a terminal, coloured by a unit as in `html`.

        Examples
        --------
        >>> seen = npchar.Model.pretrained("nietzsche").activations("the soul")
        >>> len(seen.ansi(17)) > len("the soul")  # with the escape codes of the colours
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
        """Find the n units with the strongest correlation with a feature of the text.

        Parameters
        ----------
        feature
            A number for each character, (T,), such as the position in the line, or whether a
            quotation is open.
        n
            The number of units.
        of
            A name of `values`. Default: c, or h if there is no c.

        Returns
        -------
        list of UnitCorrelation
            The units with Pearson's correlation, sorted by its absolute value, the strongest first.
            Among hundreds of units, some correlate with any feature by chance, so check the result
            on another text.

        Raises
        ------
        ValueError
            If the feature has another length, is constant, or is not finite.

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
                f"expected a feature of {len(self.text)} finite numbers, not all equal, got the "
                f"shape {target.shape} from {target.min(initial=0)} to {target.max(initial=0)}"
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
    """The norms of the gradient of log p(last id) for each earlier one-hot vector, (n − 1,)."""
    x = network.layers[0].vectors(ids[:-1, None])
    dx = network.gradients(x, ids[-1:].astype(np.intp)).inputs
    assert dx is not None  # it is None only for ids
    norms: Array = np.linalg.norm(dx[:, 0], axis=1)
    return norms


def gradient_flow(
    layer: Layer[LayerState], x: Array, dh: Array, state: LayerState | None = None
) -> list[LayerState]:
    """Backpropagate a gradient at the end of a text to the state before each step.

    Parameters
    ----------
    layer
        A recurrent layer.
    x
        Ids, (T, B), or vectors, (T, B, D).
    dh
        The gradient of a loss with respect to the last h, (B, H).
    state
        The state before the first step. Default: zeros.

    Returns
    -------
    list of states
        T + 1 gradients: those with respect to the state before each step, from first to last, and
        the gradient with respect to the final state (`dh`, and zeros for other arrays).

    Raises
    ------
    ValueError
        If the layer is a convolution, or `dh` has another shape.

    Examples
    --------
    >>> layer = npchar.LSTM.create(input_size=5, hidden_size=3)
    >>> flow = npchar.gradient_flow(layer, np.array([[0], [4], [2]]), np.ones((1, 3), "float32"))
    >>> len(flow), flow[0].c.shape
    (4, (1, 3))
    >>> bool(np.abs(flow[0].h).sum() < np.abs(flow[-1].h).sum())  # it becomes smaller
    True
    """
    if layer.reach is not None:
        raise ValueError(f"expected a recurrent layer, got {layer!r}")
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
