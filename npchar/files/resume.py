"""The checkpoint of a training: what it must hold to go on as if never interrupted.

``training/trainer.py`` says when it is a good moment, ``files/archive.py`` puts it on the
disk. The file is that of a model (its weights are the latest), with one more
table in its configuration, ``training``, and four more arrays.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from npchar.arguments import require_positive
from npchar.arrays import Array
from npchar.files import archive
from npchar.files.archive import CheckpointError, Layout, lock_file
from npchar.network.network import Network
from npchar.version import __version__, in_browser

UNITS = ("epochs", "steps", "seconds")
TABLES = ("position", "history", "guard", "generator")  # of a State, as JSON
ARRAYS = {"optimizer": "v", "best": "best", "best_optimizer": "best_v"}
"""The arrays of a State, and their names in files, after ``training.``."""


@dataclass
class State:
    """What a training needs to go on from where it stands, beside the weights."""

    position: dict[str, Any]
    history: dict[str, Any]
    guard: dict[str, Any]
    generator: dict[str, Any]  # NumPy's state of it, from before the current epoch
    optimizer: Array  # the optimizer's state
    best: Array  # weights, flat, and the optimizer's state then
    best_optimizer: Array


class Checkpoint:
    """A file that a training is kept in.

    Parameters
    ----------
    path
        Where.
    configuration
        What describes the model, and must be the same when going on.
    every
        How often: a number and one of "epochs", "steps", "seconds".
    saved
        What the file held, if the training is to go on from it.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        configuration: dict[str, Any],
        every: tuple[float, str],
        saved: tuple[dict[str, Any], dict[str, Array]] | None,
    ) -> None:
        self.path, self.configuration = os.fspath(path), configuration
        self.number, self.unit = require_every(every)
        self.training: dict[str, Any] | None = None
        self.arrays: dict[str, Array] = {}
        if saved is not None:
            found, self.arrays = saved
            self.training = found.get("training")
            if self.training is None:
                raise CheckpointError(
                    f"{self.path} holds a finished model, but no training to go on with: to train "
                    "it on, read it by npchar.Model.load, and say for how many epochs"
                )
            self._require_same("is of another model", found["model"], configuration["model"])
            if "optimizer_arguments" not in self.training["settings"]:
                raise CheckpointError(
                    f"{self.path} is of a training by an earlier npchar, which this version cannot "
                    "resume: npchar.Model.load reads its latest weights, to train them on"
                )
            self.epochs_trained = found["epochs_trained"]
        self.is_longer = False  # than it was to be
        self._begin_count(0, 0)

    @property
    def processes(self) -> int | None:
        """How many computed the gradients of the training that is to go on."""
        return None if self.training is None else int(self.training["made_by"]["processes"])

    @property
    def settings(self) -> dict[str, Any] | None:
        """Those of the training that is to go on."""
        if self.training is None:
            return None
        settings: dict[str, Any] = self.training["settings"]
        return dict(settings)

    def _require_same(self, what: str, then: dict[str, Any], now: dict[str, Any]) -> None:
        different = [
            f"{name} was {then.get(name)!r} and is {now.get(name)!r}"
            for name in sorted(then.keys() | now.keys())
            if then.get(name) != now.get(name)
        ]
        if different:
            raise CheckpointError(
                f"{self.path} {what}: {'; '.join(different)}. Use what it was begun with, or "
                "another checkpoint"
            )

    def begin(self, settings: dict[str, Any], ids: Array, processes: int) -> None:
        """Say what the training is of.

        Raises a CheckpointError if the file is of another; warns if bits may differ.
        """
        made_by = environment() | {"processes": processes}
        corpus = text_digest(ids)
        self.about = {"settings": settings, "corpus": corpus, "made_by": made_by}
        if self.training is None:
            return
        then = self.settings or {}
        if settings["epochs"] > then["epochs"]:  # it is made longer
            then |= {"epochs": settings["epochs"]}
            self.is_longer = True
        self._require_same("is of a training with other settings", then, settings)
        if self.training["corpus"] != corpus:
            raise CheckpointError(
                f"{self.path} is of a training on another text. Use the text it was begun with, "
                "or another checkpoint"
            )
        different = [
            f"{name} was {then} and is {made_by.get(name)}"
            for name, then in self.training["made_by"].items()
            if then != made_by.get(name)
        ]
        if different:
            warnings.warn(
                f"{self.path}: {'; '.join(different)}. The training goes on, but not to the bit "
                "as it would have there",
                stacklevel=2,
            )

    def restore(self, kinds: State, network: Network) -> State | None:
        """Load the saved weights into `network` and return the rest; None for a new training.

        Parameters
        ----------
        kinds
            An example, whose tables have the names and kinds of values that there must be.
        network
            The model's network.

        Raises
        ------
        CheckpointError
            When what was saved makes no sense.
        """
        if self.training is None:
            return None
        found: dict[str, Any] = {name: self.training[name] for name in TABLES}
        found |= {name: self.arrays[f"training.{ARRAYS[name]}"] for name in ARRAYS}
        state = State(**found)
        try:
            for name in ("position", "history", "guard"):
                table, example = getattr(state, name), getattr(kinds, name)
                if table.keys() != example.keys():
                    raise ValueError(f"its {name} has {sorted(table)}")
                for key, value in example.items():
                    require_kind(table[key], value)
            if state.optimizer.shape != kinds.optimizer.shape:
                raise ValueError(f"its optimizer has {len(state.optimizer)} numbers")
            require_generator(state.generator)
        except (
            KeyError, TypeError, ValueError, AttributeError, OverflowError, DeprecationWarning
        ) as error:  # fmt: skip
            raise CheckpointError(f"the checkpoint's training makes no sense: {error!r}") from None
        for name in network.parameters:
            network.parameters[name] = self.arrays[name]
        network.epochs_trained = self.epochs_trained
        return state

    def _begin_count(self, epochs: int, steps: int) -> None:
        self.counts: dict[str, float] = {"epochs": epochs, "steps": steps,
                                         "seconds": time.monotonic()}  # fmt: skip

    def is_due(self, epochs: int, steps: int) -> bool:
        """Whether it is time to save, after so many epochs and steps."""
        now = {"epochs": epochs, "steps": steps, "seconds": time.monotonic()}
        return now[self.unit] - self.counts[self.unit] >= self.number

    def save(self, epochs: int, steps: int, state: State, network: Network) -> None:
        """Write the model and the state of its training after these epochs and steps."""
        self._begin_count(epochs, steps)  # also if it fails: not again at the next step
        tables = {name: getattr(state, name) for name in TABLES}
        arrays = {f"training.{ARRAYS[name]}": getattr(state, name) for name in ARRAYS}
        training = {**self.about, "memory": len(state.optimizer), **tables}
        changed = {"epochs_trained": network.epochs_trained, "training": training}
        archive.write(self.path, self.configuration | changed, {**network.parameters, **arrays})


