"""One model trained by several MPI processes, on one machine or many.

``mpiexec -n 4 python -m mpi4py script.py`` runs a script four times at once.
Each run (a rank) builds the same model and calls `Model.fit` with the same
text; here each computes its share of every batch, and one ``Allreduce`` of the
flat gradient gives all of them the sum, bit for bit the same. So every rank
makes the same step, and all end with the same weights. Rank 0 alone prints,
validates and calls the callbacks.

Needs mpi4py, which ``pip install "npchar[mpi]"`` brings with an MPI.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
import warnings
from collections.abc import Callable
from types import TracebackType
from typing import Any, TypeVar

from npchar.arrays import aligned_empty
from npchar.cores import at_most
from npchar.layers.network import Network
from npchar.layers.parameters import Parameters
from npchar.training.optimizers import Optimizer
from npchar.training.parallel import WorkerError, Workers, default_workers
from npchar.training.settings import Settings
from npchar.training.steps import Source, Steps
from npchar.version import in_browser

__all__ = ["MissingMPIError", "rank"]

LAUNCHED = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE")  # what the launchers of MPI tell their processes


SECONDS_TO_SAVE = 3.0  # after a Ctrl-C


class MissingMPIError(ImportError):
    """Launched as several MPI processes, but without an mpi4py that fits.

    Examples
    --------
    >>> try:
    ...     rank = npchar.rank()
    ... except npchar.MissingMPIError as error:  # started by mpiexec, without mpi4py
    ...     raise SystemExit(f"{error}")
    """


def communicator() -> Any:
    """The MPI communicator of all ranks, or None where there is only this process."""
    launched = max(int(os.environ.get(name, 1)) for name in LAUNCHED) > 1
    if not launched and "mpi4py" not in sys.modules:
        return None
    try:
        from mpi4py import MPI
    except ImportError:
        raise MissingMPIError(
            "this is one of several MPI processes, and they need mpi4py to train together: "
            'pip install "npchar[mpi]", then mpiexec -n N python -m mpi4py ...'
        ) from None
    world = MPI.COMM_WORLD
    if launched and world.Get_size() == 1:
        raise MissingMPIError(
            "this is one of several MPI processes, but mpi4py sees itself alone: it belongs to "
            "another MPI than the launcher; use the mpiexec that came with it"
        )
    return world if world.Get_size() > 1 else None


def rank() -> int:
    """Which of the MPI processes this is; 0, the one that prints, where there are none.

    Examples
    --------
    >>> if npchar.rank() == 0:
    ...     print("once for all processes")
    once for all processes
    """
    world = communicator()
    return int(world.Get_rank()) if world else 0


Result = TypeVar("Result")


def on_rank_0(make: Callable[[], Result]) -> Result:
    """What `make` returns or raises on rank 0, on all ranks; it is called there alone."""
    world = communicator()
    if world is None:
        return make()
    found: Any = None
    error: Exception | None = None
    if world.Get_rank() == 0:
        try:
            found = make()
        except Exception as failure:
            error = failure
    found, error = world.bcast((found, error), root=0)
    if error is not None:
        raise error
    result: Result = found
    return result


class Ranks(Steps):
    """The steps of a training, made by all MPI ranks.

    Use it as a context manager: leaving it by an exception ends the whole job,
    since the other ranks would wait for this one for ever. After a Ctrl-C, which
    reaches all ranks but perhaps in different steps, they have some seconds to save
    and to say what they have to.
    """

    def __init__(
        self, network: Network, optimizer: Optimizer, settings: Settings, world: Any
    ) -> None:
        self.world, self.leads = world, world.Get_rank() == 0
        super().__init__(network, optimizer, settings, world.Get_rank(), world.Get_size())
        self._limits = contextlib.ExitStack()

    def __enter__(self) -> Ranks:
        # A core each: threads would fight over them.
        self._limits.enter_context(at_most(1))
        with contextlib.suppress(ImportError):
            from threadpoolctl import threadpool_limits

            self._limits.enter_context(threadpool_limits(1))
        self.world.Bcast(self.network.parameters.flat, root=0)  # hosts may differ in rounding
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._limits.close()
        import threading
        import traceback

        if isinstance(error, Exception):
            name = f"rank {self.world.Get_rank()} failed: the job ends\n"
            sys.stderr.write("".join([*traceback.format_exception(error), name]))
            sys.stderr.flush()
            time.sleep(1)  # Abort kills the launcher too: let it pass the message on first
            self.world.Abort(1)
        elif error is not None:
            end = threading.Timer(SECONDS_TO_SAVE, self.world.Abort, [130])
            end.daemon = True
            end.start()

    def room(self) -> Parameters:
        """Room for the gradient; behind it travels the loss, in one message."""
        weights = self.network.parameters
        self._message = aligned_empty(weights.flat.size + 1, weights.flat.dtype)
        return Parameters(weights.shapes, flat=self._message[:-1])

    def add_up(self, loss: float) -> float:
        """Add to the gradient those of the other ranks; return all their loss."""
        from mpi4py import MPI

        self._message[-1] = loss
        self.world.Allreduce(MPI.IN_PLACE, self._message)
        return float(self._message[-1])

    def broadcast(self, value: float) -> float:
        """What rank 0 found."""
        return float(self.world.bcast(value, root=0))


def source_of_steps(
    network: Network, optimizer: Optimizer, settings: Settings, T: int, B: int, workers: int | None
) -> Source:
    """What makes the steps of a training, with batches of at most B windows of T characters.

    All ranks of an MPI job; else `workers` processes, or as many as suit. Where none can be
    started, this one: the gradient is the same, to rounding.
    """
    about = network, optimizer, settings
    if world := communicator():
        return Ranks(*about, world)
    suited = 1 if in_browser() else default_workers(B)
    count = suited if workers is None else min(workers, B)
    if count == 1:
        return Steps(*about)
    try:
        if in_browser():
            raise OSError("a browser has none")
        return Workers(*about, T, B, count)
    except WorkerError:  # they were started, and say themselves what went wrong
        raise
    except Exception as error:
        warnings.warn(
            f"cannot start {count} worker processes ({error}): the training runs in this one. "
            "Pass workers=1 to ask for that",
            stacklevel=2,
        )
        return Steps(*about)
