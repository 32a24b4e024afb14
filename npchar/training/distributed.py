"""Communicators: how the processes that train one model exchange gradients and messages.

`Communicator` is a single process. `LocalCommunicator` connects processes of one machine, and
`MPICommunicator` the ranks of an MPI job. All ranks call the same methods in the same order.
Processes rather than threads, because threads would wait for Python's global lock between any two
of the hundreds of NumPy calls of a step.
"""

from __future__ import annotations

import functools
import os
import sys
import threading
import time
import traceback
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from npchar.arrays import LINE, Array, aligned_empty
from npchar.threads import available_cores, can_limit_blas
from npchar.version import in_browser

if TYPE_CHECKING:
    import mmap  # these where they are used: a browser lacks some, and `import npchar` is faster
    import subprocess

__all__ = ["MissingMPIError", "rank"]

IS_WORKER = "NPCHAR_WORKER"  # set in the environment of workers, which start no workers
WORKER_ENVIRONMENT = {
    IS_WORKER: "1",
    "OPENBLAS_NUM_THREADS": "1",  # no need to start threads that `one_thread` would stop
}
FOLDER = os.path.dirname(os.path.dirname(os.path.dirname(__file__)))  # where npchar is
PROGRAM = """
import sys
sys.path[:] = {path!r}
from npchar.training.step import run_worker
run_worker(*{arguments!r})
"""
ROWS_PER_RANK = 8  # with fewer sequences another process costs more than it saves
MAILBOX = 1 << 20  # bytes of a message that are sent at a time
TRIES = 4000  # looks at the other ranks, for some milliseconds, before sleeping
SHORT_PAUSE, LONG_PAUSE = 1e-4, 1e-3  # seconds, for a step and for a validation or a callback
yield_core = getattr(os, "sched_yield", functools.partial(time.sleep, 0))
LAUNCHED = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE")  # set by launchers of MPI


class WorkerError(RuntimeError):
    """A worker process ended."""


class Communicator:
    """A single process: rank 0 of 1."""

    rank, size = 0, 1

    def buffer(self, n: int, dtype: np.dtype[Any]) -> Array:
        """Memory for the vector that this rank passes to `all_reduce`, (n,)."""
        return aligned_empty(n, dtype)

    def all_reduce(self, vector: Array) -> Array:
        """The sum of the vectors of all ranks, the same bits on each.

        `vector` is what `buffer` returned. The sum may be written over until the next call.
        """
        return vector

    def broadcast(self, value: object) -> Any:
        """Return the value of rank 0."""
        return value

    def barrier(self) -> None:
        """Wait until every rank has called this."""

    def abort(self) -> None:
        """End all ranks after an error in a step, if the others would wait forever."""

    def close(self) -> None:
        """End the other ranks, if they were started for this communicator."""


