"""The commands of the command line and their options."""

from __future__ import annotations

from argparse import ArgumentParser

from npchar.network.registry import FAST
from npchar.training.optimizers import OPTIMIZERS
from npchar.training.schedule import SCHEDULES
from npchar.version import __version__

STANDARD_INPUT = "-"
DEFAULT_MODEL = "nietzsche"


def parser() -> ArgumentParser:
    """The commands and their options."""
    model, workers, encoding, unknown = (ArgumentParser(add_help=False) for _ in range(4))
    model.add_argument("--model", default=DEFAULT_MODEL, metavar="PATH",
        help=f"model file (default: {DEFAULT_MODEL}, which is included)")  # fmt: skip
    workers.add_argument("--workers", type=lambda word: word if word == "mpi" else int(word),
        help="processes, or mpi for the ranks of an MPI job (default: one per core)")  # fmt: skip
    unknown.add_argument("--unknown", default="error", help="characters outside the vocabulary: "
        "error, skip, or a character that replaces them (default: error)")  # fmt: skip
    encoding.add_argument("--encoding", default="utf-8",
        help="encoding of files and standard input (default: utf-8)")  # fmt: skip
    encoding.add_argument("--errors", default="strict", choices=("strict", "replace", "ignore"),
        help="bytes that cannot be decoded and zero bytes: stop, replace by U+FFFD, or drop "
        "(default: strict)")  # fmt: skip
    texts = ArgumentParser(add_help=False, parents=[encoding])
    texts.add_argument("--documents", metavar="HOW", help="train on independent documents: lines, "
        "paragraphs, files, or a marker between them such as '<|endoftext|>'")  # fmt: skip
    texts.add_argument("--field", metavar="NAME",
        help="train on a column of CSV files, or a field of JSON Lines, as documents")  # fmt: skip
    samples = ArgumentParser(add_help=False)
    samples.add_argument("--sample", action="store_true",
        help="show generated text after each epoch")  # fmt: skip
    samples.add_argument("--temperature", type=float, default=0.5,
        help="temperature of --sample (default: 0.5)")  # fmt: skip
    samples.add_argument("--best", metavar="PATH",
        help="keep the model of the best epoch so far in this file, too")  # fmt: skip
    json = ArgumentParser(add_help=False)
    json.add_argument("--json", action="store_true", help="print JSON")
    inputs = ArgumentParser(add_help=False, parents=[model, unknown, texts])
    inputs.add_argument("files", nargs="+", metavar="FILE", help="texts; - for standard input")

    top = ArgumentParser(
        prog="npchar",
        description="Train a character-level language model on your texts, and generate text.",
        epilog="Without --model, generate, score and evaluate use a model of Nietzsche that is "
        "included. Any FILE may be - for standard input.",
    )
    top.add_argument("--version", action="version", version=f"npchar {__version__}")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    add = commands.add_parser("train", parents=[workers, texts, samples],
        help="train a model on texts",
        description="Train a model on texts. One file has the model and, until it is finished, the "
        "training. `npchar resume` continues it after Ctrl-C.").add_argument  # fmt: skip
    add("files", nargs="+", metavar="FILE",
        help="files, folders, https addresses, or the corpora nietzsche, shakespeare")  # fmt: skip
    add("--save", metavar="PATH", help="model file (default: name of the first text with .npz)")
    add("--from", dest="base", metavar="MODEL",
        help=f"model file to fine-tune, or {DEFAULT_MODEL}; new characters are added")  # fmt: skip
    add("--min-count", type=int, default=1, metavar="N", help="replace characters that occur fewer "
        "than N times by one unknown symbol (default: 1)")  # fmt: skip
    add("--lower", action="store_true", help="lower-case the texts")
    add("--epochs", type=int, help="passes over the text (default: depends on its length)")
    add("--minutes", type=float, help="train for this time: choose the size and the epochs for it")
    add("--layer", choices=FAST, help="kind of layer (default: lstm)")
    add("--hidden-size", type=int, help="units of a layer (default: 128; 256 for long texts)")
    add("--num-layers", type=int, help="stacked layers (default: 1; conv: 6)")
    add("--dropout", type=float, help="rate of dropout on layer outputs (default: 0.2 or 0.3)")
    add("--recurrent-dropout", type=float,
        help="rate of dropout on recurrent weights (default: 0)")  # fmt: skip
    add("--maxlen", type=int, default=60, help="characters in a window (default: 60)")
    add("--batch-size", type=int, help="windows in a step (default: 32; fewer for short texts)")
    add("--optimizer", default="rmsprop", choices=OPTIMIZERS, help="(default: rmsprop)")
    add("--learning-rate", type=float, help="initial rate (default: depends on the model)")
    add("--schedule", default="linear", choices=SCHEDULES, help="decay of the learning rate "
        "(default: linear)")  # fmt: skip
    add("--warm-up", type=float,
        help="share of all steps in which the rate rises from zero (default: 0.05)")  # fmt: skip
    add("--validation-split", type=float, default=0.1, help="share at the end of each text, or of "
        "the documents, that is held out for validation (default: 0.1)")  # fmt: skip
    add("--patience", type=int, help="stop after this many epochs without improvement on the "
        "validation set (default: never)")  # fmt: skip
    add("--seed", type=int, default=0, help="seed of all randomness (default: 0)")

    add = commands.add_parser("resume", parents=[workers, texts, samples], help="resume a training",
        description="Resume an interrupted training, or train a finished model for more epochs, on "
        "the same texts.").add_argument  # fmt: skip
    add("save", metavar="PATH", help="model file")
    add("files", nargs="+", metavar="FILE", help="the same texts in the same order")
    add("--epochs", type=int, help="epochs in total; for a finished model, further epochs")
    add("--learning-rate", type=float, help="another initial rate for the rest of the training")
    add("--schedule", choices=SCHEDULES, help="another decay of the learning rate")

    add = commands.add_parser("generate", parents=[model, unknown, encoding], help="generate text",
        description="Generate text from a prompt.").add_argument  # fmt: skip
    add("--prompt", metavar="TEXT", help=r"text to continue, - for standard input; \n is a line "
        "feed (default: a line feed)")  # fmt: skip
    add("--document", action="store_true", help="generate whole documents that begin with the "
        "prompt (always, for a model of documents)")  # fmt: skip
    add("--count", type=int, default=1, help="number of texts (default: 1)")
    add("--new", nargs="+", metavar="FILE",
        help="leave out documents that are in these texts, and repeats")  # fmt: skip
    add("--length", type=int, default=400, help="characters; 0 for no end (default: 400)")
    add("--temperature", type=float, default=1.0,
        help="0: most probable character; 1: unchanged distribution (default: 1)")  # fmt: skip
    add("--top-k", type=int, help="sample among the K most probable characters")
    add("--top-p", type=float, help="sample among the most probable characters that sum up to P")
    add("--no-repeat", type=int, metavar="N", help="avoid loops: do not repeat N characters")
    add("--stop", action="append", metavar="TEXT", help="end before this text; may be repeated")
    add("--seed", type=int, help="seed (default: random)")

    commands.add_parser("score", parents=[inputs, json],
        help="show which characters surprise a model",
        description="Show how probable each character of a text is: in colours on a terminal, "
        "elsewhere the most surprising characters.").add_argument(
        "--color", choices=("auto", "always", "never"), default="auto",
        help="auto: on a terminal, unless NO_COLOR is set (default: auto)")  # fmt: skip

    commands.add_parser("evaluate", parents=[inputs, json], help="measure a model",
        description="Measure how well a model predicts texts, in nats and bits per "
        "character.")  # fmt: skip

    add = commands.add_parser("page", parents=[model],
        help="write a page that runs a model in a browser",
        description="Write a page that runs a model in a browser: one file that needs no network. "
        "Without --model it has the models nietzsche and structure.").add_argument  # fmt: skip
    add("save", metavar="PATH", help="file to write, such as playground.html")
    add("--prompt", metavar="TEXT", help="first prompt")

    commands.add_parser("info", parents=[model, json], help="describe a model file",
        description="Print the layers, characters and training of a model file.")  # fmt: skip
    return top
