"""Checks of notebook 5: the forget bias, and clipping."""

from __future__ import annotations

import math

import numpy as np

from checks.checking import call, exercise, expect, parts
from npchar.layers.lstm import LSTM, State
from npchar.training.optimizers import clip_by_global_norm


@exercise("5.1", "forget_bias")
def check_forget_bias(function, rng):
    """An `npchar.LSTM` runs with this bias, to measure the rest of its cell."""
    for n in (2, int(rng.integers(5, 20)), 100):
        came = call(function, n)
        f = 0.5 ** (1 / n)
        mistakes = {
            "this is f; it should be the bias, with sigmoid(bias) = f": f,
            "the sign is wrong: it should be log(f / (1 - f))": math.log((1 - f) / f),
            "this is log f": math.log(f),
            "this memory falls to 1/e; it should fall to 1/2": -math.log(math.expm1(1 / n)),
            "f is taken as 1 - 0.5 / n; but fⁿ should be 0.5": math.log((1 - 0.5 / n) * 2 * n),
            "f is taken as 0.5 to the power of n; the power should be 1 / n": -math.log(2.0**n - 1),
        }
        expected = -math.log(2 ** (1 / n) - 1)
        case = ""
        if np.shape(came) == () and np.isrealobj(came):
            nothing = np.zeros((4, 1, 1))
            lstm = LSTM(nothing, nothing, np.array([[-np.inf], [float(came)], [0], [0]]))
            state = State(np.zeros((1, 1)), np.ones((1, 1)))
            left = lstm.forward(np.zeros((n, 1, 1)), state).final_state.c[0, 0]
            case = f"after n = {n} steps {left:.3g} of the memory would be left"
        expect(came, expected, mistakes=mistakes, case=case)


@exercise("5.2", "clip_by_global_norm")
def check_clip_by_global_norm(function, rng):
    """Compared with npchar, with a norm above the limit and a norm below it."""
    gradients = [rng.normal(size=shape) for shape in ((2, 3), (4,), (2, 2, 2))]
    flat = np.concatenate([gradient.reshape(-1) for gradient in gradients])
    norm = float(np.linalg.norm(flat))
    for limit in (norm / 20, 2 * norm):
        came = parts(call(function, gradients, limit), "gradient 0, gradient 1, gradient 2")
        for k in range(3):
            if np.shape(came[k]) != gradients[k].shape:
                expect(came[k], gradients[k], f"gradient {k}")
        clipped = flat.copy()
        clip_by_global_norm(clipped, limit)
        own = np.concatenate([np.full(a.size, np.linalg.norm(a)) for a in gradients])
        mistakes = {
            "the gradients are scaled up; a norm below the limit should stay": flat * limit / norm,
            "each array is clipped by its own norm; there should be one norm for all": (
                flat * np.minimum(1, limit / own)
            ),
            "numbers are clipped one by one; this changes the direction": (
                np.clip(flat, -limit, limit)
            ),
            "the new norm is 1; it should be the limit": flat / norm,
            "the norm is a sum of squares without its root": flat * min(1, limit / norm**2),
            "the gradients are not clipped": flat,
        }
        joined = np.concatenate([np.reshape(a, -1) for a in came])
        case = f"all numbers in one vector; the norm is {norm:.3g}, the limit {limit:.3g}"
        expect(joined, clipped, mistakes=mistakes, case=case)
