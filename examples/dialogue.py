"""A dialogue of two speakers, line by line: what A tells, B must know when A asks for it later.

    python examples/dialogue.py                 a minute: compose, learn, answer, draw dialogue.png
    python examples/dialogue.py --interactive   then talk to it: you are A; an empty line ends it

The dialogues are composed here: A tells a name, a town, an animal or a dish, talks of other things,
tells some anew, and asks. Nothing but the network's state carries a word from the line where it was
told to the answer. What you see: a dialogue in which all lines of B are the model's, and how
often it answers right, by how many lines ago it was told, in dialogues up to twice as long as those
it was trained on. Who knows nothing of the lines before is right in one of eight. Seeds differ: of
what was told 14 to 18 lines ago, three of them remembered 70, 80 and 70 %.
"""

from __future__ import annotations

import argparse
import re
import sys
from typing import NamedTuple

import numpy as np

import npchar

FACTS = (  # the words; what A tells of one, B's reply, A's question and B's answer
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
SAID = ("hello/i am dora/i live in lima/how are you?/i have a goat/where do i live?/it is cold/"
        "i live in oslo/who am i?/what do i have?/where do i live?/what do i like?")  # fmt: skip
LONGEST = 10  # exchanges of a dialogue to train on
BINS = ((2, 4), (6, 8), (10, 12), (14, 18), (20, 28), (30, 38))  # lines ago


class Question(NamedTuple):
    """A question of A, and what B must answer."""

    before: str  # the dialogue up to it, with B's turn begun
    answer: str
    ago: int  # lines since it was told; 0: never told
    anew: bool  # told more than once: the last counts


def composed(exchanges: int, rng: np.random.Generator) -> tuple[str, list[Question]]:
    """A dialogue of so many lines of each speaker, and the questions in it."""
    dialogue, questions = "", []
    told: dict[int, tuple[str, int, bool]] = {}  # of a topic: the word, when, whether anew
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
    """Words and line feeds; a question mark says nothing that its words do not."""
    return re.findall(r"\n|[^\s?]+", text)


def answers(model: npchar.Model, dialogues: list[str]) -> list[str]:
    """The most probable line of B after each of some dialogues."""
    prompts = [tokens_of(text) for text in dialogues]
    lines = model.generate(prompts, 12, temperature=0, stop=["\n"], unknown="skip")
    return [" ".join(line) for line in lines]


def talk(model: npchar.Model) -> None:
    """A dialogue with the user, up to an empty line, Ctrl-C or the end of input."""
    dialogue = ""
    try:
        while line := input("A: ").strip().lower():
            if new := [word for word in tokens_of(line) if word not in model.vocabulary]:
                print(f"   (words it has never seen, and does not read: {', '.join(new)})")
            dialogue += f"A: {line}\nB:"
            (answer,) = answers(model, [dialogue])
            print(f"B: {answer}")
            dialogue += f" {answer}\n"
    except (EOFError, KeyboardInterrupt):
        print()


def remembered(model: npchar.Model, questions: list[Question], save: str) -> None:
    """Print, and draw where there is matplotlib, how often what was told is remembered."""
    given = answers(model, [question.before for question in questions])
    right = np.array([own == question.answer for own, question in zip(given, questions)])
    ago, anew = np.array([question[2:] for question in questions]).T
    rows = {f"{a} to {b} lines ago": (a <= ago) & (ago <= b) for a, b in BINS}
    rows |= {"told anew": anew == 1, "never told": ago == 0}
    share, error = np.zeros((2, len(rows)))
    print("\nanswers that are right, and the standard error (chance: 12.5 %):")
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
    ax.axvspan(2 * LONGEST - 1, 38, alpha=0.1, label="longer ago than in any training dialogue")
    ax.set(xlabel="lines since it was told", ylabel="right answers, %", xlim=(0, 38), ylim=(0, 105))
    ax.legend(loc=(0.02, 0.18), fontsize=8)
    figure.savefig(save)
    plt.close(figure)
    print(f"drawn in {save}")


def main() -> int:
    """Compose, train, answer."""
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n\n")[0])
    add = parser.add_argument
    add("--interactive", action="store_true", help="talk to the model when it is trained")
    add("--dialogues", type=int, default=5000, metavar="N", help="to train on (5000)")
    add("--epochs", type=int, default=10, metavar="N", help="passes over them (10)")
    add("--seed", type=int, default=0, metavar="N", help="the same seed, the same dialogues (0)")
    add("--save", default="dialogue.png", metavar="PATH", help="for the figure (dialogue.png)")
    options = parser.parse_args()

    rng = np.random.default_rng(options.seed)
    lengths = rng.integers(4, LONGEST + 1, options.dialogues)
    train = [tokens_of(composed(length, rng)[0]) for length in lengths]
    model = npchar.Model(npchar.Vocabulary.from_documents(train), seed=options.seed)
    try:
        # Windows as long as the longest dialogue: the gradient flows from answers to what was told
        model.fit(train, epochs=options.epochs, maxlen=max(map(len, train)) + 1, batch_size=16,
                  learning_rate=0.02, seed=options.seed)  # fmt: skip
        asked = [q for _ in range(options.dialogues // 20)
                 for q in composed(2 * LONGEST, rng)[1]]  # fmt: skip
        remembered(model, asked, options.save)
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        return 130
    print("\nThe lines of B are the model's:\n")
    dialogue = ""
    for line in SAID.split("/"):
        dialogue += f"A: {line}\nB:"
        dialogue += f" {answers(model, [dialogue])[0]}\n"
    print(dialogue)
    if options.interactive:
        print("You are A. Tell, as in: i am emil, i live in oslo, i have a goat, i like figs; and "
              "ask:\nwho am i? where do i live? what do i have? what do i like?\n")  # fmt: skip
        talk(model)
    return 0


if __name__ == "__main__":
    sys.exit(main())
