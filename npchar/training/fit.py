"""From the arguments of `Model.fit` to a run, on one rank or on all of them."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple, Protocol

import numpy as np

from npchar.arguments import require_positive
from npchar.arrays import Array
from npchar.files import Reading, TrainedOn, describe_model, text_digest
from npchar.network.network import Network
from npchar.text.documents import Ids, as_text, read_text
from npchar.text.examine import examine
from npchar.text.vocabulary import END, Text, Vocabulary
from npchar.training.checkpoint import Checkpoint, checkpoint_lock, open_checkpoint, require_every
from npchar.training.config import TrainingConfig, resolve_config, resolve_optimizer
from npchar.training.distributed import Communicator, End, MPICommunicator, start_workers
from npchar.training.history import History
from npchar.training.interrupts import Interrupts, interrupt
from npchar.training.optimizers import Optimizer
from npchar.training.progress import Progress, show
from npchar.training.step import TrainingStep, follow
from npchar.training.time_budget import describe_time, fill_time, require_minutes
from npchar.training.trainer import Callback, Trainer, count_baselines, train_validation_split

Arguments = dict[str, Any]  # those for `resolve_config`


class TrainableModel(Protocol):
    """The attributes of a `Model` that a run reads and changes."""

    vocabulary: Vocabulary
    network: Network
    history: History
    reading: Reading
    trained_on: TrainedOn | None


class FitOptions(NamedTuple):
    """The arguments of `Model.fit` that have no field in `TrainingConfig`."""

    validation_data: Text | None
    callbacks: Iterable[Callback]
    verbose: bool
    workers: int | str | None
    checkpoint: str | os.PathLike[str] | None
    checkpoint_every: tuple[float, str]
    resume: bool
    minutes: float | None


def fit(model: TrainableModel, text: Text, arguments: Arguments, options: FitOptions) -> History:
    """Train a model: see `Model.fit`. `arguments` are those for `resolve_config`."""
    options, vocabulary = _checked(options, arguments["epochs"]), model.vocabulary
    end = time.perf_counter() + 60 * (options.minutes or 0)
    texts = [text] if options.validation_data is None else [text, options.validation_data]
    texts = [as_text(each, vocabulary.tokens) for each in texts]
    if len(texts) == 2:
        arguments = arguments | {"validation_split": 0.0}
    communicator = MPICommunicator() if options.workers == "mpi" else None
    if communicator:
        _require_same_on_all_ranks(communicator, model, arguments, texts)
    corpus = [read_text(each, vocabulary)[1] for each in texts]
    train = functools.partial(_train, model, corpus, arguments, options, end)
    model.history = History()
    try:
        if communicator:
            return _train_on_all_ranks(train, communicator, model, arguments)
        return train()
    except KeyboardInterrupt:
        history, path = model.history, options.checkpoint
        epochs = history.config.get("epochs", "all")
        how = f". To resume from {path}, call fit again with resume=True" if path else ""
        raise interrupt(
            f"interrupted after {len(history.loss)} of {epochs} epochs. The model has the weights "
            f"of the last step, and model.history has the losses{how}"
        ) from None


def _checked(options: FitOptions, epochs: int | None) -> FitOptions:
    """Raise an error for wrong options; return them with an absolute path and a list."""
    callbacks, workers, checkpoint = options.callbacks, options.workers, options.checkpoint
    callbacks = list(callbacks) if isinstance(callbacks, Iterable) else [callbacks, None]
    if not all(map(callable, callbacks)):
        raise TypeError(
            f"callbacks is {options.callbacks!r}; expected a list of functions, such as [print]"
        )
    require_minutes(options.minutes, epochs)
    if workers not in (None, "mpi"):
        if isinstance(workers, str):
            raise ValueError(f"workers is {workers!r}; expected a whole number, or 'mpi'")
        require_positive(workers=workers)
    if checkpoint is not None:
        require_every(options.checkpoint_every)
        checkpoint = os.path.realpath(checkpoint)  # a callback may change the current folder
    elif options.resume:
        raise ValueError("expected a checkpoint to resume from, got none; pass checkpoint=path")
    return options._replace(callbacks=callbacks, checkpoint=checkpoint)


def _train(
    model: TrainableModel,
    corpus: list[Ids],
    arguments: Arguments,
    options: FitOptions,
    end: float,
    communicator: Communicator | None = None,
) -> History:
    """Train as rank 0. Without a communicator, start worker processes.

    `corpus` is the text, and the validation set if there is one. `end` is the time at which a
    training with `minutes` is to end.
    """
    network, history, workers = model.network, model.history, options.workers
    ids = corpus[0].ids
    with _open_checkpoint(model, ids, arguments, options) as checkpoint:
        saved = checkpoint.settings if checkpoint else None
        config = resolve_config(arguments, len(ids), network.config, saved)
        history.config = dataclasses.asdict(config)
        if communicator is None:
            assert not isinstance(workers, str)
            if workers is None and checkpoint:
                workers = checkpoint.processes
            communicator = start_workers(workers, config.batch_size, network, config.targets)
        with contextlib.closing(communicator):  # workers start while this process prepares its data
            if options.verbose:
                _show_findings(corpus[0], config, model.vocabulary)
            data = train_validation_split(config, *corpus)
            optimizer = resolve_optimizer(arguments["optimizer"], config)
            step = TrainingStep(network, optimizer, config, communicator)
            if options.minutes is not None and not saved:
                history.baselines = count_baselines(data, network.config.vocabulary_size)
                keeps_step = arguments["step"] is not None or corpus[0].ends is not None
                keeps_step |= config.targets == "last"
                config = step.config = fill_time(step, data, end, keeps_step)
                history.config = dataclasses.asdict(config)
                if options.verbose:
                    n, minutes = len(data.training.ids), (end - time.perf_counter()) / 60
                    show(describe_time(config, n, network.config, minutes))
            if checkpoint:
                all_ids = np.concatenate([part.ids for part in corpus])
                checkpoint.begin(history.config, all_ids, communicator.size)
            schedule, progress = arguments["schedule"], None
            if options.verbose:
                symbols, name = len(data.training.ids), model.vocabulary.symbol_name
                progress = Progress(config.epochs, symbols, name, data.description)
            trainer = Trainer(
                step,
                data,
                schedule if callable(schedule) else config.schedule,
                history,
                list(options.callbacks),
                checkpoint,
                progress,
            )
            model.trained_on = {
                "sha256": text_digest(ids), "validation_split": config.validation_split,
            }  # fmt: skip
            return trainer.run()


@contextlib.contextmanager
def _open_checkpoint(
    model: TrainableModel, ids: Array, arguments: Arguments, options: FitOptions
) -> Iterator[Checkpoint | None]:
    """The checkpoint of a run, if it has one, which no other run can write meanwhile."""
    if options.checkpoint is None:
        yield None
        return
    path, network = os.fspath(options.checkpoint), model.network
    is_default = arguments["epochs"] is None and options.minutes is None
    with checkpoint_lock(path):
        yield open_checkpoint(
            path,
            options.checkpoint_every,
            describe_model(network, model.vocabulary, reading=model.reading),
            resume=options.resume,
            model=None if is_default else dict(network.parameters),
            ids=ids,
        )


def _show_findings(ids: Ids, config: TrainingConfig, vocabulary: Vocabulary) -> None:
    """Print the findings of `npchar.examine` on a text, or on all documents together.

    Rare symbols that become the unknown symbol are not reported.
    """
    hidden = (END, vocabulary.unknown_symbol)
    is_shown = np.array([symbol not in hidden for symbol in vocabulary])
    text = vocabulary.decode(ids.ids[is_shown[ids.ids]])
    maxlen, split = config.maxlen, config.validation_split
    if ids.ends is not None:
        maxlen, split = 1, 0.0
    for finding in examine(text, maxlen=maxlen, validation_split=split):
        show(f"the text: {finding}")


def _require_same_on_all_ranks(
    communicator: MPICommunicator, model: TrainableModel, arguments: Arguments, texts: object
) -> None:
    """Raise a ValueError on all ranks of an MPI job unless they train the same."""
    network, schedule = model.network, arguments["schedule"]
    inputs = {
        "arguments": arguments | {"schedule": None if callable(schedule) else schedule},
        "models": (network.config, network.parameters.flat.dtype, model.vocabulary.symbols),
        "texts": texts,
    }
    names = [name for name, value in inputs.items() if not communicator.is_same_on_all(value)]
    if names:
        raise ValueError(
            f"expected the same {' and '.join(names)} on all ranks of this MPI job, got different "
            "ones; to train one model per rank, use workers=1"
        )


def _train_on_all_ranks(
    train: Callable[[Communicator], History],
    communicator: MPICommunicator,
    model: TrainableModel,
    arguments: Arguments,
) -> History:
    """Train one model in all ranks of an MPI job.

    The other ranks help rank 0, return the same history, and raise the same error.
    """
    network, optimizer = model.network, arguments["optimizer"]
    if communicator.rank:
        with Interrupts(terminate=True) as interrupts, interrupts.uninterrupted():
            try:
                end = follow(communicator, network, arguments["targets"])
            except BaseException:
                communicator.abort()
                raise
            model.history, network.epochs_trained = end.history, end.epochs_trained
            if isinstance(optimizer, Optimizer):
                optimizer.state = end.state
    else:
        error = None
        try:
            train(communicator)
        except BaseException as raised:
            error = raised
        state = optimizer.state if isinstance(optimizer, Optimizer) else None
        end = End(model.history, state, network.epochs_trained, error)
        communicator.send(end, network.parameters.flat)
    if end.error is not None:
        raise end.error
    return model.history
