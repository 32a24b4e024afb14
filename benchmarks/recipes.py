"""Which recipe trains best: the trials behind the defaults, written to ``recipes.json``.

    python benchmarks/recipes.py --nietzsche nietzsche.txt --shakespeare shakespeare.txt

Each trial is a training with the last tenth held out, on both corpora or pieces of them, with
several seeds; what counts is the lowest held-out loss. Those of one section take about the same
seconds each. What is in ``recipes.json`` is not measured again: remove it to begin anew. At the
end, and by ``--show`` alone, the tables are printed.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

import npchar
from npchar.layers.lstm import State, Step, Tape
from npchar.network.network import Network
from npchar.network.registry import FAST

FILE = Path(__file__).with_name("recipes.json")
TEXTS = ("nietzsche", "shakespeare")

# Each trial: how long the text (None: all of it), and what differs from `fit` as it came at first.
# "trial" names something that is no argument of the library, since it was not kept: see `patched`.
Trials = dict[str, dict[str, Any]]
NO_WARM_UP = npchar.Schedule(warm_up=0)
RATES: Trials = {
    "0.01": {"learning_rate": 0.01},
    "0.02": {"learning_rate": 0.02},
    "0.04": {"learning_rate": 0.04},
    "0.05": {},
    "0.05, no warm-up": {"schedule": NO_WARM_UP},
    "0.06": {"learning_rate": 0.06},
}
SMALL: Trials = {
    "20 epochs, 0.01 (the first default)": {
        "epochs": 20,
        "learning_rate": 0.01,
        "schedule": NO_WARM_UP,
    },
    "20 epochs, 0.04": {"epochs": 20},
    "40 epochs, 0.04": {"epochs": 40},
    "40 epochs, 0.02": {"epochs": 40, "learning_rate": 0.02},
    "30 epochs, 0.04, batches of 16": {"epochs": 30, "batch_size": 16},
    "30 epochs, 0.04, dropout 0.3": {"epochs": 30, "dropout": 0.3},
}
TRIED: Trials = {
    "as it is": {},
    "cosine": {"schedule": "cosine"},
    "Adam, 0.02": {"optimizer": "adam", "learning_rate": 0.02},
    "Adam, 0.04": {"optimizer": "adam", "learning_rate": 0.04},
    "Adam, 0.08": {"optimizer": "adam", "learning_rate": 0.08},
    "SGD with momentum, 1.0": {"optimizer": "sgd", "learning_rate": 1.0},
    "batches of 64, 0.05": {"batch_size": 64, "learning_rate": 0.05},
    "windows of 120, 16 a step": {"maxlen": 120, "batch_size": 16},
    "weight decay 0.001": {"trial": "decay 0.001"},
    "weight decay 0.003": {"trial": "decay 0.003"},
    "averaged weights, constant rate 0.01": {
        "trial": "averaged", "learning_rate": 0.01, "schedule": "constant",
    },
    "averaged weights": {"trial": "averaged"},
    "layer normalisation": {"trial": "layer normalisation"},
}  # fmt: skip
LARGER: Trials = {
    "no dropout, 0.03": {"dropout": 0.0},
    "dropout 0.2, 0.02": {"learning_rate": 0.02},
    "dropout 0.2, 0.03": {},
    "dropout 0.2, 0.03, no warm-up": {"schedule": NO_WARM_UP},
    "dropout 0.2 drawn anew at each step": {"trial": "dropout a step"},
    "dropout 0.2, recurrent dropout 0.1": {"recurrent_dropout": 0.1},
}
BASE: dict[str, Any] = {"learning_rate": 0.05}
SECTIONS: dict[str, tuple[dict[str, Any], Trials]] = {
    "rates": ({**BASE, "epochs": 5, "seeds": 2}, RATES),
    "tried": ({**BASE, "epochs": 5, "seeds": 1, "texts": ("nietzsche",)}, TRIED),
    "larger": ({**BASE, "learning_rate": 0.03, "epochs": 8, "seeds": 1, "texts": ("nietzsche",),
                "hidden_size": 256, "dropout": 0.2}, LARGER),
    "small 10,000": ({"length": 10_000, **BASE, "learning_rate": 0.04, "seeds": 3}, SMALL),
    "small 100,000": ({"length": 100_000, **BASE, "learning_rate": 0.04, "seeds": 2}, SMALL),
}  # fmt: skip
OF_MODEL = ("hidden_size", "num_layers", "dropout", "recurrent_dropout", "layer")
START = 100_000  # where a piece of a text is taken from


class Decaying(npchar.RMSprop):
    """RMSprop with decoupled weight decay (Loshchilov & Hutter 2019)."""

    decay = 0.0

    def update(self, weights: Any, gradient: Any, learning_rate: float | None = None) -> None:
        """One step, and each weight a little smaller."""
        rate = self.learning_rate if learning_rate is None else learning_rate
        weights *= 1 - rate * self.decay
        super().update(weights, gradient, learning_rate)


class Averaging(npchar.RMSprop):
    """RMSprop that also keeps a running mean of the weights (Polyak & Juditsky 1992)."""

    keep = 0.998

    def update(self, weights: Any, gradient: Any, learning_rate: float | None = None) -> None:
        """One step, and the mean a step on."""
        super().update(weights, gradient, learning_rate)
        if not hasattr(self, "mean"):
            self.mean = weights.copy()
        self.mean += (1 - self.keep) * (weights - self.mean)


class LayerNormalised(npchar.LSTM):
    """An LSTM whose recurrent sums are normalised over the units (Ba et al. 2016), gain 1."""

    def normalised(self, h_: Any) -> tuple[Any, Any]:
        """The sums with mean 0 and variance 1 over the units, and what they are divided by."""
        a = h_ @ self.Wh  # (4, B, H)
        a = a - a.mean(axis=2, keepdims=True)
        scale = np.sqrt((a**2).mean(axis=2, keepdims=True) + 1e-5)
        return a / scale, scale

    def equations(self, x: Any, h_: Any, c_: Any) -> Step:
        """One step."""
        z = x @ self.Wx + self.normalised(h_)[0] + self.b[:, None]  # (4, B, H)
        i, f, o = 1 / (1 + np.exp(-z[:3]))
        g = np.tanh(z[3])
        c = f * c_ + i * g
        return Step(x, h_, c_, i, f, o, g, c, o * np.tanh(c))

    def backward(self, tape: Any, dh: Any, dstate: Any, gradient: Any) -> Any:
        """As the LSTM's, with the way through the normalisation."""
        above, (dh, dc) = self._begin_backward(tape, Tape, dh, dstate, gradient)
        dx = []
        for t in reversed(range(len(tape.steps))):
            x, h_, c_, i, f, o, g, c, _ = tape.steps[t]
            dh = dh + above[t]
            dc = dc + dh * o * (1 - np.tanh(c) ** 2)
            dz = np.stack([dc * g * i * (1 - i), dc * c_ * f * (1 - f),
                           dh * np.tanh(c) * o * (1 - o), dc * i * (1 - g**2)])  # fmt: skip
            n, scale = self.normalised(h_)
            mean = dz.mean(axis=2, keepdims=True) + n * (dz * n).mean(axis=2, keepdims=True)
            da = (dz - mean) / scale
            gradient.Wx += x.T @ dz
            gradient.Wh += h_.T @ da
            gradient.b += dz.sum(axis=1)
            dx.insert(0, (dz @ self.Wx.swapaxes(1, 2)).sum(axis=0))
            dh = (da @ self.Wh.swapaxes(1, 2)).sum(axis=0)
            dc = dc * f
        return (None if tape.ids else np.stack(dx)), State(dh, dc)


