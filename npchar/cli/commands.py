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
from npchar.cli.training import resume, train
from npchar.files import unfinished, write_whole

USER_ERRORS = ValueError, OSError, MemoryError, npchar.TrainingDiverged, npchar.MissingMPIError
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
        write_whole(options.save, html.encode())
    print(inputs.printable(options.save))
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


COMMANDS = {
    "train": train,
    "resume": resume,
    "generate": _generate,
    "score": _score,
    "evaluate": _evaluate,
    "page": _page,
    "info": _info,
}
