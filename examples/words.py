"""A model of tokens: words instead of characters.

    python examples/words.py [FILE…]        a minute or two

Trains on the given texts, or on the help texts that every Python carries. A word
goes with the space before it, a mark of punctuation is a token of its own, and words
that come less than a few times are all the same token, as too little can be learned
of each.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections import Counter

import npchar

RARE = "<rare>"


def tokens_of(text: str, least: int) -> list[str]:
    """Words and marks, each with the white space before it; rare ones replaced."""
    tokens = re.findall(r"\s*\w+|\s*[^\w\s]", re.sub(r"\s+", " ", text))
    counts = Counter(tokens)
    return [token if counts[token] >= least else RARE for token in tokens]


def main() -> int:
    """Train, and generate."""
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n\n")[0])
    add = parser.add_argument
    add("files", nargs="*", metavar="FILE", help="texts (the help texts of Python)")
    add("--least", type=int, default=8, metavar="N", help="words seen less often are rare (8)")
    add("--epochs", type=int, default=8, metavar="N", help="passes over the text (8)")
    add("--seed", type=int, default=0, metavar="N", help="the same seed, the same text (0)")
    options = parser.parse_args()
    try:
        if options.files:
            text = npchar.load_corpus(options.files)
        else:
            from pydoc_data import topics

            text = "\n".join(topics.topics.values())
    except npchar.CorpusError as error:
        print(f"words.py: {error}", file=sys.stderr)
        return 2

    tokens = tokens_of(text.lower(), options.least)
    vocabulary = npchar.Vocabulary.from_text(tokens)
    print(f"{len(tokens):,} words and marks, {len(vocabulary):,} different")
    model = npchar.Model(vocabulary, hidden_size=128, seed=options.seed)
    history = model.fit(tokens, epochs=options.epochs, maxlen=30, seed=options.seed)
    uniform = history.baselines["uniform"]
    print(f"\n{min(history.val_loss):.2f} nats a word held out; uniform baseline {uniform:.2f}\n")
    prompt = tokens[:3]
    for temperature in (0.5, 0.8, 1.0):
        words = model.generate(prompt, 60, temperature=temperature, seed=options.seed)
        print(f"------ temperature: {temperature}\n{''.join(prompt + words).strip()}\n")
    print("The most surprising words in a passage of the text:")
    for surprise in model.score(tokens[-300:]).most_surprising(5):
        print(f"{surprise.bits:6.1f} bits  {''.join(surprise.before)} [{surprise.character}]")
    return 0


if __name__ == "__main__":
    sys.exit(main())
