"""Sampling the next character: logits or probabilities and a temperature to an id.

Logits come from ``layers/dense.py``. ``generation/stream.py`` feeds the ids back to the model.
`reweight_distribution` and `sample` are the two steps of the book. `sampler` draws from the same
distribution for many texts at once, with fewer operations. All functions use float64, because
temperatures near zero multiply the logits by large factors.
"""

from __future__ import annotations

import bisect
import itertools
import math
import numbers
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from npchar.arguments import require_positive
from npchar.arrays import Array

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

__all__ = ["entropies", "entropy", "reweight_distribution", "sample"]

NOISE = 1 << 16  # random numbers drawn at once, since a call of each generator takes 2 µs
MANY = 256  # ids, from which one uniform number takes less time than noise for each id
BLOCK = 64  # ids that are summed together when there are many
ALTERNATIVE = 0.1  # of the largest probability: see `forbid_repeats`
LOOP = 4  # times n ids in a row are a loop: see `forbid_repeats`
TINY_TEMPERATURE = 1e-250  # below it, quotients would overflow; the result is the same


def reweight_distribution(probabilities: ArrayLike, temperature: float = 0.5) -> Array:
    """Reweight probabilities by a temperature: p^(1/temperature), normalised.

    This is the function of the book (Chollet 2017, section 8.1), without overflow and division by
    zero.

    Parameters
    ----------
    probabilities
        The probabilities, (..., V), 0 or more. Rows need not sum to 1.
    temperature
        A number from 0 to infinity. Below 1, it sharpens the distribution, and above 1, it flattens
        the distribution. 0 keeps only the most probable outcome (the first of several equal ones).
        Infinity makes all possible outcomes equally probable.

    Returns
    -------
    Array
        The new probabilities, (..., V), float64. Rows sum to 1.

    Raises
    ------
    ValueError
        If the temperature or a probability is below 0, or all probabilities of a row are 0.

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
            "expected finite probabilities of 0 or more, with a positive one in each row, got "
            f"{probabilities!r:.60}"
        )
    with np.errstate(divide="ignore"):  # log 0 = −∞, which is impossible at any temperature
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
        The random generator. Default: a new generator with a random seed.

    Returns
    -------
    int
        The index, from 0 to V − 1.

    Raises
    ------
    ValueError
        As for `reweight_distribution`, or if there is more than one distribution.

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
    # Unlike a multinomial draw, the inverse of the cumulative sum needs no exact sum of 1 and never
    # draws an index of probability zero.
    cumulative = np.cumsum(reweight_distribution(probabilities, temperature))  # (V,)
    return int(np.searchsorted(cumulative, rng.random() * cumulative[-1], side="right"))


def require_temperature(temperature: float) -> float:
    """Return `temperature` as a float; raise a ValueError unless it is from 0 to infinity."""
    try:
        value = float(temperature) if isinstance(temperature, numbers.Real) else math.nan
    except OverflowError:
        value = math.inf if temperature > 0 else math.nan
    if not value >= 0:  # or NaN
        raise ValueError(
            f"temperature is {temperature!r:.40}; expected a number from 0 (always the most "
            "probable character) to infinity (all equally probable)"
        )
    return value


def softmax_weights(logits: Array, temperature: float) -> Array:
    """Softmax at a temperature, not normalised: exp(logits / temperature), the largest 1.

    Parameters
    ----------
    logits
        (..., V); −∞ is impossible.
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
    """The uncertainty of distributions: −Σ p log p, in nats.

    It is 0 if one outcome is certain, and log V if all V outcomes are equally probable. Its exp is
    the number of equally probable outcomes with the same uncertainty.
    ``entropy(reweight_distribution(p, T))`` shows the effect of a temperature.

    Parameters
    ----------
    probabilities
        The probabilities, (..., V). Rows need not sum to 1.

    Returns
    -------
    Array
        The entropy of each row, (...), float64.

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

    Below `MANY` ids it uses the Gumbel-max trick: the argmax of logits + T g, with independent
    g = −log(−log u) of u uniform in (0, 1), has exactly the distribution of the softmax (Gumbel
    1954; Maddison et al. 2014). The noise is drawn for many steps at once, so that a step costs a
    sum and an argmax. For more ids it compares one uniform number with the cumulative sum of the
    softmax, as `sample` does.

    Parameters
    ----------
    temperatures
        The temperature of each row, 0 to infinity; the caller has checked them.
    V
        The number of ids.
    rngs
        The random generator of each row, so that a row does not depend on other rows.
    top_k, top_p
        As for `top_mask`.
    """
    # At 1e30 all ids are equally probable already, and −∞ is still impossible.
    T = np.minimum(np.array(temperatures, np.float64)[:, None], 1e30)  # (n, 1)
    draw = _noise_sampler(T, V, rngs) if V < MANY else _cumulative_sampler(T, V, rngs)
    if top_k is None and top_p is None:
        return draw
    return lambda logits: draw(np.where(top_mask(logits, T, top_k, top_p), logits, -np.inf))


