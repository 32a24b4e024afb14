"""Compare training settings to choose the defaults of `fit`; results are in ``recipes.json``.

    python benchmarks/recipes.py --nietzsche nietzsche.txt --shakespeare shakespeare.txt
    python benchmarks/recipes.py --section epochs --seeds 5

Each trial trains on both corpora or on parts of them, with several seeds. The last tenth of a text
is the validation set. A table shows the lowest validation loss, its difference from the first row
with the same seed and text, and the median time to a loss, interpolated between epochs. Trials take
turns. Results that ``recipes.json`` already contains are not measured again. Delete the file to
start again. ``--show`` only prints the tables.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import statistics
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import npchar

FILE = Path(__file__).with_name("recipes.json")
MODEL_ARGUMENTS = ("hidden_size", "num_layers", "dropout", "recurrent_dropout", "layer")
GOALS = {"nietzsche": (1.45, 1.38), "shakespeare": (1.65, 1.58)}
Trials = dict[str, dict[str, Any]]  # arguments of `Model` and `fit`; functions are called
WHOLE = ((0, 0),)


class Section(NamedTuple):
    """Trials, which are compared with the first one."""

    base: dict[str, Any]
    trials: Trials
    parts: tuple[tuple[int, int], ...] = WHOLE  # (start, length); length 0: the whole text


def rmsprop(learning_rate: float, input_scale: float) -> partial[npchar.RMSprop]:
    """A function that makes an optimizer, because each run needs a new one."""
    return partial(
        npchar.RMSprop, learning_rate=learning_rate, input_scale=input_scale, epsilon=1e-12
    )


def small(length: int, others: Trials) -> Section:
    """Trials on five disjoint parts of a text."""
    before = {
        "optimizer": rmsprop(0.05, 1),
        "epochs": round(5 * (540_000 / length) ** (1 / 3)),
        "batch_size": min(32, length // 600),
        "schedule": npchar.Schedule(warm_up=0.1),
    }
    trials: Trials = {
        "before: 0.05 for all weights": before,
        "default": {},
        "dropout 0.3": {"dropout": 0.3},
        "before, dropout 0.3": before | {"epochs": round(1.6 * before["epochs"]), "dropout": 0.3},
    }
    parts = tuple((start, length) for start in range(0, 500_000, 100_000))
    return Section({}, trials | others, parts)


SECTIONS = {
    "epochs": Section(
        {},
        {
            "before: 5 epochs, 0.05 for all weights": {
                "optimizer": rmsprop(0.05, 1),
                "epochs": 5,
                "schedule": npchar.Schedule(warm_up=0.1),
            },
            "default": {},
            "4 epochs": {"epochs": 4},
            "5 epochs": {"epochs": 5},
            "3 epochs, 0.05 for all weights": {"optimizer": rmsprop(0.05, 1)},
            "3 epochs, 0.05, input weights 0.1": {"optimizer": rmsprop(0.05, 2)},
            "Muon": {"optimizer": "muon"},
            "Muon, 4 epochs": {"optimizer": "muon", "epochs": 4},
            "batches of 64, 0.07": {"batch_size": 64, "learning_rate": 0.07},
        },
    ),
    "GRU": Section(
        {"layer": "gru", "epochs": 3},
        {
            "before: 0.01": {"optimizer": rmsprop(0.01, 1)},
            "default": {},
            "input weights 0.03": {"optimizer": rmsprop(0.03, 1)},
            "Muon": {"optimizer": "muon"},
        },
    ),
    "plain RNN": Section(
        {"layer": "rnn", "epochs": 3},
        {
            "before: 0.005": {"optimizer": rmsprop(0.005, 1)},
            "default": {},
            "input weights 0.01": {"optimizer": rmsprop(0.01, 1)},
            "input weights 0.04": {"optimizer": rmsprop(0.01, 4)},
            "Muon": {"optimizer": "muon"},
        },
    ),
    "256 units": Section(
        {"hidden_size": 256, "dropout": 0.2, "epochs": 8},
        {
            "before: 0.03 for all weights": {"optimizer": rmsprop(0.03, 1)},
            "default": {},
            "Muon": {"optimizer": "muon"},
            "6 epochs": {"epochs": 6},
        },
    ),
    "10,000 characters": small(
        10_000,
        {
            "15 epochs": {"epochs": 15},
            "twice the batch": {"batch_size": 16},
            "Muon": {"optimizer": "muon"},
        },
    ),
    "100,000 characters": small(100_000, {}),
    "others": Section(
        {"epochs": 3},
        {
            "default": {},
            "warm-up 0.1": {"schedule": npchar.Schedule(warm_up=0.1)},
            "cosine": {"schedule": "cosine"},
            "Adam, 0.04": {"optimizer": "adam"},
            "batches of 16, 0.03": {"batch_size": 16, "learning_rate": 0.03},
            "windows of 120, 16 a step": {"maxlen": 120, "batch_size": 16},
            "gradient clipped at 0.3": {"clip_norm": 0.3},
        },
    ),
}


def train(text: str, settings: dict[str, Any], seed: int) -> dict[str, Any]:
    """Train a model; return the loss and the seconds of each epoch."""
    settings = {name: value() if callable(value) else value for name, value in settings.items()}
    arguments = {name: settings.pop(name) for name in MODEL_ARGUMENTS if name in settings}
    model = npchar.Model(npchar.Vocabulary.from_text(text), seed=seed, **arguments)
    history = model.fit(text, seed=seed, verbose=False, **settings)
    return {
        "loss": [round(loss, 4) for loss in history.val_loss],
        "training loss": round(history.loss[-1], 4),
        "seconds": [round(seconds, 2) for seconds in history.seconds],
    }


def seconds_to(goal: float, result: dict[str, Any]) -> float:
    """Seconds to a loss, interpolated between epochs; infinite if it is not reached."""
    points = list(zip(itertools.accumulate(result["seconds"]), result["loss"]))
    for (before, higher), (after, lower) in zip([(0.0, math.inf), *points], points):
        if lower <= goal:
            share = 1.0 if math.isinf(higher) else (higher - goal) / (higher - lower)
            return before + share * (after - before)
    return math.inf


def measure(
    names: list[str], seeds: int, texts: dict[str, str], found: dict[str, Any]
) -> Iterator[str]:
    """Measure the missing results; yield a line for each."""
    for name in names:
        section = SECTIONS[name]
        for seed, corpus, (start, length) in itertools.product(range(seeds), texts, section.parts):
            text = texts[corpus][start:][: length or None]
            for trial, settings in section.trials.items():
                key = f"{name}; {trial}; {corpus} {start} {seed}"
                if key not in found:
                    found[key] = train(text, section.base | settings, seed)
                    yield f"{key}: {min(found[key]['loss'])}"


def mean(values: list[float], form: str) -> str:
    """The mean and its standard error, formatted."""
    if len(values) < 2:
        return " ".join(format(value, form) for value in values)
    error = statistics.stdev(values) / len(values) ** 0.5
    return f"{statistics.mean(values):{form}} ± {error:.4f}"


def show(found: dict[str, Any]) -> None:
    """Print a table for each section."""
    for name, section in SECTIONS.items():
        if not any(key.startswith(f"{name};") for key in found):
            continue
        goals = GOALS if section.parts == WHOLE else dict.fromkeys(GOALS, ())
        heads = [name]
        for corpus in GOALS:
            heads += [corpus, "difference", *(f"seconds to {goal}" for goal in goals[corpus])]
        print(f"\n| {' | '.join(heads)} |\n|{' --- |' * len(heads)}")
        first = next(iter(section.trials))
        for trial in section.trials:
            cells = [trial]
            for corpus in GOALS:
                keys = [key for key in found if key.startswith(f"{name}; {trial}; {corpus} ")]
                losses = [min(found[key]["loss"]) for key in keys]
                others = [min(found[key.replace(trial, first, 1)]["loss"]) for key in keys]
                differences = [ours - other for ours, other in zip(losses, others)]
                cells.append(mean(losses, ".3f"))
                cells.append("" if trial == first else mean(differences, "+.4f"))
                for goal in goals[corpus]:
                    seconds = [seconds_to(goal, found[key]) for key in keys]
                    cells.append(f"{statistics.median(seconds):.1f}" if seconds else "")
                    cells[-1] = cells[-1].replace("inf", "—")  # not reached
            print(f"| {' | '.join(cells)} |")


def main() -> None:
    """Measure the missing results and print all tables."""
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n\n")[0])
    parser.add_argument(
        "--nietzsche", default="nietzsche", metavar="PATH", help="corpus (default: download it)"
    )
    parser.add_argument(
        "--shakespeare", default="shakespeare", metavar="PATH", help="corpus (default: download it)"
    )
    parser.add_argument(
        "--section",
        action="append",
        choices=SECTIONS,
        help="section, may be repeated (default: all)",
    )
    parser.add_argument(
        "--seeds", type=int, default=3, metavar="N", help="number of seeds (default: 3)"
    )
    parser.add_argument(
        "--write",
        type=Path,
        default=FILE,
        metavar="PATH",
        help="file of results (default: recipes.json)",
    )
    parser.add_argument("--show", action="store_true", help="only print the tables")
    options = parser.parse_args()
    found = json.loads(options.write.read_text()) if options.write.exists() else {}
    if not options.show:
        texts = {
            "nietzsche": npchar.load_corpus(options.nietzsche).lower(),
            "shakespeare": npchar.load_corpus(options.shakespeare),
        }
        names = options.section or list(SECTIONS)
        for line in measure(names, options.seeds, texts, found):
            print(line, flush=True)
            options.write.write_text(json.dumps(found, indent=1) + "\n")
    show(found)


if __name__ == "__main__":
    main()
