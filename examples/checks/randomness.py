"""Checks of notebook 7: temperature and sampling."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np

import npchar
from checks.checking import V, Wrong, call, exercise, expect, softmax
from npchar.generation.sampling import top_mask


@exercise("7.1", "reweight_distribution")
def check_reweight_distribution(function, rng):
    """Compared with `npchar.reweight_distribution`."""
    p = rng.dirichlet(np.ones(V))
    for t in (0.5, 2.0, 1.0):
        expected = npchar.reweight_distribution(p, t)
        mistakes = {
            "the temperature divides the probabilities; it should divide their logarithms": softmax(
                p / t
            ),
            "this is softmax of the probabilities; take it of their logarithms": softmax(p),
            "it multiplies logarithms; it should divide them": npchar.reweight_distribution(
                p, 1 / t
            ),
            "the sum is not 1": p ** (1 / t),
            "nothing changes": p,
            "these are log probabilities": np.log(expected),
        }
        expect(call(function, p, t), expected, mistakes=mistakes, case=f"temperature {t}")
    p[rng.integers(V)] = 0
    p /= p.sum()
    for t in (0.7, 5.0):  # at 5, a small number in place of the 0 becomes large
        case = f"one probability is 0, temperature {t}"
        came, expected = call(function, p, t, case=case), npchar.reweight_distribution(p, t)
        if np.shape(came) == p.shape and came[p.argmin()] > 0:
            cause = "an impossible id (p = 0) becomes possible, as by log(p + 1e-12); expected 0"
            raise Wrong(f"{cause}, got {came[p.argmin()]:.3g} at [{p.argmin()}] ({case})")
        expect(came, expected, case=case)
    case = "temperature 0.001: small numbers are rounded to 0"
    expect(call(function, p, 0.001, case=case), npchar.reweight_distribution(p, 0.001), case=case)


@exercise("7.2", "entropy")
def check_entropy(function, rng):
    """Compared with `npchar.entropy`, also for probabilities of 0."""
    for p in (rng.dirichlet(np.ones(V)), rng.dirichlet(np.ones(V), (2, 3))):
        expected = npchar.entropy(p)
        mistakes = {
            "this is in bits; it should be in nats": expected / math.log(2),
            "the sign is wrong": -expected,
            "this is a mean; it should be a sum": expected / V,
            "the sum is over all axes; it should be over the last axis": expected.sum(),
            "the factor p before log p is missing": -np.log(p).sum(axis=-1),
        }
        expect(call(function, p), expected, mistakes=mistakes, case=f"the shape {p.shape}")
    case = "some probabilities are 0"
    p = np.array([0, 0.25, 0.75, 0])
    expect(call(function, p, case=case), npchar.entropy(p), case=case)
    expect(call(function, np.eye(3), case=case), np.zeros(3), case="one is certain")


@exercise("7.3", "draw")
def check_draw(function, rng):
    """Compared with `npchar.sample` for the same random numbers; then the edges."""

    def draws(p, us, case):
        ids = [call(function, p, u, case=case) for u in us]
        for came in ids:
            if not isinstance(came, (int, np.integer)):
                raise Wrong(f"expected an id, one whole number, got {came!r} ({case})")
        expected = [npchar.sample(p, 1.0, SimpleNamespace(random=lambda u=u: u)) for u in us]
        return np.array(ids), np.array(expected)

    p, us = rng.dirichlet(np.ones(V)), rng.random(50)
    case = "the ids for 50 values of u"
    came, expected = draws(p, us, case)
    ends = np.cumsum(p)
    mistakes = {
        "the ids are one too high": expected + 1,
        "the ids are one too low": expected - 1,
        "this is the most probable id for every u": np.full(50, p.argmax()),
        "the search is in the probabilities; it should be in their cumulative sum": np.searchsorted(
            p, us
        ),
        "u counts from the end; it should count from the beginning": np.searchsorted(ends, 1 - us),
    }
    expect(came, expected, mistakes=mistakes, case=case)

    p = np.array([0, 0.25, 0.25, 0.5])
    edges = {
        "u = 0 and the first probability 0: see the hint": (p, 0.0),
        "u = 0.25, where the third piece begins: see the hint": (p, 0.25),
        "u = 0.99 and the sum 0.9: u is a share of the whole": (0.9 * p, 0.99),
    }
    for case, (p, u) in edges.items():
        (came,), (expected,) = draws(p, [u], case)
        impossible = f"the id {came} is impossible, its probability is 0"
        none = f"there is no id {came}"
        mistakes = {
            impossible: came if 0 <= came < 4 and p[came] == 0 else -1,
            none: came if not 0 <= came < 4 else -1,
        }
        expect(came, expected, mistakes=mistakes, case=case)


@exercise("7.4", "top_p")
def check_top_p(function, rng):
    """Compared with npchar; the last case has a sum of exactly `share`."""
    for share in (0.2, 0.5, 0.9, 1.0):
        p = rng.dirichlet(np.ones(V))
        kept = top_mask(np.log(p)[None], np.ones((1, 1)), None, share)[0]
        expect_top_p(function, p, kept, share)
    p = np.array([0.25, 0.125, 0.5, 0.125])
    expect_top_p(function, p, p > 0.2, 0.75)


def expect_top_p(function, p, kept, share):
    """The kept probabilities, with the sum 1; one more or one less is a named mistake."""
    order = np.argsort(-p, kind="stable")
    n = int(kept.sum())

    def first(count, values=p):
        result = np.zeros_like(p)
        result[order[:count]] = values[order[:count]]
        return result

    expected = first(n) / first(n).sum()
    falling = np.zeros_like(p)
    falling[:n] = p[order[:n]]
    large = np.where(p >= share, p, 0)
    mistakes = {
        "the sum is not 1 again": first(n),
        "one id too many is kept": first(n + 1) / first(n + 1).sum(),
        "one is missing: keep also the id that brings the sum to the share, which "
        "`cumulative sum <= share` drops": first(n - 1) / first(n - 1).sum(),  # n = 1: NaN
        "one is missing, and the sum is not 1": first(n - 1),
        "the order is falling; it should be the old order": falling / falling.sum(),
        "the order is falling, and the sum is not 1": falling,
        "the ids with a probability of at least `share` are kept; `share` is of the sum": large
        / max(large.sum(), 1e-300),
        "the ids with a probability of at least `share` are kept, and the sum is not 1": large,
        "nothing is dropped": p,
    }
    case = f"share {share}, keep {n} of {len(p)}"
    came = call(function, p, share, case=case, mistakes=mistakes)
    expect(came, expected, mistakes=mistakes, case=case)
