"""The README's picture: a sentence coloured by the surprise and by two cells of a model.

    python examples/coloured.py [coloured.png]     needs matplotlib: pip install ".[plot]"

`Activations.find` selects the two cells among 300, by their correlation with two features of
another text: the position of a letter in its word, and vowels. Neither was labelled during
training.
"""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib.pyplot as plt
from matplotlib.patches import Rectangle

import npchar

SENTENCE = "the will to truth, which is to tempt us to many a hazardous enterprise"
PRACTICE = (  # the cells are selected on this text, not on the sentence that is drawn
    "whoever fights with monsters should see to it that he himself does not become a monster in "
    "the process, and if you gaze long into an abyss, the abyss also gazes into you. what is done "
    "out of love always takes place beyond good and evil; madness is rare in individuals, but in "
    "groups, parties, nations and ages it is the rule."
)
RED, BLUE = (0.86, 0.2, 0.12), (0.16, 0.39, 0.86)  # above zero, below


def letters(text: str) -> list[int]:
    """The number of letters of the current word, after each character."""
    counts, k = [], 0
    for character in text:
        k = k + 1 if character.isalpha() else 0
        counts.append(k)
    return counts


def draw(path: Path) -> None:
    """Draw the picture."""
    model = npchar.Model.pretrained("nietzsche")
    practice, seen = model.activations(PRACTICE), model.activations(SENTENCE)
    features = {
        "letters of the word": letters(PRACTICE),
        "a vowel": [character in "aeiouy" for character in PRACTICE],
    }
    bits = model.score(SENTENCE).bits
    rows = [("surprise", [0.0, *(bits / 8)])]
    for name, feature in features.items():
        unit, sign = best_rising(practice, feature)
        rows.append((f"cell {unit}: {name}", list(sign * seen.unit(unit))))

    figure, ax = plt.subplots(figsize=(9.6, 1.9), dpi=120)
    for y, (label, values) in enumerate(rows):
        ax.text(-0.4, y - 0.75, label, fontsize=8, color="#555")
        for x, (character, value) in enumerate(zip(SENTENCE, values)):
            strength = min(1.0, abs(float(value)))
            colour = (*(RED if value > 0 else BLUE), 0.75 * strength)
            ax.add_patch(Rectangle((x - 0.5, y - 0.6), 1, 0.5, color=colour, linewidth=0))
            ax.text(x, y - 0.35, character, ha="center", va="center", family="monospace")
    ax.set(xlim=(-1, len(SENTENCE)), ylim=(len(rows) - 1 + 0.05, -1.05))
    ax.axis("off")
    figure.subplots_adjust(0, 0, 1, 1)
    figure.savefig(path, metadata={"Software": None})
    plt.close(figure)


def best_rising(seen: npchar.Activations, feature: list[int] | list[bool]) -> tuple[int, int]:
    """The cell with the highest correlation with a feature, and the sign of the correlation."""
    _, unit, correlation = seen.find(feature, n=1)[0]
    return unit, 1 if correlation > 0 else -1


if __name__ == "__main__":
    draw(Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).with_suffix(".png")))