@contextlib.contextmanager
def held(path: str | os.PathLike[str]) -> Iterator[None]:
    """Keep a training's file from all other trainings, while it is entered.

    By a lock on an empty file beside it, ``.npchar-NAME.lock``. The system lifts it when the
    process ends, however it ends: what a killed training leaves hinders no other. Not in a
    browser, where there is one process alone.

    Raises
    ------
    CheckpointError
        When another training has it.
    """
    if in_browser():
        yield
        return
    path = os.path.realpath(path)  # one lock for all links to a file
    folder, name = os.path.split(path)
    lock = os.path.join(folder, f".npchar-{name}.lock")
    while True:
        try:
            descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise type(error)(error.errno, f"cannot write {path}: {error.strerror}") from None
        if lock_file(descriptor) is False:
            os.close(descriptor)
            raise CheckpointError(
                f"another training that is under way is kept in {path}; wait for its end, or "
                "name another checkpoint"
            )
        with contextlib.suppress(OSError):
            if os.path.samestat(os.fstat(descriptor), os.stat(lock)):
                break
        os.close(descriptor)  # the one who had it removed it just now: once more
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # Windows keeps an open file
            os.unlink(lock)
        os.close(descriptor)


def saved_training(
    path: str | os.PathLike[str], resume: bool, layout: Callable[[dict[str, Any]], Layout]
) -> tuple[dict[str, Any], dict[str, Array]] | None:
    """What a checkpoint holds to go on from; None where there is none yet."""
    if not os.path.exists(path):
        return None
    if not resume:
        raise FileExistsError(
            f"there is a file {os.fspath(path)!r} already; go on from it by resume=True, or name "
            "another checkpoint"
        )
    return archive.read(path, layout)


