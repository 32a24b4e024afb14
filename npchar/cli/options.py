"""The commands of the command line and their options."""

from __future__ import annotations

from argparse import ArgumentParser, ArgumentTypeError, RawDescriptionHelpFormatter

from npchar.network.registry import FAST
from npchar.training.optimizers import OPTIMIZERS
from npchar.training.schedule import SCHEDULES
from npchar.version import __version__

STANDARD_INPUT = "-"
DEFAULT_MODEL = "nietzsche"

EPILOG = f"""\
Without --model, commands use the included model {DEFAULT_MODEL}. FILE may be - for standard input.

examples:
  npchar generate --prompt "the will to " --temperature 0.5   use the included model
  npchar train my-texts.txt --minutes 10                      train your own model
  npchar generate --model my-texts.npz                        use your own model

`npchar COMMAND --help` lists the options of a command."""


def workers_or_mpi(word: str) -> int | str:
    """The value of --workers."""
    if word != "mpi" and not word.isdecimal():
        raise ArgumentTypeError(f"expected a whole number, or mpi, got {word!r}")
    return word if word == "mpi" else int(word)


def parser() -> ArgumentParser:
    """The commands and their options."""
    model, shown, workers, encoding, unknown = (ArgumentParser(add_help=False) for _ in range(5))
    model.add_argument("--model", default=DEFAULT_MODEL, metavar="PATH",
        help=f"model file or name of an included model (default: {DEFAULT_MODEL})")  # fmt: skip
    shown.add_argument("--model", default=DEFAULT_MODEL, metavar="PATH",
        help=f"model file (default: the included {DEFAULT_MODEL} and structure)")  # fmt: skip
    workers.add_argument("--workers", type=workers_or_mpi,
        metavar="N", help="number of processes, or mpi for all ranks of an MPI job "
        "(default: one per core, fewer for small batches)")  # fmt: skip
    unknown.add_argument("--unknown", default="error", metavar="POLICY",
        help="what to do with characters outside the vocabulary: 'error' stops, 'skip' removes "
        "them, any character of the vocabulary replaces them (default: error)")  # fmt: skip
    encoding.add_argument("--encoding", default="utf-8", metavar="NAME",
        help="encoding of files and standard input (default: utf-8)")  # fmt: skip
    encoding.add_argument("--errors", default="strict", choices=("strict", "replace", "ignore"),
        help="what to do with zero bytes and undecodable bytes: strict stops, replace writes "
        "U+FFFD instead, ignore removes them (default: strict)")  # fmt: skip
    texts = ArgumentParser(add_help=False, parents=[encoding])
    texts.add_argument("--documents", metavar="HOW", help="split the texts into independent "
        "documents: lines, paragraphs, files, or a marker between documents, such as "
        "'<|endoftext|>' (default: one text, or as recorded in the model file)")  # fmt: skip
    texts.add_argument("--field", metavar="NAME", help="use this column of CSV files, or this "
        "field of JSON Lines files, as the documents")  # fmt: skip
    samples = ArgumentParser(add_help=False)
    samples.add_argument("--sample", action="store_true",
        help="show generated text after each epoch")  # fmt: skip
    samples.add_argument("--temperature", type=float, default=0.5, metavar="X",
        help="temperature of --sample (default: 0.5)")  # fmt: skip
    samples.add_argument("--best", metavar="PATH", help="also save the best model so far in this "
        "file, so that you can use it during training")  # fmt: skip
    json = ArgumentParser(add_help=False)
    json.add_argument("--json", action="store_true", help="print the result as JSON")
    inputs = ArgumentParser(add_help=False, parents=[model, unknown, texts])
    inputs.add_argument("files", nargs="+", metavar="FILE",
        help="files, folders or https addresses; - for standard input")  # fmt: skip

    top = ArgumentParser(
        prog="npchar",
        description="Train character-level language models on your texts, and generate text.",
        epilog=EPILOG,
        formatter_class=RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="version", version=f"npchar {__version__}")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    train = commands.add_parser("train", parents=[workers, texts, samples],
        help="train a model on texts",
        description="Train a model on texts and save it. The defaults suit most texts; use "
        "--minutes to limit the time. If the run is interrupted, for example by Ctrl-C, "
        "`npchar resume` continues it.")  # fmt: skip
    add = train.add_argument
    add("files", nargs="+", metavar="FILE", help="files, folders, https addresses, - for standard "
        "input, or the corpora nietzsche and shakespeare")  # fmt: skip
    add("--save", metavar="PATH",
        help="model file (default: the name of the first FILE, with .npz)")  # fmt: skip
    add("--from", dest="base", metavar="MODEL", help="fine-tune this model instead of "
        f"training a new one: a model file, or an included model such as {DEFAULT_MODEL}; "
        "characters that it lacks are added")  # fmt: skip
    add("--min-count", type=int, default=1, metavar="N", help="replace characters that occur fewer "
        "than N times with one unknown symbol; use it for texts with thousands of "
        "different characters (default: 1, which keeps all)")  # fmt: skip
    add("--lower", action="store_true", help="convert the texts to lower case, which makes short "
        "texts easier to learn")  # fmt: skip
    add = train.add_argument_group("model").add_argument
    add("--layer", choices=FAST, help="kind of layer (default: lstm)")
    add("--hidden-size", type=int, metavar="N", help="units in each layer (default: 128; 256 for "
        "lstm and gru if the texts have at least 300,000 characters)")  # fmt: skip
    add("--num-layers", type=int, metavar="N", help="number of layers (default: 1; conv: 6)")
    add("--dropout", type=float, metavar="X", help="rate of dropout on layer outputs; raise it if "
        "the validation loss rises during training (default: 0.3; 0.2 if the texts have at least "
        "300,000 characters)")  # fmt: skip
    add("--recurrent-dropout", type=float, metavar="X", help="rate of dropout on recurrent "
        "weights; 0.3 helps large models in long runs (default: 0)")  # fmt: skip
    add = train.add_argument_group("training").add_argument
    add("--minutes", type=float, metavar="X", help="train for about this many minutes; npchar "
        "chooses the size, the dropout and the epochs (only the epochs with --layer, --num-layers, "
        "--from or --workers mpi)")  # fmt: skip
    add("--epochs", type=int, metavar="N", help="passes over the texts; not with --minutes "
        "(default: 2 to 40; shorter texts get more)")  # fmt: skip
    add("--maxlen", type=int, default=60, metavar="N",
        help="characters in a training window (default: 60)")  # fmt: skip
    add("--batch-size", type=int, metavar="N",
        help="windows in a training step (default: 32; 4 to 31 for short texts)")  # fmt: skip
    add("--optimizer", default="rmsprop", choices=OPTIMIZERS, help="optimizer; muon may reach "
        "a lower loss per epoch, but its steps take longer (default: rmsprop)")  # fmt: skip
    add("--learning-rate", type=float, metavar="X", help="initial learning rate; lower it if the "
        "loss rises (default: depends on optimizer, layer and hidden size)")  # fmt: skip
    add("--schedule", default="linear", choices=SCHEDULES, help="how the learning rate changes: "
        "linear and cosine fall to zero, constant does not fall (default: linear)")  # fmt: skip
    add("--warm-up", type=float, metavar="X", help="fraction of all steps, at the start, in "
        "which the learning rate rises to its full value (default: 0.05)")  # fmt: skip
    add("--validation-split", type=float, default=0.1, metavar="X", help="fraction to hold out "
        "for validation: the end of each text, or randomly chosen documents; 0 for none "
        "(default: 0.1)")  # fmt: skip
    add("--patience", type=int, metavar="N", help="stop after N epochs without improvement on the "
        "validation set (default: never)")  # fmt: skip
    add("--seed", type=int, default=0, metavar="N",
        help="seed of the initial weights and of training (default: 0)")  # fmt: skip

    add = commands.add_parser("resume", parents=[workers, texts, samples],
        help="resume an interrupted run, or train a model further",
        description="Resume an interrupted run, or train a finished model for more epochs on the "
        "same texts. For other texts, use `npchar train --from`.").add_argument  # fmt: skip
    add("save", metavar="PATH", help="model file of the run")
    add("files", nargs="+", metavar="FILE", help="the training texts, in the same order")
    add("--epochs", type=int, metavar="N", help="for an interrupted run: epochs in total "
        "(default: as before); for a finished model: further epochs")  # fmt: skip
    add("--learning-rate", type=float, metavar="X",
        help="initial learning rate for the rest of the run (default: as before)")  # fmt: skip
    add("--schedule", choices=SCHEDULES,
        help="schedule for the rest of the run (default: as before)")  # fmt: skip

    add = commands.add_parser("generate", parents=[model, unknown, encoding], help="generate text",
        description="Generate text that continues a prompt, or whole "
        "documents.").add_argument  # fmt: skip
    add("--prompt", metavar="TEXT", help=r"text to continue, or - for standard input; \n is a line "
        "feed and \\t a tab (default: a line feed)")  # fmt: skip
    add("--document", action="store_true", help="generate whole documents, which begin with the "
        "prompt; the default for a model of documents")  # fmt: skip
    add("--count", type=int, default=1, metavar="N", help="number of texts (default: 1)")
    add("--new", nargs="+", metavar="FILE", help="generate only documents that are not in these "
        "files (usually the training texts), each at most once")  # fmt: skip
    add("--length", type=int, default=400, metavar="N", help="number of characters, or the maximum "
        "for a document; 0 for no limit (default: 400)")  # fmt: skip
    add("--temperature", type=float, default=1.0, metavar="X",
        help="randomness: 0 always takes the most probable character, 0.5 gives conservative "
        "text, 1 samples from the distribution of the model, and higher values give more "
        "surprising text (default: 1)")  # fmt: skip
    add("--top-k", type=int, metavar="K",
        help="sample only from the K most probable characters (default: all)")  # fmt: skip
    add("--top-p", type=float, metavar="P", help="sample only from the smallest set of most "
        "probable characters whose probabilities sum to at least P (default: 1)")  # fmt: skip
    add("--no-repeat", type=int, metavar="N", help="avoid loops: do not repeat sequences of N "
        "characters; 8 to 12 works well for English (default: allow repeats)")  # fmt: skip
    add("--stop", action="append", metavar="TEXT",
        help="end the text before this string; may be given more than once")  # fmt: skip
    add("--seed", type=int, metavar="N",
        help="seed; the same seed gives the same text (default: a random seed)")  # fmt: skip

    commands.add_parser("score", parents=[inputs, json],
        help="show which characters of a text surprise a model",
        description="Show how well a model predicts each character of a text: in colours on a "
        "terminal, otherwise as a list of the most surprising characters.").add_argument(
        "--color", choices=("auto", "always", "never"), default="auto",
        help="colours; auto uses them on a terminal unless NO_COLOR is set "
        "(default: auto)")  # fmt: skip

    commands.add_parser("evaluate", parents=[inputs, json],
        help="measure how well a model predicts texts",
        description="Print the loss of a model on texts, in nats and bits per character: lower is "
        "better. To measure how much a model has learned, use texts that it was not trained "
        "on.")  # fmt: skip

    add = commands.add_parser("page", parents=[shown],
        help="write a web page that runs a model",
        description="Write a single HTML file that runs a model in a browser, without a server or "
        "a network.").add_argument  # fmt: skip
    add("save", metavar="PATH", help="file to write, such as playground.html; it must not exist")
    add("--prompt", metavar="TEXT", help='initial prompt (default: "the ", or else a letter)')

    commands.add_parser("info", parents=[model, json], help="describe a model file",
        description="Print the layers, characters and training settings of a "
        "model.")  # fmt: skip
    return top
