"""Run the 59 epochs of the book's listing and compare the losses with the published ones.

    python benchmarks/book.py --corpus nietzsche.txt

The settings and the losses are the same as in ``examples/nietzsche.py --book``. ``book.json`` is
written after every epoch.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import npchar

# Output of the author's run of Deep Learning with Python, section 8.1 (Keras 2.0.8)
PUBLISHED = {
    1: 1.9895, 2: 1.6382, 3: 1.5460, 4: 1.4973, 5: 1.4682, 10: 1.3947, 15: 1.3608, 20: 1.3391,
    25: 1.3253, 30: 1.3154, 40: 1.3098, 50: 1.3031, 54: 1.3014, 55: 1.3026, 56: 1.5978,
    57: 4.7329, 58: 12.5951, 59: 14.5726,
}  # fmt: skip


def main() -> None:
    """Train and write the losses."""
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n\n")[0])
    parser.add_argument(
        "--corpus", default="nietzsche", metavar="PATH", help="corpus (default: download Nietzsche)"
    )
    parser.add_argument(
        "--write",
        type=Path,
        default=Path(__file__).with_name("book.json"),
        metavar="PATH",
        help="file for the losses (default: book.json)",
    )
    options = parser.parse_args()

    def keep(history: npchar.History) -> None:
        write(options.write, history.loss)

    text = npchar.load_corpus(options.corpus).lower()
    model = npchar.Model(npchar.Vocabulary.from_text(text))
    model.fit(text, epochs=59, targets="last", batch_size=128, learning_rate=0.01,
              schedule=npchar.Schedule("constant", warm_up=0), validation_split=0.0,
              callbacks=[keep])  # fmt: skip


def write(path: Path, losses: list[float]) -> None:
    """Write the losses, one epoch per line."""
    lines = [
        json.dumps({"epoch": k, "npchar": round(loss, 4), "book": PUBLISHED.get(k)})
        for k, loss in enumerate(losses, 1)
    ]
    path.write_text("[\n" + ",\n".join(lines) + "\n]\n")


if __name__ == "__main__":
    main()
