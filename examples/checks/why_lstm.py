"""Checks of notebook 4: vanishing and exploding gradients."""

from __future__ import annotations

import math

import numpy as np

from checks.checking import H, call, exercise, expect, parts
from npchar.analysis.activations import gradient_flow
from npchar.layers.lstm import LSTM, State
from npchar.layers.rnn import RNN
from npchar.training.optimizers import clip_by_global_norm


@exercise("4.1", "spectral_radius")
def check_spectral_radius(function, rng):
    """A matrix made of eigenvalues: the largest is negative, or a complex pair."""
    radius = float(rng.uniform(0.9, 1.5))
    angle = math.pi if rng.random() < 0.5 else float(rng.uniform(1.8, 2.6))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    middle = np.diag([0.0, 0.0, 0.8, -0.3]) * radius
    middle[:2, :2] = radius * turn
    basis = rng.normal(size=(4, 4)) + 3 * np.eye(4)
    Wh = basis @ middle @ np.linalg.inv(basis)
    values = np.linalg.eigvals(Wh)
    mistakes = {
        "it is the largest eigenvalue, but not in absolute value": values.real.max(),
        "it is the largest real part; absolute values of complex numbers are asked for": np.abs(
            values.real
        ).max(),
        "it is the largest singular value, the longest stretch in one step": np.linalg.norm(Wh, 2),
        "it is the root of the sum of squares": np.linalg.norm(Wh),
        "it is the smallest; the largest is asked for": np.abs(values).min(),
        "it is the determinant": np.linalg.det(Wh),
    }
    case = "the largest is a complex pair" if angle < math.pi else "the largest is negative"
    expect(call(function, Wh), radius, mistakes=mistakes, case=case)


@exercise("4.2", "gradient_norms")
def check_gradient_norms(function, rng):
    """Compared with `npchar.RNN.backward` where its tanh is linear, at 0."""
    n, Wh, dh = 6, rng.normal(size=(H, H)), rng.normal(size=H)
    layer = RNN(np.zeros((1, H)), Wh, np.zeros(H))
    flow = np.array([state.h for state in gradient_flow(layer, np.zeros((n, 1, 1)), dh[None])])
    expected = np.linalg.norm(flow[::-1, 0], axis=1)
    powers = [np.linalg.matrix_power(Wh, k) for k in range(n + 1)]
    radius = np.abs(np.linalg.eigvals(Wh)).max()
    mistakes = {
        "it goes forward, dh Wh; back is dh Whᵀ": [np.linalg.norm(dh @ power) for power in powers],
        "these are the squares of the norms": expected**2,
        "the norm before the first step is not there": expected[1:],
        "the norm after the last step is not there": expected[:-1],
        "they are in the order of time; the last step belongs first": expected[::-1],
        "they grow by the spectral radius at every step, which is right in the long run only": (
            np.linalg.norm(dh) * radius ** np.arange(n + 1)
        ),
        "these are sums of absolute values; roots of sums of squares are asked for": np.abs(
            flow[::-1, 0]
        ).sum(axis=1),
    }
    expect(call(function, Wh, dh, n), expected, mistakes=mistakes)


@exercise("4.3", "forget_bias")
def check_forget_bias(function, rng):
    """An `npchar.LSTM` is run with this bias, to see what is left of its cell."""
    for n in (2, int(rng.integers(5, 20)), 100):
        came = call(function, n)
        f = 0.5 ** (1 / n)
        mistakes = {
            "this is f, not the bias that leads to it": f,
            "the sign is wrong: it should be log(f / (1 - f))": math.log((1 - f) / f),
            "this is log f": math.log(f),
            "the memory would fall to 1/e, not to a half": -math.log(math.expm1(1 / n)),
            "f is taken as 1 - 0.5 / n; but fⁿ should be 0.5": math.log((1 - 0.5 / n) * 2 * n),
            "f is taken as 0.5 to the power of n; it should be of 1 / n": -math.log(2.0**n - 1),
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


@exercise("4.4", "clip_by_global_norm")
def check_clip_by_global_norm(function, rng):
    """Compared with npchar's, which clips one flat vector; a norm above the limit, then below."""
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
            "they are scaled up, though the norm is below the limit": flat * limit / norm,
            "each array is clipped by its own norm; there should be one for all": (
                flat * np.minimum(1, limit / own)
            ),
            "numbers are clipped one by one, which changes the direction": (
                np.clip(flat, -limit, limit)
            ),
            "they have the norm 1, not the limit": flat / norm,
            "the norm is a sum of squares without its root": flat * min(1, limit / norm**2),
            "they are not clipped": flat,
        }
        joined = np.concatenate([np.reshape(a, -1) for a in came])
        case = f"all numbers one after the other; the norm is {norm:.3g}, the limit {limit:.3g}"
        expect(joined, clipped, mistakes=mistakes, case=case)
