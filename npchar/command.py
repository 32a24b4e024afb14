"""The command line: ``npchar``, or ``python -m npchar``.

Results go to standard output, all else to standard error, so that a pipe has the
text alone. It ends with 0, with 2 for what a person can mend, with 130 for Ctrl-C
and with 141 where the reader of a pipe has left.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import itertools
import os
import sys
from collections.abc import Sequence

from npchar.corpus import decode, load_corpus
from npchar.distributed import MissingMPIError
from npchar.download import CorpusError
from npchar.guard import TrainingDiverged
from npchar.history import History
from npchar.model import PRETRAINED, Model
from npchar.parallel import WorkerError
from npchar.scoring import Score
from npchar.text import UnknownCharacterError, Vocabulary
from npchar.version import __version__

EXPECTED = (ValueError, OSError, MemoryError, TrainingDiverged, WorkerError, MissingMPIError)
STANDARD_INPUT = "-"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; the result is the process's exit status."""
    for stream in (sys.stdout, sys.stderr):  # a console may lack some of the characters
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    options = parser().parse_args(arguments)
    try:
        status: int = options.run(options)
        sys.stdout.flush()
    except BrokenPipeError:
        # As in `npchar generate | head`: nobody reads on. Python would complain of it at
        # its end, when it flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except UnknownCharacterError as error:
        say(
            f"npchar: the model does not know the character {error.character!r}, which stands at "
            f"position {error.position}; leave it out, or skip all such by --unknown skip"
        )
        return 2
    except EXPECTED as error:  # they say what to do
        say(f"npchar: {error}")
        return 2
    except KeyboardInterrupt:
        say("")
        return 130
    return status


def parser() -> argparse.ArgumentParser:
    """The commands and their options."""
    top = argparse.ArgumentParser(
        prog="npchar",
        description="Train a character-level LSTM on your texts, and let it write.",
        epilog="Without a model of your own, generate, score and evaluate use the one that comes "
        "with npchar, which has read Nietzsche. Any FILE may be - for standard input.",
    )
    top.add_argument("--version", action="version", version=f"npchar {__version__}")
    commands = top.add_subparsers(required=True, metavar="COMMAND")

    train = commands.add_parser("train", help="learn from texts", description="Learn from texts. "
        "The model is kept in one file, which holds the training too until that is finished: "
        "Ctrl-C at any time, and `npchar resume` goes on.")  # fmt: skip
    train.set_defaults(run=run_train)
    add = train.add_argument
    add("files", nargs="+", metavar="FILE", help="texts, or https addresses of texts")
    add("--save", metavar="PATH", help="the model's file (the first text's name with .npz, here)")
    add("--lower", action="store_true", help="make all letters small: fewer characters to learn")
    add("--epochs", type=int, default=20, metavar="N", help="passes over the text (20)")
    add("--hidden-size", type=int, default=128, metavar="N", help="units of an LSTM (128)")
    add("--num-layers", type=int, default=1, metavar="N", help="LSTMs above each other (1)")
    add("--dropout", type=float, default=0.0, metavar="P", help="between layers (0)")
    add("--maxlen", type=int, default=60, metavar="N", help="characters in a window (60)")
    add("--batch-size", type=int, default=32, metavar="N", help="windows in a step (32)")
    add("--learning-rate", type=float, default=0.01, metavar="R", help="RMSprop's rate (0.01)")
    add("--validation-split", type=float, default=0.1, metavar="P",
        help="the part at the end that is held out, to see how well it does (0.1)")  # fmt: skip
    add("--seed", type=int, default=0, metavar="N", help="the same seed, the same model (0)")
    add_encoding(train)

    resume = commands.add_parser("resume", help="go on with a training", description="Go on with "
        "a training that was interrupted, as if it had not been, with the same texts.")  # fmt: skip
    resume.set_defaults(run=run_resume)
    resume.add_argument("save", metavar="PATH", help="the file that it is kept in")
    resume.add_argument("files", nargs="+", metavar="FILE", help="the texts it was begun with")
    add_encoding(resume)

    generate = commands.add_parser("generate", help="write", description="Write on from a prompt.")
    generate.set_defaults(run=run_generate)
    add_model(generate)
    add = generate.add_argument
    add("--prompt", metavar="TEXT", help="what to go on from (a new line); - for standard input")
    add("--length", type=int, default=400, metavar="N", help="characters (400); 0 for no end")
    add(
        "--temperature",
        type=float,
        default=0.5,
        metavar="T",
        help="0: always the most probable; 1: as the model believes; above: wilder (0.5)",
    )
    add("--top-k", type=int, metavar="K", help="choose among the K most probable alone")
    add("--top-p", type=float, metavar="P", help="among those whose chances sum up to P")
    add("--stop", action="append", metavar="TEXT", help="end before this text; may be repeated")
    add("--seed", type=int, metavar="N", help="the same seed, the same text")
    add_unknown(generate)

    score = commands.add_parser("score", help="show what surprises a model", description="Show how "
        "probable a model finds a text: coloured on a terminal, the redder the more surprising; "
        "elsewhere its most surprising characters.")  # fmt: skip
    score.set_defaults(run=run_score)
    add_files(score)
    score.add_argument("--color", choices=("auto", "always", "never"), default="auto",
        help="auto: on a terminal, unless NO_COLOR is set")  # fmt: skip

    evaluate = commands.add_parser("evaluate", help="measure a model", description="Measure how "
        "well a model foretells texts, in nats and bits per character.")  # fmt: skip
    evaluate.set_defaults(run=run_evaluate)
    add_files(evaluate)

    page = commands.add_parser("page", help="write a page that runs a model in a browser",
        description="Write a page that runs a model in a browser: one file, no "
        "network.")  # fmt: skip
    page.set_defaults(run=run_page)
    page.add_argument("save", metavar="PATH", help="where, as in playground.html")
    page.add_argument("--prompt", metavar="TEXT", help="what it opens with")
    add_model(page)

    info = commands.add_parser("info", help="tell what a model's file holds",
        description="Tell what a model's file holds.")  # fmt: skip
    info.set_defaults(run=run_info)
    add_model(info)
    return top


