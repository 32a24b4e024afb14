"""A model of tokens: tunes in ABC notation.

    python examples/music.py            a minute: compose, train, write tune.abc
    python examples/music.py --wav tune.wav         the same, with a recording of the tunes

The training tunes are composed here by a small grammar. A part has four bars, and each bar has a
chord and a rhythm. The first note of a bar belongs to the chord, and the other notes move by steps.
The model learns from the tunes to fill its bars and to end on the tonic. Many programs and web
sites play ABC notation.
"""

from __future__ import annotations

import argparse
import sys
import wave
from collections.abc import Sequence

import numpy as np

import npchar

LETTERS = "CDEFGABcdefgab"  # two octaves of ABC's notes
KEYS = {"G": 4, "D": 1, "Am": 5, "C": 0}  # the index of the tonic in LETTERS
RHYTHMS = {  # in eighths
    "4/4": [[2, 2, 2, 2], [3, 1, 2, 2], [1, 1, 2, 2, 2], [2, 2, 1, 1, 2], [1, 1, 1, 1, 2, 2]],
    "6/8": [[3, 3], [2, 1, 2, 1], [1, 1, 1, 2, 1], [2, 1, 1, 1, 1], [1, 1, 1, 1, 1, 1]],
}
EIGHTHS = {"4/4": 8, "6/8": 6}  # eighths in a bar
CHORDS = [[0, 3, 4, 0], [0, 5, 3, 4], [0, 4, 0, 4], [3, 0, 4, 0], [5, 3, 4, 0]]  # scale degrees
SHARPS = {"G": "F", "D": "FC"}  # notes that are raised by a semitone in these keys
RATE = 22050  # samples per second
END = "<end>"


def composed(rng: np.random.Generator) -> list[str]:
    """A tune composed by the grammar, as tokens: meter, key, notes, bar lines, end."""
    meter, key = rng.choice(list(RHYTHMS)), rng.choice(list(KEYS))
    tonic = KEYS[key]
    tokens = [f"M:{meter}", f"K:{key}"]
    place = tonic + int(rng.integers(0, 5))
    for _ in range(2):  # parts
        tokens.append("|:")
        chords = CHORDS[rng.integers(len(CHORDS))]
        rhythms = [RHYTHMS[meter][rng.integers(len(RHYTHMS[meter]))] for _ in range(2)]
        for bar, chord in enumerate(chords):
            if bar == 3:  # a long tonic ends the part
                tokens.append(note(tonic, EIGHTHS[meter]))
                break
            for nth, eighths in enumerate(rhythms[bar % 2]):
                if nth == 0:
                    root = tonic + chord
                    tones = [root + step - octave for step in (0, 2, 4) for octave in (0, 7)]
                    place = min(tones, key=lambda tone: abs(tone - place) + rng.random())
                else:
                    place += int(rng.choice([-1, 1, 1, -1, 2, -2]))
                place = int(np.clip(place, 0, len(LETTERS) - 1))
                tokens.append(note(place, eighths))
            tokens.append("|")
        tokens.append(":|")
    return [*tokens, END]


def note(place: int, eighths: int) -> str:
    """A note in ABC notation: its letter and its duration in eighths."""
    return LETTERS[place] + (str(eighths) if eighths > 1 else "")


def full_bars(tokens: Sequence[str]) -> tuple[int, int]:
    """The number of bars in a tune that last as long as its meter requires, and of all bars."""
    wanted = next((EIGHTHS.get(token[2:], 0) for token in tokens if token.startswith("M:")), 0)
    full = bars = eighths = 0
    for token in tokens:
        if token in ("|", ":|"):
            full, bars, eighths = full + (eighths == wanted), bars + 1, 0
        elif token[0] in LETTERS:
            eighths += int(token[1:] or 1)
    return full, bars


def as_abc(tokens: Sequence[str], title: str, number: int) -> str:
    """A tune in ABC notation, with its header."""
    head = [token for token in tokens if token[:2] in ("M:", "K:")]
    body = " ".join(token for token in tokens if token not in head)
    return "\n".join([f"X:{number}", f"T:{title}", "L:1/8", *head, body]) + "\n"


