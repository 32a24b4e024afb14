"""Checks of arguments that many functions take."""

from __future__ import annotations

import numpy as np


def require_seed(seed: int | None) -> None:
    """Raise a ValueError unless `seed` is None or a whole number from 0."""
    whole = isinstance(seed, (int, np.integer)) and not isinstance(seed, bool)
    if seed is not None and not (whole and seed >= 0):
        raise ValueError(f"seed is {seed!r}; expected a whole number, 0 or more")


def require_positive(**arguments: int) -> None:
    """Raise a ValueError that names the argument which is not a whole number above 0."""
    for name, value in arguments.items():
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
            raise ValueError(f"{name} is {value!r}; expected a whole number, 1 or more")
