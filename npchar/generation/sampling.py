"""Sampling the next character: logits or probabilities and a temperature to an id.

Logits come from ``layers/dense.py``; the ids go back into the model, in
``generation/stream.py``. `reweight_distribution` and `sample` are the book's two
steps, written for reading; `sampler` draws from the same distribution in fewer, cheaper
operations, for 1.6 times the characters a second. All of it in float64:
temperatures near zero stretch the logits far.
"""

from __future__ import annotations

import functools
import math
import numbers
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from npchar.arrays import Array, aligned_empty
from npchar.threads import begin

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

__all__ = ["entropies", "entropy", "reweight_distribution", "sample"]

NOISE = 1 << 16  # numbers that are drawn at once: a call of each of many generators costs 2 µs
MANY = 256  # ids, from which one uniform number is cheaper than so much noise
MANY_ROWS = 8  # for which a thread makes the noise ahead
BLOCK = 64  # ids
TINY_TEMPERATURE = 1e-250  # below it, quotients would overflow; the result is the same


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

    Raises
    ------
    ValueError
        For a temperature below 0, a negative probability, or a row without one above 0.

    Examples
    --------
    >>> npchar.reweight_distribution([0.2, 0.5, 0.3], temperature=0.5).round(3)
    array([0.105, 0.658, 0.237])
    >>> npchar.reweight_distribution([0.2, 0.5, 0.3], temperature=0)
    array([0., 1., 0.])
    """
    temperature = require_temperature(temperature)
    p = np.asarray(probabilities, np.float64)
    if p.ndim == 0 or p.shape[-1] == 0:
        raise ValueError("expected one or more probabilities, got none")
    if not (np.isfinite(p).all() and (p >= 0).all() and (p.max(axis=-1) > 0).all()):
        raise ValueError(
            "expected probabilities that are finite, none negative, and in every row at least one "
            "above zero"
        )
    with np.errstate(divide="ignore"):  # log 0 = −∞ is right: it stays impossible
        weights = softmax_weights(np.log(p), temperature)
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
        The random generator; a fresh one, never the same twice, when not given.

    Returns
    -------
    int
        The index, from 0 to V − 1.

    Raises
    ------
    ValueError
        As `reweight_distribution`, and for more than one distribution.

    Examples
    --------
    >>> rng = np.random.default_rng(1)
    >>> [npchar.sample([0.2, 0.5, 0.3], temperature=1.0, rng=rng) for _ in range(8)]
    [1, 2, 0, 2, 1, 1, 2, 1]
    """
    if np.ndim(probabilities) != 1:
        raise ValueError(
            f"expected one distribution, (V,), got probabilities with {np.ndim(probabilities)} "
            "dimensions"
        )
    rng = np.random.default_rng() if rng is None else rng
    # The inverse of the cumulative sum: unlike a multinomial draw it needs no exact
    # sum of 1, and it never picks a weight of zero.
    cumulative = np.cumsum(reweight_distribution(probabilities, temperature))  # (V,)
    return int(np.searchsorted(cumulative, rng.random() * cumulative[-1], side="right"))


def require_temperature(temperature: float) -> float:
    """Return `temperature` as a float; raise a ValueError unless it is from 0 to infinity."""
    if not isinstance(temperature, numbers.Real) or not temperature >= 0:  # or NaN
        raise ValueError(
            f"temperature is {temperature!r}; expected a number from 0 (always the most "
            "probable character) to infinity (all equally probable)"
        )
    try:
        return float(temperature)
    except OverflowError:  # a larger integer than a float can hold
        return math.inf


def softmax_weights(logits: Array, temperature: float) -> Array:
    """Softmax at a temperature, not normalised: exp(logits / temperature), the largest 1.

    Parameters
    ----------
    logits
        (..., V); −∞ stands for impossible.
    temperature
        0 to infinity; the caller has checked it.

    Returns
    -------
    Array
        Float64 weights, (..., V).
    """
    z: Array = np.subtract(logits, logits.max(axis=-1, keepdims=True), dtype=np.float64)
    if temperature == 0:
        most_probable = z.argmax(axis=-1, keepdims=True)
        z[...] = -np.inf
        np.put_along_axis(z, most_probable, 0, axis=-1)
    elif math.isinf(temperature):
        z[z > -np.inf] = 0
    with np.errstate(over="ignore", under="ignore"):  # to −∞ and 0, which is right
        if 0 < temperature < math.inf:
            z /= max(temperature, TINY_TEMPERATURE)
        np.exp(z, out=z)
    return z