def as_sound(tokens: Sequence[str]) -> np.ndarray:
    """A tune as samples from -1 to 1, with each part repeated as its repeat signs require."""
    sharps = next((SHARPS.get(token[2:], "") for token in tokens if token[:2] == "K:"), "")
    part: list[np.ndarray] = []
    sounds = [np.zeros(RATE)]  # a pause between tunes
    for token in tokens:
        if token[0] in LETTERS:
            octave, step = divmod(LETTERS.index(token[0]), 7)
            semitones = 12 * octave + (0, 2, 4, 5, 7, 9, 11)[step] + (token[0].upper() in sharps)
            time = np.arange(int(token[1:] or 1) * RATE // 5) / RATE  # an eighth lasts 0.2 s
            phase = 2 * np.pi * 440 * 2 ** ((semitones - 9) / 12) * time  # the A is 440 Hz
            tone = sum(np.sin(k * phase) / k**2 for k in range(1, 6))  # harmonics of a string
            part.append(0.6 * tone * np.exp(-3 * time) * np.minimum(1, 50 * (time[-1] - time)))
        elif token in ("|:", ":|"):
            sounds += part * (2 if token == ":|" else 1)
            part = []
    return np.concatenate(sounds + part)


def main() -> int:
    """Compose tunes, train, and generate."""
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n\n")[0])
    add = parser.add_argument
    add("--tunes", type=int, default=3000, metavar="N", help="training tunes (default: 3000)")
    add("--epochs", type=int, default=8, metavar="N", help="passes over them (default: 8)")
    add("--seed", type=int, default=0, metavar="N", help="random seed (default: 0)")
    add("--save", default="tune.abc", metavar="PATH",
        help="file for the new tunes (default: tune.abc)")  # fmt: skip
    add("--wav", metavar="PATH", help="WAV file for a recording of them (default: none)")
    options = parser.parse_args()

    rng = np.random.default_rng(options.seed)
    tunes = [token for _ in range(options.tunes) for token in composed(rng)]
    vocabulary = npchar.Vocabulary.from_text(tunes)
    model = npchar.Model(vocabulary, hidden_size=96, seed=options.seed)
    print(f"{options.tunes:,} tunes, {len(tunes):,} tokens, {len(vocabulary)} in the vocabulary")
    model.fit(tunes, epochs=options.epochs, seed=options.seed)

    prompts = [[END, f"M:{meter}", f"K:{key}"] for meter in RHYTHMS for key in KEYS]
    written = model.generate(prompts, 200, temperature=0.8, stop=[END], seed=options.seed)
    written = [prompt[1:] + tune for prompt, tune in zip(prompts, written)]
    counts = [full_bars(tune) for tune in written]
    full, bars = (sum(count) for count in zip(*counts))
    at_random = npchar.Model(vocabulary).generate([END, "M:4/4", "K:G"], 400, seed=options.seed)
    by_chance = full_bars(["M:4/4", *at_random])
    print(f"full bars: {full} of {bars}; untrained model: {by_chance[0]} of {by_chance[1]}")
    copied = max(npchar.originality(tune, tunes, least=10).longest for tune in written)
    print(f"longest passage copied from the training tunes: {copied} tokens")
    with open(options.save, "w", encoding="utf-8") as file:
        for number, tune in enumerate(written, 1):
            file.write(as_abc(tune, f"By npchar, no. {number}", number) + "\n")
    if options.wav:
        samples = np.concatenate([as_sound(tune) for tune in written])
        with wave.open(options.wav, "wb") as recording:
            recording.setparams((1, 2, RATE, 0, "NONE", None))
            recording.writeframes((32767 * samples).astype("<i2").tobytes())
        print(f"A recording of {len(samples) / RATE:.1f} s is in {options.wav}.")
    print(f"{len(written)} new tunes are in {options.save}. The first tune:\n\n"
          + as_abc(written[0], "By npchar, no. 1", 1))  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
