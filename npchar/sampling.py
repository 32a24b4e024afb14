"""Choosing the next character: logits or probabilities and a temperature to an id.

Logits come from ``dense.py``; the ids go back into the model, in ``model.py``.
Float32 logits stay so at the usual temperatures, which is quick and leaves each
chance right to 1e-7; those far from 1, and all probabilities, are taken in float64.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from npchar.parameters import Array

TINY_TEMPERATURE = 1e-250  # below it, quotients would overflow, and all is decided anyway


def reweight_distribution(probabilities: ArrayLike, temperature: float = 0.5) -> Array:
    """The book's function, made safe: p^(1/temperature), normalised.

    Parameters
    ----------
    probabilities
        (..., V), none negative; a row need not sum to 1.
    temperature
        Below 1 sharpens, above 1 flattens; 0 leaves only the most probable
        (the first of them if several tie), infinity makes all that are possible
        equally probable.

    Returns
    -------
    Array
        Float64, (..., V); rows sum to 1.
    """
    require_temperature(temperature)
    p = np.asarray(probabilities, np.float64)
    if p.ndim == 0 or p.shape[-1] == 0:
        raise ValueError("probabilities are empty; at least one is needed")
    if not (np.isfinite(p).all() and (p >= 0).all() and (p.max(axis=-1) > 0).all()):
        raise ValueError(
            "probabilities must be finite, none negative, and in every row at least one above zero"
        )
    with np.errstate(divide="ignore"):  # log 0 = −∞ is right: it stays impossible
        weights = soften(np.log(p), temperature)
    weights /= weights.sum(axis=-1, keepdims=True)
    return weights


def sample(
    probabilities: ArrayLike,
    temperature: float = 1.0,
    rng: np.random.Generator | None = None,
) -> int:
    """Draw an index from `probabilities`, (V,), reweighted by `temperature`.

    Parameters
    ----------
    probabilities, temperature
        As for `reweight_distribution`.
    rng
        Where chance comes from; a fresh one, never the same twice, when not given.
    """
    if np.ndim(probabilities) != 1:
        raise ValueError(
            f"probabilities have {np.ndim(probabilities)} dimensions; sample draws from one "
            "distribution, (V,)"
        )
    rng = np.random.default_rng() if rng is None else rng
    weights = reweight_distribution(probabilities, temperature)[None]
    return int(draw(weights, rng.random((1, 1)))[0])


def require_temperature(temperature: float) -> None:
    """Raise a ValueError unless `temperature` is a number from 0 to infinity."""
    if not isinstance(temperature, (int, float, np.number)) or not temperature >= 0:  # or NaN
        raise ValueError(
            f"temperature is {temperature!r}; it must be a number from 0 (always the most "
            "probable character) to infinity (all equally probable)"
        )


def soften(logits: Array, temperature: float) -> Array:
    """exp(logits / temperature) up to a factor a row, so that the largest is 1.

    Parameters
    ----------
    logits
        (..., V); −∞ stands for impossible.
    temperature
        0 to infinity; the caller has checked it.

    Returns
    -------
    Array
        Weights, (..., V), of the logits' type, or float64 where the temperature is
        beyond what float32 can hold.
    """
    largest = np.maximum.reduce(logits, axis=-1, keepdims=True)
    z: Array = logits - largest
    if temperature == 0:
        most_probable = z.argmax(axis=-1, keepdims=True)
        z[...] = -np.inf
        np.put_along_axis(z, most_probable, 0, axis=-1)
    elif math.isinf(temperature):
        z[z > -np.inf] = 0
    else:
        if not 1e-3 < temperature < 1e3:
            z = z.astype(np.float64)
        z /= max(temperature, TINY_TEMPERATURE)
    np.exp(z, out=z)
    return z


def draw(weights: Array, u: Array) -> Array:
    """An index for each row of `weights`, (n, V), with chances in their proportion.

    By the inverse of the cumulative sum, from one uniform number of [0, 1) a
    row, `u`, (n, 1): unlike a multinomial draw it needs no exact sum of 1, and
    it never picks a weight of zero.
    """
    cumulative = np.add.accumulate(weights, axis=1)  # (n, V)
    limits = u * cumulative[:, -1:]
    ids: Array
    if len(weights) == 1:  # the same for one row, in half the time
        ids = cumulative[0].searchsorted(limits[0], "right")
    else:
        ids = (cumulative > limits).argmax(axis=1)  # (n,)
    return ids