def add_model(command: argparse.ArgumentParser) -> None:
    """The option that names a model."""
    command.add_argument("--model", default=PRETRAINED[0], metavar="PATH",
        help=f"a model's file; or the one that comes along, {PRETRAINED[0]}")  # fmt: skip


def add_encoding(command: argparse.ArgumentParser) -> None:
    """The option that says how texts are encoded."""
    command.add_argument("--encoding", default="utf-8", metavar="NAME", help="of the texts (utf-8)")


def add_unknown(command: argparse.ArgumentParser) -> None:
    """The option for characters that a model does not know."""
    command.add_argument("--unknown", default="error", metavar="WHAT",
        help="characters that the model does not know: error, skip, or a character "
        "to put in their place (error)")  # fmt: skip


def add_files(command: argparse.ArgumentParser) -> None:
    """Texts to read with a model."""
    command.add_argument("files", nargs="+", metavar="FILE", help="texts; - for standard input")
    add_model(command)
    add_unknown(command)
    add_encoding(command)


def say(sentence: str) -> None:
    """Tell a person something that is not the result."""
    print(sentence, file=sys.stderr, flush=True)


# The commands


def run_train(options: argparse.Namespace) -> int:
    """Learn from texts."""
    path = options.save
    if path is None:
        name = os.path.basename(options.files[0].rstrip("/"))
        path = "model.npz" if name == STANDARD_INPUT else os.path.splitext(name)[0] + ".npz"
    if os.path.exists(path):
        raise ValueError(
            f"there is a file {path} already: name another by --save; or go on with it, if it is "
            f"an interrupted training, by `npchar resume {path} {' '.join(options.files)}`"
        )
    text = texts(options)
    if options.lower:
        text = text.lower()
    model = Model(
        Vocabulary.from_text(text),
        hidden_size=options.hidden_size,
        num_layers=options.num_layers,
        dropout=options.dropout,
        seed=options.seed,
    )
    say(f"{len(text):,} characters, {len(model.vocabulary)} different; {model}")
    settings = ("epochs", "maxlen", "batch_size", "learning_rate", "validation_split", "seed")
    return fit(model, text, path, options, {name: getattr(options, name) for name in settings})


def run_resume(options: argparse.Namespace) -> int:
    """Go on with a training."""
    model = loaded(options.save)
    settings = Model.training_settings(options.save)
    if settings is None:
        raise ValueError(f"{options.save} holds a finished model, and no training to go on with")
    return fit(model, suited(texts(options), model), options.save, options, settings, resume=True)


