"""A task that needs nothing but memory: recall the first of 31 characters (notebook 5)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import npchar

Array = np.ndarray


def batch(rng: np.random.Generator) -> tuple[Array, Array]:
    """32 sequences of noise, (31, 32), and the first character of each, (32,)."""
    ids = rng.integers(8, 16, (31, 32))
    ids[0] = rng.integers(0, 8, 32)
    return ids, ids[0]


def create(kind: Any, seed: int) -> npchar.Parameters:
    """The weights of a recurrent layer of any kind and a Dense layer, as one vector."""
    layer, dense = kind.create(16, 32, seed=seed), npchar.Dense.create(32, 8, seed=seed + 1)
    arrays = {f"layer.{name}": array for name, array in layer.arrays.items()}
    arrays |= {"dense.W": dense.W, "dense.b": dense.b}
    weights = npchar.Parameters({name: array.shape for name, array in arrays.items()})
    for name, array in arrays.items():
        weights[name] = array
    return weights


def loss_and_gradient(
    kind: Any, weights: npchar.Parameters, ids: Array, targets: Array
) -> tuple[float, Array]:
    """The mean loss, and its gradient with respect to all weights as one vector."""
    gradient = weights.zeros_like()
    (layer, dense), (dlayer, ddense) = [
        (kind(**arrays.part("layer")), npchar.Dense(**arrays.part("dense")))
        for arrays in (weights, gradient)
    ]
    tape = layer.forward(ids)
    h = tape.outputs[-1]  # (B, H)
    loss, dlogits = npchar.softmax_cross_entropy(dense.forward(h), targets)
    dh = dense.backward(h, dlogits, ddense)  # (B, H): with respect to the last h only
    layer.backward(tape, dh, None, dlayer)
    return float(loss), gradient.flat


def learn(
    kind: Any,
    seed: int,
    begin: Callable[[npchar.Parameters], Any] | None = None,
    clip: float = 1.0,
    optimizer: Any = None,
    rate: float = 0.002,
) -> Array:
    """Train for 500 steps: each loss, and each gradient norm before clipping, (2, 500)."""
    weights, rng, seen = create(kind, seed), np.random.default_rng(seed), []
    if begin is not None:
        begin(weights)
    optimizer = optimizer or npchar.RMSprop(epsilon=1e-12)
    for _ in range(500):
        loss, gradient = loss_and_gradient(kind, weights, *batch(rng))
        seen.append((loss, npchar.clip_by_global_norm(gradient, clip)))
        optimizer.update(weights.flat, gradient, rate)
    return np.array(seen).T


def smooth(losses: Any) -> tuple[Array, Array, tuple[Array, Array]]:
    """Running means over 20 steps: the steps, the mean over the seeds, and the range around it."""
    runs = np.array([np.convolve(loss, np.ones(20) / 20, "valid") for loss in losses])
    mean = runs.mean(axis=0)
    return np.arange(20, 501), mean, (mean - runs.min(axis=0), runs.max(axis=0) - mean)
