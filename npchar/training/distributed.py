"""Communicators, with which the processes of a run exchange gradients and messages.

`Communicator` is a single process. `Leader` and `Worker` are processes on one machine, and
`MPICommunicator` is a rank of an MPI job. Rank 0 sends a message and the weights to all other
ranks. Their gradients are added to the gradient of rank 0. Processes are used instead of threads,
because threads would wait for the global interpreter lock between the many NumPy calls of a step.
"""

from __future__ import annotations

import math
import os
import pickle
import sys
import threading
import time
import traceback
import warnings
from typing import IO, TYPE_CHECKING, NamedTuple

import numpy as np

from npchar.arrays import LINE, Array
from npchar.threads import available_cores, can_limit_blas
from npchar.training.history import History

if TYPE_CHECKING:
    import subprocess  # where it is used: a browser has none, and `import npchar` is faster

    from npchar.network.network import Network

__all__ = ["MissingMPIError", "rank"]

IS_WORKER = "NPCHAR_WORKER"  # set in the environment of workers, which start no workers
WORKER_ENVIRONMENT = {
    IS_WORKER: "1",
    "OPENBLAS_NUM_THREADS": "1",  # `one_blas_thread` would stop further threads
}
FOLDER = os.path.dirname(os.path.dirname(os.path.dirname(__file__)))  # the folder of npchar
PROGRAM = """
import pickle, sys
sys.path[:] = {path!r}
from npchar.training.step import run_worker
run_worker(*pickle.loads({arguments!r}))
"""
ROWS_PER_RANK = 8  # sequences: with fewer, another process does not save time
ARRIVED = b"npchar rank arrived\n"
LAUNCHED = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE")  # set by launchers of MPI

Shared = tuple[int | str, tuple[int, int], str]  # the arguments of `_shared_array`


class Batch(NamedTuple):
    """Sequences of ids, (T + 1, B), with -1 as padding, and a seed for dropout."""

    ids: Array
    seed: int


class End(NamedTuple):
    """The end of a run, with all changes in rank 0 except the weights."""

    history: History
    state: Array | None
    epochs_trained: int
    error: BaseException | None


Message = Batch | End


class WorkerError(RuntimeError):
    """A worker process of this run has ended."""


class Communicator:
    """A single process: rank 0 of 1."""

    rank, size = 0, 1

    def send(self, message: Message, weights: Array) -> None:
        """Send a message and the weights from rank 0 to all other ranks."""

    def reduce(self, vector: Array) -> None:
        """Add the vectors of all other ranks to the vector of rank 0."""

    def close(self) -> None:
        """End the other ranks if this communicator started them."""


class Leader(Communicator):
    """Rank 0 of several processes on one machine, which starts the other processes.

    Messages use pipes, and vectors use shared memory. Pipes are the only synchronization. If a
    process ends, its pipes are closed, so that the other process gets an error and does not wait
    forever. Workers are started with a new command instead of a fork. This works in scripts without
    a main guard, in notebooks, and in programs with threads.

    Parameters
    ----------
    size
        The number of ranks.
    network, targets
        As for `BatchGradient`.
    """

    def __init__(self, size: int, network: Network, targets: str) -> None:
        import subprocess
        import tempfile

        weights = network.parameters.flat
        n = weights.size + 1  # of the gradient and the loss
        n += -n % LINE  # each vector begins a cache line
        self.size = size
        self._processes: list[subprocess.Popen[bytes]] = []
        self._pipes: list[tuple[IO[bytes], IO[bytes]]] = []
        with tempfile.TemporaryFile() as file:  # without a name, so that it is always removed
            file.write(bytes(size * n * weights.itemsize))  # so that a full disk raises an error
            file.flush()
            handle = file.fileno() if os.name == "posix" else f"npchar-{os.getpid()}-{id(file)}"
            shared = handle, (size, n), weights.dtype.str
            self._vectors = _shared_array(*shared)
            try:
                for rank in range(1, size):
                    arguments = pickle.dumps((rank, os.getpid(), shared, network.config, targets))
                    path = [*map(str, sys.path), FOLDER]
                    process = subprocess.Popen(
                        [sys.executable, "-c", PROGRAM.format(path=path, arguments=arguments)],
                        stdin=subprocess.PIPE,
                        stdout=subprocess.PIPE,
                        env=os.environ | WORKER_ENVIRONMENT,
                        pass_fds=[handle] if isinstance(handle, int) else (),
                        start_new_session=True,  # Ctrl-C is for rank 0
                        creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
                    )
                    self._processes.append(process)
                    assert process.stdin is not None
                    assert process.stdout is not None
                    self._pipes.append((process.stdin, process.stdout))
            except BaseException:
                self.close()
                raise

    def send(self, message: Message, weights: Array) -> None:
        """Send a message and the weights from rank 0 to all other ranks."""
        self._vectors[0, : weights.size] = weights
        pickled = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
        for writer, _ in self._pipes:
            try:
                writer.write(pickled)
                writer.flush()
            except OSError:
                raise WorkerError("a worker process ended") from None

    def reduce(self, vector: Array) -> None:
        """Add the vectors of all other ranks to the vector of rank 0."""
        for _, reader in self._pipes:
            # Python may print other lines when it starts.
            if not any(line.endswith(ARRIVED) for line in reader):
                raise WorkerError("a worker process ended")
        for other in self._vectors[1:, : vector.size]:  # in the order of ranks, to be reproducible
            vector += other

    def close(self) -> None:
        """Kill the workers, which have no data that rank 0 lacks."""
        for process in self._processes:
            process.kill()
            process.communicate()
        self._processes = []


