"""Checks of notebook 8: units, features, and saliency."""

from __future__ import annotations

import math

import numpy as np

import npchar
from checks.checking import call, exercise, expect, parts


@exercise("8.1", "best_unit")
def check_best_unit(function, rng):
    """Compared with `npchar.Activations.find` on four data sets."""
    n, units = 60, 8
    came, expected, wrong, own = [], [], [], []
    for _ in range(4):
        values, feature = rng.normal(size=(n, units)), 5 + rng.normal(size=n)
        best, good, large, still = rng.permutation(units)[:4]
        values[:, best] -= 1.5 * feature
        values[:, good] += feature
        values[:, large] = 30 * values[:, large] + 20 * feature
        values[:, still] = 3
        seen = npchar.Activations("x" * n, {"c": values[:, None], "h": values[:, None]})
        found = {unit: r for _, unit, r in seen.find(feature, units)}  # the strongest first
        r = np.array([found[unit] for unit in range(units)])
        best = next(iter(found))
        zero = f"unit {still} never changes, so its norm is 0: 0 / 0 is NaN; it should be 0"
        warned = {zero: (still, np.nan), f"the numbers are right, but {zero}": (best, r[best])}
        came.append(parts(call(function, values, feature, mistakes=warned), "unit, correlation"))
        expected.append((best, r[best]))
        covariances = (feature - feature.mean()) @ (values - values.mean(axis=0)) / n
        cosines = feature @ values / np.linalg.norm(values, axis=0) / np.linalg.norm(feature)
        wrong.append(
            {
                "this is the largest correlation; compare absolute values": r.argmax(),
                "covariances are compared; divide by the norms": (np.abs(covariances).argmax()),
                "covariances are compared, and the sign counts": covariances.argmax(),
                "the means are not subtracted": np.abs(cosines).argmax(),
                "the means are not subtracted, and the sign counts": cosines.argmax(),
                "this is the weakest correlation; it should be the strongest": np.abs(r).argmin(),
                "this unit never changes; its correlation is 0": still,
            }
        )
        own.append((covariances[best], cosines[best]))
    mistakes = {name: [one[name] for one in wrong] for name in wrong[0]}
    case = "four data sets"
    expect([one[0] for one in came], [one[0] for one in expected], "unit", mistakes, case)
    r = np.array([one[1] for one in expected])
    covariance, cosine = np.transpose(own)
    mistakes = {
        "these are absolute values; keep the sign": np.abs(r),
        "these are the squares of the correlations": r**2,
        "these are covariances, not divided by the norms": covariance,
        "these are sums of products, not divided by the norms": n * covariance,
        "the means are not subtracted": cosine,
    }
    expect([one[1] for one in came], r, "correlation", mistakes, case)


@exercise("8.2", "since_newline")
def check_since_newline(function, rng):
    """Texts with short and empty lines, and with a newline at the beginning or the end or none."""
    lines = ["word" * int(k) for k in rng.integers(1, 4, 4)]
    for text in ("ab\ncd", "\n".join([*lines[:2], "", *lines[2:]]), "\n\nab", "no end"):
        ends = [k for k in range(len(text)) if text[k] == "\n"]
        t = np.arange(len(text))
        last = np.array([max([e for e in ends if e <= k], default=-1) for k in t])
        before = np.array([max([e for e in ends if e < k], default=-1) for k in t])
        inside = np.array([character != "\n" for character in text])
        mistakes = {
            "the first character after a newline counts 0; it should be 1": (t - last - 1) * inside,
            "this is the column, from 0; the first character should be 1, and a newline 0": t
            - before
            - 1,
            "a newline is counted; it should be 0": t - before,
            "a newline counts 1; it should be 0": np.where(inside, t - last, 1),
            "the count begins with 1 at a newline; it should begin with 0": t - last + (last >= 0),
            "the count never restarts": t + 1,
            "the count never restarts, and begins at 0": t,
            "the count of the first line begins at 0; it should begin at 1": t
            - np.maximum(last, 0),
        }
        expect(call(function, text), t - last, mistakes=mistakes, case=f"the text is {text!r}")


@exercise("8.3", "saliency")
def check_saliency(function, rng):
    """Compared with npchar, which uses backpropagation."""
    model = npchar.Model(npchar.Vocabulary("abcde"), hidden_size=4, dtype="float64")
    network = model.network
    network.parameters.flat[:] = rng.normal(size=len(network.parameters.flat))
    ids = rng.integers(0, 5, 8)
    x = np.eye(5)[ids[:-1]]

    def loss(x):
        return network.astype(x.dtype).loss(x[:, None], ids[-1:])

    came = call(function, loss, x)
    expected = model.saliency(model.vocabulary.decode(ids))
    dx = network.gradients(x[:, None], ids[-1:]).inputs[:, 0]
    small = 1e-4
    raised = [[loss(x + small * place) - loss(x) for place in row] for row in entries(*x.shape)]
    mistakes = {
        "this is the gradient; take its norm for each character": dx,
        "these are the squares of the norms": expected**2,
        "these are sums, where signs cancel; a norm is the root of a sum of squares": dx.sum(
            axis=1
        ),
        "these are sums of absolute values; a norm is the root of a sum of squares": np.abs(dx).sum(
            axis=1
        ),
        "these are the largest entries; they should be norms": np.abs(dx).max(axis=1),
        "only the entry of the 1 counts; the entries of the 0s count too": (dx * x).sum(axis=1),
        "only the absolute entry of the 1 counts; the entries of the 0s count too": np.abs(
            (dx * x).sum(axis=1)
        ),
        "there is a norm for each symbol; expected one for each character": np.linalg.norm(
            dx, axis=0
        ),
        "this is one norm of all entries; there should be one for each character": np.linalg.norm(
            dx
        ),
        "the differences are not divided by the step": np.linalg.norm(raised, axis=1),
    }
    expect(came, expected, mistakes=mistakes, tolerance=1e-6)


def entries(*shape):
    """For each place of an array, an array with a 1 at this place."""
    return np.eye(math.prod(shape)).reshape(*shape, *shape)
