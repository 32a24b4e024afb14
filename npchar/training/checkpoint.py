"""Checkpoints: saving a training, and resuming it as if it had never been interrupted.

A checkpoint is a model file (``files.py``) whose weights are the latest. It also has the table
``training`` in its configuration and the arrays ``training.*``. ``training/trainer.py`` decides
when to save.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import time
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np

from npchar.arguments import require_positive
from npchar.arrays import Array
from npchar.files import (
    CheckpointError,
    Configuration,
    ModelFile,
    lock_file,
    read_model_file,
    text_digest,
    trained_on,
    write_model_file,
)
from npchar.version import __version__, in_browser

UNITS = ("epochs", "steps", "seconds")


class Checkpoint:
    """The file in which a training is saved.

    Parameters
    ----------
    path
        The path of the file.
    every
        How often to save: a number and one of "epochs", "steps", "seconds".
    configuration
        The description of the model: see `files.describe_model`.
    saved
        The content of the file, if the training is resumed.

    Raises
    ------
    CheckpointError
        If the file has no training, or one that cannot be resumed.
    """

    def __init__(
        self,
        path: str,
        every: tuple[float, str],
        configuration: Configuration,
        saved: ModelFile | None,
    ) -> None:
        self.path, self.configuration, self.saved = path, configuration, saved
        self.number, self.unit = every
        self.settings: dict[str, Any] = {}
        """The settings of the training that is resumed."""
        self.processes: int | None = None
        """The number of processes of the training that is resumed."""
        self.is_longer = False
        """Whether the training has more epochs now than before."""
        self._last_count = 0.0  # at the latest save
        self._training: dict[str, Any] = {}
        if saved is None:
            return
        if "training" not in saved.configuration:
            raise CheckpointError(
                f"{path} holds a finished model, but no training to go on with: to train it on, "
                "read it by npchar.Model.load, and say for how many epochs"
            )
        self._training = saved.configuration["training"]
        self._require_same("model", saved.configuration["model"], configuration["model"])
        self.settings = self._training["settings"]
        if "optimizer_arguments" not in self.settings:
            raise CheckpointError(
                f"{path} is of a training by an earlier npchar, which this version cannot resume: "
                "npchar.Model.load reads its latest weights, to train them on"
            )
        with self._as_checkpoint_error():
            self.epochs_trained = saved.configuration["epochs_trained"]
            self.processes = self._training["made_by"]["processes"]
            require_positive(processes=self.processes)

    def begin(self, settings: dict[str, Any], ids: Array, processes: int) -> None:
        """Set what the training depends on.

        A training that is resumed must have the same settings and text. A warning says if the
        results may differ in the last bits.
        """
        import platform  # here, for a fast `import npchar`

        made_by = {"npchar": __version__, "numpy": np.__version__, "machine": platform.machine(),
                   "system": platform.system(), "processes": processes}  # fmt: skip
        self._conditions = {"settings": settings, "corpus": text_digest(ids), "made_by": made_by}
        if self.saved is None:
            return
        self.is_longer = settings["epochs"] > self.settings["epochs"]
        longer = {"epochs": settings["epochs"]} if self.is_longer else {}
        self._require_same("training with other settings", self.settings | longer, settings)
        if self._training["corpus"] != self._conditions["corpus"]:
            raise CheckpointError(
                f"{self.path} is of a training on another text. Use the same text, or another "
                "checkpoint"
            )
        if different := _differences(self._training["made_by"], made_by):
            warnings.warn(
                f"{self.path}: {different}. The training goes on, but not to the bit as it would "
                "have there",
                stacklevel=2,
            )

    def restore(
        self, tables: dict[str, Any], arrays: dict[str, Array], rng: np.random.Generator
    ) -> dict[str, Any] | None:
        """Copy the saved arrays and the state of the generator, and return the saved tables.

        Parameters
        ----------
        tables
            Examples of the tables, with the names and types of all values. "generator" is the
            state of `rng`.
        arrays
            The arrays to copy into.

        Returns
        -------
        dict or None
            None for a new training.
        """
        if self.saved is None:
            return None
        with self._as_checkpoint_error():
            saved = {name: self._training[name] for name in tables}
            _require_like(saved, tables)
            for name, array in arrays.items():
                if self.saved.arrays[name].shape != array.shape:
                    raise ValueError(f"{name} has the shape {self.saved.arrays[name].shape}")
            rng.bit_generator.state = saved["generator"]
        for name, array in arrays.items():
            array[...] = self.saved.arrays[name]
        return saved

    def is_due(self, epochs: int, steps: int) -> bool:
        """Whether to save after this number of epochs and steps."""
        return self._count(epochs, steps) - self._last_count >= self.number

    def _count(self, epochs: int, steps: int) -> float:
        """The number of epochs, steps or seconds, whichever is counted."""
        return {"epochs": epochs, "steps": steps, "seconds": time.monotonic()}[self.unit]

    def save(
        self, epochs: int, steps: int, epochs_trained: int, tables: dict[str, Any],
        arrays: dict[str, Array],
    ) -> None:  # fmt: skip
        """Write the tables and arrays of a training after this number of epochs and steps."""
        # Before writing: after an error the next attempt comes as late as after a success.
        self._last_count = self._count(epochs, steps)
        changed = {"epochs_trained": epochs_trained, "training": self._conditions | tables}
        write_model_file(self.path, self.configuration | changed, arrays)

    def _require_same(self, what: str, then: dict[str, Any], now: dict[str, Any]) -> None:
        if different := _differences(then, now):
            raise CheckpointError(
                f"{self.path} is of a{'nother' if what == 'model' else ''} {what}: {different}. "
                "Use what it was begun with, or another checkpoint"
            )

    @contextlib.contextmanager
    def _as_checkpoint_error(self) -> Iterator[None]:
        try:
            yield
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as e:
            why = f"the training in {self.path} makes no sense: {e!r}"
            raise CheckpointError(why) from None


def _differences(then: dict[str, Any], now: dict[str, Any]) -> str:
    """Say which values of two tables differ."""
    names = [name for name in sorted(then.keys() | now.keys()) if then.get(name) != now.get(name)]
    return "; ".join(f"{name} was {then.get(name)!r} and is {now.get(name)!r}" for name in names)


def _require_like(value: Any, example: Any) -> None:
    """Raise a ValueError unless a value has the type of an example, and so have its items.

    The name "" in an example stands for any names.
    """
    is_large = isinstance(value, int) and not 0 <= value < 1 << 128  # a generator has 128 bits
    if type(value) is not type(example) or is_large:
        raise ValueError(f"{value!r:.50} came where one like {example!r} should")
    if isinstance(example, dict):
        if "" not in example and value.keys() != example.keys():
            raise ValueError(f"{sorted(value)} came where {sorted(example)} should")
        for name, item in value.items():
            _require_like(item, example.get(name, example.get("")))
    elif isinstance(example, list):
        for item in value:
            _require_like(item, example[0])


def require_every(every: tuple[float, str]) -> None:
    """Raise a ValueError unless it is a number above 0 and a unit."""
    is_pair = isinstance(every, (tuple, list)) and len(every) == 2
    if not is_pair or every[1] not in UNITS or not every[0] > 0:
        raise ValueError(
            f"checkpoint_every is {every!r}; it must be a number above 0 and a unit, as in "
            '(30, "seconds"), (500, "steps") or (1, "epochs")'
        )


def open_checkpoint(
    path: str,
    every: tuple[float, str],
    configuration: Configuration,
    *,
    resume: bool,
    model: dict[str, Array] | None,
    ids: Array,
) -> Checkpoint:
    """Read the checkpoint of a training to resume, or prepare that of a new one.

    Parameters
    ----------
    path, every, configuration
        As for `Checkpoint`.
    resume
        Whether there may be a file.
    model
        The weights that a new training may begin with, if the file has the same. None: the file
        must have a training.
    ids
        The text of the training.
    """
    if not os.path.exists(path):
        return Checkpoint(path, every, configuration, None)
    if not resume:
        raise FileExistsError(
            f"there is a file {path!r} already; go on from it by resume=True, or name another "
            "checkpoint"
        )
    saved = read_model_file(path)
    is_same_model = (
        "training" not in saved.configuration
        and model is not None
        and all(np.array_equal(saved.arrays.get(name, 0), model[name]) for name in model)
    )
    if is_same_model:
        _require_same_text(path, saved, ids)
    return Checkpoint(path, every, configuration, None if is_same_model else saved)


def _require_same_text(path: str, saved: ModelFile, ids: Array) -> None:
    """Raise a CheckpointError if training a finished model on another text would replace it."""
    text = trained_on(saved.configuration)
    if text is None:
        what = "does not say which text its model was trained on"  # as in files of version 1.0
    elif text and text["sha256"] != text_digest(ids):
        what = "holds a model that was trained on another text"
    else:
        return
    raise CheckpointError(
        f"{path} {what}, and this training would replace it; name another checkpoint, or use "
        f"`npchar train --from {shlex.quote(path)} FILE`, which saves to another file"
    )


@contextlib.contextmanager
def checkpoint_lock(path: str) -> Iterator[None]:
    """Keep all other trainings from writing a checkpoint.

    By a lock on an empty file beside it, which the system releases when the process ends.

    Raises
    ------
    CheckpointError
        If another training has the lock.
    """
    if in_browser():  # which has only one process
        yield
        return
    folder, name = os.path.split(os.path.realpath(path))  # one lock for all links to a file
    lock = os.path.join(folder, f".npchar-{name}.lock")
    while True:
        try:
            descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise type(error)(error.errno, f"cannot write {path}: {error.strerror}") from None
        try:
            if lock_file(descriptor) is False:
                raise CheckpointError(
                    f"another training that is under way is kept in {path}; wait for its end, or "
                    "name another checkpoint"
                )
            if _is_same_file(descriptor, lock):
                try:
                    yield
                finally:
                    with contextlib.suppress(OSError):  # Windows keeps an open file
                        os.unlink(lock)
                return
            # The training that had the lock has just removed the file: try again.
        finally:
            os.close(descriptor)


def _is_same_file(descriptor: int, path: str) -> bool:
    """Whether the file at a path is the open one."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except OSError:
        return False
