"""The command line: ``npchar``, or ``python -m npchar``.

Results go to standard output, all else to standard error, so that a pipe has the
text alone. The exit status is 0; 2 for errors that the user can mend; 130 for Ctrl-C;
and 141 when the reader of a pipe has closed it.
"""

from __future__ import annotations

import codecs
import contextlib
import io
import itertools
import os
import re
import shlex
import signal
import sys
import time
import unicodedata
from argparse import Namespace
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from npchar.analysis.colouring import plain
from npchar.analysis.page import Shown, page
from npchar.files import CheckpointError, training_settings, unfinished, write_whole
from npchar.model import PRETRAINED, Model
from npchar.options import SHIPPED, STANDARD_INPUT, parser
from npchar.text.corpus import lines_of, load_corpus
from npchar.text.decoding import EncodingError, Errors, decode
from npchar.text.download import CorpusError
from npchar.text.vocabulary import END, UnknownCharacterError, Vocabulary
from npchar.training import rank
from npchar.training.config import default_learning_rate, default_model_arguments, resolve_config
from npchar.training.distributed import MissingMPIError
from npchar.training.divergence import TrainingDiverged
from npchar.training.history import History
from npchar.training.schedule import Schedule
from npchar.training.trainer import Callback

EXPECTED = (ValueError, OSError, MemoryError, TrainingDiverged, MissingMPIError)


SETTINGS = ("epochs", "maxlen", "batch_size", "optimizer", "learning_rate", "schedule",
            "validation_split", "patience", "seed")  # fmt: skip
SLOWER = 0.25  # of the usual rate, to learn a new text and forget little of the old
PIECE = 1 << 20  # characters that are replaced at a time, to save memory
SHOWN = 100  # characters of a vocabulary, by info
FORGETTING = 20_000  # characters that a model writes, to measure what it forgets
OF_DOCUMENTS = "{} is a model of documents: add --documents lines, or --documents files"

IN_OPTIONS = {  # the options for Python's arguments in messages
    "Pass workers=1": "Pass --workers 1",
    "or validation_split=0": "or --validation-split 0",
}

