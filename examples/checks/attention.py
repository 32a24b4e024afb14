"""Checks of notebook 9: attention, the gradient of the softmax, and the causal mask."""

from __future__ import annotations

import numpy as np

from checks.checking import H, T, call, exercise, expect, softmax

U = 4  # queries


@exercise("9.1", "weighted_sum")
def check_weighted_sum(function, rng):
    """Compared with NumPy, for scores of moderate size and for large ones."""
    for scale in (1, 1000):
        q, k, v = scale * rng.normal(size=(U, H)), *rng.normal(size=(2, T, H))
        s = q @ k.T / np.sqrt(H)
        mistakes = {
            "the scores are not divided by √H": softmax(q @ k.T) @ v,
            "the scores are divided by H; it should be √H": softmax(q @ k.T / H) @ v,
            "the softmax is missing": s @ v,
            "the softmax is over the queries; it should be over the keys": softmax(s, axis=0) @ v,
            "the softmax is over all scores; each query has its own": (
                softmax(s.ravel()).reshape(s.shape) @ v
            ),
            "this is a sum of the keys; it should be a sum of the values": softmax(s) @ k,
        }
        case = f"the largest score is {s.max():.3g}"
        came = call(function, q, k, v, case=case)
        expect(came, softmax(s) @ v, mistakes=mistakes, case=case)


@exercise("9.2", "softmax_gradient")
def check_softmax_gradient(function, rng):
    """Compared with equation (2) of the notebook."""
    a, da = softmax(rng.normal(size=(U, T))), rng.normal(size=(U, T))
    mean = (a * da).sum(axis=1, keepdims=True)
    mistakes = {
        "the sum is missing": a * da,
        "the sum is over the queries; it should be over the keys": a * (da - (a * da).sum(axis=0)),
        "the sum is over all entries; each query has its own": a * (da - (a * da).sum()),
        "the mean of da has no weights": a * (da - da.mean(axis=1, keepdims=True)),
        "the factor a before the bracket is missing": da - mean,
        "this is the rule of the sigmoid; each weight depends on all scores": da * a * (1 - a),
    }
    expect(call(function, a, da), a * (da - mean), mistakes=mistakes)


@exercise("9.3", "causal_weights")
def check_causal_weights(function, rng):
    """Compared with NumPy."""
    s, seen = rng.normal(size=(T, T)), np.tri(T, dtype=bool)

    def masked(mask, low=-np.inf):
        return softmax(np.where(mask, s, low))

    mistakes = {
        "the mask is missing": softmax(s),
        "weights are removed after the softmax, so the others do not sum to 1": softmax(s) * seen,
        "a masked score of 0 has the weight exp(0) = 1; it should be very low": masked(seen, 0),
        "position t sees the positions from t on; it should see those up to t": masked(seen.T),
        "a position should see itself": masked(np.tri(T, k=-1, dtype=bool), -1e9),
    }
    expect(call(function, s), masked(seen), mistakes=mistakes)
