"""Train the best known recipe for each corpus and write its losses to ``records.json``.

    python benchmarks/records.py nietzsche            # an hour on two cores
    python benchmarks/records.py shakespeare
    python benchmarks/records.py shipped --save npchar/pretrained/nietzsche.npz
    python benchmarks/records.py structure --save npchar/pretrained/structure.npz   # half a minute
    python benchmarks/records.py --show               # print the tables

The last tenth of the text is the validation set. Repeat the command to resume an interrupted
training. ``--corpus PATH`` reads a local copy of the corpus instead of downloading it.
"""

from __future__ import annotations

import argparse
import bz2
import dataclasses
import json
import lzma
import math
import platform
import sys
from pathlib import Path
from typing import Any

import adaptation
import numpy as np
import structure

import npchar
from npchar.threads import available_cores

FILE = Path(__file__).with_name("records.json")

WARM_UP = npchar.Schedule(warm_up=0.05)
RECIPES: dict[str, dict[str, dict[str, Any]]] = {
    "nietzsche": {
        "model": {"hidden_size": 512, "num_layers": 2, "dropout": 0.4, "recurrent_dropout": 0.2},
        "fit": {"epochs": 22, "learning_rate": 0.014, "schedule": WARM_UP},
    },
    "shakespeare": {
        "model": {"hidden_size": 512, "num_layers": 2, "dropout": 0.4, "recurrent_dropout": 0.2},
        "fit": {"epochs": 16, "learning_rate": 0.014, "schedule": WARM_UP},
    },
    # The shipped model: the largest that fits in one megabyte in 16-bit floats
    "shipped": {
        "model": {"hidden_size": 300, "dropout": 0.3, "recurrent_dropout": 0.05},
        "fit": {"epochs": 14, "learning_rate": 0.025, "schedule": WARM_UP},
    },
    # The second shipped model, for the text of `structure.py`. It was selected from eight runs
    # (seeds, dropout 0.1 to 0.3) because its units track lines, quotations and brackets best
    "structure": {
        "model": {"hidden_size": 64, "dropout": 0.1, "seed": 3},
        "fit": {"epochs": 10, "maxlen": 120, "learning_rate": 0.03, "seed": 3, "workers": 1},
    },
}
CORPORA = {
    "nietzsche": "nietzsche",
    "shakespeare": "shakespeare",
    "shipped": "nietzsche",
    "structure": "structure",
}

# Nats per character, as published
PUBLISHED = {
    "nietzsche": {
        "fastai, 2 × 512 LSTM, 63 epochs, a different split": 1.252,
    },
    "shakespeare": {
        "nanoGPT on a GPU, 10.7 million weights": 1.4697,
        "nanoGPT on a CPU, 3 minutes": 1.88,
        "minGRU (arXiv 2410.01201)": 1.548,
        "minLSTM (arXiv 2410.01201)": 1.555,
    },
}


def text_of(corpus: str, path: str | None) -> str:
    """The text of a corpus; Nietzsche in lower case, as in the book."""
    if corpus == "structure":
        return structure.book(1_000_000, seed=0)
    text = npchar.load_corpus(path or corpus, progress=False)
    return text.lower() if corpus == "nietzsche" else text


