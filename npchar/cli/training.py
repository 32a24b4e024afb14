"""The commands that train: ``npchar train`` and ``npchar resume``."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import sys
from argparse import Namespace
from collections.abc import Sequence

import npchar
from npchar.cli import inputs
from npchar.cli.inputs import say
from npchar.cli.options import STANDARD_INPUT
from npchar.training import rank
from npchar.training.config import default_learning_rate, default_model_arguments
from npchar.training.trainer import Callback

SIZES = "layer", "hidden_size", "num_layers", "dropout", "recurrent_dropout"
SETTINGS = ("epochs", "maxlen", "batch_size", "optimizer", "learning_rate", "validation_split",
            "patience", "seed")  # fmt: skip
FINE_TUNING_RATE = 0.25  # of the default rate, to forget little of the old text
FORGETTING = 20_000  # characters that a model generates, to measure how much it forgets


def train(options: Namespace) -> int:
    """Train on texts."""
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
            rate = default_learning_rate(options.optimizer, model.network.config)
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


def resume(options: Namespace) -> int:
    """Resume a training."""
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
        print(f"{inputs.printable(path)}: {loss:.4f} nats per character on the {which} set")
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