class LocalCommunicator(Communicator):
    """Processes of one machine, on memory that they share.

    A rank writes only its own vector and the count of its arrivals. It waits until the others'
    counts reach its own. Messages of rank 0 are written to a mailbox.

    Parameters
    ----------
    rank, size
        The rank of this process, and the number of ranks.
    memory
        The shared memory, of `memory_size` bytes.
    n, dtype
        Of the vectors for `all_reduce`.
    """

    def __init__(self, rank: int, size: int, memory: mmap.mmap, n: int, dtype: str) -> None:
        self.rank, self.size = rank, size
        # A cache line for each rank's count, and for the length of the message.
        lines = np.ndarray((size + 1, LINE // 8), np.int64, memory)
        counts = [memoryview(line[:1]) for line in lines]  # faster to read than an array
        self._length, self._own, self._counts = counts.pop(), counts[rank], counts
        self._others = [other for other in range(size) if other != rank]
        start = lines.nbytes
        self._mailbox = np.ndarray(MAILBOX, np.uint8, memory, start)
        self._vectors = np.ndarray((size, n), dtype, memory, start + MAILBOX)
        self._sum = aligned_empty(self._vectors.shape[1], dtype)
        self._lock = threading.Lock()

    @staticmethod
    def memory_size(size: int, n: int, dtype: str) -> int:
        """The number of bytes that the ranks share."""
        return (size + 1) * LINE + MAILBOX + size * n * np.dtype(dtype).itemsize

    def buffer(self, n: int, dtype: np.dtype[Any]) -> Array:  # noqa: ARG002
        """The vector of this rank in the shared memory."""
        return self._vectors[self.rank, :n]

    def all_reduce(self, vector: Array) -> Array:
        """The sum of the vectors of all ranks: see `Communicator`.

        A `broadcast` must come between two calls. It keeps a rank from writing its next vector
        while another still reads this one.
        """
        self.barrier()
        first, second, *others = self._vectors[:, : vector.size]
        total = self._sum[: vector.size]
        np.add(first, second, out=total)  # in the order of ranks: the same bits on all
        for other in others:
            total += other
        return total

    def broadcast(self, value: object) -> Any:
        """Return the value of rank 0, which may have any size: it is sent in pieces."""
        import pickle  # here, for a fast `import npchar`

        message = bytearray() if self.rank else pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
        sent = 0
        while True:
            if self.rank:
                self._arrive()
                self._wait([0])
                left = self._length[0]
                message += self._mailbox[: min(left, MAILBOX)].data
            else:
                self._wait(self._others, ahead=1)
                left = self._length[0] = len(message) - sent
                piece = message[sent : sent + MAILBOX]
                self._mailbox[: len(piece)] = np.frombuffer(piece, np.uint8)
                sent += len(piece)
                self._arrive()
            if left <= MAILBOX:
                return pickle.loads(message) if self.rank else value

    def barrier(self) -> None:
        """Wait until every rank has called this."""
        self._arrive()
        self._wait(self._others)

    def _arrive(self) -> None:
        self._fence()
        self._own[0] += 1

    def _wait(self, ranks: list[int], ahead: int = 0) -> None:
        """Wait until some ranks have arrived as often as this rank, or `ahead` times more."""
        wanted = self._own[0] + ahead
        for rank in ranks:
            count, tries = self._counts[rank], 0
            while count[0] < wanted:
                tries += 1
                if tries < TRIES:
                    yield_core()
                else:  # its core has other things to do, or it has ended
                    self._check(rank)
                    time.sleep(SHORT_PAUSE if tries < 2 * TRIES else LONG_PAUSE)
        self._fence()

    def _fence(self) -> None:
        """Keep reads and writes before and after apart, on processors that would mix them."""
        with self._lock:
            pass

    def _check(self, rank: int) -> None:
        """Raise a WorkerError if a rank has ended."""
        raise NotImplementedError


class Leader(LocalCommunicator):
    """Rank 0, the user's process, which starts the others.

    They are started by a command of their own, not forked: this works in scripts without a main
    guard, in notebooks and beside threads. They start while this process prepares its data.
    """

    def __init__(self, size: int, n: int, dtype: str) -> None:
        import subprocess
        import tempfile

        n += -n % LINE  # each vector begins a cache line
        length = self.memory_size(size, n, dtype)
        self._processes: list[subprocess.Popen[bytes]] = []
        try:
            with tempfile.TemporaryFile() as file:  # without a name: nothing can be left behind
                file.write(bytes(length))  # a full disk is an error here, later it would crash
                file.flush()
                handle: int | str = file.fileno()
                if os.name == "nt":
                    handle = f"npchar-{os.getpid()}-{id(file)}"
                super().__init__(0, size, shared_memory(handle, length), n, dtype)
                for rank in range(1, size):
                    arguments = rank, size, n, dtype, handle, length, os.getpid()
                    path = [*map(str, sys.path), FOLDER]
                    program = PROGRAM.format(path=path, arguments=arguments)
                    process = subprocess.Popen(
                        [sys.executable, "-c", program],
                        stdin=subprocess.PIPE,
                        stdout=subprocess.DEVNULL,
                        env=os.environ | WORKER_ENVIRONMENT,
                        pass_fds=[handle] if isinstance(handle, int) else (),
                        start_new_session=True,  # Ctrl-C is for rank 0
                        creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
                    )
                    self._processes.append(process)
        except BaseException:
            self.close()
            raise

    def _check(self, rank: int) -> None:
        status = self._processes[rank - 1].poll()
        if status is not None:
            raise WorkerError(f"a worker process ended (exit status {status})")

    def close(self) -> None:
        """Kill the workers: they keep nothing that rank 0 does not have."""
        for process in self._processes:
            process.kill()
            process.wait()
            assert process.stdin is not None
            process.stdin.close()
        self._processes = []


class Worker(LocalCommunicator):
    """A rank that `Leader` has started."""

    def __init__(
        self, rank: int, size: int, n: int, dtype: str, handle: int | str, length: int, parent: int
    ) -> None:
        super().__init__(rank, size, shared_memory(handle, length), n, dtype)
        self._parent = parent
        threading.Thread(target=_exit_at_end_of_input, daemon=True).start()

    def _check(self, rank: int) -> None:  # noqa: ARG002
        # A fork of the leader may keep the pipe open that `_exit_at_end_of_input` reads.
        if os.name == "posix" and os.getppid() != self._parent:
            os._exit(1)


def _exit_at_end_of_input() -> None:
    """End this process when the leader has ended."""
    while os.read(0, 1):
        pass
    os._exit(1)


def shared_memory(handle: int | str, length: int) -> mmap.mmap:
    """Memory that processes share: of an open file, or on Windows by a name."""
    import mmap

    if isinstance(handle, int):
        return mmap.mmap(handle, length)
    return mmap.mmap(-1, length, tagname=handle)  # type: ignore[call-arg]


def start_workers(workers: int | None, batch_width: int, n: int, dtype: str) -> Communicator:
    """Start `workers` − 1 worker processes, or warn and train alone if that is impossible.

    Parameters
    ----------
    workers
        The number of ranks, this process included. Default: see `default_workers`.
    batch_width
        The number of sequences in a batch.
    n, dtype
        Of the vectors for `Communicator.all_reduce`.
    """
    size = default_workers(batch_width) if workers is None else min(workers, batch_width)
    obstacles = {
        "a browser has none": in_browser(),
        "a frozen program would run itself again": getattr(sys, "frozen", False),
        "this is a worker process": IS_WORKER in os.environ,
        "the threads of NumPy's BLAS cannot be limited: install threadpoolctl": (
            size > 1 and not can_limit_blas()
        ),
    }
    reason: object = next((reason for reason, is_true in obstacles.items() if is_true), None)
    if size > 1 and not reason:
        try:
            return Leader(size, n, dtype)
        except (OSError, TypeError) as error:  # a TypeError: sys.executable is None
            reason, workers = error, size
    if size > 1 and workers is not None:
        warnings.warn(
            f"cannot start {size - 1} worker processes ({reason}): this process trains alone. "
            "Pass workers=1 to ask for that",
            stacklevel=2,
        )
    return Communicator()


def default_workers(batch_width: int) -> int:
    """The number of ranks for a batch: at most one per core, with enough sequences for each."""
    return max(1, min(available_cores(), batch_width // ROWS_PER_RANK))


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

    def all_reduce(self, vector: Array) -> Array:
        """The sum of the vectors of all ranks: see `Communicator`."""
        self._world.Allreduce(self._in_place, vector)
        return vector

    def broadcast(self, value: object) -> Any:
        """Return the value of rank 0."""
        return self._world.bcast(value)

    def barrier(self) -> None:
        """Wait until every rank has called this."""
        self._world.Barrier()

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
