"""Checks of notebook 6: RMSprop, its learning rate, losses and baselines."""

from __future__ import annotations

import math

import numpy as np

import npchar
from checks.checking import V, call, exercise, expect, parts
from npchar.training.schedule import learning_rate_at


@exercise("6.1", "rmsprop")
def check_rmsprop(function, rng):
    """Compared with `npchar.RMSprop`; the gradient is as small as the root of epsilon."""
    n, rate, rho, epsilon = 6, 0.01, 0.9, 1e-7
    w, g, v = rng.normal(size=n), 3e-4 * rng.normal(size=n), 1e-7 * rng.random(n)
    optimizer = npchar.RMSprop(rho=rho, epsilon=epsilon)
    optimizer.state = v + epsilon
    expected = w.copy()
    optimizer.update(expected, g, rate)
    expected_v = optimizer.state - epsilon
    came = parts(call(function, w, g, v, rate, rho, epsilon), "new weights, new v")
    swapped = (1 - rho) * v + rho * g**2
    mistakes = {
        "rho and 1 - rho are swapped": swapped,
        "the gradient is not squared": rho * v + (1 - rho) * g,
        "it is the old v": v,
        "it is a sum, in which the old v does not fade: rho v": v + g**2,
        "the old v does not fade: it should be rho v": v + (1 - rho) * g**2,
        "it has epsilon in it, which belongs in the root only": expected_v + epsilon,
    }
    expect(came[1], expected_v, "new v", mistakes)
    moved = expected - w
    root = np.sqrt(expected_v + epsilon)
    mistakes = {
        "epsilon is outside the root, as in PyTorch; it should be √(v + epsilon)": (
            -rate * g / (np.sqrt(expected_v) + epsilon)
        ),
        "epsilon is not there": -rate * g / np.sqrt(expected_v),
        "it goes up; it should go down, against the gradient": rate * g / root,
        "it takes the old v": -rate * g / np.sqrt(v + epsilon),
        "the root is not there": -rate * g / (expected_v + epsilon),
        "it is plain gradient descent, v is not used": -rate * g,
        "the learning rate is not there": -g / root,
    }
    moved_so = np.asarray(came[0]) - w if np.shape(came[0]) == w.shape else came[0]
    expect(moved_so, moved, "new weights - weights", mistakes)


@exercise("6.2", "linear_schedule")
def check_linear_schedule(function, rng):
    """Compared with npchar's at every step."""
    rate, steps = float(rng.uniform(0.001, 0.1)), int(rng.integers(5, 12))
    came = [call(function, rate, step, steps) for step in range(steps)]
    expected = [learning_rate_at("linear", rate, step, steps) for step in range(steps)]
    t = np.arange(steps)
    mistakes = {
        "it rises": rate * t / steps,
        "the last step has a rate of 0 and is lost": rate * (1 - t / (steps - 1)),
        "the first step has less than the whole rate": rate * (1 - (t + 1) / steps),
        "it stays as it is, as with //, which drops what is behind the point": np.full(steps, rate),
        "it falls exponentially": rate * np.exp(-t / steps),
    }
    expect(came, expected, mistakes=mistakes, case=f"the rates at steps 0 to {steps - 1}")


@exercise("6.3", "bits_per_character")
def check_bits_per_character(function, rng):
    """Compared with `npchar.Score`."""
    log_p = np.log(rng.uniform(0.01, 1, 20))
    expected = npchar.Score("x" * 21, log_p).bits_per_character
    mistakes = {
        "these are nats": expected * math.log(2),
        "the sign is wrong: a surprise is positive": -expected,
        "these are nats, negative": -expected * math.log(2),
        "it is multiplied by log 2; it should be divided": expected * math.log(2) ** 2,
        "it is a sum; a mean is asked for": expected * 20,
        "it is a sum, and of nats; a mean in bits is asked for": expected * 20 * math.log(2),
        "it is divided by log 10; it should be log 2 for bits": expected
        * math.log(2)
        / math.log(10),
        "this is the perplexity": np.exp(expected * math.log(2)),
    }
    expect(call(function, log_p), expected, mistakes=mistakes)


@exercise("6.4", "unigram_loss")
def check_unigram_loss(function, rng):
    """Compared with `npchar.softmax_cross_entropy` of the counts' logarithms."""
    train, held_out = rng.integers(0, V - 2, 50), rng.integers(0, V, 20)
    held_out[0] = V - 1  # has never come

    def loss(counts, ids):
        return float(npchar.softmax_cross_entropy(np.tile(np.log(counts), (len(ids), 1)), ids)[0])

    counts = np.bincount(train, minlength=V)
    expected = loss(counts + 1, held_out)
    mistakes = {
        "it counts in `held_out`, which the model must not have seen": loss(
            np.bincount(held_out, minlength=V) + 1, held_out
        ),
        "the loss is of `train`, not of `held_out`": loss(counts + 1, train),
        "it is in bits, not nats": expected / math.log(2),
        "it is a sum; a mean is asked for": expected * 20,
        "the sign is wrong": -expected,
        "never seen is impossible: the 1 is not there": np.inf,
        "the probabilities do not sum to 1: they should be over the sum with the 1s": expected
        - math.log((50 + V) / 50),
        "it is the entropy of the counts; the surprise at `held_out` is asked for": float(
            npchar.entropy(counts + 1.0)
        ),
        "it is log V, the uniform baseline": math.log(V),
    }
    expect(call(function, train, held_out, V), expected, mistakes=mistakes)
