"""The commands of the command line and their options; ``command.py`` carries them out."""

from __future__ import annotations

import argparse

from npchar.network.registry import FAST
from npchar.training.optimizers import OPTIMIZERS
from npchar.training.schedule import SCHEDULES
from npchar.version import __version__

STANDARD_INPUT = "-"
SHIPPED = "nietzsche"  # the model where none is named


def parser() -> argparse.ArgumentParser:
    """The commands and their options."""
    top = argparse.ArgumentParser(
        prog="npchar",
        description="Train a character-level language model on your texts, and generate text.",
        epilog="Without a model of your own, generate, score and evaluate use the one that comes "
        "with npchar, which was trained on Nietzsche. Any FILE may be - for standard input.",
    )
    top.add_argument("--version", action="version", version=f"npchar {__version__}")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    train = commands.add_parser("train", help="train on texts", description="Train on texts. "
        "The model is kept in one file, which holds the training too until that is finished: "
        "Ctrl-C at any time, and `npchar resume` goes on.")  # fmt: skip
    add = train.add_argument
    add("files", nargs="+", metavar="FILE", help="texts, folders of texts, https addresses, or the "
        "named corpora nietzsche and shakespeare")  # fmt: skip
    add("--save", metavar="PATH", help="the model's file (the first text's name with .npz, here)")
    add("--from", dest="begun", metavar="MODEL", help="go on from a model's file, or from "
        f"{SHIPPED}, which comes along: it learns the new characters, and keeps its "
        "size")  # fmt: skip
    add("--min-count", type=int, default=1, metavar="N", help="rarer characters have one stand-in "
        "together (1)")  # fmt: skip
    add("--lower", action="store_true", help="lower-case the texts: fewer characters to learn")
    add("--epochs", type=int, metavar="N", help="passes over the text (as suits its length)")
    add("--layer", choices=FAST, help="what the model is made of (lstm)")
    add("--hidden-size", type=int, metavar="N", help="units of a layer (as suits the text's "
        "length: 128 or 256)")  # fmt: skip
    add("--num-layers", type=int, metavar="N", help="stacked layers (1; conv: 6)")
    add("--dropout", type=float, metavar="P", help="of each layer's outputs (as suits its length)")
    add("--recurrent-dropout", type=float, metavar="P",
        help="of each layer's recurrent weights (0)")  # fmt: skip
    add("--maxlen", type=int, default=60, metavar="N", help="characters in a window (60)")
    add("--batch-size", type=int, metavar="N", help="windows in a step (32; of a short text "
        "fewer)")  # fmt: skip
    add("--optimizer", default="rmsprop", choices=OPTIMIZERS, help="(rmsprop)")
    add("--learning-rate", type=float, metavar="R", help="its rate (as suits the model)")
    add("--schedule", default="linear", choices=SCHEDULES, help="of the rate (linear: to zero)")
    add("--warm-up", type=float, metavar="P",
        help="the share of all steps in which the rate rises from zero (0.1)")  # fmt: skip
    add("--validation-split", type=float, default=0.1, metavar="P",
        help="the share at the end of each text, or of documents whole ones, that is held out "
        "for validation (0.1)")  # fmt: skip
    add("--patience", type=int, metavar="N", help="end when so many epochs in a row were no better "
        "held out (never)")  # fmt: skip
    add("--seed", type=int, default=0, metavar="N", help="the same seed, the same model (0)")
    add_workers(train)
    add_encoding(train)
    add_documents(train)

    resume = commands.add_parser("resume", help="go on with a training", description="Go on with "
        "a training that was interrupted, as if it had not been, with the same texts.")  # fmt: skip
    resume.add_argument("save", metavar="PATH", help="the file that it is kept in")
    resume.add_argument("files", nargs="+", metavar="FILE", help="the texts it was begun with")
    resume.add_argument("--epochs", type=int, metavar="N", help="more passes over the text, in "
        "all; of a finished model, so many")  # fmt: skip
    add_workers(resume)
    add_encoding(resume)
    add_documents(resume)

    generate = commands.add_parser(
        "generate", help="generate text", description="Generate text from a prompt."
    )
    add_model(generate)
    add = generate.add_argument
    add("--prompt", metavar="TEXT", help="the text to continue (a new line); - for standard input; "
        r"\n is a line feed")  # fmt: skip
    add("--document", action="store_true", help="write whole documents, which begin with the "
        "prompt; a model that was trained on them (train --documents) always does")  # fmt: skip
    add(
        "--count", type=int, default=1, metavar="N", help="how many texts (1), a line each and more"
    )
    add("--length", type=int, default=400, metavar="N", help="characters (400); 0 for no end")
    add(
        "--temperature",
        type=float,
        default=1.0,
        metavar="T",
        help="0: always the most probable; 1: the unchanged distribution; above: flatter (1)",
    )
    add("--top-k", type=int, metavar="K", help="sample among the K most probable alone")
    add("--top-p", type=float, metavar="P", help="among the most probable that sum up to P")
    add("--stop", action="append", metavar="TEXT", help="end before this text, in which \\n is a "
        "line feed; may be repeated")  # fmt: skip
    add("--seed", type=int, metavar="N", help="the same seed, the same text")
    add_unknown(generate)
    add_encoding(generate)

    score = commands.add_parser("score", help="show which characters surprise a model",
        description="Show how probable a model finds a text: coloured on a terminal, the redder "
        "the more surprising; elsewhere its most surprising characters.")  # fmt: skip
    add_files(score)
    score.add_argument("--color", choices=("auto", "always", "never"), default="auto",
        help="auto: on a terminal, unless NO_COLOR is set")  # fmt: skip

    evaluate = commands.add_parser("evaluate", help="measure a model", description="Measure how "
        "well a model predicts texts, in nats and bits per character.")  # fmt: skip
    add_files(evaluate)

    page = commands.add_parser("page", help="write a page that runs a model in a browser",
        description="Write a page that runs a model in a browser: one file, no "
        "network. Without --model it has two to choose from: nietzsche, and structure, whose "
        "units follow lines, quotations and brackets.")  # fmt: skip
    page.add_argument("save", metavar="PATH", help="where, as in playground.html")
    page.add_argument("--prompt", metavar="TEXT", help="what it opens with")
    add_model(page)

    info = commands.add_parser("info", help="print what a model's file holds",
        description="Print what a model's file holds.")  # fmt: skip
    add_model(info)
    return top


