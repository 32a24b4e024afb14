"""From the arguments of `Model.fit` to a training, on one rank or on all of them."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Iterable
from typing import Any, NamedTuple, Protocol

import numpy as np

from npchar.arguments import require_positive
from npchar.files import describe_model, text_digest
from npchar.network.network import Network
from npchar.text.documents import Ids, as_text, read_text
from npchar.text.examine import examine
from npchar.text.vocabulary import END, Text, Vocabulary
from npchar.training.checkpoint import checkpoint_lock, open_checkpoint, require_every
from npchar.training.config import TrainingConfig, resolve_config, resolve_optimizer
from npchar.training.distributed import Communicator, MPICommunicator, start_workers
from npchar.training.history import History
from npchar.training.interrupts import Interrupts, interrupt
from npchar.training.optimizers import Optimizer
from npchar.training.progress import Progress, show
from npchar.training.step import End, TrainingStep, follow
from npchar.training.trainer import Callback, Trainer, train_validation_split


class TrainableModel(Protocol):
    """The attributes of a `Model` that a training reads and changes."""

    vocabulary: Vocabulary
    network: Network
    history: History
    lower_case: bool
    trained_on: dict[str, Any] | None


class FitOptions(NamedTuple):
    """The arguments of `Model.fit` that have no field in `TrainingConfig`."""

    validation_data: Text | None
    callbacks: Iterable[Callback]
    verbose: bool
    workers: int | str | None
    checkpoint: str | os.PathLike[str] | None
    checkpoint_every: tuple[float, str]
    resume: bool


def fit(
    model: TrainableModel, text: Text, arguments: dict[str, Any], options: FitOptions
) -> History:
    """Train a model: see `Model.fit`. `arguments` are those for `resolve_config`."""
    callbacks, workers = options.callbacks, options.workers
    callbacks = list(callbacks) if isinstance(callbacks, Iterable) else [callbacks, None]
    if not all(map(callable, callbacks)):
        raise TypeError(
            f"callbacks is {options.callbacks!r}; expected a list of functions, such as [print]"
        )
    if isinstance(workers, str) and workers != "mpi":
        raise ValueError(f"workers is {workers!r}; expected a number of processes or 'mpi'")
    if workers is not None and not isinstance(workers, str):
        require_positive(workers=workers)
    if options.checkpoint is not None:
        require_every(options.checkpoint_every)
    elif options.resume:
        raise ValueError("resume is True, but no checkpoint is given")
    text, options = as_text(text, model.vocabulary.tokens), options._replace(callbacks=callbacks)
    if options.validation_data is not None:
        validation_data = as_text(options.validation_data, model.vocabulary.tokens)
        options = options._replace(validation_data=validation_data)
        arguments = arguments | {"validation_split": 0.0}
    if workers == "mpi":
        return _train_on_all_ranks(model, text, arguments, options)
    return _train(model, text, arguments, options)


def _train(
    model: TrainableModel,
    text: Text,
    arguments: dict[str, Any],
    options: FitOptions,
    communicator: Communicator | None = None,
) -> History:
    """Train as rank 0. Without a communicator, start worker processes."""
    network, vocabulary, path = model.network, model.vocabulary, ""
    _, ids = read_text(text, vocabulary)
    validation, corpus = None, ids.ids
    if options.validation_data is not None:
        _, validation = read_text(options.validation_data, vocabulary)
        corpus = np.concatenate([corpus, validation.ids])
    history = model.history = History()
    with contextlib.ExitStack() as stack:
        checkpoint = None
        if options.checkpoint is not None:
            path = os.path.realpath(options.checkpoint)  # a callback may change the current folder
            stack.enter_context(checkpoint_lock(path))
            checkpoint = open_checkpoint(
                path,
                options.checkpoint_every,
                describe_model(network, vocabulary, lower_case=model.lower_case),
                resume=options.resume,
                model=None if arguments["epochs"] is None else dict(network.parameters),
                ids=ids.ids,
            )
        saved = checkpoint.settings if checkpoint else None
        config = resolve_config(arguments, len(ids.ids), network.sizes, saved)
        data = train_validation_split(ids, validation, config)
        try:
            if communicator is None:
                workers = None if isinstance(options.workers, str) else options.workers
                if workers is None and checkpoint:
                    workers = checkpoint.processes
                communicator = start_workers(workers, config.batch_size, network, config.targets)
                stack.callback(communicator.close)
            if checkpoint:
                checkpoint.begin(dataclasses.asdict(config), corpus, communicator.size)
            progress = None
            if options.verbose:
                for finding in _findings(ids, config, vocabulary):
                    show(f"the text: {finding}")
                progress = Progress(
                    config.epochs, len(data.training.ids), vocabulary.symbol_name, data.description
                )
            optimizer, schedule = arguments["optimizer"], arguments["schedule"]
            trainer = Trainer(
                TrainingStep(network, resolve_optimizer(optimizer, config), config, communicator),
                data,
                schedule if callable(schedule) else config.schedule,
                history,
                list(options.callbacks),
                checkpoint,
                progress,
            )
            history.config = dataclasses.asdict(config)
            model.trained_on = {
                "sha256": text_digest(ids.ids), "validation_split": config.validation_split,
            }  # fmt: skip
            return trainer.run()
        except KeyboardInterrupt:
            how = f"; fit with resume=True resumes from {path}" if path else ""
            raise interrupt(
                f"interrupted after {len(history.loss)} of {config.epochs} epochs: the model has "
                f"the weights of the last step, model.history the losses{how}"
            ) from None


def _findings(ids: Ids, config: TrainingConfig, vocabulary: Vocabulary) -> list[str]:
    """The findings of `npchar.examine` on a text, or on all documents together.

    Rare symbols that become the unknown symbol are not reported.
    """
    hidden = (END, vocabulary.unknown_symbol)
    is_shown = np.array([symbol not in hidden for symbol in vocabulary])
    text = vocabulary.decode(ids.ids[is_shown[ids.ids]])
    if ids.ends is None:
        return examine(text, maxlen=config.maxlen, validation_split=config.validation_split)
    return examine(text, maxlen=1, validation_split=0)


def _train_on_all_ranks(
    model: TrainableModel, text: Text, arguments: dict[str, Any], options: FitOptions
) -> History:
    """Train one model in all ranks of an MPI job.

    The other ranks make the same steps as rank 0, return the same history, and raise the same
    error.
    """
    communicator, network, schedule = MPICommunicator(), model.network, arguments["schedule"]
    optimizer = arguments["optimizer"]
    inputs = {
        "arguments": arguments | {"schedule": None if callable(schedule) else schedule},
        "models": (network.sizes, network.parameters.flat.dtype, model.vocabulary.symbols),
        "texts": (text, options.validation_data),
    }
    names = [name for name, value in inputs.items() if not communicator.is_same_on_all(value)]
    if names:
        raise ValueError(
            f"the ranks of this MPI job have different {' and '.join(names)}; give all of them "
            "the same, or train a model on each rank with workers=1"
        )
    if communicator.rank:
        with Interrupts(terminate=True) as interrupts, interrupts.uninterrupted():
            end = follow(communicator, network, arguments["targets"])
            model.history, network.epochs_trained = end.history, end.epochs_trained
            if isinstance(optimizer, Optimizer):
                optimizer.state = end.state
    else:
        error = None
        try:
            _train(model, text, arguments, options, communicator)
        except BaseException as raised:
            error = raised
        state = optimizer.state if isinstance(optimizer, Optimizer) else None
        end = End(model.history, state, network.epochs_trained, error)
        communicator.send(end, network.parameters.flat)
    if end.error is not None:
        raise end.error
    return model.history
