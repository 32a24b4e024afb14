"""Plots with matplotlib, an optional dependency: pip install matplotlib.

Each function draws on the given axes, or on new axes, and returns the axes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from npchar.arrays import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["plot_entropies"]


def axes(ax: Axes | None) -> Axes:
    """Return `ax`, or new axes if it is None."""
    if ax is not None:
        return ax
    try:
        from matplotlib import pyplot
    except ImportError:
        raise ImportError(
            "plots need matplotlib, which is not installed; run pip install matplotlib"
        ) from None
    new: Axes = pyplot.figure(figsize=(7, 3.6), layout="constrained").add_subplot()
    return new


def plot_losses(
    losses: Sequence[float],
    val_losses: Sequence[float],
    baselines: Mapping[str, float],
    ax: Axes | None = None,
) -> Axes:
    """Plot the losses of each epoch, and the losses of the n-gram baselines."""
    ax = axes(ax)
    epochs = range(1, len(losses) + 1)
    ax.plot(epochs, losses, "o-", markersize=3, label="loss, training")
    if val_losses:
        ax.plot(epochs, val_losses, "o-", markersize=3, label="val_loss, held out")
    highest = max([*losses, *val_losses])
    for name, loss in baselines.items():
        if loss <= highest * 1.02:  # higher baselines would flatten the curves
            ax.axhline(loss, color="gray", linewidth=0.8, linestyle=":")
            ax.annotate(name, (1, loss), xycoords=("axes fraction", "data"), ha="right",
                        va="bottom", fontsize=8, color="gray")  # fmt: skip
    ax.set(xlabel="epoch", ylabel="nats per character")
    ax.locator_params(axis="x", integer=True)
    per_bit = math.log(2)  # nats
    conversions = (lambda nats: nats / per_bit, lambda bits: bits * per_bit)
    bits = ax.secondary_yaxis("right", functions=conversions)
    bits.set_ylabel("bits per character")
    ax.legend(frameon=False)
    return ax


def plot_entropies(
    temperatures: Sequence[float], entropies: Array, V: int, ax: Axes | None = None
) -> Axes:
    """Plot the entropy of the distribution of the next character against the temperature.

    This needs matplotlib: ``pip install matplotlib``.

    Parameters
    ----------
    temperatures, entropies
        The argument and the result of `npchar.Model.entropies`.
    V
        The size of the vocabulary. A line shows the entropy of the uniform distribution, log V.
    ax
        The matplotlib axes. Default: new axes.

    Returns
    -------
    Axes
        The matplotlib axes.

    Examples
    --------
    >>> model = npchar.Model.pretrained("nietzsche")
    >>> temperatures = [0, 0.5, 1, 2]
    >>> entropies = model.entropies("the will to power", temperatures)
    >>> ax = npchar.plot_entropies(temperatures, entropies, len(model.vocabulary))
    >>> ax.get_xlabel()
    'temperature'
    """
    ax = axes(ax)
    ax.plot(temperatures, entropies, "o-", markersize=3)
    ax.axhline(math.log(V), color="gray", linewidth=0.8, linestyle=":")
    ax.annotate(f"uniform: log {V}", (0, math.log(V)), xytext=(4, -11), fontsize=8,
                textcoords="offset points", color="gray")  # fmt: skip
    ax.set(xlabel="temperature", ylabel="entropy, nats per character", ylim=(0, None))
    return ax
