"""Checks of notebook 8: units, features, and saliency."""

from __future__ import annotations

import math

import numpy as np

import npchar
from checks.checking import call, exercise, expect, parts


@exercise("8.1", "best_unit")
def check_best_unit(function, rng):
    """Compared with `npchar.Activations.find`, on several data."""
    n, units = 60, 8
    came, expected, wrong, own = [], [], [], []
    for _ in range(4):
        values, feature = rng.normal(size=(n, units)), 5 + rng.normal(size=n)
        best, good, large, still = rng.permutation(units)[:4]
        values[:, best] -= 1.5 * feature
        values[:, good] += feature
        values[:, large] = 30 * values[:, large] + 20 * feature
        values[:, still] = 3
        came.append(parts(call(function, values, feature), "unit, correlation"))
        # An array of (T, layers, H) six times: any of them may be asked for.
        seen = npchar.Activations("x" * n, {"c": values[:, None], "h": values[:, None]})
        found = {unit: r for _, unit, r in seen.find(feature, units)}  # the strongest first
        r = np.array([found[unit] for unit in range(units)])
        best = next(iter(found))
        expected.append((best, r[best]))
        covariances = (feature - feature.mean()) @ (values - values.mean(axis=0)) / n
        cosines = feature @ values / np.linalg.norm(values, axis=0) / np.linalg.norm(feature)
        wrong.append(
            {
                "these are the largest; the strongest are asked for, whatever the sign": r.argmax(),
                "covariances are compared; correlations are over the norms": (
                    np.abs(covariances).argmax()
                ),
                "covariances are compared, and the sign counts": covariances.argmax(),
                "the means are not subtracted": np.abs(cosines).argmax(),
                "the means are not subtracted, and the sign counts": cosines.argmax(),
                "they are the weakest; the strongest are asked for": np.abs(r).argmin(),
                "they never change: their correlation is 0": still,
            }
        )
        own.append((covariances[best], cosines[best]))
    mistakes = {name: [one[name] for one in wrong] for name in wrong[0]}
    case = "four data, one after the other"
    expect([one[0] for one in came], [one[0] for one in expected], "unit", mistakes, case)
    r = np.array([one[1] for one in expected])
    covariance, cosine = np.transpose(own)
    mistakes = {
        "the sign counts; these are absolute values": np.abs(r),
        "these are squares": r**2,
        "these are covariances, not divided by the norms": covariance,
        "these are sums of products, not divided by the norms": n * covariance,
        "the means are not subtracted": cosine,
    }
    expect([one[1] for one in came], r, "correlation", mistakes, case)


@exercise("8.2", "since_newline")
def check_since_newline(function, rng):
    """Short lines, an empty line, a newline at the beginning or not, text after the last."""
    lines = ["word" * int(k) for k in rng.integers(1, 4, 4)]
    for text in ("ab\ncd", "\n".join([*lines[:2], "", *lines[2:]]), "\n\nab", "no end"):
        ends = [k for k in range(len(text)) if text[k] == "\n"]
        t = np.arange(len(text))
        last = np.array([max([e for e in ends if e <= k], default=-1) for k in t])
        before = np.array([max([e for e in ends if e < k], default=-1) for k in t])
        inside = np.array([character != "\n" for character in text])
        mistakes = {
            "the first character after a newline counts 0; it should be 1": (t - last - 1) * inside,
            "it is the column, from 0; the first should be 1, and a newline 0": t - before - 1,
            "a newline goes on counting; it should be 0": t - before,
            "a newline counts 1; it should be 0": np.where(inside, t - last, 1),
            "a newline counts 1, and so on; it should be 0": t - last + (last >= 0),
            "it never begins anew": t + 1,
            "it never begins anew, and counts from 0": t,
            "the first line counts from 0, though nothing came before it": t - np.maximum(last, 0),
        }
        expect(call(function, text), t - last, mistakes=mistakes, case=f"the text is {text!r}")


@exercise("8.3", "saliency")
def check_saliency(function, rng):
    """Compared with npchar's, by backpropagation."""
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
        "this is the gradient; its norm for each character is asked for": dx,
        "these are the squares of the norms": expected**2,
        "these are sums, in which signs cancel; a norm is a root of a sum of squares": dx.sum(
            axis=1
        ),
        "these are sums of absolute values; a norm is a root of a sum of squares": np.abs(dx).sum(
            axis=1
        ),
        "these are the largest entries; norms are asked for": np.abs(dx).max(axis=1),
        "it is with respect to the 1 alone; the 0s count as well": (dx * x).sum(axis=1),
        "it is with respect to the 1 alone, in absolute value; the 0s count as well": np.abs(
            (dx * x).sum(axis=1)
        ),
        "there is one for each symbol there is; it should be for each of the text": np.linalg.norm(
            dx, axis=0
        ),
        "it is the norm of all together; it should be one for each character": np.linalg.norm(dx),
        "they are not divided by the step": np.linalg.norm(raised, axis=1),
    }
    expect(came, expected, mistakes=mistakes, tolerance=1e-6)


def entries(*shape):
    """For each place of an array one with a 1 there."""
    return np.eye(math.prod(shape)).reshape(*shape, *shape)