def _noise_sampler(
    T: Array, V: int, rngs: Sequence[np.random.Generator]
) -> Callable[[Array], Array]:
    """A function that draws ids by the Gumbel-max trick, at temperatures T, (n, 1)."""
    # Above 1 the logits are divided by T, because noise times T would overflow at infinity.
    noise_factors, logit_factors = np.minimum(T, 1), 1 / np.maximum(T, 1)
    is_hot = bool((T > 1).any())

    def noises() -> Iterator[Array]:
        noise = np.empty((len(T), max(1, NOISE // (len(T) * V)), V))  # (n, steps, V)
        while True:
            for rng, row in zip(rngs, noise):
                rng.standard_exponential(out=row)  # distributed as −log u
            np.maximum(noise, 1e-300, out=noise)
            np.log(noise, out=noise)
            noise *= -noise_factors[:, None]
            yield from noise.swapaxes(0, 1)  # (n, V) each

    noise = noises()

    def draw(logits: Array) -> Array:
        ids: Array = ((logits * logit_factors if is_hot else logits) + next(noise)).argmax(axis=1)
        return ids

    return draw


def _cumulative_sampler(
    T: Array, V: int, rngs: Sequence[np.random.Generator]
) -> Callable[[Array], Array]:
    """A function that draws ids by the inverse of the cumulative sum, at temperatures T, (n, 1).

    It finds the block of ids first, and then the id in the block, because a cumulative sum over all
    ids would take a quarter of a step.
    """
    temperatures = T[:, 0].tolist()
    blocks = np.zeros((-(-V // BLOCK), BLOCK), np.float32)  # beyond V they stay 0
    weights, ones = blocks.reshape(-1)[:V], np.ones(BLOCK, np.float32)

    def uniforms() -> Iterator[list[float]]:
        while True:
            yield from np.stack([rng.random(NOISE // MANY) for rng in rngs], axis=1).tolist()

    uniform = uniforms()

    def draw(logits: Array) -> Array:
        ids = []
        with np.errstate(over="ignore", under="ignore"):  # to −∞ and 0, which is right
            for row, temperature, u in zip(logits, temperatures, next(uniform)):
                best = int(row.argmax())
                if temperature == 0:
                    ids.append(best)
                    continue
                np.subtract(row, row[best], out=weights)
                np.multiply(weights, np.float32(1 / max(temperature, 1e-30)), out=weights)
                np.exp(weights, out=weights)
                block, rest = _find_sum((blocks @ ones).tolist(), u)  # sums by BLAS
                ids.append(block * BLOCK + _find_sum(blocks[block].tolist(), rest)[0])
        return np.array(ids)

    return draw


def _find_sum(weights: list[float], share: float) -> tuple[int, float]:
    """Where the cumulative sum exceeds a share of the whole; the share of the weight there."""
    cumulative = list(itertools.accumulate(weights))
    goal = min(share * cumulative[-1], math.nextafter(cumulative[-1], 0))  # rounding may exceed it
    place = bisect.bisect_right(cumulative, goal)
    return place, (goal - cumulative[place] + weights[place]) / weights[place]


def top_mask(logits: Array, T: Array, top_k: int | None, top_p: float | None) -> Array:
    """The mask of top-k and top-p sampling: true for ids that may be drawn, (n, V).

    Parameters
    ----------
    logits
        (n, V).
    T
        The temperature of each row, (n, 1).
    top_k
        Keep this many of the most probable ids (Fan et al. 2018).
    top_p
        Keep the most probable ids until their probabilities, at the temperature, sum to this
        value (Holtzman et al. 2020). The id that reaches it is included.
    """
    order = np.argsort(-logits, axis=1, kind="stable")  # (n, V)
    is_top = np.ones(logits.shape, bool)  # in that order
    if top_k is not None:
        is_top[:, top_k:] = False
    if top_p is not None:
        rows = np.take_along_axis(logits, order, axis=1)
        p = np.stack([softmax_weights(row, float(t)) for row, (t,) in zip(rows, T)])  # falling
        before = np.cumsum(p, axis=1) - p
        is_top &= before < top_p * p.sum(axis=1, keepdims=True)
    mask = np.empty(logits.shape, bool)
    np.put_along_axis(mask, order, is_top, axis=1)
    return mask


def forbid_repeats(logits: Array, text: str, n: int) -> None:
    """Set the logits of ids that would repeat n ids of a text to −∞ (Paulus et al. 2018).

    An id is a repeat if the text already has the n − 1 ids at its end, followed by this id.
    Unlike in the paper, n ids may be repeated where no other id has more than `ALTERNATIVE` times
    the largest probability at temperature 1, as in the middle of a word. `LOOP` n ids may not.

    Parameters
    ----------
    logits
        (V,), changed in place.
    text
        The ids so far, each as a character: `chr(id)`.
    n
        1 or more.
    """
    for length, least in ((n, logits.max() + math.log(ALTERNATIVE)), (LOOP * n, -math.inf)):
        if len(text) < length:
            return
        context, start = text[len(text) - length + 1 :], -1
        others = logits.copy()
        while (start := text.find(context, start + 1, -1)) >= 0:
            others[ord(text[start + length - 1])] = -np.inf
        if others.max() > least:
            logits[:] = others
            return


def require_top(top_k: int | None, top_p: float | None, no_repeat: int | None = None) -> None:
    """Raise a ValueError unless each is None or in its range."""
    if top_k is not None:
        require_positive(top_k=top_k)
    if top_p is not None and not (isinstance(top_p, numbers.Real) and 0 < top_p <= 1):
        raise ValueError(f"top_p is {top_p!r}; expected a number above 0 and up to 1, or None")
    if no_repeat is not None:
        require_positive(no_repeat=no_repeat)
