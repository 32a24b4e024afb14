"""Checks of notebook 2: a step, its gradient, and the reasons for vanishing and exploding."""

from __future__ import annotations

import math

import numpy as np

from checks.checking import B, D, H, T, call, exercise, expect, parts, sigma
from npchar.analysis.activations import gradient_flow
from npchar.layers.layer import HiddenState
from npchar.layers.rnn import RNN


def some_rnn(rng):
    """A layer with random weights."""
    return RNN(rng.normal(size=(D, H)), 0.7 * rng.normal(size=(H, H)), rng.normal(size=H))


@exercise("2.1", "rnn_step")
def check_rnn_step(function, rng):
    """Compared with `npchar.RNN.step`."""
    rnn = some_rnn(rng)
    x, h_ = rng.normal(size=(B, D)), rng.normal(size=(B, H))
    expected, _ = rnn.step(x, HiddenState(h_))
    zx, zh, b = x @ rnn.Wx, h_ @ rnn.Wh, rnn.b
    mistakes = {
        "tanh is missing": zx + zh + b,
        "the function is a sigmoid; it should be tanh": sigma(zx + zh + b),
        "Wh is transposed, h_ Whᵀ; it should be h_ Wh": np.tanh(zx + h_ @ rnn.Wh.T + b),
        "the bias is missing": np.tanh(zx + zh),
        "the bias is outside of tanh": np.tanh(zx + zh) + b,
        "the share of the state before, h_ Wh, is missing": np.tanh(zx + b),
        "the share of the input, x Wx, is missing": np.tanh(zh + b),
        "h_ is added without its matrix Wh": np.tanh(zx + h_ + b),
        "h_ Wh is outside of tanh": np.tanh(zx + b) + zh,
        "the two shares are multiplied; they should be added": np.tanh(zx * zh + b),
    }
    expect(call(function, rnn.Wx, rnn.Wh, rnn.b, x, h_), expected, mistakes=mistakes)


@exercise("2.2", "rnn_gradients")
def check_rnn_gradients(function, rng):
    """Compared with `npchar.RNN.backward`; the mistakes with a plain version that makes them."""
    rnn, x, dh = some_rnn(rng), rng.normal(size=(T, B, D)), rng.normal(size=(T, B, H))
    tape, gradient = rnn.forward(x, HiddenState(rng.normal(size=(B, H)))), rnn.zeros_like()
    rnn.backward(tape, dh, None, gradient)
    h = tape.h
    came = parts(call(function, rnn.Wh, x, h, dh), "dWx, dWh, db")

    def by_hand(
        carry=True,
        slope=lambda _, after: 1 - after**2,
        back=rnn.Wh.T,
        before=slice(-1),
        backward=True,
        only=slice(None),
        through=True,
    ):
        dz, later = np.empty_like(dh), np.zeros((B, H))
        for t in range(T)[:: -1 if backward else 1]:
            whole = dh[t] + carry * later
            dz[t] = whole * slope(h[t], h[t + 1])
            later = (dz[t] if through else whole) @ back
        dWx = np.einsum("tbd,tbh->dh", x[only], dz[only])
        dWh = np.einsum("tbk,tbh->kh", h[before][only], dz[only])
        return dWx, dWh, dz[only].sum(axis=(0, 1))

    right = by_hand()
    wrong = {
        "the share of the later step is not carried, dz Whᵀ": by_hand(carry=False),
        "the slope of tanh is missing: dz = dh (1 - h²)": by_hand(slope=lambda *_: 1),
        "the slope is taken as 1 - h; it should be 1 - h²": by_hand(
            slope=lambda _, after: 1 - after
        ),
        "the slope is taken as (1 - h)²; it should be 1 - h²": by_hand(
            slope=lambda _, after: (1 - after) ** 2
        ),
        "the slope is taken as 1 - tanh(h)²; h is a tanh already: 1 - h²": by_hand(
            slope=lambda _, after: 1 - np.tanh(after) ** 2
        ),
        "the slope is taken as h (1 - h), the slope of a sigmoid; tanh has 1 - h²": by_hand(
            slope=lambda _, after: after * (1 - after)
        ),
        "the slope is taken at h[t], before the step; it belongs at h[t + 1]": by_hand(
            slope=lambda before, _: 1 - before**2
        ),
        "dz goes back through Wh; it should be Whᵀ": by_hand(back=rnn.Wh),
        "dz goes back without a matrix; it should be dz Whᵀ": by_hand(back=np.eye(H)),
        "dh goes back through Whᵀ; it should be dz, after the slope of tanh": by_hand(
            through=False
        ),
        "the factor is h[t + 1], the state after a step; it should be h[t]": by_hand(
            before=slice(1, None)
        ),
        "the loop runs from the first step to the last; it should begin at the last": by_hand(
            backward=False
        ),
        "only the share of step 0 counts: `=` instead of `+=`": by_hand(only=slice(1)),
        "only the share of the last step counts": by_hand(only=slice(-1, None)),
        "this is a mean over the batch; it should be a sum": [a / B for a in right],
        "this is a mean over time; it should be a sum": [a / T for a in right],
        "this is a mean over time and batch; it should be a sum": [a / T / B for a in right],
    }
    expected = {"dWx": gradient.Wx, "dWh": gradient.Wh, "db": gradient.b}
    for k, (name, array) in enumerate(expected.items()):
        expect(came[k], array, name, {sentence: value[k] for sentence, value in wrong.items()})


@exercise("2.3", "spectral_radius")
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
        "this is the largest eigenvalue, not the largest absolute value": values.real.max(),
        "this is the largest real part; take the absolute values of the complex numbers": np.abs(
            values.real
        ).max(),
        "this is the largest singular value, the longest stretch in one step": np.linalg.norm(
            Wh, 2
        ),
        "this is the root of the sum of squares": np.linalg.norm(Wh),
        "this is the smallest absolute value; it should be the largest": np.abs(values).min(),
        "this is the determinant": np.linalg.det(Wh),
    }
    case = "the largest is a complex pair" if angle < math.pi else "the largest is negative"
    expect(call(function, Wh), radius, mistakes=mistakes, case=case)


@exercise("2.4", "gradient_norms")
def check_gradient_norms(function, rng):
    """Compared with `npchar.RNN.backward` where its tanh is linear, at 0."""
    n, Wh, dh = 6, rng.normal(size=(H, H)), rng.normal(size=H)
    layer = RNN(np.zeros((1, H)), Wh, np.zeros(H))
    flow = np.array([state.h for state in gradient_flow(layer, np.zeros((n, 1, 1)), dh[None])])
    expected = np.linalg.norm(flow[::-1, 0], axis=1)
    powers = [np.linalg.matrix_power(Wh, k) for k in range(n + 1)]
    radius = np.abs(np.linalg.eigvals(Wh)).max()
    mistakes = {
        "dh Wh is the way forward; the way back is dh Whᵀ": [
            np.linalg.norm(dh @ power) for power in powers
        ],
        "these are the squares of the norms": expected**2,
        "the norm before the first step is missing": expected[1:],
        "the norm after the last step is missing": expected[:-1],
        "the norms are in the order of time; the last step should come first": expected[::-1],
        "each step multiplies by the spectral radius; this is right only in the long run": (
            np.linalg.norm(dh) * radius ** np.arange(n + 1)
        ),
        "these are sums of absolute values; they should be roots of sums of squares": np.abs(
            flow[::-1, 0]
        ).sum(axis=1),
    }
    expect(call(function, Wh, dh, n), expected, mistakes=mistakes)
