"""The best known recipe for each corpus: train it, and write what it reaches to ``records.json``.

    python benchmarks/records.py nietzsche            an hour on two cores
    python benchmarks/records.py shakespeare
    python benchmarks/records.py nietzsche --corpus nietzsche.txt --save best.npz

The last tenth of the text is held out. A training that is interrupted goes on when the command
is given again. ``--half-minute`` gives each recipe that long, to see that it runs.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
from pathlib import Path
from typing import Any

import numpy as np

import npchar

HERE = Path(__file__).parent
FILE = HERE / "records.json"

# Found by ``recipes.py`` on smaller models, and carried over to larger ones.
RECIPES: dict[str, dict[str, dict[str, Any]]] = {
    "nietzsche": {
        "model": {"hidden_size": 512, "num_layers": 2, "dropout": 0.4, "recurrent_dropout": 0.2},
        "fit": {"epochs": 24, "learning_rate": 0.014, "warm_up": 0.05},
    },
    "shakespeare": {
        "model": {"hidden_size": 512, "num_layers": 2, "dropout": 0.4, "recurrent_dropout": 0.15},
        "fit": {"epochs": 10, "learning_rate": 0.014, "warm_up": 0.05},
    },
    # The model that comes with the package: the best of a megabyte in 16-bit floats.
    "shipped": {
        "model": {"hidden_size": 300, "dropout": 0.3, "recurrent_dropout": 0.05},
        "fit": {"epochs": 14, "learning_rate": 0.025, "warm_up": 0.05},
    },
}


def text_of(name: str, corpus: str | None) -> str:
    """The text of a recipe: Nietzsche lower-cased as in the book, others as they are."""
    named = "shakespeare" if name == "shakespeare" else "nietzsche"
    text = npchar.load_corpus(corpus or named)
    return text if named == "shakespeare" else text.lower()


def main() -> None:
    """Train one recipe and keep what it reached."""
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n\n")[0])
    parser.add_argument("name", choices=RECIPES)
    parser.add_argument("--corpus", metavar="PATH", help="the corpus's file")
    parser.add_argument("--save", type=Path, metavar="PATH", help="keep the model here")
    parser.add_argument("--write", type=Path, default=FILE, metavar="PATH")
    parser.add_argument("--half-minute", action="store_true", help="end after half a minute")
    options = parser.parse_args()
    recipe = RECIPES[options.name]
    text = text_of(options.name, options.corpus)
    model = npchar.Model(npchar.Vocabulary.from_text(text), **recipe["model"])
    print(model)
    checkpoint = options.write.with_name(f"{options.name}.checkpoint.npz")
    history = model.fit(
        text,
        **recipe["fit"],
        checkpoint=checkpoint,
        checkpoint_every=(1, "epochs"),
        resume=True,
        callbacks=[lambda history: options.half_minute and sum(history.seconds) > 30],
    )
    held_out = text[-int(len(text) * 0.1) :]
    evaluation = model.evaluate(held_out)
    if options.save:
        model.save(options.save, dtype="float16")
        evaluation = npchar.Model.load(options.save).evaluate(held_out)
    checkpoint.unlink()
    records = json.loads(options.write.read_text()) if options.write.exists() else {}
    records[options.name] = {
        "command": " ".join(["python", "benchmarks/records.py", options.name]),
        **recipe,
        "parameters": model.parameters.flat.size,
        "held out": round(evaluation.loss, 4),
        "bits per character": round(evaluation.bits_per_character, 4),
        "seconds": round(sum(history.seconds)),
        "train": [round(loss, 4) for loss in history.loss],
        "validation": [round(loss, 4) for loss in history.val_loss],
        "on": f"{npchar.training.parallel.available_cores()} cores, {platform.machine()}, Python "
        f"{platform.python_version()}, NumPy {np.__version__}, npchar {npchar.__version__}",
    }
    options.write.write_text(json.dumps(records, indent=1) + "\n")
    print(f"{evaluation.loss:.4f} nats per character held out, {sum(history.seconds):.0f} s")


if __name__ == "__main__":
    sys.exit(main())
