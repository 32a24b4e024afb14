"""A model of tokens: words instead of characters.

    python examples/words.py [FILE…]        half a minute

The model is trained on the given texts, or by default on Python's help texts. A token is a word
or a punctuation mark, with the white space before it. Words that occur only a few times are
replaced by one unknown symbol, because a model can learn little about each of them. The unknown
symbol is never generated.
"""

from __future__ import annotations

import argparse
import re
import sys

import npchar


def tokens_of(text: str) -> list[str]:
    """Words and punctuation marks, each with the white space before it."""
    return re.findall(r"\s*\w+|\s*[^\w\s]", re.sub(r"\s+", " ", text))


def main() -> int:
    """Train and generate."""
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n\n")[0])
    add = parser.add_argument
    add("files", nargs="*", metavar="FILE", help="texts (default: Python's help texts)")
    add("--least", type=int, default=8, metavar="N",
        help="fewest occurrences of a word in the vocabulary (default: 8)")  # fmt: skip
    add("--epochs", type=int, default=3, metavar="N", help="passes over the text (default: 3)")
    add("--seed", type=int, default=0, metavar="N", help="random seed (default: 0)")
    options = parser.parse_args()
    try:
        if options.files:
            text = npchar.load_corpus(options.files)
        else:
            from nietzsche import prose_of_help  # in this folder

            text = prose_of_help()
    except npchar.CorpusError as error:
        print(f"words.py: {error}", file=sys.stderr)
        return 2

    tokens = tokens_of(text.lower())
    vocabulary = npchar.Vocabulary.from_text(tokens, min_count=options.least)
    print(f"{len(tokens):,} words and punctuation marks, {len(vocabulary):,} in the vocabulary")
    model = npchar.Model(vocabulary, hidden_size=128, seed=options.seed)
    history = model.fit(tokens, epochs=options.epochs, maxlen=30, seed=options.seed)
    name, best = min(history.baselines.items(), key=lambda baseline: baseline[1])
    print(f"\nvalidation loss {min(history.val_loss):.2f} nats per word; "
          f"the best baseline is the {name} model with {best:.2f}\n")  # fmt: skip
    triples = (tokens[k : k + 3] for k in range(len(tokens)))
    prompt = next(triple for triple in triples if all(token in vocabulary for token in triple))
    for temperature in (0.5, 0.8, 1.0):
        words = model.generate(prompt, 60, temperature=temperature, seed=options.seed)
        print(f"------ temperature: {temperature}\n{''.join(prompt + words).strip()}\n")
    print("The most surprising words in a passage of the text:")
    for surprise in model.score(tokens[-300:]).most_surprising(5):
        print(f"{surprise.bits:6.1f} bits  {''.join(surprise.before)} [{surprise.character}]")
    return 0


if __name__ == "__main__":
    sys.exit(main())
