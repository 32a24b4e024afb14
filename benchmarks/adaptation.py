"""Two ways to get more from a trained model: counted n-grams, and learning while it predicts.

    python benchmarks/adaptation.py --corpus nietzsche.txt

prints the loss of a pretrained model on the last tenth of its corpus, alone and with both.
``records.py`` does the same for a record.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

import npchar
from npchar.network.network import Network
from npchar.text.ngrams import ngram_probabilities

Array = np.ndarray[Any, Any]
LENGTH = 40  # characters between two steps of dynamic evaluation
RATE, RETURN = 0.002, 0.005  # its learning rate, and how far weights return; see `dynamic`


def dynamic(network: Network, train: Array, held_out: Array) -> Array:
    """Log-probabilities of each id after the first, by dynamic evaluation (Krause et al. 2018).

    After every `LENGTH` ids the weights take a step down the gradient of the loss on them, divided
    by its usual size on the training text, and return to where they were by a small share, which
    is larger for weights whose gradients are usually large. The network is restored at the end.
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
    """The loss of a p + (1 − a) q, with the a that is best in one half for the other half."""
    halves = np.array_split(np.stack([p, q]), 2, axis=1)
    shares = np.linspace(0, 1, 101)[:, None]
    total = 0.0
    for (p1, q1), (p2, q2) in (halves, halves[::-1]):
        best = shares[np.log(shares * p1 + (1 - shares) * q1).mean(axis=1).argmax()]
        total -= np.log(best * p2 + (1 - best) * q2).sum()
    return total / len(p)


def losses(model: npchar.Model, train: str, held_out: str, order: int = 7) -> dict[str, float]:
    """The loss on a held-out text alone, with n-grams, with dynamic evaluation, and with both."""
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
    """Print the losses of a pretrained model."""
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n\n")[0])
    parser.add_argument("--corpus", default="nietzsche", metavar="PATH")
    text = npchar.load_corpus(parser.parse_args().corpus, progress=False).lower()
    split = len(text) - len(text) // 10
    for name, loss in losses(npchar.Model.pretrained(), text[:split], text[split:]).items():
        print(f"{name:<36} {loss:.4f}")


if __name__ == "__main__":
    main()