def fit(
    model: Model,
    text: str,
    path: str,
    options: argparse.Namespace,
    settings: dict[str, object],
    resume: bool = False,
) -> int:
    """Train with the training kept in the model's own file."""
    try:
        with contextlib.redirect_stdout(sys.stderr):
            history: History = model.fit(  # the settings are fit's arguments
                text, checkpoint=path, resume=resume, **settings  # type: ignore[arg-type]
            )  # fmt: skip
    except KeyboardInterrupt:
        say(f"\ninterrupted; go on by `npchar resume {path} {' '.join(options.files)}`")
        return 130
    model.save(path)  # without what a training needs to go on
    losses = history.val_loss or history.loss
    held_out = "held out" if history.val_loss else "while it learned"
    print(f"{path}: {min(losses):.4f} nats per character {held_out}")
    return 0


def run_generate(options: argparse.Namespace) -> int:
    """Write on from a prompt."""
    model = loaded(options.model)
    known = model.vocabulary
    if options.length < 0:
        raise ValueError(f"--length is {options.length}; it must be 0 (no end) or more")
    prompt, shown = options.prompt, True
    if prompt is None:
        prompt, shown = "\n" if "\n" in known else known.characters[0], False
    elif prompt == STANDARD_INPUT:
        prompt = standard_input("utf-8").rstrip("\n")
    prompt = suited(prompt, model)
    stream = model.stream(
        prompt,
        temperature=options.temperature,
        top_k=options.top_k,
        top_p=options.top_p,
        stop=options.stop,
        seed=options.seed,
        unknown=options.unknown,
    )
    flush = sys.stdout.isatty()  # a terminal shows it as it is written
    print(prompt if shown else "", end="", flush=flush)
    try:
        for character in itertools.islice(stream, options.length or None):
            print(character, end="", flush=flush)
    finally:
        with contextlib.suppress(BrokenPipeError):  # it will be said once, above
            print()
    return 0


def run_score(options: argparse.Namespace) -> int:
    """Show what surprises a model."""
    model, text = loaded_with_text(options)
    score: Score = model.score(text)
    wanted = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    if options.color == "always" or (options.color == "auto" and wanted):
        print(score.ansi())
    print(score)
    return 0


def run_evaluate(options: argparse.Namespace) -> int:
    """Measure a model."""
    model, text = loaded_with_text(options)
    found = model.evaluate(text)
    uniform = found.baselines["uniform"]
    print(
        f"{found.loss:.4f} nats = {found.bits_per_character:.4f} bits per character, over "
        f"{found.characters:,}; {uniform:.4f} nats if all were alike"
    )
    return 0


def run_page(options: argparse.Namespace) -> int:
    """Write a page that runs a model in a browser."""
    loaded(options.model).to_html(options.save, prompt=options.prompt)
    print(options.save)
    return 0


def run_info(options: argparse.Namespace) -> int:
    """Tell what a model's file holds."""
    model = loaded(options.model)
    model.summary()
    print(f"characters: {model.vocabulary.symbols!r}")
    if options.model not in PRETRAINED and (settings := Model.training_settings(options.model)):
        print("a training under way: " + ", ".join(f"{k} {v}" for k, v in settings.items()))
    return 0


# Models and texts


def loaded(name: str) -> Model:
    """A model by the name of its file, or of one that comes with the package."""
    if name in PRETRAINED and not os.path.exists(name):
        return Model.pretrained(name)
    if not os.path.exists(name):
        raise ValueError(f"there is no file {name}; `npchar train` makes one")
    model = Model.load(name)
    if model.vocabulary.tokens:
        raise ValueError(f"{name} is a model of tokens; the command line knows only characters: "
                         "use it from Python, with npchar.Model.load")  # fmt: skip
    return model


def loaded_with_text(options: argparse.Namespace) -> tuple[Model, str]:
    """The model, and the text as it can read it."""
    model = loaded(options.model)
    text = suited(texts(options), model)
    if options.unknown != "error":
        text = model.vocabulary.decode(model.vocabulary.encode(text, options.unknown))
    return model, text


def texts(options: argparse.Namespace) -> str:
    """The text of all files."""
    if STANDARD_INPUT not in options.files:
        return load_corpus(options.files, encoding=options.encoding)
    if len(options.files) > 1:
        raise CorpusError("- is standard input, which cannot be joined with other files")
    return standard_input(options.encoding)


def standard_input(encoding: str) -> str:
    """All that comes in, decoded as a file would be."""
    text, done = decode(sys.stdin.buffer.read(), encoding, "standard input")
    if done:
        say(f"standard input: {'; '.join(done)}")
    return text


def suited(text: str, model: Model) -> str:
    """The text in small letters, if the model knows no others."""
    known = model.vocabulary.characters
    if known == known.lower() and not set(text) <= set(known) and text != text.lower():
        say("the model knows small letters only: the text is read in small letters")
        return text.lower()
    return text
