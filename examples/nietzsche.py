"""The text generator of "Deep Learning with Python", section 8.1, with npchar.

    python examples/nietzsche.py            two minutes, better text than the book's
    python examples/nietzsche.py --book     the settings of the book, more than an hour
    python examples/nietzsche.py --checkpoint run.npz --resume     start or resume a run
    mpiexec -n 4 python -m mpi4py examples/nietzsche.py --workers mpi       four MPI processes

The model is trained on Nietzsche's writings. After every epoch it continues a random passage at
four temperatures. Ctrl-C stops the run.
"""

from __future__ import annotations

import argparse
import io
import os
import re
import signal
import sys
from pathlib import Path

if __name__ == "__main__" and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # no traceback for Ctrl-C during the imports

import numpy as np
import numpy.random  # NumPy imports it lazily, and would lose a Ctrl-C during that import

import npchar

TEMPERATURES = (0.2, 0.5, 1.0, 1.2)
SEED_LENGTH = 60  # characters of a prompt
WRITTEN_LENGTH = 400

EXPECTED = (
    ValueError,
    OSError,
    MemoryError,
    npchar.TrainingDiverged,
    npchar.MissingMPIError,
)


def main() -> int:
    """Run the example and return the exit status of the process."""
    try:
        if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        if isinstance(sys.stdout, io.TextIOWrapper):  # a terminal may lack some characters
            encoding = None if sys.stdout.isatty() else "utf-8"
            sys.stdout.reconfigure(encoding=encoding, errors="replace")
        options = parse_options()
        return train_and_write(options)
    except EXPECTED as error:  # the message is enough without a traceback
        print(f"nietzsche.py: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        return 130


def parse_options() -> argparse.Namespace:
    """The command line, with the defaults of the chosen recipe filled in."""
    parser = argparse.ArgumentParser(
        description="Train a character-level model on Nietzsche and watch its text improve.",
        epilog="By default every character is a target, batches are small, the learning rate falls "
        "to zero, the network has dropout and twice the book's units, and the last tenth of the "
        "text is the validation set. --book uses the settings of the book: 128 units, one target "
        "per window of 60 characters, a window every 3 characters, batches of 128, a constant "
        "rate, the whole text, 59 epochs. It differs from the listing, whose run diverged, in two "
        "points: the loss is computed from logits, and the gradient is clipped at norm 1.",
    )
    add = parser.add_argument
    add(
        "--book",
        action="store_true",
        help="use the settings of the book, with two exceptions (see below)",
    )
    add("--corpus", metavar="PATH", nargs="+",
        help="files or https addresses of another text (default: Nietzsche)")  # fmt: skip
    add("--epochs", type=int, metavar="N", help="passes over the text (default: 8; --book: 59)")
    add("--targets", choices=("all", "last"), help="predict every character of a window, or "
        "only the one after it (default: all; --book: last)")  # fmt: skip
    add("--step", type=int, metavar="N", help="characters between the starts of two windows "
        "(default: maxlen with --targets all, 3 with --targets last)")  # fmt: skip
    add("--maxlen", type=int, default=60, metavar="N",
        help="characters in a window (default: 60)")  # fmt: skip
    add("--batch-size", type=int, metavar="N",
        help="windows in a training step (default: 32; --book: 128)")  # fmt: skip
    add("--layer", default="lstm", choices=("lstm", "gru", "rnn", "conv"),
        help="kind of layer (default: lstm)")  # fmt: skip
    add("--hidden-size", type=int, metavar="N",
        help="units of a layer (default: 256; --book: 128)")  # fmt: skip
    add("--dropout", type=float, metavar="P",
        help="rate of dropout on layer outputs (default: 0.2; --book: 0)")  # fmt: skip
    add("--seed", type=int, default=0, metavar="N", help="random seed (default: 0)")
    add("--save", metavar="PATH", help="file for the best model (default: none)")
    add("--checkpoint", metavar="PATH", help="file for the state of the run, saved every 30 "
        "seconds and on interruption (default: none)")  # fmt: skip
    add("--resume", action="store_true", help="resume from the checkpoint if it exists")
    add("--workers", metavar="N", type=number_or_mpi, help="number of processes, or mpi for the "
        "ranks of an MPI job (default: one per core)")  # fmt: skip
    options = parser.parse_args()
    if options.resume and not options.checkpoint:
        parser.error("--resume needs --checkpoint PATH, the file to resume from")
    recipe = {"targets": "all", "batch_size": 32, "hidden_size": 256, "dropout": 0.2, "epochs": 8}
    if options.book:
        recipe = {"targets": "last", "batch_size": 128, "hidden_size": 128, "dropout": 0.0,
                  "epochs": 59}  # fmt: skip
    for name, value in recipe.items():
        if getattr(options, name) is None:
            setattr(options, name, value)
    return options


def number_or_mpi(word: str) -> int | str:
    """The value of --workers."""
    if word != "mpi" and not word.isdecimal():
        raise argparse.ArgumentTypeError(f"expected a whole number, or mpi, got {word!r}")
    return word if word == "mpi" else int(word)


def load_text(corpus: list[str] | None = None) -> str:
    """The corpus in lower case, as in the book; without a network, Python's help texts."""
    try:
        return npchar.load_corpus(corpus or "nietzsche", progress=corpus is not None).lower()
    except npchar.DownloadError as error:
        if corpus is not None:
            raise
        reason = str(error).partition("; ")[0]
        say(f"{reason}; training on Python's help texts instead (another text: --corpus PATH)\n")
        return prose_of_help().lower()


def prose_of_help() -> str:
    """The prose in Python's help topics and docstrings, without tables, code and quotes."""
    from pydoc_data.topics import topics

    modules = sorted(Path(os.__file__).parent.glob("*.py"))
    sources = "\n".join(path.read_text("utf-8", errors="replace") for path in modules)
    docstrings = re.findall('"""(.*?)"""', sources, re.DOTALL)
    paragraphs = re.split(r"\n\s*\n", "\n\n".join([*topics.values(), *docstrings]))
    lines = dict.fromkeys(" ".join(paragraph.split()) for paragraph in paragraphs)
    prose = [line for line in lines if re.fullmatch(r"[A-Z][^|=_<>{}\[\]\\@]{60,}\.", line)]
    return re.sub('["*]', "", "\n".join(prose))


def say(line: str) -> None:
    """Print a line and flush the output."""
    print(line, flush=True)


def train_and_write(options: argparse.Namespace) -> int:
    """Train the model, and generate text after every epoch."""
    if options.workers == "mpi" and npchar.training.rank():  # rank 0 prints and saves
        sys.stdout, options.save = open(os.devnull, "w"), None  # noqa: SIM115
    text = load_text(options.corpus)
    vocabulary = npchar.Vocabulary.from_text(text)
    say(f"corpus length: {len(text):,}")
    say(f"unique characters: {len(vocabulary)}")
    model = npchar.Model(
        vocabulary,
        layer=options.layer,
        hidden_size=options.hidden_size,
        dropout=options.dropout,
        seed=options.seed,
    )
    if options.save:  # find errors before the first epoch
        folder = os.path.dirname(options.save) or "."
        if os.path.isdir(options.save):
            raise ValueError(f"cannot save to {options.save}: it is a folder; name a file in it")
        if not os.access(folder, os.W_OK):
            raise ValueError(f"cannot save to {options.save}: {folder} is not a writable folder")
    say(f"{model}\n")

    saved = False

    def keep_best(history: npchar.History) -> None:
        nonlocal saved
        losses = history.val_loss or history.loss
        if options.save and losses[-1] <= min(losses):
            model.save(options.save)
            saved = True

    def write(history: npchar.History) -> None:
        # The seed depends on the epoch, so a resumed run writes the same text.
        rng = np.random.default_rng([options.seed, len(history.loss)])
        start = int(rng.integers(max(1, len(text) - SEED_LENGTH)))
        prompt = text[start : start + SEED_LENGTH]
        print(f'\nprompt: "{prompt}"')
        written = model.generate(
            [prompt] * len(TEMPERATURES),
            WRITTEN_LENGTH,
            temperature=TEMPERATURES,
            seed=int(rng.integers(1 << 32)),
        )
        for temperature, continuation in zip(TEMPERATURES, written):
            print(f"\n------ temperature: {temperature}\n{prompt}{continuation}")
        print(flush=True)

    try:
        model.fit(
            text,
            epochs=options.epochs,
            maxlen=options.maxlen,
            step=options.step,
            targets=options.targets,
            batch_size=options.batch_size,
            learning_rate=0.01 if options.book else None,
            schedule=npchar.Schedule("constant", warm_up=0) if options.book else "linear",
            validation_split=0.0 if options.book else 0.1,
            seed=options.seed,
            callbacks=[keep_best, write],
            checkpoint=options.checkpoint,
            resume=options.resume,
            workers=options.workers,
        )
    except (KeyboardInterrupt, SystemExit) as ended:  # Ctrl-C or SIGTERM
        say("\n\nInterrupted.")
        status = 130 if isinstance(ended, KeyboardInterrupt) else 143
        if options.checkpoint:
            say(f"The run is saved in {options.checkpoint}; add --resume to continue it.")
        # The model of a partial epoch is saved, unless it would replace an earlier model.
        if options.save and not saved and not os.path.exists(options.save):
            model.save(options.save)
            saved = True
    else:
        status = 0
    if options.save and not saved:
        say(f"{options.save} was not changed.")
    elif options.save:
        say(f"The best model is in {options.save}; load it by npchar.Model.load({options.save!r}).")
    return status


if __name__ == "__main__":
    sys.exit(main())
