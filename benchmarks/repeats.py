"""Repeats at low temperature, and remedies compared at equal entropy: see ``README.md``."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tables import table

import npchar
from npchar.generation import sampling, stream

TEXTS, LENGTH, N = 40, 2_000, 8  # texts, their characters, and the characters of a repeat
REMEDIES = [("min_p", 0.1), ("typical", 0.5), ("no_repeat", 12), ("no_repeat", 8)]


class Sample(NamedTuple):
    temperature: float
    entropy: float  # of the distributions that characters are drawn from, nats per character
    texts: list[str]


def generate(model: npchar.Model, temperature: float, remedy: str = "none", value: float = 0):
    """Texts as of `Model.generate`, by a remedy, at a temperature: a Sample."""
    starts = model.generate(["the "] * TEXTS, 40, temperature=0.5, seed=0)
    prompts = [model.vocabulary.encode(start) for start in starts]
    logits, states = stream.prefill(model.network, prompts)
    step, rngs = model.network.stepper(states), map(np.random.default_rng, range(TEXTS))
    draw = sampling.sampler([temperature] * TEXTS, len(model.vocabulary), [*rngs])
    texts, entropies = ["".join(map(chr, ids)) for ids in prompts], []
    for _ in range(LENGTH):
        p = sampling.softmax_weights(logits, temperature)  # (TEXTS, V)
        p /= p.sum(axis=1, keepdims=True)
        if remedy == "min_p":  # Nguyen et al. 2024
            logits[p < value * p.max(axis=1, keepdims=True)] = -np.inf
        elif remedy == "typical":  # Meister et al. 2023
            difference = np.abs(np.log(np.maximum(p, 1e-300)) + sampling.entropy(p)[:, None])
            order = difference.argsort(axis=1)
            sums = np.take_along_axis(p, order, axis=1).cumsum(axis=1)
            logits[np.take_along_axis(sums, order.argsort(axis=1), 1) - p >= value] = -np.inf
        elif remedy == "no_repeat":
            for row, text in zip(logits, texts):
                sampling.forbid_repeats(row, text[-stream.RECENT :], int(value))
        entropies.append(sampling.entropy(sampling.softmax_weights(logits, temperature)))
        ids = draw(logits)
        texts = [text + chr(i) for text, i in zip(texts, ids)]
        logits = step(ids)
    decoded = [model.vocabulary.decode([*map(ord, text[-LENGTH:])]) for text in texts]
    return Sample(temperature, float(np.mean(entropies)), decoded)


def match(model: npchar.Model, goal: Sample, remedy: str, value: float) -> Sample:
    """Texts by a remedy at the temperature that brings their entropy within 1% of the goal's."""
    sample, ratio = generate(model, goal.temperature, remedy, value), 1.0
    while goal.entropy and abs((ratio := goal.entropy / sample.entropy) - 1) > 0.01:
        sample = generate(model, sample.temperature * ratio, remedy, value)
    return sample


def percent(shares: list[float]) -> str:
    """The mean over texts and its standard error."""
    return f"{100 * np.mean(shares):.1f} ± {100 * np.std(shares) / (len(shares) - 1) ** 0.5:.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--corpus", metavar="PATH", required=True, help="text with all real words")
    corpus = Path(parser.parse_args().corpus).read_text(encoding="utf-8").lower()
    model, real = npchar.Model.pretrained("nietzsche"), set(re.findall("[a-z]+", corpus))
    rows, samples = [], []
    for goal in (generate(model, temperature) for temperature in (0.0, 0.2, 0.5)):
        choices = REMEDIES if goal.temperature else REMEDIES[2:]  # the others change nothing at 0
        made = {f"{name}={value}": match(model, goal, name, value) for name, value in choices}
        for name, (temperature, entropy, texts) in ({"none": goal} | made).items():
            grams = [[text[k : k + N] for k in range(LENGTH - N + 1)] for text in texts]
            words = [re.findall("[a-z]+", text)[1:-1] for text in texts]  # uncut ones
            repeats = percent([1 - len(set(text)) / len(text) for text in grams])
            known = percent([sum(w in real for w in text) / max(1, len(text)) for text in words])
            rows.append([name, f"{temperature:.3f}", f"{entropy:.3f}", repeats, known])
            for text in texts[:2]:
                samples.append(f"{name}, temperature {temperature:.3f}: {text[-200:]!r}")
    print(table(["remedy", "temperature", "nats", f"repeated {N}-grams, %", "real words, %"], rows))
    print("", *samples, sep="\n")


if __name__ == "__main__":
    main()
