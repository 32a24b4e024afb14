"""The commands of the command line.

Results go to standard output and everything else to standard error. The exit status is 0; 2 for
errors that the user can fix; 130 for Ctrl-C; and 141 if the reader of a pipe has closed it.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import os
import re
import shlex
import signal
import sys
import time
from argparse import Namespace
from collections.abc import Callable, Sequence

import npchar
from npchar.analysis.colouring import plain
from npchar.analysis.page import PageModel, page
from npchar.cli import inputs
from npchar.cli.inputs import say
from npchar.cli.options import DEFAULT_MODEL, STANDARD_INPUT, parser
from npchar.files import unfinished, write_whole
from npchar.training import rank
from npchar.training.config import default_learning_rate, default_model_arguments
from npchar.training.trainer import Callback

USER_ERRORS = ValueError, OSError, MemoryError, npchar.TrainingDiverged, npchar.MissingMPIError
SIZES = "layer", "hidden_size", "num_layers", "dropout", "recurrent_dropout"
SETTINGS = ("epochs", "maxlen", "batch_size", "optimizer", "learning_rate", "validation_split",
            "patience", "seed")  # fmt: skip
FINE_TUNING_RATE = 0.25  # of the default rate, to forget little of the old text
FORGETTING = 20_000  # characters that a model generates, to measure how much it forgets
CHARACTERS_SHOWN = 100  # by info, of a vocabulary

PAGE_NOTE = "Trained on Nietzsche in English, in lower case."
STRUCTURE_TEXTS = (
    "the cell (was,on,one) can keep\nthe ",  # a prompt that ends a line where the text does
    "Trained on a made-up text that must be remembered to be predicted: the same words with spaces "
    'between them, (in,brackets,with,commas), "in-quotation-marks-with-hyphens"; and each line '
    "ends after 30 characters, wherever that is.",
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and report its errors; the result is the exit status of the process."""
    try:
        _prepare_output()
        options = parser().parse_args(arguments)
        status = COMMANDS[options.command](options)
        sys.stdout.flush()
    except BrokenPipeError:  # as in `npchar generate | head`
        # Python would report it again when it flushes at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except npchar.UnknownCharacterError as error:
        say(f"npchar: the character {error.character!r} at position {error.position} is not in the "
            "model's vocabulary; leave it out, or add --unknown skip")  # fmt: skip
        return 2
    except USER_ERRORS as error:
        say(
            "npchar: "
            + re.sub(
                r"\b(workers|validation_split|encoding|errors)='?([\w-]+)'?", _as_option, str(error)
            )
        )
        return 2
    except KeyboardInterrupt:
        say("")
        return 130
    return status


def _prepare_output() -> None:
    """Write UTF-8, except to a terminal; replace characters that a terminal lacks."""
    if sys.stdout is None:  # closed by the caller
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
    for stream, errors in ((sys.stdout, "replace"), (sys.stderr, "backslashreplace")):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding=None if stream.isatty() else "utf-8", errors=errors)


def _as_option(match: re.Match[str]) -> str:
    """A keyword argument in a message as an option of the command line."""
    return f"--{match[1].replace('_', '-')} {match[2]}"


def _train(options: Namespace) -> int:
    first = options.files[0]
    name = "" if first == STANDARD_INPUT else os.path.basename(os.path.abspath(first))
    path = options.save or (os.path.splitext(name)[0].lstrip(".") or "model") + ".npz"
    if os.path.isdir(path):
        raise ValueError(
            f"cannot save to {path}: it is a folder; name a file, as in "
            f"--save {shlex.quote(os.path.join(path, 'model.npz'))}"
        )
    if os.path.exists(path):
        raise ValueError(
            f"the file {path} exists; name another file with --save, or, if it is an interrupted "
            f"training, resume it with `{_resume_command(path, options)}`"
        )
    sizes = {name: getattr(options, name) for name in SIZES if getattr(options, name) is not None}
    settings = {name: getattr(options, name) for name in SETTINGS}
    settings["schedule"] = npchar.Schedule(options.schedule, options.warm_up)
    text = inputs.load_texts(options, options.validation_split)
    if options.lower:
        text = text.lower() if isinstance(text, str) else [one.lower() for one in text]
    if isinstance(text, str):
        vocabulary = npchar.Vocabulary.from_text(text, min_count=options.min_count)
        n, unit = len(text), "characters"
    else:
        vocabulary = npchar.Vocabulary.from_documents(text, min_count=options.min_count)
        n, unit = sum(map(len, text)), f"characters in {len(text):,} documents"
    callbacks: list[Callback] = []
    if options.base is None:
        defaults = default_model_arguments(n, options.layer or "lstm")
        model = npchar.Model(vocabulary, seed=options.seed, **defaults | sizes)
    else:
        if sizes:
            names = ", ".join("--" + name.replace("_", "-") for name in sizes)
            raise ValueError(f"--from takes the model as it is: leave out {names}")
        base = inputs.load_model(options.base)
        model = base.extend(text, min_count=options.min_count)
        if settings["learning_rate"] is None:
            rate = default_learning_rate(options.optimizer, model.network.sizes)
            settings["learning_rate"] = FINE_TUNING_RATE * rate
        added = len(model.vocabulary) - len(base.vocabulary)
        say(f"fine-tuning {options.base}: {added} new characters")
        callbacks.append(_report_forgetting(base, model))
    model.lower_case = options.lower
    if _is_leader(options):
        say(f"{n:,} {unit}, {len(vocabulary)} different; {model}")
    return _fit(model, text, path, options, settings, callbacks=callbacks)


