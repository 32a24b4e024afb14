"""The time budget: `npchar train --minutes` against fixed models that train for the same time.

    python benchmarks/minutes.py --minutes 1 5 -- short.txt nietzsche.txt long.txt

Prints for each text and time: the seconds and the loss of the command, which chooses size, dropout
and epochs; and of fixed models, for which `fit(minutes=...)` chooses the epochs.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import npchar

FIXED = {  # no dropout is best for a few epochs, much dropout for many
    "128 units": {"hidden_size": 128},
    "256 units": {"hidden_size": 256, "dropout": 0.2},
    "128 units, much dropout": {"hidden_size": 128, "dropout": 0.5, "recurrent_dropout": 0.3},
}


def run_command(path: str, minutes: float) -> tuple[float, float, str]:
    """Run the command; return its seconds, the loss, and its line about the chosen model."""
    with tempfile.TemporaryDirectory() as folder:
        arguments = [path, "--minutes", str(minutes), "--save", os.path.join(folder, "model.npz")]
        start = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-m", "npchar", "train", *arguments],
            check=True, capture_output=True, text=True,
        )  # fmt: skip
        seconds = time.perf_counter() - start
    chosen = [line for line in done.stderr.splitlines() if "Model(" in line or "minutes" in line]
    return seconds, float(done.stdout.split(": ")[1].split()[0]), "; ".join(chosen)


def run_fixed(path: str, minutes: float, arguments: dict[str, float]) -> tuple[float, float, str]:
    """Train a fixed model for the same time; return the same."""
    text = Path(path).read_text(encoding="utf-8")
    model = npchar.Model(npchar.Vocabulary.from_text(text), **arguments)
    start = time.perf_counter()
    history = model.fit(text, minutes=minutes, verbose=False)
    seconds = time.perf_counter() - start
    epochs, step = history.config["epochs"], history.config["step"]
    return seconds, min(history.val_loss), f"{epochs} epochs, windows {step} apart"


def main() -> None:
    """Print a line for each run."""
    parser = argparse.ArgumentParser()
    parser.add_argument("files", nargs="+")
    parser.add_argument("--minutes", nargs="+", type=float, default=[1.0])
    options = parser.parse_args()
    for minutes in options.minutes:
        for path in options.files:
            name = f"{os.path.basename(path)}, {minutes:g} min"
            for label, arguments in {"--minutes": None, **FIXED}.items():
                seconds, loss, chosen = (
                    run_fixed(path, minutes, arguments) if arguments else run_command(path, minutes)
                )
                share = seconds / minutes / 60
                print(f"{name}  {label:24} {seconds:6.1f} s {share:4.0%}  {loss:.4f}  {chosen}",
                      flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