class Worker(Communicator):
    """A process that `Leader` started. It ends after the leader has ended."""

    def __init__(self, rank: int, leader: int, shared: Shared) -> None:
        self.rank, self._vectors = rank, _shared_array(*shared)
        self.size = len(self._vectors)
        self._reader, self._writer = sys.stdin.buffer, sys.stdout.fileno()
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115  (for all else that a worker prints)
        # Closed pipes are not sufficient, because a fork of the leader may keep them open.
        threading.Thread(target=_exit_after, args=[leader], daemon=True).start()

    def receive(self, weights: Array) -> Message:
        """Return the message of rank 0, and copy its weights."""
        message: Message = pickle.load(self._reader)
        weights[...] = self._vectors[0, : weights.size]
        return message

    def reduce(self, vector: Array) -> None:
        """Add the vectors of all other ranks to the vector of rank 0."""
        self._vectors[self.rank, : vector.size] = vector
        os.write(self._writer, ARRIVED)  # unbuffered, so that it is sent immediately


def _exit_after(leader: int) -> None:
    """End this process after its parent, the leader, has ended."""
    while os.getppid() == leader:
        time.sleep(0.5)
    os._exit(1)


def _shared_array(handle: int | str, shape: tuple[int, int], dtype: str) -> Array:
    """An array in shared memory: an open file, or named memory on Windows."""
    import mmap

    if isinstance(handle, int):
        return np.ndarray(shape, dtype, mmap.mmap(handle, 0))
    length = math.prod(shape) * np.dtype(dtype).itemsize
    return np.ndarray(shape, dtype, mmap.mmap(-1, length, tagname=handle))  # type: ignore[call-arg]


def start_workers(
    workers: int | None, batch_size: int, network: Network, targets: str
) -> Communicator:
    """Start `workers` − 1 worker processes; warn and use one process if this is impossible.

    Parameters
    ----------
    workers
        The number of ranks, including this process. Default: one per core if each rank has at least
        eight sequences.
    batch_size
        The number of sequences in a batch.
    network, targets
        As for `BatchGradient`.
    """
    obstacle = ""
    if getattr(sys, "frozen", False) or IS_WORKER in os.environ:
        obstacle = "a frozen program or a worker process cannot start workers"
    elif not can_limit_blas():
        obstacle = "the threads of NumPy's BLAS cannot be limited; install threadpoolctl"
    if workers is None:
        workers = 1 if obstacle else max(1, min(available_cores(), batch_size // ROWS_PER_RANK))
    size = min(workers, batch_size)
    if size == 1:
        return Communicator()
    try:
        if obstacle:
            raise OSError(obstacle)
        return Leader(size, network, targets)
    except (ImportError, OSError, TypeError) as error:  # a TypeError: sys.executable is None
        warnings.warn(
            f"cannot start {size - 1} worker process{'es' * (size > 2)} ({error}); training in one "
            "process, as with workers=1",
            stacklevel=2,
        )
        return Communicator()


class MissingMPIError(ImportError):
    """``workers="mpi"`` needs an mpi4py that was built for the MPI of the launcher.

    Examples
    --------
    >>> text = "the cat sat on the mat. " * 40
    >>> model = npchar.Model(npchar.Vocabulary.from_text(text), hidden_size=8)
    >>> try:
    ...     history = model.fit(text, epochs=1, maxlen=20, workers="mpi", verbose=False)
    ... except npchar.MissingMPIError:
    ...     history = model.history  # install mpi4py, or pass a number of workers
    """


class MPICommunicator(Communicator):
    """The ranks of an MPI job, on one machine or many."""

    def __init__(self) -> None:
        try:
            from mpi4py import MPI
        except ImportError:
            raise MissingMPIError(
                'workers="mpi" needs mpi4py; run pip install mpi4py mpich, then '
                "mpiexec -n N python -m mpi4py ..."
            ) from None
        self._in_place, self._world = MPI.IN_PLACE, MPI.COMM_WORLD
        self.rank, self.size = self._world.Get_rank(), self._world.Get_size()
        if self.size == 1 and any(os.environ.get(name, "1") not in ("", "1") for name in LAUNCHED):
            raise MissingMPIError(
                "expected several MPI processes, got one; use the mpiexec of the MPI for which "
                "mpi4py was built"
            )

    def send(self, message: Message, weights: Array) -> None:
        """Send a message and the weights from rank 0 to all other ranks."""
        self._world.bcast(message)
        self._world.Bcast(weights)

    def receive(self, weights: Array) -> Message:
        """Return the message of rank 0, and copy its weights."""
        message: Message = self._world.bcast(None)
        self._world.Bcast(weights)
        return message

    def reduce(self, vector: Array) -> None:
        """Add the vectors of all other ranks to the vector of rank 0."""
        self._world.Reduce(vector if self.rank else self._in_place, vector)

    def is_same_on_all(self, value: object) -> bool:
        """Whether `value` has the same `repr` on all ranks."""
        import hashlib  # here, because `import npchar` need not wait for it

        digest = hashlib.sha256(repr(value).encode("utf-8", "surrogatepass")).digest()
        return len(set(self._world.allgather(digest))) == 1

    def abort(self) -> None:
        """Print the current error and end the job, because other ranks would wait forever."""
        traceback.print_exc()
        print(f"rank {self.rank} failed: the job ends", file=sys.stderr, flush=True)
        time.sleep(1)  # so that the launcher prints the message before Abort kills it, too
        self._world.Abort(1)


def rank() -> int:
    """The rank of this process in its MPI job; 0 outside of MPI.

    Examples
    --------
    >>> if npchar.training.rank() == 0:
    ...     print("once for all processes")
    once for all processes
    """
    if "mpi4py" not in sys.modules and not any(name in os.environ for name in LAUNCHED):
        return 0
    try:
        return MPICommunicator().rank
    except MissingMPIError:
        return 0
