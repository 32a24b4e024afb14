"""A dialogue of two speakers: A states facts, and B must recall them when A asks later.

    python examples/dialogue.py                 a minute: compose, train, answer, draw dialogue.png
    python examples/dialogue.py --interactive   the same, then you are A; an empty line ends it

The training dialogues are composed here. A states a name, a town, an animal or a dish, makes small
talk, replaces some facts by new ones, and asks questions. The network's state is the only memory
that connects a fact with the answer to a later question.

The example reports the share of right answers by the distance between fact and question, in
dialogues up to twice as long as the training dialogues. A guess is right in one of eight cases. It
then prints a new dialogue in which the model speaks for B, and marks each answer as right or wrong.
Results vary with the seed: at 14 to 18 lines, 70 to 80 % of the answers were right in four runs.
"""

from __future__ import annotations

import argparse
import re
import sys
from typing import NamedTuple

import numpy as np

import npchar

FACTS = (  # the words; A's statement, B's reply, A's question and B's answer
    ("anna ben carla dora emil frida georg hanna",
     "i am {}", "hello {}", "who am i?", "you are {}"),
    ("athens berlin cairo delhi lima oslo paris rome",
     "i live in {}", "{} is big", "where do i live?", "in {}"),
    ("bird cat dog fish goat horse mouse snake",
     "i have a {}", "a {} is nice", "what do i have?", "a {}"),
    ("apples bread cheese figs honey nuts rice soup",
     "i like {}", "i like {} too", "what do i like?", "you like {}"),
)  # fmt: skip
TALK = {"hello": "hello", "how are you?": "i am fine", "it is cold": "yes it is", "so": "so what"}
LONGEST = 10  # exchanges in the longest training dialogue
SHOWN = 12  # exchanges in the dialogue that is printed
BINS = ((2, 4), (6, 8), (10, 12), (14, 18), (20, 28), (30, 38))  # distances in lines


class Question(NamedTuple):
    """A question by A and the right answer."""

    before: str  # the dialogue up to the answer, including "B:"
    answer: str
    ago: int  # lines since the fact was stated; 0: never stated
    anew: bool  # whether the fact was stated more than once; the last statement counts


def composed(exchanges: int, rng: np.random.Generator) -> tuple[str, list[Question]]:
    """A dialogue with the given number of lines per speaker, and the questions in it."""
    dialogue, questions = "", []
    told: dict[int, tuple[str, int, bool]] = {}  # topic: the word, when, whether stated before
    for now in range(exchanges):
        topic, kind = int(rng.integers(len(FACTS))), rng.choice(3, p=(0.3, 0.45, 0.25))
        if kind == 1 and told and rng.random() < 0.9:
            topic = int(rng.choice(list(told)))
        words, tell, reply, question, answer = FACTS[topic]
        if kind == 0:
            word = rng.choice(words.split())
            told[topic] = word, now, topic in told
            a, b = tell.format(word), reply.format(word)
        elif kind == 1:
            word, when, anew = told.get(topic, ("", now, False))
            a, b = question, answer.format(word) if word else "i do not know"
            questions.append(Question(f"{dialogue}A: {a}\nB:", b, 2 * (now - when), anew))
        else:
            a, b = list(TALK.items())[rng.integers(len(TALK))]
        dialogue += f"A: {a}\nB: {b}\n"
    return dialogue, questions


def tokens_of(text: str) -> list[str]:
    """Words and line feeds, without question marks, which add no information."""
    return re.findall(r"\n|[^\s?]+", text)


def answers(model: npchar.Model, dialogues: list[str]) -> list[str]:
    """The most probable line of B after each dialogue."""
    prompts = [tokens_of(text) for text in dialogues]
    lines = model.generate(prompts, 12, temperature=0, stop=["\n"], unknown="skip")
    return [" ".join(line) for line in lines]


def talk(model: npchar.Model) -> None:
    """Hold a dialogue with the user until an empty line, Ctrl-C or the end of input."""
    dialogue = ""
    try:
        while line := input("A: ").strip().lower():
            if new := [word for word in tokens_of(line) if word not in model.vocabulary]:
                print(f"   (skipped, because the model does not know them: {', '.join(new)})")
            dialogue += f"A: {line}\nB:"
            (answer,) = answers(model, [dialogue])
            print(f"B: {answer}")
            dialogue += f" {answer}\n"
    except (EOFError, KeyboardInterrupt):
        print()


