"""The commands of the command line.

Results go to standard output and everything else to standard error. The exit status is 0; 2 for
errors that the user can fix; 130 for Ctrl-C; and 141 if the reader of a pipe has closed it.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import os
import re
import sys
import warnings
from argparse import Namespace
from collections.abc import Callable, Sequence
from reprlib import Repr

import npchar
from npchar.analysis.colouring import plain
from npchar.analysis.page import PageModel, page
from npchar.arguments import require_positive
from npchar.cli import inputs
from npchar.cli.inputs import say
from npchar.cli.options import DEFAULT_MODEL, STANDARD_INPUT, parser
from npchar.cli.train import resume, train
from npchar.files import describe_model, unfinished, write_whole

USER_ERRORS = ValueError, OSError, MemoryError, npchar.TrainingDiverged, npchar.MissingMPIError
SAMPLING = "temperature", "top_k", "top_p", "no_repeat", "seed", "unknown"

PAGE_NOTE = "Trained on Nietzsche in English, in lower case."
STRUCTURE_TEXTS = (
    "the cell (was,on,one) can keep\nthe ",  # a prompt that ends a line where the text does
    "Trained on made-up text: words (in,brackets,have,commas), words "
    '"in-quotation-marks-have-hyphens", and each line ends after 30 characters.',
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
            advice = "remove it, or add --unknown skip"
            if options.command == "resume":
                advice = "use its training texts, or `npchar train --from`"
            message = (f"the character {error.character!r} at position {error.position} is not in "
                       f"the model's vocabulary; {advice}")  # fmt: skip
        say(f"npchar: {_name_options(message, options)}")
        return 2
    except KeyboardInterrupt:
        say("")
        return 130
    return status


def _name_options(message: str, options: Namespace) -> str:
    """Replace names of arguments by names of options, as in "--top-k is 0" or "--workers 1"."""
    value = r"(?=[-'\d]|nan\b|inf\b)"
    if (match := re.match(rf"(\w+) is {value}", message)) and match[1] in vars(options):
        message = f"--{match[1].replace('_', '-')}{message[match.end(1) :]}"
    message = message.replace("validation_split=", "validation-split=")
    pattern = r"\b(workers|validation-split|encoding|errors|documents)='?([\w-]+)'?"
    return re.sub(pattern, r"--\1 \2", message)


def _prepare_output() -> None:
    """Write UTF-8, except to a terminal; replace characters that a terminal lacks."""
    for name, errors in (("stdout", "replace"), ("stderr", "backslashreplace")):
        stream = getattr(sys, name)
        if stream is None:  # closed by the caller
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding=None if stream.isatty() else "utf-8", errors=errors)


def _generate(options: Namespace) -> None:
    require_positive(count=options.count)
    if options.length:  # 0: no end
        require_positive(length=options.length)
    model = inputs.load_model(options.model)
    if options.prompt == STANDARD_INPUT:
        prompt = inputs.read_standard_input(options).rstrip("\n")
    else:
        prompt = inputs.unescape(options.prompt or "")
    prompt = inputs.as_trained(prompt, model)
    sampling = inputs.selected(options, SAMPLING)
    if options.stop:
        stops = map(inputs.unescape, options.stop)
        sampling["stop"] = [inputs.as_trained(stop, model) for stop in stops]
    if options.document or options.new or model.vocabulary.documents:
        length = options.length or sys.maxsize
        if options.new:
            reading = model.reading.copy()
            if "field" not in reading:
                reading.setdefault("documents", "lines")
            old = inputs.load_texts(options.new, options, reading)
            sampling["new_to"] = inputs.as_trained(old, model)
        with warnings.catch_warnings(record=True) as notes:
            documents = model.generate_documents(
                options.count, length, beginning=prompt, **sampling
            )
        for text in documents:
            print(text)
        for note in notes:
            say(f"{note.message}")
        if isinstance(documents, npchar.NewDocuments):
            say(f"left out: {documents.copies:,} copies, {documents.repeats:,} repeats")
        return
    first = prompt or inputs.first_prompt(model)
    if options.count != 1:
        if not options.length:
            raise ValueError("expected a --length above 0 for several texts, got 0")
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


def _show_reading(share: float) -> None:
    """Show on a terminal how much of a text is read."""
    if sys.stderr.isatty():
        line = f"\r{share:4.0%} read" if share < 1 else "\r\x1b[K"
        print(line, end="", file=sys.stderr, flush=True)


def _print_json(value: object, note: str = "") -> None:
    """Print a value as JSON, and a note to standard error."""
    print(json.dumps(value))
    if note:
        say(note)


def _score(options: Namespace) -> None:
    model, text, note = inputs.load_model_and_text(options)
    scores = model.score(text, progress=_show_reading)
    if options.json:
        tables = [
            {
                "text": score.text,
                "loss": score.loss,
                "bits_per_character": score.bits_per_character,
                "log_probabilities": score.log_probabilities.astype(float).round(6).tolist(),
            }
            for score in (scores if isinstance(scores, list) else [scores])
        ]
        _print_json(tables if isinstance(scores, list) else tables[0], note)
        return
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
    if options.json:
        _print_json(result._asdict(), note)
        return
    print(
        f"{result.loss:.4f} nats = {result.bits_per_character:.4f} bits per character, over "
        f"{result.characters:,}; uniform baseline {result.baselines['uniform']:.4f} nats"
        + (f"; {note}" if note else "")
    )


def _page(options: Namespace) -> None:
    if os.path.exists(options.save):  # perhaps a model, given without --model
        raise ValueError(f"{options.save} exists; use another file, or remove it")
    model = inputs.load_model(options.model)
    prompt = inputs.as_trained(options.prompt, model) if options.prompt else None
    if options.model != DEFAULT_MODEL or not inputs.is_shipped(DEFAULT_MODEL):
        model.to_html(options.save, prompt=prompt)
    else:
        other = npchar.Model.pretrained("structure")
        models = [
            PageModel("structure", other.network, other.vocabulary, *STRUCTURE_TEXTS),
            PageModel(DEFAULT_MODEL, model.network, model.vocabulary, prompt, PAGE_NOTE),
        ]
        html = page(models[::-1] if prompt else models)  # the prompt is for the default model
        write_whole(options.save, html.encode())
    print(options.save)


def _info(options: Namespace) -> None:
    model = inputs.load_model(options.model, warn=False)
    settings = epochs = None
    if not inputs.is_shipped(options.model):
        settings, epochs = npchar.training_settings(options.model), unfinished(options.model)
    if options.json:
        table = describe_model(model.network, model.vocabulary, model.reading, model.trained_on)
        parameters = model.parameters.flat.size
        _print_json({**table, "parameters": parameters, "settings": settings, "unfinished": epochs})
        return
    model.summary()
    shorten = Repr()
    shorten.maxstring = 200
    print(f"characters: {shorten.repr(model.vocabulary.characters)}")
    if settings:
        print(f"an unfinished run, after {epochs}" if epochs else "a finished run")
        print("settings: " + ", ".join(f"{name} {value}" for name, value in settings.items()))


COMMANDS: dict[str, Callable[[Namespace], int | None]] = {
    "train": train,
    "resume": resume,
    "generate": _generate,
    "score": _score,
    "evaluate": _evaluate,
    "page": _page,
    "info": _info,
}
