"""Communicators: how the processes that train one model exchange gradients and messages.

`Communicator` is a single process. `LocalCommunicator` connects processes of one machine, and
`MPICommunicator` the ranks of an MPI job. All ranks call the same methods in the same order.
Processes rather than threads, because threads would wait for Python's global lock between any two
of the hundreds of NumPy calls of a step.
"""

from __future__ import annotations

import os
import pickle
import sys
import threading
import time
import traceback
import warnings
from typing import IO, TYPE_CHECKING, TypeVar

import numpy as np

from npchar.arrays import LINE, Array
from npchar.threads import available_cores, can_limit_blas

if TYPE_CHECKING:
    import mmap  # these where they are used: a browser lacks some, and `import npchar` is faster
    import subprocess

__all__ = ["MissingMPIError", "rank"]

IS_WORKER = "NPCHAR_WORKER"  # set in the environment of workers, which start no workers
WORKER_ENVIRONMENT = {
    IS_WORKER: "1",
    "OPENBLAS_NUM_THREADS": "1",  # no need to start threads that `one_blas_thread` would stop
}
FOLDER = os.path.dirname(os.path.dirname(os.path.dirname(__file__)))  # where npchar is
PROGRAM = """
import sys
sys.path[:] = {path!r}
from npchar.training.step import run_worker
run_worker(*{arguments!r})
"""
ROWS_PER_RANK = 8  # with fewer sequences another process costs more than it saves
ARRIVED = b"npchar rank arrived\n"
LAUNCHED = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE")  # set by launchers of MPI

Message = TypeVar("Message")
Pipes = tuple[IO[bytes], IO[bytes]]


class WorkerError(RuntimeError):
    """Another process of the same training ended."""


class Communicator:
    """A single process: rank 0 of 1."""

    rank, size = 0, 1

    def all_reduce(self, vector: Array) -> None:
        """Replace the vector by the sum of the vectors of all ranks, the same bits on each."""

    def broadcast(self, message: Message | None) -> Message:
        """Return the message of rank 0."""
        assert message is not None
        return message

    def abort(self) -> None:
        """End all ranks after an error in a step, if the others would wait forever."""

    def close(self) -> None:
        """End the other ranks, if they were started for this communicator."""


class LocalCommunicator(Communicator):
    """Processes of one machine: messages through pipes, vectors through memory that they share.

    Pipes are the only synchronization. The pipes of a process that ends are closed, so the process
    at their other end gets an error and does not wait forever.

    Parameters
    ----------
    rank, size
        The rank of this process, and the number of ranks.
    pipes
        A reader and a writer: for rank 0 a pair for each worker, for a worker the pair to rank 0.
    memory
        The shared memory: two buffers of a vector for each rank.
    n, dtype
        The largest size of the vectors for `all_reduce`, and their type.
    """

    def __init__(
        self, rank: int, size: int, pipes: list[Pipes], memory: mmap.mmap, n: int, dtype: str
    ) -> None:
        self.rank, self.size, self._pipes = rank, size, pipes
        self._vectors = np.ndarray((2, size, n), dtype, memory)
        self._processes: list[subprocess.Popen[bytes]] = []

    def all_reduce(self, vector: Array) -> None:
        """Replace the vector by the sum of the vectors of all ranks: see `Communicator`."""
        # The buffers take turns: a rank that is ahead must not write over what another still reads.
        self._vectors = self._vectors[::-1]
        vectors = self._vectors[0, :, : vector.size]
        vectors[self.rank] = vector
        self._wait_for_all()
        np.add(vectors[0], vectors[1], out=vector)  # in the order of ranks: the same bits on all
        for other in vectors[2:]:
            vector += other

    def broadcast(self, message: Message | None) -> Message:
        """Return the message of rank 0."""
        if self.rank:
            message = pickle.load(self._pipes[0][0])
        else:
            self._send(pickle.dumps(message, pickle.HIGHEST_PROTOCOL))
        return super().broadcast(message)

    def add_worker(self, process: subprocess.Popen[bytes]) -> None:
        """Connect rank 0 with a worker."""
        assert process.stdin is not None
        assert process.stdout is not None
        self._processes.append(process)
        self._pipes.append((process.stdout, process.stdin))

    def close(self) -> None:
        """Kill the workers: they keep nothing that rank 0 does not have."""
        for process in self._processes:
            process.kill()
            process.communicate()
        self._processes = []

    def _wait_for_all(self) -> None:
        """Wait until every rank has called this."""
        if self.rank:
            self._send(ARRIVED)
        for reader, _ in self._pipes:
            # A Python may print something else when it starts.
            if not any(line.endswith(ARRIVED) for line in reader):
                raise WorkerError("a worker process ended")
        if not self.rank:
            self._send(ARRIVED)

    def _send(self, message: bytes) -> None:
        for _, writer in self._pipes:
            try:
                writer.write(message)
                writer.flush()
            except OSError:
                raise WorkerError("a worker process ended") from None