def entropy(probabilities: ArrayLike) -> Array:
    """How uncertain distributions are: −Σ p log p, in nats.

    From 0, where one outcome is certain, to log V, where all V are equally
    probable; exp of it is the number of equally probable outcomes that would be as
    uncertain. What a temperature does to it: ``entropy(reweight_distribution(p, T))``.

    Parameters
    ----------
    probabilities
        (..., V), rows that need not sum to 1.

    Returns
    -------
    Array
        (...), float64.

    Examples
    --------
    >>> npchar.entropy([[0.5, 0.5], [1, 0]])
    array([0.69314718, 0.        ])
    """
    p = reweight_distribution(probabilities, 1.0)
    result: Array = 0 - (p * np.log(np.where(p > 0, p, 1))).sum(axis=-1)  # not −0.0
    return result


def entropies(logits: Array, temperatures: Sequence[float]) -> Array:
    """The mean entropy of softmax(logits / T) over the rows of logits, (n, V), for each T."""
    p = softmax_weights(logits, 1.0)  # (n, V)
    return np.array([entropy(reweight_distribution(p, t)).mean() for t in temperatures])


def sampler(
    temperatures: Sequence[float],
    V: int,
    rngs: Sequence[np.random.Generator],
    top_k: int | None = None,
    top_p: float | None = None,
) -> Callable[[Array], Array]:
    """A function that draws an id for each row of logits, (n, V), from softmax(logits / T).

    Of few ids by the Gumbel-max trick: the argmax of logits + T g, with independent
    g = −log(−log u) of u uniform in (0, 1), has exactly the distribution of the
    softmax (Gumbel 1954; Maddison et al. 2014). The noise is made for many rows at
    once, so that a draw costs a sum and an argmax; at a temperature of 0 nothing is added
    to the logits. Of `MANY` ids or more the noise costs more than the softmax: there one uniform
    number is compared with the cumulative sum of it, as in `sample`.

    Parameters
    ----------
    temperatures
        A row's temperature each, 0 to infinity; the caller has checked them.
    V
        The number of ids.
    rngs
        Each row's random generator, so that it does not depend on other rows.
    top_k, top_p
        As for `top_mask`.
    """
    # At 1e30 all are equally probable already, and −∞ is still impossible.
    T = np.minimum(np.array(temperatures, np.float64)[:, None], 1e30)  # (n, 1)
    if V >= MANY:
        return inverse_sampler(T, V, rngs, top_k, top_p)
    # Above 1 the logits shrink, as the noise would grow without end at infinity.
    noise_factors, logit_factors = np.minimum(T, 1), 1 / np.maximum(T, 1)
    hot = bool((T > 1).any())
    rows = max(1, NOISE // (len(T) * V))

    def fill(noise: Array) -> Array:
        for rng, own in zip(rngs, noise):
            rng.standard_exponential(out=own)  # −log u is such a number
        np.maximum(noise, 1e-300, out=noise)
        np.log(noise, out=noise)
        noise *= -noise_factors[:, None]
        return noise.swapaxes(0, 1)

    def noises() -> Iterator[Array]:
        ready, spare = np.empty((2, len(T), rows, V))
        if len(T) < MANY_ROWS:
            while True:
                yield from fill(ready)  # (n, V) each
        # While one is used a thread fills the other: a quarter of the time of 64 texts.
        filled = fill(ready)
        while True:
            filling = begin(functools.partial(fill, spare))
            yield from filled
            filled, ready, spare = filling(), spare, ready

    noise = noises()

    def draw(logits: Array) -> Array:
        z = (logits * logit_factors if hot else logits) + next(noise)
        if top_k is not None or top_p is not None:
            z[~top_mask(logits, T, top_k, top_p)] = -np.inf
        ids: Array = z.argmax(axis=1)
        return ids

    return draw


def inverse_sampler(
    T: Array,
    V: int,
    rngs: Sequence[np.random.Generator],
    top_k: int | None,
    top_p: float | None,
) -> Callable[[Array], Array]:
    """What `sampler` returns for many ids: the temperatures are (n, 1), finite."""
    cold = np.flatnonzero(T[:, 0] == 0)
    factors = (1 / np.maximum(T, 1e-30)).astype(np.float32)
    n = len(T)
    rows, blocks = np.arange(n), -(-V // BLOCK)
    # Relative to the largest, so that float32 will do; beyond V they stay 0.
    weights = aligned_empty((n, blocks, BLOCK), np.float32)
    weights[...] = 0
    z = weights.reshape(n, -1)[:, :V]

    def uniforms() -> Iterator[Array]:
        while True:
            yield from np.stack([rng.random(NOISE // MANY) for rng in rngs], axis=1)  # (·, n)

    uniform = uniforms()

    def draw(logits: Array) -> Array:
        np.subtract(logits, np.maximum.reduce(logits, 1, keepdims=True), z)
        if top_k is not None or top_p is not None:
            z[~top_mask(logits, T, top_k, top_p)] = -np.inf
        with np.errstate(over="ignore", under="ignore"):  # to −∞ and 0, which is right
            np.multiply(z, factors, z)
            np.exp(z, z)
        # First the block that is reached, then the id in it: a cumulative sum over all ids would
        # cost as much as all the rest.
        sums = np.add.reduce(weights, 2)
        if n == 1 and not cold.size:
            goal = float(next(uniform)[0] * np.add.reduce(sums[0]))
            at, left = reached_in_one(sums[0], goal)
            return np.array([at * BLOCK + reached_in_one(weights[0, at], left)[0]])
        block, rest = reached(sums, next(uniform) * np.add.reduce(sums, 1), rows)
        place, _ = reached(weights[rows, block], rest, rows)
        ids: Array = block * BLOCK + place
        if cold.size:
            ids[cold] = logits[cold].argmax(axis=1)
        return ids

    return draw


def reached(weights: Array, sums: Array, rows: Array) -> tuple[Array, Array]:
    """Where in each row, (n, ·), the cumulative sum exceeds the row's one of `sums`, (n,).

    Never at a weight of zero. Also returns how far beyond the place before it the sum is; `rows`
    are 0 to n − 1.
    """
    cumulative = np.add.accumulate(weights, 1, np.float64)
    sums = np.minimum(sums, np.nextafter(cumulative[:, -1], 0))  # rounding may exceed the last
    places = np.add.reduce(cumulative <= sums[:, None], 1)
    return places, sums - (cumulative[rows, places] - weights[rows, places])


def reached_in_one(weights: Array, goal: float) -> tuple[int, float]:
    """`reached` of one row, (·,): a draw from 4,000 ids takes two thirds of the time."""
    cumulative = np.add.accumulate(weights, 0, np.float64)
    goal = min(goal, math.nextafter(cumulative[-1], 0))
    place = int(cumulative.searchsorted(goal, "right")) % len(weights)  # 0 if it is not a number
    return place, float(goal - (cumulative[place] - weights[place]))


def top_mask(logits: Array, T: Array, top_k: int | None, top_p: float | None) -> Array:
    """The mask of top-k and top-p sampling: true for ids that may be drawn, (n, V).

    Parameters
    ----------
    logits
        (n, V).
    T
        The temperature of each row, (n, 1).
    top_k
        Keep this many of the most probable (Fan et al. 2018).
    top_p
        Keep the most probable until their probabilities, at the temperature, sum up to
        this (Holtzman et al. 2020): the last one needed is kept too.
    """
    order = np.argsort(-logits, axis=1, kind="stable")  # (n, V)
    kept = np.ones(logits.shape, bool)  # in that order
    if top_k is not None:
        kept[:, top_k:] = False
    if top_p is not None:
        rows = np.take_along_axis(logits, order, axis=1)
        p = np.stack([softmax_weights(row, float(t)) for row, (t,) in zip(rows, T)])  # falling
        before = np.cumsum(p, axis=1) - p
        kept &= before < top_p * p.sum(axis=1, keepdims=True)
    mask = np.empty(logits.shape, bool)
    np.put_along_axis(mask, order, kept, axis=1)
    return mask


def require_top(top_k: int | None, top_p: float | None) -> None:
    """Raise a ValueError unless both are None or in their range."""
    whole = isinstance(top_k, (int, np.integer)) and not isinstance(top_k, bool)
    if top_k is not None and not (whole and top_k >= 1):
        raise ValueError(f"top_k is {top_k!r}; expected a whole number, 1 or more, or None")
    number = isinstance(top_p, (int, float, np.number)) and not isinstance(top_p, bool)
    if top_p is not None and not (number and 0 < top_p <= 1):
        raise ValueError(f"top_p is {top_p!r}; expected a number above 0 and up to 1, or None")
