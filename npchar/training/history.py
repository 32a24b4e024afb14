"""The history of a training: the numbers of each epoch."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, ClassVar

from npchar.files import Table

__all__ = ["History"]


@dataclass(repr=False)
class History:
    """The numbers of each epoch, oldest first.

    Examples
    --------
    >>> history = npchar.History(loss=[2.0, 1.5], val_loss=[2.1, 1.7], seconds=[3, 3])
    >>> history
    History(2 epochs, best val_loss 1.7000 nats per character in epoch 2, 6 s)
    """

    KINDS: ClassVar = ("loss", "val_loss", "seconds", "gradient_norm", "baselines", "events")
    """The names of the attributes that a checkpoint stores."""

    loss: list[float] = field(default_factory=list)
    """The mean over the epoch's batches, while the weights changed; nats per character."""
    val_loss: list[float] = field(default_factory=list)
    """The loss on the validation set after the epoch, nats per character; empty without one."""
    seconds: list[float] = field(default_factory=list)
    """The time of each epoch's training and validation, callbacks left out."""
    gradient_norm: list[float] = field(default_factory=list)
    """The mean norm of the gradient, before clipping."""
    baselines: dict[str, float] = field(default_factory=dict)
    """The loss of n-gram models that were trained on the same part of the text, on the same
    held-out part (see ``text/ngrams.py``): what the losses are worth. Without a held-out part, on
    the text itself, and only those too simple to learn it by heart."""
    events: list[str] = field(default_factory=list)
    """A sentence for each unusual event: a spike and what was done, an early end, which weights
    were restored."""
    config: Table = field(default_factory=dict)
    """The arguments of `fit` with all defaults resolved, where None was given."""

    @property
    def bits_per_character(self) -> list[float]:
        """`val_loss`, or `loss` where nothing was held out, in bits.

        Examples
        --------
        >>> history = npchar.History(loss=[2.0], val_loss=[2.1])
        >>> [round(bits, 2) for bits in history.bits_per_character]
        [3.03]
        """
        return [loss / math.log(2) for loss in self.val_loss or self.loss]

    def plot(self, ax: Any = None) -> Any:
        """Draw the losses and the baselines; returns matplotlib's axes (the extra `plot`).

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
        """For notebooks: a table of the epochs."""
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
