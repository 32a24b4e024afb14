"""The settings of a training: the arguments of `Model.fit` that decide its result.

Frozen and checked once, so that everything after can rely on them; a checkpoint
keeps them, to go on with the same. What is not given, ``training/recipe.py`` chooses.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import numpy as np

from npchar.arguments import require_positive, require_seed
from npchar.training.optimizers import OPTIMIZERS, SCHEDULES


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How to train; `Model.fit` says what each means.

    Raises
    ------
    ValueError
        For a setting out of its range, naming it.
    """

    epochs: int
    maxlen: int
    step: int
    targets: str
    batch_size: int
    optimizer: str
    learning_rate: float
    schedule: str
    warm_up: float
    epsilon: float
    clip_norm: float | None
    validation_split: float
    patience: int | None
    restore_best: bool
    seed: int

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, np.generic):  # files know Python's numbers only
                object.__setattr__(self, field.name, value.item())
        if self.targets not in ("all", "last"):
            raise ValueError(f"targets is {self.targets!r}; it must be 'all' or 'last'")
        if self.optimizer not in OPTIMIZERS:
            raise ValueError(
                f"optimizer is {self.optimizer!r}; expected one of {', '.join(OPTIMIZERS)}"
            )
        require_positive(epochs=self.epochs, maxlen=self.maxlen, step=self.step,
                         batch_size=self.batch_size)  # fmt: skip
        if self.patience is not None:
            require_positive(patience=self.patience)
        require_seed(self.seed)
        if self.schedule not in SCHEDULES:
            raise ValueError(
                f"schedule is {self.schedule!r}; expected one of {', '.join(SCHEDULES)}"
            )
        if not 0 < self.learning_rate < math.inf:
            raise ValueError(f"learning_rate is {self.learning_rate!r}; it must be above 0")
        if not 0 <= self.warm_up < 1:
            raise ValueError(f"warm_up is {self.warm_up!r}; expected a number from 0 to below 1")
        if not 0 < self.epsilon < math.inf:
            raise ValueError(f"epsilon is {self.epsilon!r}; it must be above 0")
        if self.clip_norm is not None and not self.clip_norm > 0:
            raise ValueError(f"clip_norm is {self.clip_norm!r}; it must be above 0, or None")
        if not 0 <= self.validation_split < 1:
            raise ValueError(
                f"validation_split is {self.validation_split!r}; it must be from 0 to below 1"
            )

    @property
    def targets_per_window(self) -> int:
        """How many characters of a window are to be predicted."""
        return self.maxlen if self.targets == "all" else 1

    def split(self, n: int) -> int:
        """How many of n characters are trained on; the rest is held out.

        Raises a ValueError where one of the parts is too short for a window.
        """
        held_out = int(n * self.validation_split)
        needed = self.maxlen + 1
        if n - held_out < needed or 0 < held_out < needed:
            raise ValueError(
                f"the text has {n} symbols, {n - held_out} to train on and {held_out} held "
                f"out; each part needs at least maxlen + 1 = {needed}: pass a longer text, a "
                "smaller maxlen or validation_split=0"
            )
        return n - held_out