@contextlib.contextmanager
def patched(trial: str) -> Iterator[None]:
    """Train with something that is not in the library, while this is entered."""
    before = Network.dropout_masks, FAST["lstm"]

    def masks(self: Network, B: int, seed: int) -> list[Any]:
        keep, rng = 1 - self.config.dropout, np.random.default_rng(seed)
        shape = (60, B, self.config.hidden_size)
        return [(rng.random(shape, np.float32) < keep) / np.float32(keep) for _ in self.layers]

    if trial == "dropout a step":
        Network.dropout_masks = masks  # type: ignore[method-assign]
    elif trial == "layer normalisation":
        FAST["lstm"] = LayerNormalised
    try:
        yield
    finally:
        Network.dropout_masks, FAST["lstm"] = before  # type: ignore[method-assign]


def best_loss(text: str, settings: dict[str, Any], seed: int) -> float:
    """The lowest held-out loss of a training."""
    settings = dict(settings)
    trial = settings.pop("trial", "")
    of_model = {name: settings.pop(name) for name in OF_MODEL if name in settings}
    model = npchar.Model(npchar.Vocabulary.from_text(text), seed=seed, **of_model)
    optimizer: Any = None
    if trial == "averaged" or trial.startswith("decay"):
        kind = Averaging if trial == "averaged" else Decaying
        optimizer = kind(learning_rate=settings.pop("learning_rate"), epsilon=1e-12)
        settings["optimizer"] = optimizer
    if trial.startswith("decay"):
        optimizer.decay = float(trial.split()[1])
    # What is patched is patched in this process, and not in those that make a step together.
    workers = 1 if trial else None
    with patched(trial):
        history = model.fit(text, seed=seed, verbose=False, workers=workers, **settings)
    if trial == "averaged":
        model.parameters.flat[:] = optimizer.mean
        return float(model.evaluate(text[-int(len(text) * 0.1) :]).loss)
    return float(min(history.val_loss))