def transcript(model: npchar.Model, exchanges: int, rng: np.random.Generator) -> str:
    """A new dialogue in which the model speaks for B and each answer is marked."""
    composition, questions = composed(exchanges, rng)
    expected = {question.before.count("\n"): question.answer for question in questions}
    dialogue = marked = ""
    for number, line in enumerate(composition.splitlines()):
        if line.startswith("B:"):
            line = f"B: {answers(model, [dialogue + 'B:'])[0]}"
        dialogue += f"{line}\n"
        if (answer := expected.get(number)) is not None:
            line += "   (right)" if line == f"B: {answer}" else f"   (wrong: {answer})"
        marked += f"{line}\n"
    return marked


def remembered(model: npchar.Model, questions: list[Question], save: str) -> None:
    """Print the share of right answers by distance, and draw it if matplotlib is installed."""
    given = answers(model, [question.before for question in questions])
    right = np.array([own == question.answer for own, question in zip(given, questions)])
    ago, anew = np.array([question[2:] for question in questions]).T
    rows = {f"{a} to {b} lines ago": (a <= ago) & (ago <= b) for a, b in BINS}
    rows |= {"stated again": anew == 1, "never stated": ago == 0}
    share, error = np.zeros((2, len(rows)))
    print("\nright answers ± standard error (chance: 12.5%):")
    for k, (name, which) in enumerate(rows.items()):
        n = max(1, which.sum())
        share[k] = right[which].sum() / n
        error[k] = np.sqrt(share[k] * (1 - share[k]) / n)
        print(f"  {name:18} {share[k]:6.1%} ± {error[k]:.1%} of {which.sum()}")
    try:
        import matplotlib.pyplot as plt
    except ImportError:
        return
    figure, ax = plt.subplots(figsize=(6.4, 3.6), dpi=110, layout="constrained")
    places = [(a + b) / 2 for a, b in BINS]
    ax.errorbar(places, 100 * share[:-2], 100 * error[:-2], fmt="o-", capsize=3, label="the model")
    ax.axhline(100 / 8, ls="--", color="grey", label="chance")
    ax.axvspan(2 * LONGEST - 1, 38, alpha=0.1, label="farther than in any training dialogue")
    ax.set(xlabel="lines since the fact was stated", ylabel="right answers, %")
    ax.set(xlim=(0, 38), ylim=(0, 105))
    ax.legend(loc=(0.02, 0.18), fontsize=8)
    figure.savefig(save)
    plt.close(figure)
    print(f"The figure is in {save}.")


def main() -> int:
    """Compose dialogues, train, and answer."""
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n\n")[0])
    add = parser.add_argument
    add("--interactive", action="store_true", help="talk to the model after training")
    add("--dialogues", type=int, default=5000, metavar="N",
        help="training dialogues (default: 5000)")  # fmt: skip
    add("--epochs", type=int, default=10, metavar="N", help="passes over them (default: 10)")
    add("--seed", type=int, default=0, metavar="N", help="random seed (default: 0)")
    add("--save", default="dialogue.png", metavar="PATH",
        help="file for the figure (default: dialogue.png)")  # fmt: skip
    options = parser.parse_args()

    rng = np.random.default_rng(options.seed)
    lengths = rng.integers(4, LONGEST + 1, options.dialogues)
    train = [tokens_of(composed(length, rng)[0]) for length in lengths]
    model = npchar.Model(npchar.Vocabulary.from_documents(train), seed=options.seed)
    try:
        # A window holds the longest dialogue, so the gradient flows from each answer to its fact.
        model.fit(train, epochs=options.epochs, maxlen=max(map(len, train)) + 1, batch_size=16,
                  learning_rate=0.02, seed=options.seed)  # fmt: skip
        asked = [q for _ in range(options.dialogues // 20)
                 for q in composed(2 * LONGEST, rng)[1]]  # fmt: skip
        remembered(model, asked, options.save)
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        return 130
    print("\nA new dialogue, drawn at random, in which the lines of B are the model's:\n")
    print(transcript(model, SHOWN, rng))
    if options.interactive:
        print("You are A. State facts, for example: i am emil, i live in oslo, i have a goat, "
              "i like figs.\nThen ask: who am i? where do i live? what do i have? "
              "what do i like?\n")  # fmt: skip
        talk(model)
    return 0


if __name__ == "__main__":
    sys.exit(main())