def _report_forgetting(base: npchar.Model, model: npchar.Model) -> Callback:
    """A callback that prints the loss on a text that the base model generated."""
    known = base.vocabulary.characters
    prompts = ["\n" if "\n" in known else known[0]] * 32
    text = "".join(base.generate(prompts, FORGETTING // len(prompts), seed=1))
    before = base.evaluate(text).loss

    def report(_: npchar.History) -> None:
        say(f"  on {len(text):,} characters that the base model generated: "
            f"{model.evaluate(text).loss:.3f}; before: {before:.3f}")  # fmt: skip

    return report


def _resume(options: Namespace) -> int:
    path = options.save
    fine_tune = f"`npchar train --from {path} other.txt`"
    if inputs.is_shipped(path):
        raise ValueError(f"{path} is a shipped model; to fine-tune it, use {fine_tune}")
    model = inputs.load_model(path, warn=False)
    settings = npchar.training_settings(path) or {}
    if not settings and options.epochs is None:
        raise ValueError(
            f"{path} is a finished model; to train it further, add --epochs, as in --epochs 5, or "
            f"fine-tune it on another text, as in {fine_tune}"
        )
    advice = "Name the texts of its training in the same order"
    if not settings:  # a finished model
        command = shlex.join(["npchar", "train", "--from", path, *options.files])
        advice += f", or use `{command}`, which saves to another file"
        if model.trained_on:
            settings["validation_split"] = model.trained_on["validation_split"]
    if options.epochs is not None:
        settings["epochs"] = options.epochs
    vocabulary = model.vocabulary
    if vocabulary.documents and not options.documents:
        raise ValueError(inputs.NEEDS_DOCUMENTS.format(path))
    text = inputs.load_texts(options, float(settings.get("validation_split", 0.1)))
    text = inputs.lower_as_trained(text, model)
    unknown = set("".join(text)) - set(vocabulary.characters)
    if unknown and vocabulary.unknown_symbol is None:
        raise ValueError(
            f"{path} was trained on another text: {min(unknown)!r} is in {' '.join(options.files)} "
            f"but not in its vocabulary. {advice}"
        )
    return _fit(model, text, path, options, settings, resume=True)


def _fit(
    model: npchar.Model,
    text: str | list[str],
    path: str,
    options: Namespace,
    settings: dict[str, object],
    *,
    resume: bool = False,
    callbacks: Sequence[Callback] = (),
) -> int:
    """Train with a checkpoint in the model file."""
    target = os.path.realpath(path)  # the current folder may change
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # by a shell, for `npchar train ... &`
        say(f"started in the background, where Ctrl-C is ignored; `kill {os.getpid()}` stops and "
            "saves it")  # fmt: skip
    try:
        with contextlib.redirect_stdout(sys.stderr):
            history = model.fit(
                text, checkpoint=target, resume=resume, callbacks=callbacks,
                workers=options.workers, **settings,  # type: ignore[arg-type]
            )  # fmt: skip
    except (KeyboardInterrupt, SystemExit) as interruption:  # Ctrl-C, SIGTERM
        if not os.path.exists(target):
            raise
        if _is_leader(options):
            say(f"\ninterrupted; resume with `{_resume_command(path, options)}`")
        return 130 if isinstance(interruption, KeyboardInterrupt) else 128 + signal.SIGTERM
    if _is_leader(options):
        model.save(target)  # without the state of the training
        loss, which = min(history.val_loss or history.loss), "training"
        which = "validation" if history.val_loss else "training"
        print(f"{_printable(path)}: {loss:.4f} nats per character on the {which} set")
    return 0


def _is_leader(options: Namespace) -> bool:
    """Whether this process prints and saves: ranks above 0 of an MPI job do not."""
    return options.workers != "mpi" or rank() == 0


def _resume_command(path: str, options: Namespace) -> str:
    command = ["npchar", "resume", path, *options.files]
    for name, default in (("encoding", "utf-8"), ("errors", "strict"), ("documents", None)):
        if getattr(options, name) != default:
            command += [f"--{name}", getattr(options, name)]
    return shlex.join(command)


def _generate(options: Namespace) -> int:
    model = inputs.load_model(options.model)
    known = model.vocabulary
    if options.count < 1:
        raise ValueError(f"--count is {options.count}; expected 1 or more")
    if options.length < 0:
        raise ValueError(f"--length is {options.length}; expected 0 (no end) or more")
    if options.prompt == STANDARD_INPUT:
        prompt = inputs.read_standard_input(options).rstrip("\n")
    else:
        prompt = _unescape(options.prompt or "")
    prompt = inputs.as_trained(prompt, model)
    names = "temperature", "top_k", "top_p", "seed", "unknown"
    sampling = {name: getattr(options, name) for name in names}
    stops = [inputs.as_trained(_unescape(stop), model) for stop in options.stop or ()]
    sampling["stop"] = stops or None
    if options.document or known.documents:
        length = options.length or sys.maxsize
        for text in model.generate_documents(options.count, length, beginning=prompt, **sampling):
            print(text)
        return 0
    first = prompt or ("\n" if "\n" in known else known.characters[0])
    if options.count > 1:
        if not options.length:
            raise ValueError("--length 0 has no end; expected a length with --count above 1")
        for text in model.generate([first] * options.count, options.length, **sampling):
            print(prompt + text)
        return 0
    # A terminal shows each character at once, and control characters in a visible form.
    is_terminal = sys.stdout.isatty()
    stream = model.stream(first, **sampling)
    limit = min(options.length, sys.maxsize) or None
    try:
        for character in itertools.chain(prompt, itertools.islice(stream, limit)):
            print(plain(character) if is_terminal else character, end="", flush=is_terminal)
    finally:
        with contextlib.suppress(BrokenPipeError):  # `main` reports it
            print()
    return 0


def _unescape(text: str) -> str:
    r"""Replace the escapes \n, \t and \\ in a text from the command line."""
    return re.sub(r"\\([nt\\])", lambda match: {"n": "\n", "t": "\t"}.get(match[1], "\\"), text)


def _reading_progress() -> Callable[[float], None] | None:
    """A function that prints how much of a text is read; None if no terminal shows it."""
    if sys.stderr is None or not sys.stderr.isatty():
        return None
    start = time.monotonic()

    def show(share: float) -> None:
        if time.monotonic() - start > 1:
            end = "\r" if share < 1 else "\r\x1b[K"
            print(f"\r{share:4.0%} read", end=end, file=sys.stderr, flush=True)

    return show


def _score(options: Namespace) -> int:
    model, text, note = inputs.load_model_and_text(options)
    scores = model.score(text, progress=_reading_progress())
    colour = options.color
    if colour == "auto" and sys.stdout.isatty() and not os.environ.get("NO_COLOR"):
        colour = "always"
    for score in scores if isinstance(scores, list) else [scores]:
        if colour == "always":
            print(score.ansi())
        if isinstance(scores, list):
            print(f"{score.bits_per_character:.3f} bits per character: {score.text[1:-1]}")
        else:
            print(score)
    if note:
        print(note)
    return 0


def _evaluate(options: Namespace) -> int:
    model, text, note = inputs.load_model_and_text(options)
    result = model.evaluate(text, progress=_reading_progress())
    print(
        f"{result.loss:.4f} nats = {result.bits_per_character:.4f} bits per character, over "
        f"{result.characters:,}; uniform baseline {result.baselines['uniform']:.4f} nats"
        + (f"; {note}" if note else "")
    )
    return 0


def _page(options: Namespace) -> int:
    if os.path.exists(options.save):  # perhaps a model, given without --model
        raise ValueError(f"the file {options.save} exists; name another, or remove it")
    model = inputs.load_model(options.model)
    prompt = inputs.as_trained(options.prompt, model) if options.prompt else None
    if options.model != DEFAULT_MODEL or not inputs.is_shipped(DEFAULT_MODEL):
        model.to_html(options.save, prompt=prompt)
    else:
        other = npchar.Model.pretrained("structure")
        html = page([
            PageModel(DEFAULT_MODEL, model.network, model.vocabulary, prompt, PAGE_NOTE),
            PageModel("structure", other.network, other.vocabulary, *STRUCTURE_TEXTS),
        ])  # fmt: skip
        write_whole(options.save, lambda file: file.write(html.encode("utf-8")))
    print(_printable(options.save))
    return 0


def _info(options: Namespace) -> int:
    model = inputs.load_model(options.model, warn=False)
    model.summary()
    characters = model.vocabulary.characters
    shown = repr(characters)
    if len(characters) > CHARACTERS_SHOWN:
        half = CHARACTERS_SHOWN // 2
        shown = f"{characters[:half]!r} … {characters[-half:]!r}"
    print(f"characters: {shown}")
    if not inputs.is_shipped(options.model) and (
        settings := npchar.training_settings(options.model)
    ):
        epochs = unfinished(options.model)
        print(
            "a finished training" if epochs is None else f"an unfinished training, after {epochs}"
        )
        print("settings: " + ", ".join(f"{name} {value}" for name, value in settings.items()))
    return 0


def _printable(path: str) -> str:
    """A path in the system's encoding as UTF-8 text."""
    return os.fsencode(path).decode("utf-8", "replace")


COMMANDS = {
    "train": _train,
    "resume": _resume,
    "generate": _generate,
    "score": _score,
    "evaluate": _evaluate,
    "page": _page,
    "info": _info,
}