# Of the page: what is said of the models that come along, and a prompt whose first line ends where
# a line of that text does, for the model counts from there
ABOUT = "Trained on Nietzsche in English, in lower case."
STRUCTURE = (
    "the cell (was,on,one) can keep\nthe ",
    "Trained on a made-up text that must be remembered to be predicted: the same words with spaces "
    'between them, (in,brackets,with,commas), "in-quotation-marks-with-hyphens"; and each line '
    "ends after 30 characters, wherever that is.",
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; the result is the process's exit status."""
    replaced: list[str] = []
    status = run(arguments, replaced)
    if replaced:
        say(f"standard output is in {sys.stdout.encoding}, which lacks some of the characters: "
            "each is written as ?")  # fmt: skip
    return status


def prepare_output(replaced: list[str]) -> None:
    """Write UTF-8, except to a terminal; add each text that cannot be encoded to `replaced`."""

    def replace(error: UnicodeError) -> tuple[str, int]:
        assert isinstance(error, UnicodeEncodeError)
        replaced.append(error.object[error.start : error.end])
        return "?" * (error.end - error.start), error.end

    if sys.stdout is None:  # closed by the caller
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
    codecs.register_error("npchar.replace", replace)
    for stream, errors in ((sys.stdout, "npchar.replace"), (sys.stderr, "backslashreplace")):
        if isinstance(stream, io.TextIOWrapper):
            encoding = None if stream.isatty() else "utf-8"
            stream.reconfigure(encoding=encoding, errors=errors)


def run(arguments: Sequence[str] | None, replaced: list[str]) -> int:
    """Run the command and report its errors; the result is the exit status."""
    try:
        prepare_output(replaced)
        options = parser().parse_args(arguments)
        status = COMMANDS[options.command](options)
        sys.stdout.flush()
    except BrokenPipeError:
        # As in `npchar generate | head`: nobody reads on. Python would complain of it at
        # its end, when it flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except UnknownCharacterError as error:  # of the commands that take --unknown
        say(
            f"npchar: the character {error.character!r} at position {error.position} is not in the "
            f"model's vocabulary; leave it out, or skip all such by --unknown skip"
        )
        return 2
    except EncodingError as error:
        say("npchar: " + error.message(lambda name, value: f"--{name} {value}"))
        return 2
    except EXPECTED as error:  # their messages say what to do
        message = str(error)
        for argument, option in IN_OPTIONS.items():
            message = message.replace(argument, option)
        say(f"npchar: {message}")
        return 2
    except KeyboardInterrupt:
        say("")
        return 130
    return status


def say(sentence: str) -> None:
    """Print to standard error: all that is not the result."""
    if sys.stderr is not None:  # print would take standard output for None
        print(sentence, file=sys.stderr, flush=True)


# The commands


def run_train(options: Namespace) -> int:
    """Train on texts."""
    path = options.save or default_path(options.files[0])
    if os.path.isdir(path):
        raise ValueError(
            f"cannot save to {path}: it is a folder; name a file, as in "
            f"--save {shlex.quote(os.path.join(path, 'model.npz'))}"
        )
    if os.path.exists(path):
        raise ValueError(
            f"there is a file {path} already: name another by --save; or go on with it, if it is "
            f"an interrupted training, by `{to_go_on(path, options)}`"
        )
    sizes = ("layer", "hidden_size", "num_layers", "dropout", "recurrent_dropout")
    given = {name: getattr(options, name) for name in sizes}
    given = {name: value for name, value in given.items() if value is not None}
    settings = {name: getattr(options, name) for name in SETTINGS}
    settings["schedule"] = Schedule(options.schedule, options.warm_up)
    require_numbers(given, settings, options.seed)
    text = texts(options, options.validation_split)
    if options.lower:
        text = each(str.lower, text)
    n, what = len(text), "characters"
    if isinstance(text, str):
        vocabulary = Vocabulary.from_text(text, min_count=options.min_count)
    else:
        vocabulary = Vocabulary.from_documents(text, min_count=options.min_count)
        n, what = sum(map(len, text)), f"characters in {len(text):,} documents"
    callbacks: list[Callback] = []
    if options.begun is None:
        chosen = default_model_arguments(n, options.layer or "lstm")
        model = Model(vocabulary, seed=options.seed, **chosen | given)
    else:
        if given:
            names = ", ".join("--" + name.replace("_", "-") for name in given)
            raise ValueError(f"--from takes the model as it is: leave out {names}")
        before = loaded(options.begun)
        model = before.extend(text, min_count=options.min_count)
        if settings["learning_rate"] is None:
            settings["learning_rate"] = SLOWER * default_learning_rate(
                options.optimizer, model.network.sizes
            )
        added = len(model.vocabulary) - len(before.vocabulary)
        say(f"going on from {options.begun}: {added} new characters")
        callbacks.append(forgetting(before, model))
    model.lower_case = options.lower
    if leads(options):
        say(f"{n:,} {what}, {len(vocabulary)} different; {model}")
    return fit(model, text, path, options, settings, callbacks=callbacks)


def default_path(first: str) -> str:
    """The default of --save: the name of the first text with .npz, in the current folder."""
    name = "" if first == STANDARD_INPUT else os.path.basename(os.path.abspath(first))
    return (os.path.splitext(name)[0].lstrip(".") or "model") + ".npz"


def require_numbers(sizes: dict[str, Any], settings: dict[str, Any], seed: int) -> None:
    """Raise a ValueError for a wrong number, before a text is read or fetched."""
    small = {"hidden_size": min(1, sizes.get("hidden_size", 1))}
    model = Model(Vocabulary("ab"), seed=seed, **sizes | small)
    others = {"step": None, "targets": "all", "clip_norm": 1.0, "restore_best": True}
    resolve_config(others | settings, 1, model.network.sizes)


def forgetting(before: Model, model: Model) -> Callback:
    """What says after each epoch what is left of what a model knew before.

    Without the text that it was trained on: by one that it generates.
    """
    known = before.vocabulary.characters
    prompts = ["\n" if "\n" in known else known[0]] * 32
    texts = before.generate(prompts, FORGETTING // len(prompts), seed=1)
    old = "".join(texts)
    begun = before.evaluate(old).loss

    def say_it(_: History) -> None:
        say(f"  on {len(old):,} characters written before: {model.evaluate(old).loss:.3f}; "
            f"before: {begun:.3f}")  # fmt: skip

    return say_it


def run_resume(options: Namespace) -> int:
    """Go on with a training."""
    if is_shipped(options.save):
        raise ValueError(
            f"{options.save} is a finished model of npchar; to fine-tune it on another text, use "
            f"`npchar train --from {options.save} other.txt`"
        )
    model = loaded(options.save, tell=False)
    settings = training_settings(options.save) or {}
    if not settings and options.epochs is None:
        raise ValueError(
            f"{options.save} holds a finished model; to train it on, say for how many epochs, as "
            "in --epochs 5, or on another text, as in "
            f"`npchar train --from {options.save} other.txt`"
        )
    advice = "Name the texts that it was begun with, in their order"
    if not settings:  # a finished model
        command = shlex.join(["npchar", "train", "--from", options.save, *options.files])
        advice += f", or use `{command}`, which saves to another file"
        if model.trained_on:
            settings["validation_split"] = model.trained_on["validation_split"]
    if options.epochs is not None:
        settings["epochs"] = options.epochs
    known = model.vocabulary
    if known.documents and not options.documents:
        raise ValueError(OF_DOCUMENTS.format(options.save))
    text = lowered(texts(options, float(settings.get("validation_split", 0.1))), model)
    if (unknown := set("".join(text)) - set(known.characters)) and known.stand_in is None:
        raise ValueError(
            f"{options.save} is of a training on another text: in that there is no "
            f"{min(unknown)!r}, as there is in {' '.join(options.files)}. {advice}"
        )
    return fit(model, text, options.save, options, settings, resume=True)


def fit(
    model: Model,
    text: str | list[str],
    path: str,
    options: Namespace,
    settings: dict[str, object],
    *,
    resume: bool = False,
    callbacks: Sequence[Callback] = (),
) -> int:
    """Train with the training kept in the model's own file."""
    target = os.path.realpath(path)  # the folder may change while it trains
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # So a script's shell starts what stands before an &, and so it is to stay.
        say(f"started in the background: Ctrl-C is not for it; `kill {os.getpid()}` ends it, and "
            "keeps what is done")  # fmt: skip
    try:
        with contextlib.redirect_stdout(sys.stderr):
            history: History = model.fit(  # the settings are fit's arguments
                text, checkpoint=target, resume=resume, callbacks=callbacks,
                workers=options.workers, **settings,  # type: ignore[arg-type]
            )  # fmt: skip
    except (KeyboardInterrupt, SystemExit) as ended:  # by Ctrl-C, by SIGTERM
        if not os.path.exists(target):
            raise  # before its first step: there is nothing to go on with
        if leads(options):
            say(f"\ninterrupted; go on by `{to_go_on(path, options)}`")
        return 130 if isinstance(ended, KeyboardInterrupt) else 128 + signal.SIGTERM
    if not leads(options):
        return 0
    model.save(target)  # without what a training needs to go on
    losses = history.val_loss or history.loss
    held_out = "held out" if history.val_loss else "on the train text"
    print(f"{printable(path)}: {min(losses):.4f} nats per character {held_out}")
    return 0


def leads(options: Namespace) -> bool:
    """Whether this process prints and saves: all do, except ranks above 0 of one training."""
    return options.workers != "mpi" or rank() == 0


def to_go_on(path: str, options: Namespace) -> str:
    """The command that goes on with a training of the texts named in the options."""
    encoding = [] if options.encoding == "utf-8" else ["--encoding", options.encoding]
    errors = [] if options.errors == "strict" else ["--errors", options.errors]
    documents = ["--documents", options.documents] if options.documents else []
    return shlex.join(["npchar", "resume", path, *options.files, *encoding, *errors, *documents])


def run_generate(options: Namespace) -> int:
    """Generate text from a prompt."""
    model = loaded(options.model)
    known = model.vocabulary
    if options.count < 1:
        raise ValueError(f"--count is {options.count}; expected 1 or more")
    if options.length < 0:
        raise ValueError(f"--length is {options.length}; expected 0 (no end) or more")
    if options.prompt == STANDARD_INPUT:
        prompt = standard_input(options.encoding, options.errors).rstrip("\n")
    else:
        prompt = unescaped(options.prompt or "")
    prompt = readable(prompt, model)
    how = {name: getattr(options, name) for name in ("temperature", "top_k", "top_p", "seed",
                                                     "unknown")}  # fmt: skip
    how["stop"] = [readable(unescaped(one), model) for one in options.stop or ()] or None
    if options.document or known.documents:  # nothing comes after the end of a document
        length = options.length or sys.maxsize
        for text in model.generate_document(options.count, length, beginning=prompt, **how):
            print(text)
        return 0
    shown = prompt
    if not prompt:
        prompt = "\n" if "\n" in known else known.characters[0]
    if options.count > 1:
        if not options.length:
            raise ValueError("--length 0 has no end; expected a length with --count above 1")
        for text in model.generate([prompt] * options.count, options.length, **how):
            print(shown + text)
        return 0
    stream = model.stream(prompt, **how)
    # A terminal shows it as it is written, with control characters made visible.
    is_terminal = sys.stdout.isatty()
    made = plain if is_terminal else str
    print("".join(map(made, shown)), end="", flush=is_terminal)
    try:
        for character in itertools.islice(stream, min(options.length, sys.maxsize) or None):
            print(made(character), end="", flush=is_terminal)
    finally:
        with contextlib.suppress(BrokenPipeError):  # it will be said once, above
            print()
    return 0


def shown_progress() -> Callable[[float], None] | None:
    """What shows on a terminal how much of a text is read, when that takes a while."""
    if sys.stderr is None or not sys.stderr.isatty():
        return None
    begun = time.monotonic()

    def show(share: float) -> None:
        if time.monotonic() - begun > 1:
            end = "\r" if share < 1 else "\r\x1b[K"
            print(f"\r{share:4.0%} read", end=end, file=sys.stderr, flush=True)

    return show


def unescaped(text: str) -> str:
    r"""A text from the command line, in which \n, \t and \\ are what they are in Python."""
    return re.sub(r"\\([nt\\])", lambda found: {"n": "\n", "t": "\t"}.get(found[1], "\\"), text)


def run_score(options: Namespace) -> int:
    """Show which characters surprise a model."""
    model, text, note = loaded_with_text(options)
    found = model.score(text, progress=shown_progress())
    wanted = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    coloured = options.color == "always" or (options.color == "auto" and wanted)
    for score in found if isinstance(found, list) else [found]:
        if coloured:
            print(score.ansi())
        if isinstance(found, list):
            print(f"{score.bits_per_character:.3f} bits a character: {score.text[1:-1]}")
        else:
            print(score)
    if note:
        print(note.removeprefix("; "))
    return 0


def run_evaluate(options: Namespace) -> int:
    """Measure a model."""
    model, text, note = loaded_with_text(options)
    found = model.evaluate(text, progress=shown_progress())
    uniform = found.baselines["uniform"]
    print(
        f"{found.loss:.4f} nats = {found.bits_per_character:.4f} bits per character, over "
        f"{found.characters:,}; uniform baseline {uniform:.4f} nats{note}"
    )
    return 0


def run_page(options: Namespace) -> int:
    """Write a page that runs a model in a browser."""
    if os.path.exists(options.save):  # perhaps the model, in the place of --model
        raise ValueError(f"there is a file {options.save} already; name another, or remove it")
    model = loaded(options.model)
    prompt = readable(options.prompt, model) if options.prompt else None
    if options.model != SHIPPED or not is_shipped(SHIPPED):
        model.to_html(options.save, prompt=prompt)
    else:
        other = Model.pretrained("structure")
        html = page([
            Shown(SHIPPED, model.network, model.vocabulary, prompt, ABOUT),
            Shown("structure", other.network, other.vocabulary, *STRUCTURE),
        ])  # fmt: skip
        write_whole(options.save, lambda file: file.write(html.encode("utf-8")))
    print(printable(options.save))
    return 0


def run_info(options: Namespace) -> int:
    """Print what a model's file holds."""
    model = loaded(options.model, tell=False)
    model.summary()
    shown = shortened(model.vocabulary.characters)
    print(f"characters: {shown}")
    if not is_shipped(options.model) and (settings := training_settings(options.model)):
        done = unfinished(options.model)
        print("a finished training" if done is None else f"a training under way, after {done}")
        print("its settings: " + ", ".join(f"{k} {v}" for k, v in settings.items()))
    return 0


def printable(path: str) -> str:
    """A path in the system's encoding as UTF-8 text."""
    return os.fsencode(path).decode("utf-8", "replace")


def shortened(characters: str) -> str:
    """Characters as Python writes them; of many the first and the last."""
    if len(characters) <= SHOWN:
        return repr(characters)
    half = SHOWN // 2
    return f"{characters[:half]!r} … {characters[-half:]!r}"


COMMANDS = {
    "train": run_train,
    "resume": run_resume,
    "generate": run_generate,
    "score": run_score,
    "evaluate": run_evaluate,
    "page": run_page,
    "info": run_info,
}


# Models and texts


def loaded(name: str, *, tell: bool = True) -> Model:
    """A model by the name of its file, or of one that comes with the package.

    Of a training under way it says so, as its weights are not yet the best.
    """
    if is_shipped(name):
        return Model.pretrained(name)
    if name in PRETRAINED:
        say(f"{name} is the file in this folder, not npchar's model of that name")
    if os.path.isdir(name):
        raise ValueError(f"{name} is a folder; expected a model's file")
    if not os.path.exists(name):
        raise ValueError(f"there is no file {name}; `npchar train` makes one")
    model = Model.load(name)
    if model.vocabulary.tokens:
        raise ValueError(f"expected a model of characters, got one of tokens, {name}; use it from "
                         "Python, with npchar.Model.load")  # fmt: skip
    if tell and (done := unfinished(name)):
        say(f"{name} is of a training under way, after {done}: `npchar resume` goes on with it")
    return model


def is_shipped(name: str) -> bool:
    """Whether a name means a pretrained model of npchar, not a local model's file."""
    if name not in PRETRAINED or not os.path.isfile(name):
        return name in PRETRAINED
    try:
        training_settings(name)
    except (CheckpointError, OSError):
        return True
    return False


def loaded_with_text(options: Namespace) -> tuple[Model, str | list[str], str]:
    """The model, the text or documents as it can read them, and a note on what it cannot."""
    model = loaded(options.model)
    known = model.vocabulary
    text = readable(texts(options), model)
    if known.documents and not options.documents:
        wrong = known.stand_in is None and not set(text) <= set(known)
        if wrong and options.unknown == "error":
            raise ValueError(OF_DOCUMENTS.format(options.model))
        say(OF_DOCUMENTS.format(options.model))
    if options.unknown == "error":
        return model, text, ""

    def replaced(one: str) -> str:
        pieces = (one[k : k + PIECE] for k in range(0, len(one), PIECE))
        return "".join(known.decode(known.encode(piece, options.unknown)) for piece in pieces)

    counts = Counter[str]()
    for one in [text] if isinstance(text, str) else text:
        counts.update(one)
    n, odd = counts.total(), sum(n for character, n in counts.items() if character not in known)
    done = "skipped" if options.unknown == "skip" else "replaced"
    note = f"; {done}: {odd:,} of {n:,} characters ({odd / n:.0%}), unknown to it" if odd else ""
    return model, each(replaced, text), note


def texts(options: Namespace, held_out: float = 0.0) -> str | list[str]:
    """The text of all files, or the documents in them; with a share of each file at its end."""
    text: str | list[str]
    if STANDARD_INPUT not in options.files:
        text = load_corpus(
            options.files,
            encoding=options.encoding,
            errors=options.errors,
            documents=options.documents,
            held_out=held_out,
        )
        if 0 < held_out < 1 and isinstance(text, str) and len(options.files) > 1:
            say(f"held out: the last {held_out:.0%} of each of {len(options.files)} files")
    elif len(options.files) > 1:
        raise CorpusError("- is standard input, which cannot be joined with other files")
    else:
        text = standard_input(options.encoding, options.errors)
        if options.documents:
            text = lines_of(text) if options.documents == "lines" else [text]
    if isinstance(text, list) and (n := sum(one.count(END) for one in text)):
        say(f"U+0003 marks the end of a document: removed {n:,} of it from the documents")
        text = [one for one in each(lambda one: one.replace(END, ""), text) if one.strip()]
    return text


def standard_input(encoding: str, errors: Errors = "strict") -> str:
    """The decoded text of standard input."""
    if sys.stdin is None:
        raise CorpusError("standard input is closed")
    text, notes = decode(sys.stdin.buffer.read(), encoding, "standard input", errors)
    if notes:
        say(f"standard input: {'; '.join(notes)}")
    return text


Given = TypeVar("Given", str, "str | list[str]")


def each(change: Callable[[str], str], text: Given) -> Given:
    """A text, or each of several documents, changed."""
    return change(text) if isinstance(text, str) else [change(one) for one in text]


def readable(text: Given, model: Model) -> Given:
    """The text with the line ends, accents and case of the model's vocabulary."""
    known = frozenset(model.vocabulary.characters)
    if "\r" not in known:
        text = each(lambda one: one.replace("\r\n", "\n").replace("\r", "\n"), text)

    def unknown(text: str | list[str]) -> int:
        return sum(character not in known for character in "".join(text))

    if n := unknown(text):
        composed = each(lambda one: unicodedata.normalize("NFC", one), text)
        if unknown(composed) < n:
            text = composed
    return lowered(text, model)


def lowered(text: Given, model: Model) -> Given:
    """The text in lower case, if that of the model's training was.

    Files of version 1.0 and files written from Python do not say. Then a vocabulary in lower case
    decides, unless it has an unknown symbol, which may replace rare capitals.
    """
    known = model.vocabulary.characters
    needed = model.lower_case
    if known == known.lower() and model.vocabulary.stand_in is None:
        needed |= not frozenset(known).issuperset("".join(text))
    lower = each(str.lower, text) if needed else text
    if lower != text:
        say("the model's vocabulary is lower-case: the text is read in lower case")
    return lower
