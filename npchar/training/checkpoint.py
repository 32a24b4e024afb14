"""Checkpoints, from which a run is resumed with the same result to the bit.

A checkpoint is a model file (``files.py``) with the latest weights. It also has the table
``training`` in its configuration and the arrays ``training.*``. ``training/trainer.py`` calls
`Checkpoint.save`.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import sys
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from npchar.arrays import Array
from npchar.files import (
    CheckpointError,
    Configuration,
    ModelFile,
    Table,
    read_model_file,
    text_digest,
    write_model_file,
)
from npchar.version import __version__

UNITS = ("epochs", "steps", "seconds")
CHANGEABLE = ("learning_rate", "schedule", "warm_up")  # when a run is resumed


@dataclass
class Checkpoint:
    """The checkpoint file of a run: see `open_checkpoint`."""

    path: str
    every: tuple[float, str]
    """The interval between saves: a number and one of "epochs", "steps", "seconds"."""
    configuration: Configuration
    """The description of the model: see `files.describe_model`."""
    saved: ModelFile | None = None
    """The content of the file, if the run is resumed."""
    settings: Table = field(default_factory=dict)
    """The settings of the resumed run."""
    processes: int | None = None
    """The number of processes of the resumed run."""
    epochs_trained: int = 0
    """The number of epochs of training of the saved model."""
    is_longer: bool = False
    """Whether the resumed run has more epochs than before."""
    changes: list[str] = field(default_factory=list)
    """A phrase for each other changed setting of the resumed run."""
    _last_count: float = 0.0  # at the latest save

    def begin(self, settings: Table, ids: Array, processes: int) -> None:
        """Set the settings and the text of the run, and compare them with the saved ones.

        A resumed run must have the same model, settings and text, except more epochs, the
        learning rate and its schedule. A warning is issued if results may differ in the last bits.
        """
        import platform  # here, for a fast `import npchar`

        made_by = {"npchar": __version__, "numpy": np.__version__, "machine": platform.machine(),
                   "system": platform.system(), "processes": processes}  # fmt: skip
        digest, split = text_digest(ids), settings["validation_split"]
        now = settings | self.configuration["model"]
        self.configuration["training"] = {"settings": settings, "made_by": made_by}
        self.configuration["trained_on"] = {"sha256": digest, "validation_split": split}
        if self.saved is None:
            return
        then = self.settings | self.saved.configuration["model"]
        self.is_longer = settings["epochs"] > self.settings["epochs"]
        if self.is_longer:
            then["epochs"] = now["epochs"]
        self.changes = _differences(*({n: t[n] for n in CHANGEABLE} for t in (then, now)))
        different = _differences(then, then | now | {n: then[n] for n in CHANGEABLE})
        text = self.saved.configuration.get("trained_on")
        if not text or text["sha256"] != digest:
            different.append("it has another text")
        if different:
            raise CheckpointError(
                f"{self.path} belongs to another run: {'; '.join(different)}. Use the same "
                "arguments and text, or another checkpoint"
            )
        if different := _differences(self.saved.configuration["training"]["made_by"], made_by):
            warnings.warn(
                f"{self.path}: {'; '.join(different)}; results may differ in the last bits",
                stacklevel=2,
            )

    def restore(
        self, tables: Table, arrays: dict[str, Array], rng: np.random.Generator
    ) -> Table | None:
        """Restore the saved arrays and the state of `rng`, and return the saved tables.

        Parameters
        ----------
        tables
            The tables of a new run. The saved tables must have the same names.
        arrays
            The arrays to copy into.

        Returns
        -------
        dict or None
            None for a new run.

        Raises
        ------
        CheckpointError
            If a table or an array is missing, or an array has another shape.
        """
        if self.saved is None:
            return None
        training = self.saved.configuration["training"]
        shapes = {name: array.shape for name, array in self.saved.arrays.items()}
        if not tables.keys() <= training.keys() or any(
            shapes.get(name) != array.shape for name, array in arrays.items()
        ):
            raise CheckpointError(
                f"the run in {self.path} is damaged and cannot be resumed; load its weights "
                "with npchar.Model.load"
            )
        rng.bit_generator.state = training["generator"]
        for name, array in arrays.items():
            array[...] = self.saved.arrays[name]
        return {name: training[name] for name in tables}

    def is_due(self, epochs: int, steps: int) -> bool:
        """Whether a save is due after this number of epochs and steps."""
        return self._count(epochs, steps) - self._last_count >= self.every[0]

    def _count(self, epochs: int, steps: int) -> float:
        """The number of epochs, steps or seconds, in the unit of `every`."""
        return {"epochs": epochs, "steps": steps, "seconds": time.monotonic()}[self.every[1]]

    def save(
        self, epochs: int, steps: int, epochs_trained: int, tables: Table,
        arrays: dict[str, Array],
    ) -> None:  # fmt: skip
        """Save the tables and arrays of a run after this number of epochs and steps."""
        # Set before writing, so that the next attempt after an error waits for the interval.
        self._last_count = self._count(epochs, steps)
        self.configuration["epochs_trained"] = epochs_trained
        self.configuration["training"] |= tables
        write_model_file(self.path, self.configuration, arrays)


def _differences(then: Table, now: Table) -> list[str]:
    """A phrase for each difference between two tables."""
    return [
        f"{name} was {then.get(name)!r} and is {now.get(name)!r}"
        for name in sorted(then.keys() | now.keys())
        if then.get(name) != now.get(name)
    ]


def require_every(every: tuple[float, str]) -> None:
    """Raise a ValueError unless `every` is a number above 0 and a unit."""
    is_pair = isinstance(every, (tuple, list)) and len(every) == 2
    if not is_pair or every[1] not in UNITS or not every[0] > 0:
        raise ValueError(
            f"checkpoint_every is {every!r}; expected a number above 0 and a unit, as in "
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
    """Read the checkpoint of a run to resume, or create that of a new run.

    Parameters
    ----------
    path, every, configuration
        As for `Checkpoint`.
    resume
        Whether an existing file is allowed.
    model
        The weights with which a new run may start if the file has the same weights. None: the
        file must have a run.
    ids
        The text of the run.

    Raises
    ------
    FileExistsError
        If the file exists and `resume` is False.
    CheckpointError
        If the file has no training that can be resumed, or has a model of another text.
    """
    checkpoint = Checkpoint(path, every, configuration)
    if not os.path.exists(path):
        return checkpoint
    if not resume:
        raise FileExistsError(
            f"the checkpoint {path!r} exists; resume its run with resume=True, or use another "
            "checkpoint"
        )
    saved = read_model_file(path)
    text, training = saved.configuration.get("trained_on"), saved.configuration.get("training")
    if training is not None and "optimizer_arguments" in training.get("settings", {}):
        checkpoint.saved, checkpoint.settings = saved, training["settings"]
        checkpoint.processes = training["made_by"]["processes"]
        checkpoint.epochs_trained = saved.configuration["epochs_trained"]
        return checkpoint
    if training is not None:
        why = "has a run of an earlier npchar version, which cannot be resumed"
    elif model is None or any(
        not np.array_equal(saved.arrays.get(name, 0), model[name]) for name in model
    ):
        why = "has no run to resume. To train its model further, load it and set epochs"
    elif text is None:
        why = "does not record its training text"  # as in files of version 1.0
    elif text and text["sha256"] != text_digest(ids):
        why = "has a model that was trained on another text"
    else:
        return checkpoint
    raise CheckpointError(
        f"{path} {why}. Use another checkpoint, or `npchar train --from {shlex.quote(path)} "
        "FILE`, which saves to another file"
    )


@contextlib.contextmanager
def checkpoint_lock(path: str) -> Iterator[None]:
    """Prevent other runs from writing the same checkpoint.

    This locks an empty file next to the checkpoint. The system releases the lock when the process
    ends.

    Raises
    ------
    CheckpointError
        If another run has the lock.
    """
    folder, name = os.path.split(os.path.realpath(path))  # one lock for all links to a file
    lock = os.path.join(folder, f".npchar-{name}.lock")
    with open(lock, "ab") as file:
        if not _lock_file(file.fileno()):
            raise CheckpointError(
                f"another run writes to {path}; wait until it ends, or use another checkpoint"
            )
        try:
            yield
        finally:
            with contextlib.suppress(OSError):  # Windows keeps an open file
                os.unlink(lock)


def _lock_file(descriptor: int) -> bool:
    """Lock an open file; return False if another process has locked it."""
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except (ImportError, OSError):  # a browser, and some network disks have no locks
        pass
    return True
