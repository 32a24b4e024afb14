"""Generate a text with structure and find the units of a model that track it.

    python benchmarks/records.py structure --save npchar/pretrained/structure.npz    # half a minute
    python benchmarks/structure.py                                    # this model
    python benchmarks/structure.py --model nietzsche --corpus PATH    # another model

Words are separated by spaces, by commas in brackets, and by hyphens in quotation marks. A line ends
after exactly 30 characters, also inside a word. A paragraph ends with a sentence. To predict the
next character a model must remember open brackets and quotation marks and count characters.
"""

from __future__ import annotations

import argparse
import sys
from typing import NamedTuple

import numpy as np

import npchar
from npchar.arrays import Array
from npchar.model import PRETRAINED

LANGUAGE = (
    "a an and as at cell can for gate has in is it keep line memory mind no not of old on one "
    "or read she so state step that the this time to unit was we what when will word"
)
WORDS = LANGUAGE.split()
WIDTH = 30  # characters per line
BETWEEN = {"plain": " ", "brackets": ",", "quotes": "-"}  # separator of words


def phrase(rng: np.random.Generator, where: str = "plain") -> str:
    """A few words. Brackets and quotations occur among plain words and are not nested."""
    parts = []
    for _ in range(rng.integers(3, 8)):
        kind = rng.random() if where == "plain" else 1.0
        if kind < 0.12:
            parts.append(f'"{phrase(rng, "quotes")}"')
        elif kind < 0.24:
            parts.append(f"({phrase(rng, 'brackets')})")
        else:
            parts.append(WORDS[rng.integers(len(WORDS))])
    return BETWEEN[where].join(parts)


def book(n: int, seed: int) -> str:
    """Paragraphs of at least n characters in all, in lines of `WIDTH`, each with a blank line."""
    rng, paragraphs, length = np.random.default_rng(seed), [], 0
    while length < n:
        text = " ".join(phrase(rng) + "." for _ in range(rng.integers(2, 7)))
        lines = [text[k : k + WIDTH] for k in range(0, len(text), WIDTH)]
        paragraphs.append("\n".join(lines) + "\n\n")
        length += len(paragraphs[-1])
    return "".join(paragraphs)


def features(text: str) -> dict[str, Array]:
    """Features that a unit may track: one array (T,) for each, with a value per character."""
    rows, line, word, quote, bracket = [], 0, 0, False, False
    for character in text:
        line = 0 if character == "\n" else line + 1
        word = word + 1 if character.isalpha() else 0
        quote ^= character == '"'
        bracket = character == "(" or (bracket and character != ")")
        rows.append((line, word, quote, bracket))
    names = ("position in the line", "position in the word", "inside quotes", "inside brackets")
    return dict(zip(names, np.array(rows, float).T))


class Followed(NamedTuple):
    """The unit that tracks a feature best in one text, checked on a second text."""

    unit: int
    found: float  # correlation in the first text, where it was selected
    again: float  # correlation in the second text
    error: float  # standard error of `again`
    chance: float  # 95th percentile of the best correlation with shifted features


def followed(model: npchar.Model, first: str, second: str) -> dict[str, Followed]:
    """The best unit of the first layer for each feature, checked on the second text."""
    a, b = model.activations(first), model.activations(second)
    wanted = features(second)
    rng = np.random.default_rng(0)
    result = {}
    for name, feature in features(first).items():
        if not feature.std() or not wanted[name].std():
            continue
        best = a.find(feature, 1)[0]
        values = b.unit(best.unit, layer=best.layer)
        again = np.corrcoef(values, wanted[name])[0, 1]
        # In 20 parts of the text, each with its own line breaks, brackets and quotations
        parts = [
            np.corrcoef(v, w)[0, 1]
            for v, w in zip(np.array_split(values, 20), np.array_split(wanted[name], 20))
            if w.std()
        ]
        moves = rng.integers(500, len(first) - 500, 100)
        levels = [abs(a.find(np.roll(feature, m), 1)[0].correlation) for m in moves]
        result[name] = Followed(
            best.unit,
            best.correlation,
            float(again),
            float(np.std(parts, ddof=1) / np.sqrt(len(parts))),
            float(np.quantile(levels, 0.95)),
        )
    return result


def show(found: dict[str, Followed]) -> None:
    """Print the units as a table."""
    print("| feature | unit | correlation | second text | chance level |")
    print("| --- | --- | --- | --- | --- |")
    for name, (unit, r, again, error, chance) in found.items():
        print(f"| {name} | {unit} | {r:+.3f} | {again:+.3f} ± {error:.3f} | {chance:.3f} |")


def main() -> None:
    """Measure a model on two texts outside its training set."""
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n\n")[0])
    parser.add_argument(
        "--model",
        default="structure",
        metavar="NAME",
        help="shipped model or file (default: structure)",
    )
    parser.add_argument("--corpus", metavar="PATH", help="use two parts of the last tenth of "
        "this corpus, in lower case (default: two generated texts)")  # fmt: skip
    parser.add_argument(
        "--length",
        type=int,
        default=30_000,
        metavar="N",
        help="characters of each text (default: 30000)",
    )
    options = parser.parse_args()
    load = npchar.Model.pretrained if options.model in PRETRAINED else npchar.Model.load
    model = load(options.model)
    n = options.length
    if options.corpus:
        text = npchar.load_corpus(options.corpus).lower()
        text = text[-len(text) // 10 :]
        first, second = text[:n], text[n : 2 * n]
    else:
        first, second = book(n, seed=3), book(n, seed=4)
    print(f"{model}\non {len(first):,} and {len(second):,} characters outside its training set\n")
    show(followed(model, first, second))


if __name__ == "__main__":
    sys.exit(main())
