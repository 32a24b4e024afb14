"""The text generator of "Deep Learning with Python", listing 8.1, by npchar.

    python examples/nietzsche.py            two minutes, better text than the book's
    python examples/nietzsche.py --book     the book's listing to the letter, an hour and more
    python examples/nietzsche.py --checkpoint run.npz --resume     begin, or go on where it ended
    mpiexec -n 4 python -m mpi4py examples/nietzsche.py --workers mpi       on four machines

Trains on Nietzsche's writings and after every epoch generates text from a random
place in them, at four temperatures. Ctrl-C ends it.
"""

from __future__ import annotations

import argparse
import io
import os
import signal
import sys

if __name__ == "__main__" and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C while NumPy loads: no traceback

import numpy as np
import numpy.random  # NumPy would load it later, and lose a Ctrl-C that comes meanwhile

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
    """Run the example; the result is the process's exit status."""
    try:
        if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        if isinstance(sys.stdout, io.TextIOWrapper):  # a terminal may lack some of the characters
            encoding = None if sys.stdout.isatty() else "utf-8"
            sys.stdout.reconfigure(encoding=encoding, errors="replace")
        options = parse_options()
        return train_and_write(options)
    except EXPECTED as error:  # they say what to do
        print(f"nietzsche.py: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        return 130


def parse_options() -> argparse.Namespace:
    """The command line, with the defaults of the chosen recipe filled in."""
    parser = argparse.ArgumentParser(
        description="Train a model of characters on Nietzsche and watch its text improve.",
        epilog="By default there is a target at every character, with small batches and a learning "
        "rate that falls to zero, twice the book's units, and dropout; and the last tenth of the "
        "text is held out. --book trains as the book does: 128 units, one target for each window "
        "of 60 characters, a window every 3, batches of 128, a constant rate, the whole text, 59 "
        "epochs. Only the loss from logits and the "
        "gradient clipped at norm 1 are not the listing's, whose run diverged.",
    )
    add = parser.add_argument
    add("--book", action="store_true", help="the book's listing to the letter")
    add("--corpus", metavar="PATH", nargs="+", help="another text: files, or https addresses")
    add("--epochs", type=int, metavar="N", help="passes over the text (8; --book: 59)")
    add("--targets", choices=("all", "last"), help="a target at every character (the default), "
        "or after the last of each window (--book)")  # fmt: skip
    add("--step", type=int, metavar="N", help="characters between the starts of two windows "
        "(all: maxlen; last: 3)")  # fmt: skip
    add("--maxlen", type=int, default=60, metavar="N", help="characters in a window (60)")
    add("--batch-size", type=int, metavar="N", help="windows in a step (32; --book: 128)")
    add("--layer", default="lstm", choices=("lstm", "gru", "rnn", "conv"), help="what the "
        "model is made of (lstm)")  # fmt: skip
    add("--hidden-size", type=int, metavar="N", help="units of a layer (256; --book: 128)")
    add("--dropout", type=float, metavar="P", help="of the layer's outputs (0.2; --book: 0)")
    add("--seed", type=int, default=0, metavar="N", help="the same seed gives the same run (0)")
    add("--save", metavar="PATH", help="keep the best model so far in this file")
    add("--checkpoint", metavar="PATH", help="keep the training in this file, every 30 seconds "
        "and when it is interrupted")  # fmt: skip
    add("--resume", action="store_true", help="go on from the checkpoint, if it is there")
    add("--workers", metavar="N", type=number_or_mpi, help="processes that train together, or mpi "
        "for the ranks of an MPI job (default: one per core)")  # fmt: skip
    options = parser.parse_args()
    if options.resume and not options.checkpoint:
        parser.error("--resume needs --checkpoint PATH, to know what to go on from")
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
    return word if word == "mpi" else int(word)


def load_text(corpus: list[str] | None = None) -> str:
    """The corpus in lower case, as in the book; without a network, the help texts of Python."""
    try:
        return npchar.load_corpus(corpus or "nietzsche", progress=True).lower()
    except npchar.DownloadError as error:
        if corpus is not None:
            raise
        from pydoc_data import topics

        say(f"{error}\n")
        say("Going on without Nietzsche, with the help texts that every Python carries.\n")
        return "\n".join(topics.topics.values()).lower()


def say(line: str) -> None:
    """Print a line now."""
    print(line, flush=True)


def train_and_write(options: argparse.Namespace) -> int:
    """The main job."""
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
    if options.save:  # better now than after the first epoch
        folder = os.path.dirname(options.save) or "."
        if os.path.isdir(options.save):
            raise ValueError(f"cannot save to {options.save}: it is a folder; name a file in it")
        if not os.access(folder, os.W_OK):
            raise ValueError(f"cannot save to {options.save}: no folder {folder} to write in")
    say(f"{model}\n")

    saved = False

    def keep_best(history: npchar.History) -> None:
        nonlocal saved
        losses = history.val_loss or history.loss
        if options.save and losses[-1] <= min(losses):
            model.save(options.save)
            saved = True

    def write(history: npchar.History) -> None:
        # The same for an epoch, however often the training was interrupted before it
        rng = np.random.default_rng([options.seed, len(history.loss)])
        start = int(rng.integers(max(1, len(text) - SEED_LENGTH)))
        prompt = text[start : start + SEED_LENGTH]
        print(f'\nWriting on from: "{prompt}"')
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
    except (KeyboardInterrupt, SystemExit) as ended:  # by Ctrl-C, by SIGTERM
        say("\n\nInterrupted.")
        status = 130 if isinstance(ended, KeyboardInterrupt) else 143
        if options.checkpoint:
            say(f"The training is kept in {options.checkpoint}; add --resume to go on with it.")
        # Not one whole epoch: better than nothing, but not than an earlier run's model.
        if options.save and not saved and not os.path.exists(options.save):
            model.save(options.save)
            saved = True
    else:
        status = 0
    if options.save and not saved:
        say(f"{options.save} is left as it was.")
    elif options.save:
        say(f"The best model is in {options.save}: npchar.Model.load({options.save!r}) reads it.")
    return status


if __name__ == "__main__":
    sys.exit(main())
