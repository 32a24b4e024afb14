"""Checks of common arguments."""

from __future__ import annotations

import difflib
import inspect
import math
import numbers
from collections.abc import Callable, Mapping

import numpy as np


def require_seed(seed: int | None) -> None:
    """Raise a ValueError unless `seed` is None or an integer of at least 0."""
    whole = isinstance(seed, (int, np.integer)) and not isinstance(seed, bool)
    if seed is not None and not (whole and seed >= 0):
        raise ValueError(f"seed is {seed!r}; expected a whole number, 0 or more")


def require_positive(**arguments: object) -> None:
    """Raise a ValueError unless all arguments are integers above 0."""
    for name, value in arguments.items():
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
            raise ValueError(f"{name} is {value!r}; expected a whole number, 1 or more")


def require_number(name: str, value: float, zero: bool = False, below: float = math.inf) -> None:
    """Raise a ValueError unless 0 < `value` < `below`; with `zero`, 0 is allowed."""
    is_number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if not is_number or not (0 < value < below or (zero and value == 0)):
        lowest = "of at least 0" if zero else "above 0"
        limit = "" if math.isinf(below) else f" and below {below:g}"
        raise ValueError(f"{name} is {value!r}; expected a number {lowest}{limit}")


REMOVED = {
    "saliency": "model.saliency(text)",
    "entropies": "model.entropies(text, temperatures)",
    "rank": "npchar.training.rank()",
    "WorkerError": "nothing: training continues if a worker process dies",
    "epsilon": "an optimizer with it, as in optimizer=npchar.RMSprop(epsilon=1e-7)",
    "warm_up": "a schedule with it, as in schedule=npchar.Schedule(warm_up=0.1)",
    "generate_document": "generate_documents",
    "stand_in": "unknown_symbol",
    "ids_of": "vocabulary.encode(text, at_least=n)",
}
"""Removed names and arguments of version 1, and their replacements."""


def removed_name(owner: str, name: str) -> AttributeError:
    """The error for a missing attribute. It names the replacement of a removed attribute."""
    advice = f"; use {REMOVED[name]}" if name in REMOVED else ""
    return AttributeError(f"{owner} has no attribute {name!r}{advice}")


def require_known(
    function: Callable[..., object], name: str, arguments: Mapping[str, object]
) -> None:
    """Raise a TypeError for unknown arguments of a function, with the argument to use instead."""
    for argument in arguments:
        similar = difflib.get_close_matches(argument, inspect.signature(function).parameters)
        instead = REMOVED.get(argument) or ", or ".join(similar)
        advice = f"; use {instead}" if instead else ""
        raise TypeError(f"{name} got an unexpected keyword argument {argument!r}{advice}")
