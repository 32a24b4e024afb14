"""From the arguments of `Model.fit` to a training, on one rank or on all of them."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np

from npchar.arguments import require_positive
from npchar.files import describe_model, text_digest
from npchar.network.network import Network
from npchar.text.documents import Ids, as_text, read_text
from npchar.text.examine import examine
from npchar.text.vocabulary import Text, Vocabulary
from npchar.training.checkpoint import checkpoint_lock, open_checkpoint, require_every
from npchar.training.config import TrainingConfig, resolve_config, resolve_optimizer
from npchar.training.distributed import Communicator, MPICommunicator, start_workers
from npchar.training.history import History
from npchar.training.interrupts import Interrupts, interrupt
from npchar.training.optimizers import Optimizer
from npchar.training.progress import Progress, show
from npchar.training.step import End, TrainingStep, follow
from npchar.training.trainer import Callback, Trainer, make_batches, train_validation_split


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
    workers, callbacks = options.workers, options.callbacks
    callbacks = list(callbacks) if isinstance(callbacks, Iterable) else [callbacks, None]
    if not all(map(callable, callbacks)):
        raise TypeError(
            f"callbacks is {options.callbacks!r}; expected a list of functions, such as [print]"
        )
    if options.resume and options.checkpoint is None:
        raise ValueError("resume is True, but no checkpoint is given")
    if isinstance(workers, str) and workers != "mpi":
        raise ValueError(f"workers is {workers!r}; expected a number of processes or 'mpi'")
    if workers is not None and not isinstance(workers, str):
        require_positive(workers=workers)
    if options.checkpoint is not None:
        require_every(options.checkpoint_every)
        # A callback may change the current folder.
        options = options._replace(checkpoint=os.path.realpath(options.checkpoint))
    text = as_text(text, model.vocabulary.tokens)
    options = options._replace(callbacks=callbacks)
    if options.validation_data is not None:
        validation_data = as_text(options.validation_data, model.vocabulary.tokens)
        options = options._replace(validation_data=validation_data)
        arguments = arguments | {"validation_split": 0.0}
    if workers != "mpi":
        return _lead(model, text, arguments, options)
    schedule = arguments["schedule"]
    inputs = {
        "arguments": arguments | {"schedule": None if callable(schedule) else schedule},
        "models": (
            model.network.config, model.network.parameters.flat.dtype, model.vocabulary.symbols,
        ),
        "texts": (text, options.validation_data),
    }  # fmt: skip
    optimizer = arguments["optimizer"]
    model.history = _train_on_all_ranks(
        lambda communicator: _lead(model, text, arguments, options, communicator),
        model.network,
        optimizer if isinstance(optimizer, Optimizer) else None,
        inputs,
    )
    return model.history


def _lead(
    model: TrainableModel,
    text: Text,
    arguments: dict[str, Any],
    options: FitOptions,
    communicator: Communicator | None = None,
) -> History:
    """Train as rank 0. Without a communicator, start worker processes."""
    network, vocabulary = model.network, model.vocabulary
    _, ids = read_text(text, vocabulary)
    validation, corpus = None, ids.ids
    if options.validation_data is not None:
        _, validation = read_text(options.validation_data, vocabulary)
        corpus = np.concatenate([corpus, validation.ids])
    history = model.history = History()
    with contextlib.ExitStack() as stack:
        checkpoint, path = None, options.checkpoint
        workers = None if isinstance(options.workers, str) else options.workers
        if path is not None:
            path = os.fspath(path)
            stack.enter_context(checkpoint_lock(path))
            checkpoint = open_checkpoint(
                path,
                options.checkpoint_every,
                describe_model(network, vocabulary, lower_case=model.lower_case),
                resume=options.resume,
                model=None if arguments["epochs"] is None else dict(network.parameters),
                ids=ids.ids,
            )
            workers = workers or checkpoint.processes
        saved = None if checkpoint is None else checkpoint.settings
        config = resolve_config(arguments, len(ids.ids), network.config, saved)
        if options.verbose:
            for finding in _findings(text, ids, config, vocabulary):
                show(f"the text: {finding}")
        data = train_validation_split(ids, validation, config)
        weights = network.parameters.flat
        try:
            if communicator is None:
                width = make_batches(data.training, config).batch_width
                communicator = start_workers(workers, width, weights.size + 1, weights.dtype.str)
                stack.callback(communicator.close)
            if checkpoint is not None:
                checkpoint.begin(dataclasses.asdict(config), corpus, communicator.size)
            optimizer = resolve_optimizer(arguments["optimizer"], config)
            function = arguments["schedule"]
            schedule = function if callable(function) else config.schedule
            progress = None
            if options.verbose:
                progress = Progress(
                    config.epochs, len(data.training.ids), vocabulary.symbol_name, data.description
                )
            step = TrainingStep(network, optimizer, config, communicator)
            callbacks = list(options.callbacks)
            return Trainer(step, data, schedule, history, callbacks, checkpoint, progress).run()
        except KeyboardInterrupt:
            how = "" if path is None else f"; fit with resume=True resumes from {path}"
            raise interrupt(
                f"interrupted after {len(history.loss)} of {config.epochs} epochs: the model has "
                f"the weights of the last step, model.history the losses{how}"
            ) from None
        finally:
            if history.config:  # the training has begun
                model.trained_on = {
                    "sha256": text_digest(ids.ids),
                    "validation_split": config.validation_split,
                }


def _findings(text: Any, ids: Ids, config: TrainingConfig, vocabulary: Vocabulary) -> list[str]:
    """The findings of `npchar.examine` on a text, or on all documents together.

    Rare symbols that become the unknown symbol are not reported.
    """
    if ids.ends is None:
        if vocabulary.unknown_symbol is not None:
            text = vocabulary.decode(vocabulary.encode(text, "skip"))
        return examine(text, maxlen=config.maxlen, validation_split=config.validation_split)
    together: Any = [symbol for document in text for symbol in document]
    if isinstance(text[0], str):
        together = "".join(text)
    return examine(together, maxlen=1, validation_split=0)


def _train_on_all_ranks(
    lead: Callable[[Communicator], History],
    network: Network,
    optimizer: Optimizer | None,
    inputs: Mapping[str, object],
) -> History:
    """Train one model in all ranks of an MPI job.

    Rank 0 calls `lead`. The other ranks make the same steps, return the same history, and raise
    the same error. `inputs` must be the same on all ranks.
    """
    communicator = MPICommunicator()
    _require_same(communicator, inputs)
    if communicator.rank:
        with Interrupts(terminate=True, ignore=True):
            end = follow(communicator, network, optimizer)
        network.parameters.flat[...], network.epochs_trained = end.weights, end.epochs_trained
        if optimizer is not None:
            optimizer.state = end.state
    else:
        history, error = History(), None
        try:
            history = lead(communicator)
        except BaseException as raised:
            error = raised
        state = None if optimizer is None else optimizer.state
        end = End(history, network.parameters.flat, state, network.epochs_trained, error)
        communicator.broadcast(end)
    if end.error is not None:
        raise end.error
    return end.history


def _require_same(communicator: Communicator, inputs: Mapping[str, object]) -> None:
    """Raise a ValueError on all ranks unless each input has the same `repr` on all of them."""
    import hashlib  # here, because `import npchar` need not wait for it

    digests = [
        hashlib.sha256(repr(value).encode("utf-8", "surrogatepass")).digest()
        for value in inputs.values()
    ]
    differs = communicator.buffer(len(digests), np.dtype(float))
    expected = communicator.broadcast(digests)
    differs[:] = [digest != other for digest, other in zip(digests, expected, strict=True)]
    count = communicator.all_reduce(differs)
    if names := [name for name, number in zip(inputs, count) if number]:
        raise ValueError(
            f"the ranks of this MPI job have different {' and '.join(names)}; give all of them "
            "the same, or train a model on each rank with workers=1"
        )
