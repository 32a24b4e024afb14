"""Measure the training time of a recipe to a loss of 1.40 nats per character on Nietzsche.

    python benchmarks/speedrun.py npchar --corpus nietzsche.txt
    python benchmarks/speedrun.py npchar --revision 26bb23b
    python benchmarks/speedrun.py my_recipe.py --seeds 5

A recipe is one of `RECIPES`, or a Python file with a function ``train(text, seed, measure)``.
`text` is the first nine tenths of the corpus, in lower case. The function trains and calls
``measure(score)`` at any time. The time in `measure` is not counted. ``score(text)`` returns the
log-probability of each character after the first, given the characters before it. The run ends when
the loss on the last tenth is 1.40 or less. The time is interpolated between measurements.

This program checks three rules. A recipe uses two cores. It does not open the corpus. Its scores
come from a language model: they do not depend on later characters, and the probabilities of all
characters sum to 1. The row names imported frameworks, because the leaderboard in ``README.md`` is
for NumPy only. The program cannot detect a recipe that contains the text.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).parent
CORES = 2
FRAMEWORKS = ("torch", "tensorflow", "jax", "keras", "numba", "cupy", "cython")

Score = Callable[[str], Sequence[float]]
Measure = Callable[[Score], None]
Recipe = Callable[[str, int, Measure], None]


class Ended(Exception):
    """The goal or the time limit is reached."""


# Recipes


def npchar_recipe(**settings: Any) -> Recipe:
    """A recipe with arguments of `Model.fit`, measured after every epoch."""

    def train(text: str, seed: int, measure: Measure) -> None:
        import npchar

        vocabulary = npchar.Vocabulary.from_text(text)
        model = npchar.Model(vocabulary, hidden_size=settings.get("hidden_size", 128), seed=seed)
        model.fit(
            text, seed=seed, validation_split=0.0, verbose=False,
            callbacks=[lambda _: measure(lambda other: model.score(other).log_probabilities)],
            **{name: value for name, value in settings.items() if name != "hidden_size"},
        )  # fmt: skip

    return train


def torch_recipe(text: str, seed: int, measure: Measure) -> None:
    """The default recipe of `Model.fit` in PyTorch, with one thread per core."""
    from contenders import T
    from peers import TorchModel

    epochs, B, rate, warm_up = 3, 32, 0.04, 0.05
    characters = sorted(set(text))
    ids = {character: k for k, character in enumerate(characters)}
    model = TorchModel(128, 1, symbols=len(characters), seed=seed)
    torch, input_weights = model.torch, model.network.lstm.weight_ih_l0
    others = [weights for weights in model.weights if weights is not input_weights]
    groups = [{"params": [input_weights], "lr": 3 * rate}, {"params": others, "lr": rate}]
    model.optimizer = torch.optim.RMSprop(groups, alpha=0.9, eps=1e-6)
    data = torch.tensor([ids[character] for character in text])
    counts = torch.bincount(data, minlength=len(characters)) + 1
    with torch.no_grad():
        model.network.dense.bias[:] = torch.log(counts / counts.sum())

    def score(other: str) -> Sequence[float]:
        x = torch.tensor([ids[character] for character in other])[:, None]
        with torch.inference_mode():
            log_p = model.network(x[:-1], False)[:, 0].log_softmax(dim=1)
            return [float(value) for value in log_p.gather(1, x[1:])]

    steps = -(-((len(data) - T - 1) // T) // B)  # per epoch
    schedule = torch.optim.lr_scheduler.LambdaLR(
        model.optimizer,
        lambda step: min((step + 1) / (warm_up * steps * epochs),
                         max(0.0, 1 - step / (steps * epochs)) / (1 - warm_up)),
    )  # fmt: skip
    for _ in range(epochs):
        windows = data[int(torch.randint(T, ())) :].unfold(0, T + 1, T)
        order = torch.randperm(len(windows))
        for k in range(0, len(order), B):
            batch = windows[order[k : k + B]].T
            model.step(batch[:-1], batch[1:])
            schedule.step()
        measure(score)


RECIPES: dict[str, Recipe] = {
    "npchar": npchar_recipe(),
    "two-epochs": npchar_recipe(epochs=2),
    "muon": npchar_recipe(epochs=2, optimizer="muon"),
    "book": npchar_recipe(targets="last", batch_size=128, epochs=60, schedule="constant"),
    "torch": torch_recipe,
}


# The clock and the rules


class Run:
    """The run of one recipe with one seed: the clock and the checks."""

    def __init__(self, held_out: str, goal: float, limit: float) -> None:
        self.held_out, self.goal, self.limit = held_out, goal, limit
        self.loss, self.seconds = math.inf, 0.0
        self.reached = math.inf
        """Seconds to the goal."""
        self._start = time.perf_counter()

    def measure(self, score: Score) -> None:
        """Measure the loss on the last tenth while the clock is stopped."""
        before, higher = self.seconds, self.loss
        self.seconds += time.perf_counter() - self._start
        log_p = np.asarray(score(self.held_out), np.float64)
        self.loss = -float(log_p.mean())
        print(f"    {self.seconds:6.1f} s  {self.loss:.4f}", flush=True)
        if self.loss <= self.goal:
            require_language_model(score, self.held_out, log_p)
            is_first = math.isinf(higher)
            share = 1.0 if is_first else (higher - self.goal) / (higher - self.loss)
            self.reached = before + share * (self.seconds - before)
        if self.loss <= self.goal or self.seconds > self.limit:
            raise Ended
        self._start = time.perf_counter()


def require_language_model(score: Score, text: str, log_p: np.ndarray) -> None:
    """Raise ValueError if scores depend on later characters or are not probabilities."""
    characters = sorted(set(text))
    following = str.maketrans(dict(zip(characters, characters[1:] + characters[:1])))
    for n in range(100, 120):  # position of the first changed character
        changed = np.asarray(score(text[:n] + text[n : n + 50].translate(following)))
        if len(log_p) != len(text) - 1 or np.abs(changed - log_p[: n + 49])[: n - 1].max() > 1e-2:
            raise ValueError("expected scores that do not depend on later characters")
    total = sum(np.exp(float(score(text[:20] + c)[-1])) for c in characters)
    if not 0.9 < total < 1.001:
        raise ValueError(f"expected probabilities that sum to 1, got {total:.3f}")


def close_corpus(path: Path) -> None:
    """Block all further attempts to open the corpus."""
    corpus = path.resolve()

    def hook(event: str, arguments: Sequence[Any]) -> None:
        is_path = event == "open" and isinstance(arguments[0], (str, bytes, os.PathLike))
        if is_path and Path(os.fsdecode(arguments[0])).resolve() == corpus:
            raise PermissionError(
                f"expected a recipe that uses its text argument; it opened {corpus}"
            )

    sys.addaudithook(hook)


def load_recipe(name: str) -> Recipe:
    """The recipe with a name, or from a file."""
    if name in RECIPES:
        return RECIPES[name]
    spec = importlib.util.spec_from_file_location("recipe", name)
    if spec is None or spec.loader is None or not Path(name).exists():
        raise SystemExit(f"expected one of {', '.join(RECIPES)}, or a Python file, got {name}")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    recipe: Recipe = module.train
    return recipe


def main() -> None:
    """Run a recipe and print its row."""
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n\n")[0])
    parser.add_argument("recipe", help=f"{', '.join(RECIPES)}, or a Python file")
    parser.add_argument(
        "--corpus",
        type=Path,
        default=Path("nietzsche.txt"),
        metavar="PATH",
        help="corpus (default: nietzsche.txt)",
    )
    parser.add_argument(
        "--seeds", type=int, default=3, metavar="N", help="number of seeds (default: 3)"
    )
    parser.add_argument(
        "--goal", type=float, default=1.40, metavar="LOSS", help="validation loss (default: 1.40)"
    )
    parser.add_argument(
        "--limit", type=float, default=600, metavar="SECONDS", help="time limit (default: 600)"
    )
    parser.add_argument("--revision", metavar="REV", help="use npchar of another commit")
    options = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])
    with tempfile.TemporaryDirectory() as folder:
        library = HERE.parent
        if options.revision:
            archive = subprocess.run(
                ["git", "-C", HERE.parent, "archive", options.revision, "npchar"],
                check=True, stdout=subprocess.PIPE,
            )  # fmt: skip
            subprocess.run(["tar", "-x", "-C", folder], check=True, input=archive.stdout)
            library = Path(folder)
        sys.path.insert(0, str(library))
        os.environ["PYTHONPATH"] = str(library)  # for worker processes
        recipe = load_recipe(options.recipe)
        text = options.corpus.read_text(encoding="utf-8").lower()
        close_corpus(options.corpus)
        split = len(text) - len(text) // 10
        seconds, losses = [], []
        for seed in range(options.seeds):
            run = Run(text[split:], options.goal, options.limit)
            with contextlib.suppress(Ended):
                recipe(text[:split], seed, run.measure)
            seconds.append(run.reached)
            losses.append(run.loss)
    used = [name for name in FRAMEWORKS if name in sys.modules] or ["NumPy"]
    name = options.recipe + (f" at {options.revision}" if options.revision else "")
    reached = sum(map(math.isfinite, seconds))
    goal = f"seconds to {options.goal:.2f}"
    print(
        f"| recipe | {goal} | minimum, maximum | final loss | seeds that reach "
        f"{options.goal:.2f} | framework |"
    )
    print("| --- | --- | --- | --- | --- | --- |")
    figures = f"{statistics.median(seconds):.1f} | {min(seconds):.1f}, {max(seconds):.1f}"
    print(f"| {name} | {figures} | {statistics.mean(losses):.3f} | {reached} of {options.seeds} | "
          f"{', '.join(used)} |")  # fmt: skip


if __name__ == "__main__":
    main()
