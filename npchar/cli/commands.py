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
from argparse import Namespace
from collections.abc import Callable, Iterable, Sequence
from inspect import signature
from reprlib import Repr

import npchar
from npchar.analysis.colouring import plain
from npchar.analysis.page import PageModel, page
from npchar.arguments import require_positive
from npchar.cli import inputs
from npchar.cli.inputs import say
from npchar.cli.options import DEFAULT_MODEL, STANDARD_INPUT, parser
from npchar.files import Table, unfinished, write_whole
from npchar.training import rank
from npchar.training.config import default_learning_rate, default_model_arguments

USER_ERRORS = ValueError, OSError, MemoryError, npchar.TrainingDiverged, npchar.MissingMPIError
FINE_TUNING_RATE = 0.25  # of the default rate, to forget little of the old text
SIZES = signature(npchar.Model).parameters.keys() - {"seed"}
SETTINGS = signature(npchar.Model.fit).parameters.keys() - {"self"}
SAMPLING = "temperature", "top_k", "top_p", "seed", "unknown"

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
        status = COMMANDS[options.command](options) or 0
        sys.stdout.flush()
    except BrokenPipeError:  # as in `npchar generate | head`
        # Python would report it again when it flushes at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except USER_ERRORS as error:
        message = str(error)
        if isinstance(error, npchar.UnknownCharacterError):
            advice = "leave it out, or add --unknown skip"
            if options.command == "resume":
                advice = "name the texts of its training, or use npchar train --from"
            message = (f"the character {error.character!r} at position {error.position} is not in "
                       f"the model's vocabulary; {advice}")  # fmt: skip
        # Name options instead of arguments.
        message = message.replace("validation_split=", "validation-split=")
        pattern = r"\b(workers|validation-split|encoding|errors)='?([\w-]+)'?"
        say("npchar: " + re.sub(pattern, r"--\1 \2", message))
        return 2
    except KeyboardInterrupt:
        say("")
        return 130
    return status


def _prepare_output() -> None:
    """Write UTF-8, except to a terminal; replace characters that a terminal lacks."""
    for name, errors in (("stdout", "replace"), ("stderr", "backslashreplace")):
        stream = getattr(sys, name)
        if stream is None:  # closed by the caller
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding=None if stream.isatty() else "utf-8", errors=errors)


def _selected(options: Namespace, names: Iterable[str]) -> Table:
    """The options with these names that have a value."""
    return {n: value for n, value in vars(options).items() if n in names and value is not None}


# Training


def _train(options: Namespace) -> int:
    first = options.files[0]
    name = "" if first == STANDARD_INPUT else os.path.basename(os.path.abspath(first))
    path = options.save or (os.path.splitext(name)[0].lstrip(".") or "model") + ".npz"
    if os.path.exists(path):
        raise ValueError(
            f"{path} exists; name another file with --save, or, if it is an interrupted training, "
            f"resume it with `{_resume_command(path, options)}`"
        )
    sizes, settings = _selected(options, SIZES), _selected(options, SETTINGS)
    settings["schedule"] = npchar.Schedule(options.schedule, options.warm_up)
    text = inputs.load_texts(options, options.validation_split)
    if options.lower:
        text = inputs.map_text(str.lower, text)
    if isinstance(text, str):
        vocabulary = npchar.Vocabulary.from_text(text, min_count=options.min_count)
        n, unit = len(text), "characters"
    else:
        vocabulary = npchar.Vocabulary.from_documents(text, min_count=options.min_count)
        n, unit = sum(map(len, text)), f"characters in {len(text):,} documents"
    if options.base is None:
        defaults = default_model_arguments(n, options.layer or "lstm")
        model = npchar.Model(vocabulary, seed=options.seed, **defaults | sizes)
    else:
        if sizes:
            names = ", ".join("--" + name.replace("_", "-") for name in sizes)
            raise ValueError(f"--from takes the model as it is: leave out {names}")
        base = inputs.load_model(options.base)
        model = base.extend(text, min_count=options.min_count)
        rate = default_learning_rate(options.optimizer, model.network.config)
        settings.setdefault("learning_rate", FINE_TUNING_RATE * rate)
        added = len(model.vocabulary) - len(base.vocabulary)
        say(f"fine-tuning {options.base}: {added} new characters")
    model.lower_case = options.lower
    if _is_leader(options):
        say(f"{n:,} {unit}, {len(vocabulary)} different; {model}")
    return _fit(model, text, path, options, settings)


def _resume(options: Namespace) -> int:
    path = options.save
    if inputs.is_shipped(path):
        raise ValueError(f"{path} is a shipped model; use `npchar train --from {path} FILE`")
    model = inputs.load_model(path, warn=False)
    settings = npchar.training_settings(path) or {}
    settings |= _selected(options, SETTINGS)
    if model.trained_on:
        settings["validation_split"] = model.trained_on["validation_split"]
    if model.vocabulary.documents and not options.documents:
        raise ValueError(inputs.NEEDS_DOCUMENTS.format(path))
    text = inputs.load_texts(options, settings.get("validation_split", 0.1))
    text = inputs.lower_as_trained(text, model)
    return _fit(model, text, path, options, settings | {"resume": True})


