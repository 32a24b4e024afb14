"""What became of a training: the numbers of each epoch."""

from __future__ import annotations

import math
from dataclasses import dataclass, field


@dataclass
class History:
    """What became of each epoch, oldest first.

    Losses are nats per character: `loss` the mean over the epoch's batches
    while the weights changed, `val_loss` of the held-out text after it (empty
    without one). `gradient_norm` is the mean length of the gradient before
    clipping, `seconds` the time of each epoch's training and validation,
    callbacks left out.

    `baselines` says what the losses are worth: the loss of simple models that
    learned from the same part of the text, on the same held-out part (see
    ``baselines.py``); without one, on the text itself, and only those too simple
    to learn it by heart. `events` has a sentence for all that was out of the
    ordinary: a spike and what was done, an early end, which weights were kept.
    """

    loss: list[float] = field(default_factory=list)
    val_loss: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    gradient_norm: list[float] = field(default_factory=list)
    baselines: dict[str, float] = field(default_factory=dict)
    events: list[str] = field(default_factory=list)

    @property
    def bits_per_character(self) -> list[float]:
        """`val_loss`, or `loss` where nothing was held out, in bits."""
        return [loss / math.log(2) for loss in self.val_loss or self.loss]