def text_digest(ids: Array) -> str:
    """Return the SHA-256 of a text's ids, in hexadecimal."""
    import hashlib  # here, as `import npchar` need not wait for it

    return hashlib.sha256(ids.data).hexdigest()


def trained_on(configuration: dict[str, Any]) -> dict[str, Any] | None:
    """Return a file's `Model.trained_on`; raise a ValueError or KeyError if it is invalid."""
    text: Any = configuration.get("trained_on")
    if "training" in configuration:
        settings, digest = (configuration["training"][name] for name in ("settings", "corpus"))
        text = {"sha256": digest, "validation_split": settings.get("validation_split", 0.1)}
    if text is not None and not isinstance(text, dict):
        raise ValueError(f"its trained_on is {text!r:.50}")
    if text:
        require_kind(text["sha256"], "")
        if not 0 <= float(text["validation_split"]) < 1:
            raise ValueError(f"its trained_on is {text!r:.150}")
    return text


def require_same_text(
    path: str | os.PathLike[str], configuration: dict[str, Any], ids: Array
) -> None:
    """Raise a CheckpointError if training a finished model on another text would replace it."""
    then = trained_on(configuration)
    if then is None:
        what = "does not say which text its model was trained on"  # as in files of version 1.0
    elif then and then["sha256"] != text_digest(ids):
        what = "holds a model that was trained on another text"
    else:
        return
    name = os.fspath(path)
    raise CheckpointError(
        f"{name} {what}, and this training would replace it; name another checkpoint, or use "
        f"`npchar train --from {shlex.quote(name)} FILE`, which saves to another file"
    )


def require_every(every: tuple[float, str]) -> tuple[float, str]:
    """Raise a ValueError unless it is a number above 0 and a unit."""
    try:
        number, unit = every
        right = unit in UNITS and number > 0
    except (TypeError, ValueError):
        right = False
    if not right:
        raise ValueError(
            f"checkpoint_every is {every!r}; it must be a number above 0 and a unit, as in "
            '(30, "seconds"), (500, "steps") or (1, "epochs")'
        )
    return number, unit


def training_layout(training: dict[str, Any], size: int, dtype: str) -> Layout:
    """The arrays that a training adds to the file of a model of `size` weights."""
    kinds = dict.fromkeys(("settings", "made_by", *TABLES), dict) | {"corpus": str}
    for name, kind in kinds.items():
        if not isinstance(training[name], kind):
            raise ValueError(f"its {name} is {training[name]!r:.50}")
    memory = require_kind(training.get("memory", size), 0)  # RMSprop's, before there were others
    require_positive(processes=require_kind(training["made_by"]["processes"], 0))
    layout: Layout = {
        "training.v": (dtype, (memory,)),
        "training.best": (dtype, (size,)),
        "training.best_v": (dtype, (memory,)),
    }
    if "windows" in training:  # of a training by version 1, whose weights can still be loaded
        windows = require_kind(training["windows"], 0)
        layout["training.order"] = (np.min_scalar_type(windows).str, (windows,))
    return layout


def require_kind(value: Any, example: Any) -> Any:
    """The value, if it is of the example's kind, else a ValueError.

    A list or table is, if all its values are of the kind of the example's first.
    """
    if isinstance(example, (list, dict)):
        if type(value) is not type(example):
            raise ValueError(f"{value!r:.50} came where a {type(example).__name__} should")
        inner = next(iter(example.values() if isinstance(example, dict) else example))
        for one in value.values() if isinstance(value, dict) else value:
            require_kind(one, inner)
    elif type(value) is not type(example) or (type(value) is int and not 0 <= value < 1 << 53):
        raise ValueError(f"{value!r:.50} came where one like {example!r} should")
    return value


def require_generator(state: dict[str, Any]) -> None:
    """Raise one of several errors unless it is a state of NumPy's default generator."""
    with warnings.catch_warnings():
        # NumPy 1 takes numbers that are out of bounds, with this warning.
        warnings.simplefilter("error", DeprecationWarning)
        np.random.default_rng(0).bit_generator.state = state


def environment() -> dict[str, str]:
    """What a result may depend on to the bit, beside the number of processes."""
    import platform

    return {"npchar": __version__, "numpy": np.__version__, "machine": platform.machine(),
            "system": platform.system()}  # fmt: skip