def train(name: str, path: str | None, save: Path | None, write: Path) -> None:
    """Train one recipe and write its results."""
    recipe, text = RECIPES[name], text_of(CORPORA[name], path)
    model = npchar.Model(npchar.Vocabulary.from_text(text), **recipe["model"])
    print(model)
    checkpoint = write.with_name(f"{name}.checkpoint.npz")
    history = model.fit(
        text, **recipe["fit"], checkpoint=checkpoint, checkpoint_every=(1, "epochs"), resume=True
    )
    held_out = text[-int(len(text) * 0.1) :]
    evaluation = model.evaluate(held_out)
    if save:
        model.save(save, dtype="float16")
        evaluation = npchar.Model.load(save).evaluate(held_out)  # measure the saved weights
    adapted = (
        {} if name == "structure" else adaptation.losses(model, text[: -len(held_out)], held_out)
    )
    records = json.loads(write.read_text()) if write.exists() else {}
    records[name] = {
        "command": f"python benchmarks/records.py {name}",
        **recipe,
        "parameters": model.parameters.flat.size,
        "held out": round(evaluation.loss, 4),
        "bits per character": round(evaluation.bits_per_character, 4),
        "adapted": {how: round(loss, 4) for how, loss in adapted.items() if how != "alone"},
        "seconds": round(sum(history.seconds)),
        "train": [round(loss, 4) for loss in history.loss],
        "validation": [round(loss, 4) for loss in history.val_loss],
        "on": f"{available_cores()} cores, {platform.machine()}, Python "
        f"{platform.python_version()}, NumPy {np.__version__}, npchar {npchar.__version__}",
    }
    if name == "structure":  # on texts that did not select it
        units = structure.followed(model, structure.book(30_000, 3), structure.book(30_000, 4))
        structure.show(units)
        records[name]["units"] = {
            what: {key: round(value, 4) for key, value in unit._asdict().items()}
            for what, unit in units.items()
        }
    written = json.dumps(records, indent=1, ensure_ascii=False, default=dataclasses.asdict)
    write.write_text(written + "\n")
    checkpoint.unlink()
    print(f"validation loss {evaluation.loss:.4f} nats per character, {sum(history.seconds):.0f} s")


def simple(text: str) -> dict[str, float]:
    """The loss of n-grams and compressors on the last tenth, in nats per character."""
    n = int(len(text) * 0.1)
    model = npchar.Model(npchar.Vocabulary.from_text(text), hidden_size=1)
    found = {
        order: loss
        for order, loss in model.evaluate(text[-n:], train_text=text[:-n]).baselines.items()
        if order in ("unigram", "3-gram", "5-gram")
    }
    for name, compress in (("bz2", bz2.compress), ("lzma", lzma.compress)):
        # Increase of the compressed size by the last tenth
        added = len(compress(text.encode())) - len(compress(text[:-n].encode()))
        found[name] = 8 * added / n * math.log(2)
    return found


def show(records: dict[str, Any], paths: dict[str, str | None]) -> None:
    """Print a table for each corpus: npchar, published results, n-grams and compressors."""
    for corpus in PUBLISHED:
        rows = PUBLISHED[corpus] | simple(text_of(corpus, paths[corpus]))
        for name, record in records.items():
            if CORPORA[name] == corpus:
                sizes = record["model"]
                what = f"npchar, {sizes.get('num_layers', 1)} × {sizes['hidden_size']} LSTM"
                rows[f"**{what}, {record['seconds']:,} s on {record['on'].split(',')[0]}**"] = (
                    record["held out"]
                )
                for how, loss in record.get("adapted", {}).items():
                    rows[f"{what}, {how}"] = loss
        print(f"\n| {corpus}, validation set | nats per character | bits per character |")
        print("| --- | --- | --- |")
        for what, loss in sorted(rows.items(), key=lambda row: row[1]):
            print(f"| {what} | {loss:.3f} | {loss / math.log(2):.2f} |")


def main() -> None:
    """Train a recipe, or print the tables."""
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n\n")[0])
    parser.add_argument("name", nargs="?", choices=RECIPES, help="recipe to train")
    parser.add_argument("--corpus", metavar="PATH", help="corpus (default: download it)")
    parser.add_argument("--save", type=Path, metavar="PATH", help="save the model in 16-bit floats")
    parser.add_argument(
        "--write",
        type=Path,
        default=FILE,
        metavar="PATH",
        help="file of results (default: records.json)",
    )
    parser.add_argument("--show", action="store_true", help="only print the tables")
    parser.add_argument("--nietzsche", metavar="PATH", help="corpus for --show")
    parser.add_argument("--shakespeare", metavar="PATH", help="corpus for --show")
    options = parser.parse_args()
    if options.show:
        paths = {"nietzsche": options.nietzsche, "shakespeare": options.shakespeare}
        show(json.loads(options.write.read_text()), paths)
    elif options.name:
        train(options.name, options.corpus, options.save, options.write)
    else:
        parser.error("expected the name of a recipe or --show")


if __name__ == "__main__":
    sys.exit(main())