def measure(texts: dict[str, str], found: dict[str, Any]) -> Iterator[str]:
    """All that is not there yet; yields what was measured, to be kept."""
    for section, (base, trials) in SECTIONS.items():
        base = dict(base)
        length, seeds = base.pop("length", None), base.pop("seeds")
        names = base.pop("texts", TEXTS)
        for label, changes in trials.items():
            for name in names:
                key = f"{section}: {label}: {name}"
                losses = found.setdefault(key, [])
                text = texts[name]
                if length:
                    text = text[START : START + length]
                while len(losses) < seeds:
                    losses.append(round(best_loss(text, base | changes, len(losses) + 1), 4))
                    yield f"{key}: {losses[-1]}"


def show(found: dict[str, Any]) -> None:
    """A table for each section: the mean of the seeds, and its standard error."""
    for section, (base, trials) in SECTIONS.items():
        names = base.get("texts", TEXTS)
        print(f"\n| {section} | {' | '.join(names)} |\n| --- |{' --- |' * len(names)}")
        for label in trials:
            cells = []
            for name in names:
                losses = found.get(f"{section}: {label}: {name}", [])
                if len(losses) > 1:
                    error = statistics.stdev(losses) / len(losses) ** 0.5
                    cells.append(f"{statistics.mean(losses):.3f} ± {error:.3f}")
                else:
                    cells.append(" ".join(f"{loss:.3f}" for loss in losses))
            print(f"| {label} | {' | '.join(cells)} |")


def main() -> None:
    """Measure what is not there yet, and print it all."""
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n\n")[0])
    parser.add_argument("--nietzsche", default="nietzsche", metavar="PATH")
    parser.add_argument("--shakespeare", default="shakespeare", metavar="PATH")
    parser.add_argument("--write", type=Path, default=FILE, metavar="PATH")
    parser.add_argument("--show", action="store_true", help="measure nothing")
    options = parser.parse_args()
    found = json.loads(options.write.read_text()) if options.write.exists() else {}
    if not options.show:
        texts = {
            "nietzsche": npchar.load_corpus(options.nietzsche).lower(),
            "shakespeare": npchar.load_corpus(options.shakespeare),
        }
        for line in measure(texts, found):
            print(line, flush=True)
            options.write.write_text(json.dumps(found, indent=1) + "\n")
    show(found)


if __name__ == "__main__":
    main()
