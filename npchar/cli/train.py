"""The commands ``train`` and ``resume``."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import sys
import time
from argparse import Namespace
from inspect import signature

import npchar
from npchar.cli import inputs
from npchar.cli.inputs import say
from npchar.cli.options import STANDARD_INPUT
from npchar.files import Table, unfinished
from npchar.generation.sampling import require_temperature
from npchar.training import rank
from npchar.training.config import default_learning_rate, default_model_arguments
from npchar.training.time_budget import model_for_time, require_minutes

PROBED = 40_000  # characters that are trained to measure the speed of this machine
FINE_TUNING_RATE = 0.25  # of the default learning rate, to preserve more of the old training
SIZES = signature(npchar.Model).parameters.keys() - {"seed"}
SETTINGS = signature(npchar.Model.fit).parameters.keys() - {"self"}


def train(options: Namespace) -> int:
    """Train a new model, or fine-tune one."""
    first = options.files[0]
    name = "" if first == STANDARD_INPUT else os.path.basename(os.path.abspath(first))
    path = options.save or (os.path.splitext(name)[0].lstrip(".") or "model") + ".npz"
    if os.path.exists(path):
        raise ValueError(
            f"{path} exists; use another file with --save, or resume an interrupted run with "
            f"`{_resume_command(path, options)}`"
        )
    _require_best(options)
    require_minutes(options.minutes, options.epochs)
    sizes, settings = inputs.selected(options, SIZES), inputs.selected(options, SETTINGS)
    settings["schedule"] = npchar.Schedule(options.schedule, options.warm_up)
    base = None if options.base is None else inputs.load_model(options.base)
    reading = inputs.reading_of(options, base)
    text = inputs.load_texts(options.files, options, reading, options.validation_split)
    if options.lower:
        reading["lower_case"] = True
    if reading.get("lower_case"):
        text = inputs.map_text(str.lower, text)
    if isinstance(text, str):
        vocabulary = npchar.Vocabulary.from_text(text, min_count=options.min_count)
        n, unit = len(text), "characters"
    else:
        vocabulary = npchar.Vocabulary.from_documents(text, min_count=options.min_count)
        n, unit = sum(map(len, text)), f"characters in {len(text):,} documents"
    if base is None:
        defaults = default_model_arguments(n, options.layer or "lstm")
        is_given = options.epochs or sizes.keys() & {"layer", "num_layers"}
        # MPI ranks would measure different sizes.
        if options.minutes and not is_given and options.workers != "mpi":
            defaults = _model_for_minutes(options, text, n, vocabulary, settings)
        model = npchar.Model(vocabulary, seed=options.seed, **defaults | sizes)
    else:
        if sizes:
            names = ", ".join("--" + name.replace("_", "-") for name in sizes)
            raise ValueError(f"a model for --from already has its size; leave out {names}")
        if base.vocabulary.documents and isinstance(text, str):
            raise ValueError(inputs.NEEDS_DOCUMENTS.format(options.base))
        model = base.extend(text, min_count=options.min_count)
        rate = default_learning_rate(options.optimizer, model.network.config)
        settings.setdefault("learning_rate", FINE_TUNING_RATE * rate)
        added = len(model.vocabulary) - len(base.vocabulary)
        say(f"fine-tuning {options.base}: {added} new characters")
    model.reading = reading
    if _is_leader(options):
        say(f"{n:,} {unit}, {len(vocabulary)} different; {model}")
    return _fit(model, text, path, options, settings)


def _model_for_minutes(
    options: Namespace, text: str | list[str], n: int, vocabulary: npchar.Vocabulary,
    settings: Table,
) -> Table:  # fmt: skip
    """Measure a model of 128 units, choose one for `--minutes`, and deduct the time of that."""
    start = time.perf_counter()
    part = "".join(text)[:PROBED]
    history = npchar.Model(vocabulary).fit(part, epochs=2, validation_split=0, verbose=False,
        **inputs.selected(options, ("maxlen", "batch_size", "workers")))  # fmt: skip
    settings["minutes"] = max(options.minutes - (time.perf_counter() - start) / 60, 0.001)
    characters = len(part) * 60 * settings["minutes"] / history.seconds[-1]
    return model_for_time(n, characters, options.hidden_size)


def resume(options: Namespace) -> int:
    """Resume an interrupted run, or train a finished model further."""
    path = options.save
    if inputs.is_shipped(path):
        raise ValueError(f"{path} is a shipped model; use `npchar train --from {path} FILE`")
    model = inputs.load_model(path, warn=False)
    if not unfinished(path):
        _require_best(options)
        if options.epochs is None:
            raise ValueError(
                f"{path} has no unfinished run; use --epochs N to train it for N further epochs "
                f"on its text, or `npchar train --from {shlex.quote(path)}` for another text"
            )
    settings = npchar.training_settings(path) or {}
    settings |= inputs.selected(options, SETTINGS)
    if model.trained_on:
        settings["validation_split"] = model.trained_on["validation_split"]
    model.reading = inputs.reading_of(options, model)
    split = settings.get("validation_split", 0.1)
    text = inputs.load_texts(options.files, options, model.reading, split)
    if model.vocabulary.documents and isinstance(text, str):
        raise ValueError(inputs.NEEDS_DOCUMENTS.format(path))
    text = inputs.lower_as_trained(text, model)
    return _fit(model, text, path, options, settings | {"resume": True})


def _require_best(options: Namespace) -> None:
    """Raise an error for an existing file as --best, which a new run would replace."""
    if options.best and os.path.lexists(options.best):
        raise ValueError(f"{options.best} exists; use another file with --best")


def _fit(
    model: npchar.Model, text: str | list[str], path: str, options: Namespace, settings: Table
) -> int:
    """Train with a checkpoint in the model file."""
    target = os.path.realpath(path)  # because the current folder may change
    best = options.best and os.path.realpath(options.best)
    if best == target:
        raise ValueError(f"{path} is the model file of this run; use another file with --best")
    if best and not os.path.isdir(os.path.dirname(best)):
        raise ValueError(f"expected a folder for --best, got none at {os.path.dirname(best)}")
    require_temperature(options.temperature)

    def show_sample(history: npchar.History) -> None:
        for sample in _samples(model, options.temperature, len(history.loss)):
            say(sample)

    def keep_best(history: npchar.History) -> None:
        losses = history.val_loss or history.loss
        if losses[-1] <= min(losses):
            model.save(best)

    callbacks = [keep_best] * bool(best) + [show_sample] * options.sample
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # by a shell, for `npchar train ... &`
        say(f"Ctrl-C is ignored in the background; `kill {os.getpid()}` saves the run and "
            "stops it")  # fmt: skip
    try:
        with contextlib.redirect_stdout(sys.stderr):
            history = model.fit(
                text, checkpoint=target, callbacks=callbacks * _is_leader(options), **settings
            )
    except (KeyboardInterrupt, SystemExit) as interruption:  # Ctrl-C, SIGTERM
        if not os.path.exists(target):
            raise
        if _is_leader(options):
            say(f"\ninterrupted; resume with `{_resume_command(path, options)}`")
        return 130 if isinstance(interruption, KeyboardInterrupt) else 128 + signal.SIGTERM
    if _is_leader(options):
        model.save(target)  # without the state of the run
        which = "validation" if history.val_loss else "training"
        loss = min(history.val_loss or history.loss)
        print(f"{path}: {loss:.4f} nats per character on the {which} set")
    return 0


def _samples(model: npchar.Model, temperature: float, seed: int) -> list[str]:
    """Generate samples to show during training: three documents, or one text."""
    if model.vocabulary.documents:
        return model.generate_documents(3, 200, temperature=temperature, seed=seed)
    first = inputs.first_prompt(model)
    return [model.generate(first, 200, temperature=temperature, seed=seed)]


def _is_leader(options: Namespace) -> bool:
    """Whether this process prints and saves, which only rank 0 of an MPI job does."""
    return options.workers != "mpi" or rank() == 0


def _resume_command(path: str, options: Namespace) -> str:
    command = ["npchar", "resume", path, *options.files]
    defaults = {"encoding": "utf-8", "errors": "strict", "temperature": 0.5, "best": None}
    for name, default in defaults.items():
        if getattr(options, name) != default:
            command += [f"--{name}", str(getattr(options, name))]
    command += ["--sample"] * options.sample
    return shlex.join(command)