def start_workers(workers: int | None, batch_size: int, n: int, dtype: str) -> Communicator:
    """Start `workers` − 1 worker processes, or warn and train alone if that is impossible.

    Parameters
    ----------
    workers
        The number of ranks, this process included. Default: one per core, with enough sequences
        for each.
    batch_size
        The number of sequences in a batch.
    n, dtype
        The size and type of the vectors for `Communicator.all_reduce`.
    """
    obstacle = ""
    if getattr(sys, "frozen", False):
        obstacle = "a frozen program would run itself again"
    elif IS_WORKER in os.environ:
        obstacle = "this is a worker process"
    elif not can_limit_blas():
        obstacle = "the threads of NumPy's BLAS cannot be limited: install threadpoolctl"
    if workers is None:
        workers = 1 if obstacle else max(1, min(available_cores(), batch_size // ROWS_PER_RANK))
    size = min(workers, batch_size)
    if size == 1:
        return Communicator()
    try:
        if obstacle:
            raise OSError(obstacle)
        return _start(size, n, dtype)
    except (ImportError, OSError, TypeError) as error:  # a TypeError: sys.executable is None
        warnings.warn(
            f"cannot start {size - 1} worker processes ({error}): this process trains alone. "
            "Pass workers=1 to ask for that",
            stacklevel=2,
        )
        return Communicator()


def _start(size: int, n: int, dtype: str) -> LocalCommunicator:
    """Rank 0, after starting the other ranks, which load npchar while rank 0 prepares its data.

    They are started by a command of their own, not forked: this works in scripts without a main
    guard, in notebooks and beside threads.
    """
    import subprocess
    import tempfile

    n += -n % LINE  # each vector begins a cache line
    length = 2 * size * n * np.dtype(dtype).itemsize
    with tempfile.TemporaryFile() as file:  # without a name: nothing can be left behind
        file.write(bytes(length))  # a full disk is an error here, later it would crash
        file.flush()
        handle = file.fileno() if os.name == "posix" else f"npchar-{os.getpid()}-{id(file)}"
        communicator = LocalCommunicator(0, size, [], _shared_memory(handle, length), n, dtype)
        try:
            for rank in range(1, size):
                arguments = rank, size, n, dtype, handle, length, os.getpid()
                path = [*map(str, sys.path), FOLDER]
                communicator.add_worker(
                    subprocess.Popen(
                        [sys.executable, "-c", PROGRAM.format(path=path, arguments=arguments)],
                        stdin=subprocess.PIPE,
                        stdout=subprocess.PIPE,
                        env=os.environ | WORKER_ENVIRONMENT,
                        pass_fds=[handle] if isinstance(handle, int) else (),
                        start_new_session=True,  # Ctrl-C is for rank 0
                        creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
                    )
                )
        except BaseException:
            communicator.close()
            raise
    return communicator


def join(
    rank: int, size: int, n: int, dtype: str, handle: int | str, length: int, parent: int
) -> LocalCommunicator:
    """The communicator of a worker process, which ends when `parent`, rank 0, has ended."""
    # A fork of rank 0 may keep the pipes open.
    threading.Thread(target=_exit_after, args=[parent], daemon=True).start()
    pipes = sys.stdin.buffer, sys.stdout.buffer
    sys.stdout = open(os.devnull, "w")  # noqa: SIM115  (for all else that a worker prints)
    return LocalCommunicator(rank, size, [pipes], _shared_memory(handle, length), n, dtype)


def _exit_after(parent: int) -> None:
    """End this process when its parent has ended."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


def _shared_memory(handle: int | str, length: int) -> mmap.mmap:
    """Memory that processes share: of an open file, or on Windows by a name."""
    import mmap

    if isinstance(handle, int):
        return mmap.mmap(handle, length)
    return mmap.mmap(-1, length, tagname=handle)  # type: ignore[call-arg]


class MissingMPIError(ImportError):
    """``workers="mpi"`` without an mpi4py that belongs to the launcher.

    Examples
    --------
    >>> text = "the cat sat on the mat. " * 40
    >>> model = npchar.Model(npchar.Vocabulary.from_text(text), hidden_size=8)
    >>> try:
    ...     history = model.fit(text, epochs=1, maxlen=20, workers="mpi", verbose=False)
    ... except npchar.MissingMPIError:
    ...     history = model.history  # install mpi4py, or start fewer processes
    """


class MPICommunicator(Communicator):
    """The ranks of an MPI job, on one machine or many."""

    def __init__(self) -> None:
        try:
            from mpi4py import MPI
        except ImportError:
            raise MissingMPIError(
                'workers="mpi" needs mpi4py: pip install "npchar[mpi]", then '
                "mpiexec -n N python -m mpi4py ..."
            ) from None
        self._in_place, self._world = MPI.IN_PLACE, MPI.COMM_WORLD
        self.rank, self.size = self._world.Get_rank(), self._world.Get_size()
        if self.size == 1 and any(os.environ.get(name, "1") not in ("", "1") for name in LAUNCHED):
            raise MissingMPIError(
                "this is one of several MPI processes, but mpi4py finds only one: it belongs to "
                "another MPI than the launcher; use the mpiexec that came with it"
            )

    def all_reduce(self, vector: Array) -> None:
        """Replace the vector by the sum of the vectors of all ranks: see `Communicator`."""
        self._world.Allreduce(self._in_place, vector)

    def broadcast(self, message: Message | None) -> Message:
        """Return the message of rank 0."""
        received: Message = self._world.bcast(message)
        return received

    def is_same_on_all(self, value: object) -> bool:
        """Whether the values that all ranks call this with have the same `repr`."""
        import hashlib  # here, because `import npchar` need not wait for it

        digest = hashlib.sha256(repr(value).encode("utf-8", "surrogatepass")).digest()
        return len(set(self._world.allgather(digest))) == 1

    def abort(self) -> None:
        """Print the error that is being handled, and end the job: the others would wait forever."""
        traceback.print_exc()
        print(f"rank {self.rank} failed: the job ends", file=sys.stderr, flush=True)
        time.sleep(1)  # Abort kills the launcher, too: let it pass the message on first
        self._world.Abort(1)


def rank() -> int:
    """The rank of this process in its MPI job; 0 outside of one.

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