def add_model(command: argparse.ArgumentParser) -> None:
    """The option that names a model."""
    command.add_argument("--model", default=SHIPPED, metavar="PATH",
        help=f"a model's file (the one that comes along, {SHIPPED})")  # fmt: skip


def add_documents(command: argparse.ArgumentParser) -> None:
    """The option for many texts that have nothing to do with each other."""
    command.add_argument("--documents", choices=("lines", "files"), help="each line, or each "
        "file, is a text of its own, as names or poems: none is read on from another")  # fmt: skip


def add_workers(command: argparse.ArgumentParser) -> None:
    """The option for the number of processes."""
    command.add_argument("--workers", type=number_or_mpi, metavar="N", help="processes that train "
        "together, or mpi for the ranks of an MPI job (default: one per core)")  # fmt: skip


def number_or_mpi(word: str) -> int | str:
    """The value of --workers."""
    return word if word == "mpi" else int(word)


def add_encoding(command: argparse.ArgumentParser) -> None:
    """The options for the encoding of texts and for bytes that are not text in it."""
    command.add_argument("--encoding", default="utf-8", metavar="NAME", help="encoding of files "
        "and standard input (default: utf-8)")  # fmt: skip
    command.add_argument("--errors", default="strict", choices=("strict", "replace", "ignore"),
        help="bytes that cannot be decoded and zero bytes: stop, replace by U+FFFD, or drop "
        "(default: strict)")  # fmt: skip


def add_unknown(command: argparse.ArgumentParser) -> None:
    """The option for characters outside a model's vocabulary."""
    command.add_argument("--unknown", default="error", metavar="WHAT",
        help="characters outside the vocabulary: error, skip, or a character "
        "to put in their place (error)")  # fmt: skip


def add_files(command: argparse.ArgumentParser) -> None:
    """Texts to read with a model."""
    command.add_argument("files", nargs="+", metavar="FILE", help="texts; - for standard input")
    add_model(command)
    add_unknown(command)
    add_encoding(command)
    add_documents(command)
