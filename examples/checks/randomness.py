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
            "it is softmax of the probabilities; their logarithms belong there": softmax(p),
            "the temperature multiplies logarithms; it should divide": npchar.reweight_distribution(
                p, 1 / t
            ),
            "the sum is not 1": p ** (1 / t),
            "nothing changes": p,
            "these are log probabilities": np.log(expected),
        }
        expect(call(function, p, t), expected, mistakes=mistakes, case=f"temperature {t}")
    p[rng.integers(V)] = 0
    p /= p.sum()
    case = "one probability is 0"
    expect(call(function, p, 0.7, case=case), npchar.reweight_distribution(p, 0.7), case=case)
    case = "temperature 0.001: mind what is rounded to 0"
    expect(call(function, p, 0.001, case=case), npchar.reweight_distribution(p, 0.001), case=case)


@exercise("7.2", "entropy")
def check_entropy(function, rng):
    """Compared with `npchar.entropy`; then with something impossible."""
    for p in (rng.dirichlet(np.ones(V)), rng.dirichlet(np.ones(V), (2, 3))):
        expected = npchar.entropy(p)
        mistakes = {
            "it is in bits, not nats": expected / math.log(2),
            "the sign is wrong": -expected,
            "it is a mean; a sum is asked for": expected / V,
            "the sum is over all; it should be over the last axis": expected.sum(),
            "p is not there before log p: the surprises are weighted with p": -np.log(p).sum(
                axis=-1
            ),
        }
        expect(call(function, p), expected, mistakes=mistakes, case=f"the shape {p.shape}")
    case = "some probabilities are 0"
    p = np.array([0, 0.25, 0.75, 0])
    expect(call(function, p, case=case), npchar.entropy(p), case=case)
    expect(call(function, np.eye(3), case=case), np.zeros(3), case="one is certain")


@exercise("7.3", "draw")
def check_draw(function, rng):
    """Compared with `npchar.sample`, which is told what to draw; then the edges."""

    def draws(p, us, case):
        ids = [call(function, p, u, case=case) for u in us]
        for came in ids:
            if not isinstance(came, (int, np.integer)):
                raise Wrong(f"{came!r} came; an id, one whole number, was expected ({case})")
        expected = [npchar.sample(p, 1.0, SimpleNamespace(random=lambda u=u: u)) for u in us]
        return np.array(ids), np.array(expected)

    p, us = rng.dirichlet(np.ones(V)), rng.random(50)
    case = "the ids for 50 u, one after the other"
    came, expected = draws(p, us, case)
    ends = np.cumsum(p)
    mistakes = {
        "they are one too high": expected + 1,
        "they are one too low": expected - 1,
        "it is the most probable, whatever u": np.full(50, p.argmax()),
        "the probabilities are searched, not their cumulative sum": np.searchsorted(p, us),
        "it counts from the end; u should count from the beginning": np.searchsorted(ends, 1 - us),
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
    """Compared with what npchar's generation keeps; then with a sum that is hit exactly."""
    for share in (0.2, 0.5, 0.9, 1.0):
        p = rng.dirichlet(np.ones(V))
        kept = top_mask(np.log(p)[None], np.ones((1, 1)), None, share)[0]
        expect_top_p(call(function, p, share), p, kept, share)
    p = np.array([0.25, 0.125, 0.5, 0.125])
    expect_top_p(call(function, p, 0.75), p, p > 0.2, 0.75)


def expect_top_p(came, p, kept, share):
    """The kept with a sum of 1; one more or less is a mistake with a name."""
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
        "one too many is kept": first(n + 1) / first(n + 1).sum(),
        "one is missing: the one that brings the sum to the share is kept too": (
            first(n - 1) / first(n - 1).sum() if n > 1 else np.full_like(p, np.nan)
        ),
        "one is missing, and the sum is not 1": first(n - 1),
        "they are in falling order; the old order was expected": falling / falling.sum(),
        "in falling order, and the sum is not 1": falling,
        "kept are those with a probability of at least `share`": large / max(large.sum(), 1e-300),
        "kept are those of at least `share`, and the sum is not 1": large,
        "nothing is dropped": p if n < len(p) else np.full_like(p, np.nan),
    }
    expect(came, expected, mistakes=mistakes, case=f"share {share}, {n} of {len(p)} to be kept")
