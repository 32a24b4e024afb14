"""The history of a run: the losses and times of each epoch."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, ClassVar

from npchar.files import Table

__all__ = ["History"]


@dataclass(repr=False)
class History:
    """The losses, times and events of a run. Lists contain one number per epoch.

    Examples
    --------
    >>> history = npchar.History(loss=[2.0, 1.5], val_loss=[2.1, 1.7], seconds=[3, 3])
    >>> history
    History(2 epochs, best val_loss 1.7000 nats per character in epoch 2, 6 s)
    """

    KINDS: ClassVar = ("loss", "val_loss", "seconds", "gradient_norm", "baselines", "events")
    """The names of the attributes that a checkpoint stores."""

    loss: list[float] = field(default_factory=list)
    """The mean training loss over the batches of the epoch, nats per character."""
    val_loss: list[float] = field(default_factory=list)
    """The validation loss after the epoch, nats per character; empty without a validation set."""
    seconds: list[float] = field(default_factory=list)
    """The time of training and validation, without callbacks."""
    gradient_norm: list[float] = field(default_factory=list)
    """The mean norm of the gradient, before clipping."""
    baselines: dict[str, float] = field(default_factory=dict)
    """The losses of n-gram models with the same training and validation sets, for comparison: see
    ``text/ngrams.py``. Without a validation set, the losses of simple n-gram models on the training
    text."""
    events: list[str] = field(default_factory=list)
    """A sentence for each special event, such as a rollback, early stopping, or restored
    weights."""
    config: Table = field(default_factory=dict)
    """The arguments of `fit` with all defaults resolved."""

    @property
    def bits_per_character(self) -> list[float]:
        """`val_loss`, or `loss` without a validation set, in bits per character.

        Examples
        --------
        >>> history = npchar.History(loss=[2.0], val_loss=[2.1])
        >>> [round(bits, 2) for bits in history.bits_per_character]
        [3.03]
        """
        return [loss / math.log(2) for loss in self.val_loss or self.loss]

    def plot(self, ax: Any = None) -> Any:
        """Plot the losses and the baselines; return the axes. Needs matplotlib.

        Examples
        --------
        >>> ax = npchar.History(loss=[2.0, 1.5], val_loss=[2.1, 1.7]).plot()
        >>> [line.get_label() for line in ax.lines]
        ['loss, training', 'val_loss, held out']
        """
        from npchar.analysis.plots import plot_losses

        return plot_losses(self.loss, self.val_loss, self.baselines, ax)

    def __repr__(self) -> str:
        if not self.loss:
            return "History(no epoch yet)"
        losses = self.val_loss or self.loss
        best = min(range(len(losses)), key=losses.__getitem__)
        name = "val_loss" if self.val_loss else "loss"
        return (
            f"History({len(losses)} epochs, best {name} {losses[best]:.4f} nats per character "
            f"in epoch {best + 1}, {sum(self.seconds):.0f} s)"
        )

    def _repr_html_(self) -> str:
        """A table of the epochs for notebooks."""
        import html

        columns = {"loss": [f"{loss:.4f}" for loss in self.loss]}
        if self.val_loss:
            columns["held out"] = [f"{loss:.4f}" for loss in self.val_loss]
            columns["bits"] = [f"{bits:.3f}" for bits in self.bits_per_character]
        columns["seconds"] = [f"{seconds:.1f}" for seconds in self.seconds]
        rows = [["epoch", *columns]]
        rows += [[str(k), *row] for k, row in enumerate(zip(*columns.values()), 1)]
        table = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
        simple = ", ".join(f"{name} {loss:.3f}" for name, loss in self.baselines.items())
        notes = [repr(self), *[f"baselines: {simple}"] * bool(simple), *self.events]
        return f"<table>{table}</table><div>{'<br>'.join(map(html.escape, notes))}</div>"
