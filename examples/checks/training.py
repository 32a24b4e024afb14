"""Checks of notebook 6: RMSprop, its learning rate, losses and baselines."""

from __future__ import annotations

import math

import numpy as np

import npchar
from checks.checking import V, call, exercise, expect, parts
from npchar.training.schedule import learning_rate_at


@exercise("6.1", "rmsprop")
def check_rmsprop(function, rng):
    """Compared with `npchar.RMSprop`; the gradient is small, so that epsilon has an effect."""
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
        "this is the old v": v,
        "this is a sum, v + gradient²; it should be rho v + (1 - rho) gradient²": v + g**2,
        "the old v does not fade: it should be rho v": v + (1 - rho) * g**2,
        "epsilon is added to v; it belongs only in the root": expected_v + epsilon,
    }
    expect(came[1], expected_v, "new v", mistakes)
    moved = expected - w
    root = np.sqrt(expected_v + epsilon)
    mistakes = {
        "epsilon is outside the root, as in PyTorch; it should be √(v + epsilon)": (
            -rate * g / (np.sqrt(expected_v) + epsilon)
        ),
        "epsilon is missing": -rate * g / np.sqrt(expected_v),
        "the weights go up; they should go down, against the gradient": rate * g / root,
        "the root uses the old v; it should use the new v": -rate * g / np.sqrt(v + epsilon),
        "the root is missing": -rate * g / (expected_v + epsilon),
        "this is plain gradient descent; v is not used": -rate * g,
        "the learning rate is missing": -g / root,
    }
    moved_so = np.asarray(came[0]) - w if np.shape(came[0]) == w.shape else came[0]
    expect(moved_so, moved, "new weights - weights", mistakes)


@exercise("6.2", "linear_schedule")
def check_linear_schedule(function, rng):
    """Compared with npchar at every step."""
    rate, steps = float(rng.uniform(0.001, 0.1)), int(rng.integers(5, 12))
    came = [call(function, rate, step, steps) for step in range(steps)]
    expected = [learning_rate_at("linear", rate, step, steps) for step in range(steps)]
    t = np.arange(steps)
    mistakes = {
        "the rate rises; it should fall": rate * t / steps,
        "the last step has a rate of 0 and is lost": rate * (1 - t / (steps - 1)),
        "the first step has less than the whole rate": rate * (1 - (t + 1) / steps),
        "the rate is constant, as with //, which drops the fraction": np.full(steps, rate),
        "the rate falls exponentially; it should fall in a straight line": rate
        * np.exp(-t / steps),
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
        "this is multiplied by log 2; it should be divided": expected * math.log(2) ** 2,
        "this is a sum; it should be a mean": expected * 20,
        "this is a sum of nats; it should be a mean in bits": expected * 20 * math.log(2),
        "this is divided by log 10; divide by log 2 for bits": expected
        * math.log(2)
        / math.log(10),
        "this is the perplexity": np.exp(expected * math.log(2)),
    }
    expect(call(function, log_p), expected, mistakes=mistakes)


@exercise("6.4", "unigram_loss")
def check_unigram_loss(function, rng):
    """Compared with `npchar.softmax_cross_entropy` of the counts' logarithms."""
    train, held_out = rng.integers(0, V - 2, 50), rng.integers(0, V, 20)
    held_out[0] = V - 1  # not in `train`

    def loss(counts, ids):
        return float(npchar.softmax_cross_entropy(np.tile(np.log(counts), (len(ids), 1)), ids)[0])

    counts = np.bincount(train, minlength=V)
    expected = loss(counts + 1, held_out)
    mistakes = {
        "the counts are from `held_out`; they should be from `train`": loss(
            np.bincount(held_out, minlength=V) + 1, held_out
        ),
        "the loss is of `train`; it should be of `held_out`": loss(counts + 1, train),
        "this is in bits; it should be in nats": expected / math.log(2),
        "this is a sum; it should be a mean": expected * 20,
        "the sign is wrong": -expected,
        "the + 1 is missing, so an id that is not in `train` has the probability 0": np.inf,
        "the probabilities do not sum to 1: divide by the sum of all counts + 1": expected
        - math.log((50 + V) / 50),
        "this is the entropy of the counts; it should be the surprise at `held_out`": float(
            npchar.entropy(counts + 1.0)
        ),
        "this is log V, the uniform baseline": math.log(V),
    }
    expect(call(function, train, held_out, V, mistakes=mistakes), expected, mistakes=mistakes)
