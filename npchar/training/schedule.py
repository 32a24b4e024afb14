"""Learning rate schedules."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["Schedule"]

SCHEDULES: dict[str, Callable[[float], float]] = {
    "linear": lambda progress: 1 - progress,
    "cosine": lambda progress: (1 + math.cos(math.pi * progress)) / 2,
    "constant": lambda progress: 1.0,  # noqa: ARG005
}
FUNCTION = "function"  # the name of a schedule that is a user's function


@dataclass(frozen=True)
class Schedule:
    """A schedule with a warm-up: ``fit(schedule=npchar.Schedule("cosine", warm_up=0.05))``.

    Parameters
    ----------
    decay
        "linear": the learning rate falls to zero linearly. "cosine": it falls to zero along half a
        cosine wave (Loshchilov & Hutter 2017). "constant": it does not fall.
    warm_up
        The fraction of all steps in which the learning rate rises from zero, from the first step.
        The first steps of RMSprop would otherwise be its largest. Default: 0.05, or 0 for
        ``targets="last"``.

    Raises
    ------
    ValueError
        If `decay` has another value, or `warm_up` is not from 0 to below 1.

    Examples
    --------
    >>> npchar.Schedule("cosine", warm_up=0.05)
    Schedule(decay='cosine', warm_up=0.05)
    """

    decay: str = "linear"
    """The shape of the decay."""
    warm_up: float | None = None
    """The fraction of steps in which the learning rate rises; None for the default."""

    def __post_init__(self) -> None:
        if self.decay not in SCHEDULES:
            raise ValueError(
                f"schedule is {self.decay!r}; expected one of {', '.join(SCHEDULES)}, an "
                "npchar.Schedule, or a function of progress"
            )
        if self.warm_up is not None and not 0 <= self.warm_up < 1:
            raise ValueError(f"warm_up is {self.warm_up!r}; expected a number from 0 to below 1")


def learning_rate_at(
    schedule: str | Callable[[float], float],
    learning_rate: float,
    step: int,
    total_steps: int,
    warm_up: float = 0.0,
) -> float:
    """The learning rate of a step (from 0).

    Parameters
    ----------
    schedule
        The name of a decay, or a function of progress, 0 to 1, that returns a factor.
    learning_rate
        The learning rate before the schedule is applied.
    warm_up
        As for `Schedule`.
    """
    progress = step / total_steps
    if callable(schedule):
        factor = float(schedule(progress))
        if not 0 <= factor < math.inf:
            raise ValueError(
                f"schedule returned {factor} at a progress of {progress:.3g}; expected a finite "
                "number, 0 or more"
            )
    else:
        factor = SCHEDULES[schedule](progress)
    if step + 1 < warm_up * total_steps:
        learning_rate *= (step + 1) / (warm_up * total_steps)
    return learning_rate * factor