def _fit(
    model: npchar.Model, text: str | list[str], path: str, options: Namespace, settings: Table
) -> int:
    """Train with a checkpoint in the model file."""
    target = os.path.realpath(path)  # the current folder may change
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # by a shell, for `npchar train ... &`
        say(f"started in the background, where Ctrl-C is ignored; `kill {os.getpid()}` stops and "
            "saves it")  # fmt: skip
    try:
        with contextlib.redirect_stdout(sys.stderr):
            history = model.fit(text, checkpoint=target, **settings)
    except (KeyboardInterrupt, SystemExit) as interruption:  # Ctrl-C, SIGTERM
        if not os.path.exists(target):
            raise
        if _is_leader(options):
            say(f"\ninterrupted; resume with `{_resume_command(path, options)}`")
        return 130 if isinstance(interruption, KeyboardInterrupt) else 128 + signal.SIGTERM
    if _is_leader(options):
        model.save(target)  # without the state of the training
        which = "validation" if history.val_loss else "training"
        loss = min(history.val_loss or history.loss)
        print(f"{path}: {loss:.4f} nats per character on the {which} set")
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


# Using a model


def _generate(options: Namespace) -> None:
    if options.length:  # 0: no end
        require_positive(length=options.length)
    model = inputs.load_model(options.model)
    known = model.vocabulary
    if options.prompt == STANDARD_INPUT:
        prompt = inputs.read_standard_input(options).rstrip("\n")
    else:
        prompt = _unescape(options.prompt or "")
    prompt = inputs.as_trained(prompt, model)
    sampling = _selected(options, SAMPLING)
    if options.stop:
        sampling["stop"] = [inputs.as_trained(_unescape(stop), model) for stop in options.stop]
    if options.document or known.documents:
        length = options.length or sys.maxsize
        for text in model.generate_documents(options.count, length, beginning=prompt, **sampling):
            print(text)
        return
    first = prompt or ("\n" if "\n" in known else known.characters[0])
    if options.count != 1:
        for text in model.generate([first] * options.count, options.length, **sampling):
            print(prompt + text)
        return
    # A terminal shows each character at once, and control characters in a visible form.
    is_terminal = sys.stdout.isatty()
    stream = itertools.islice(model.stream(first, **sampling), options.length or None)
    try:
        for character in itertools.chain(prompt, stream):
            print(plain(character) if is_terminal else character, end="", flush=is_terminal)
    finally:
        with contextlib.suppress(BrokenPipeError):  # `main` reports it
            print()


def _unescape(text: str) -> str:
    r"""Replace the escapes \n, \t and \\ in a text from the command line."""
    return re.sub(r"\\([nt\\])", lambda match: {"n": "\n", "t": "\t"}.get(match[1], "\\"), text)


def _show_reading(share: float) -> None:
    """Show on a terminal how much of a text is read."""
    if sys.stderr.isatty():
        line = f"\r{share:4.0%} read" if share < 1 else "\r\x1b[K"
        print(line, end="", file=sys.stderr, flush=True)


def _score(options: Namespace) -> None:
    model, text, note = inputs.load_model_and_text(options)
    scores = model.score(text, progress=_show_reading)
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


def _evaluate(options: Namespace) -> None:
    model, text, note = inputs.load_model_and_text(options)
    result = model.evaluate(text, progress=_show_reading)
    print(
        f"{result.loss:.4f} nats = {result.bits_per_character:.4f} bits per character, over "
        f"{result.characters:,}; uniform baseline {result.baselines['uniform']:.4f} nats"
        + (f"; {note}" if note else "")
    )


def _page(options: Namespace) -> None:
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
        write_whole(options.save, html.encode())
    print(options.save)


def _info(options: Namespace) -> None:
    model = inputs.load_model(options.model, warn=False)
    model.summary()
    shorten = Repr()
    shorten.maxstring = 200
    print(f"characters: {shorten.repr(model.vocabulary.characters)}")
    if inputs.is_shipped(options.model):
        return
    if settings := npchar.training_settings(options.model):
        epochs = unfinished(options.model)
        print(f"an unfinished training, after {epochs}" if epochs else "a finished training")
        print("settings: " + ", ".join(f"{name} {value}" for name, value in settings.items()))


COMMANDS: dict[str, Callable[[Namespace], int | None]] = {
    "train": _train,
    "resume": _resume,
    "generate": _generate,
    "score": _score,
    "evaluate": _evaluate,
    "page": _page,
    "info": _info,
}
