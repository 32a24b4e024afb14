"""Measure two ways to improve a trained model: n-grams and dynamic evaluation.

    python benchmarks/adaptation.py --corpus nietzsche.txt

prints the loss of the shipped model on the last tenth of its corpus, with each method, with both
and without. ``records.py`` uses the same functions.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

import npchar
from npchar.network.network import Network
from npchar.text.ngrams import ngram_probabilities

Array = np.ndarray[Any, Any]
LENGTH = 40  # characters per update of dynamic evaluation
RATE, RETURN = 0.002, 0.005  # learning rate and decay to the trained weights; see `dynamic`


def dynamic(network: Network, train: Array, held_out: Array) -> Array:
    """Log-probability of each id after the first, with dynamic evaluation (Krause et al. 2018).

    The weights are updated after every `LENGTH` ids. The update is the gradient of the loss on
    these ids, divided by the root mean square of the gradient on the training text. The weights
    also decay toward the trained weights. The decay is faster for weights with larger gradients.
    The trained weights are restored at the end.
    """
    weights, tapes = network.parameters.flat, network.tapes(LENGTH, 1)
    gradient = Network(network.config, network.parameters.zeros_like())
    before, squares, rng = weights.copy(), np.zeros_like(weights), np.random.default_rng(0)
    for start in rng.integers(len(train) - LENGTH - 1, size=400):
        x = train[start : start + LENGTH + 1, None]
        network.gradients(x[:-1], x[1:], tapes=tapes, gradient=gradient)
        squares += gradient.parameters.flat**2
    sizes = np.sqrt(squares / 400)
    shares = np.minimum(RETURN * sizes / sizes.mean(), 1)
    states, log_p = network.zero_states(1), []
    for start in range(0, len(held_out) - 1, LENGTH):
        x = held_out[start : start + LENGTH + 1, None]
        logits, after = network.logits(x[:-1], states)
        log_p.append(npchar.layers.loss.log_probabilities(logits, x[1:])[:, 0])
        if len(x) > LENGTH:
            network.gradients(x[:-1], x[1:], states, tapes=tapes, gradient=gradient)
            weights += shares * (before - weights)
            weights -= RATE * gradient.parameters.flat / (sizes + 1e-5)
        states = after
    weights[...] = before
    return np.concatenate(log_p)


def mixed_loss(p: Array, q: Array) -> float:
    """The loss of a p + (1 − a) q, where a is fitted on one half and applied to the other half."""
    halves = np.array_split(np.stack([p, q]), 2, axis=1)
    shares = np.linspace(0, 1, 101)[:, None]
    total = 0.0
    for (p1, q1), (p2, q2) in (halves, halves[::-1]):
        best = shares[np.log(shares * p1 + (1 - shares) * q1).mean(axis=1).argmax()]
        total -= np.log(best * p2 + (1 - best) * q2).sum()
    return total / len(p)


def losses(model: npchar.Model, train: str, held_out: str, order: int = 7) -> dict[str, float]:
    """The loss on a held-out text for the model and each combination of the two methods."""
    seen, ids = model.vocabulary.encode(train), model.vocabulary.encode(held_out)
    static = np.exp(model.score(held_out).log_probabilities.astype(np.float64))
    moving = np.exp(dynamic(model.network, seen, ids).astype(np.float64))
    *_, (_, counted) = ngram_probabilities(seen, ids, len(model.vocabulary), order)
    return {
        "alone": -float(np.log(static).mean()),
        f"with {order}-grams": mixed_loss(static, counted),
        "dynamic evaluation": -float(np.log(moving).mean()),
        f"dynamic evaluation with {order}-grams": mixed_loss(moving, counted),
    }


def main() -> None:
    """Print the losses of the shipped model."""
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n\n")[0])
    parser.add_argument(
        "--corpus", default="nietzsche", metavar="PATH", help="corpus (default: download Nietzsche)"
    )
    text = npchar.load_corpus(parser.parse_args().corpus, progress=False).lower()
    split = len(text) - len(text) // 10
    for name, loss in losses(npchar.Model.pretrained(), text[:split], text[split:]).items():
        print(f"{name:<36} {loss:.4f}")


if __name__ == "__main__":
    main()
