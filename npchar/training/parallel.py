"""The gradient of a batch, computed by several processes side by side.

Each worker process holds a copy of the network and a share of the batch. The
model's own process keeps the weights and does the rest of the training; per
step it hands out weights and ids, and adds up the gradients, through one piece
of shared memory, on the flat vectors of ``layers/parameters.py``.

Processes, because threads would fight for Python's global lock between any two
of the hundreds of NumPy calls of a step. (What is done to all weights at once is few, long calls:
that threads do, see ``cores.py``.) Workers are started by a command of
their own, not forked, so that this works in scripts, notebooks and beside
other libraries' threads; and with one BLAS thread each, which an environment
variable can only set before NumPy is loaded. A worker waits for a byte on its
standard input: when the model's process ends, however it ends, the pipe closes
and the worker ends too.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np

from npchar.arrays import Array
from npchar.cores import available_cores, in_parts
from npchar.layers.network import Network, Sizes
from npchar.layers.parameters import Parameters

if TYPE_CHECKING:
    import subprocess  # where it is used: `import npchar` need not wait for it

__all__ = ["WorkerError"]

WORKER_ENVIRONMENT = {
    # One BLAS thread a worker: more would fight over the cores. Each BLAS has its name for it.
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "BLIS_NUM_THREADS": "1",
    "VECLIB_MAXIMUM_THREADS": "1",
    # glibc: keep freed memory for the next step. Giving a few MB back to the system and
    # asking for them again costs 5 to 10 % of a step with a target at every character.
    "MALLOC_MMAP_THRESHOLD_": str(1 << 30),
    "MALLOC_TRIM_THRESHOLD_": str(1 << 30),
}
SECONDS_TO_END = 5.0  # for a worker, once it is of no more use
ROWS_WORTH_A_WORKER = 8  # fewer sequences cost a process about as much as these

ANSWER = b"."  # what a worker writes when it is ready, and after each request
LAST, ALL = 1, 2  # which characters have a target, as a worker is told


def count_of(targets: Array) -> int:
    """How many of them are targets: one below 0 is none."""
    return targets.size if targets.dtype.kind == "u" else int((targets >= 0).sum())


def default_workers(batch_size: int) -> int:
    """How many workers suit a batch on this machine; 1 means none beside this process."""
    return max(1, min(available_cores(), batch_size // ROWS_WORTH_A_WORKER))


class Share:
    """One process's share of the gradient of a batch; by default all of it, computed here.

    Parameters
    ----------
    network
        The network; its weights at the time of each call are used.
    rank, count
        Which of how many shares of about B / count sequences.
    """

    leads = True  # prints, validates and calls back; see `mpi.Ranks`

    def __init__(self, network: Network, rank: int = 0, count: int = 1) -> None:
        self.network, self.rank, self.count = network, rank, count
        self._tapes: dict[tuple[int, ...], list[Any]] = {}  # by (T, B), of two such

    def __enter__(self) -> Share:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def bounds(self, B: int) -> tuple[int, int]:
        """The first of this share's sequences in a batch of B, and the one after its last."""
        return B * self.rank // self.count, B * (self.rank + 1) // self.count

    def gradient(self, batch: Array, targets: str, seed: int, out: Parameters) -> float:
        """Write the share's part of the gradient of the batch's mean loss to `out`.

        Returns its part of that loss: the sum of all shares' parts is the whole.

        Parameters
        ----------
        batch
            Ids of the whole batch's windows, (T + 1, B).
        targets
            "all" or "last".
        seed
            For the dropout masks, which do not depend on how the batch is shared out.
        out
            Room for the gradient.
        """
        B = batch.shape[1]
        first, last = self.bounds(B)
        if first == last:  # a small last batch may leave a process without a sequence
            out.flat[...] = 0
            return 0.0
        y = batch[1:] if targets == "all" else batch[-1]
        count = count_of(y)
        x, y = batch[:-1, first:last], y[..., first:last]
        if x.dtype.kind == "i":
            x = np.maximum(x, 0)  # after the end of a shorter piece there is nothing: any will do
            if y.max() < 0:
                out.flat[...] = 0
                return 0.0
        if x.shape not in self._tapes:
            if len(self._tapes) > 1:  # other than an epoch's last batch beside the rest
                self._tapes.clear()
            self._tapes[x.shape] = self.network.tapes(*x.shape)
        masks = [mask[:, first:last] for mask in self.network.dropout_masks(B, seed)]
        found = self.network.gradients(
            x, y, tapes=self._tapes[x.shape], masks=masks, gradient=out, count=count
        )
        return float(found.loss)

    def broadcast(self, value: float) -> float:
        """What the process that leads found."""
        return value


class WorkerError(RuntimeError):
    """A worker process ended before its time.

    Examples
    --------
    >>> text = "the cat sat on the mat. " * 40
    >>> model = npchar.Model(npchar.Vocabulary.from_text(text), hidden_size=8)
    >>> try:
    ...     history = model.fit(text, epochs=1, maxlen=20, workers=1, verbose=False)
    ... except npchar.WorkerError:  # raised with workers=2 and more alone
    ...     print("the model is as it was after its last whole step")
    """


class Shared:
    """What the processes share: a memory-mapped temporary file, and the arrays on it."""

    def __init__(self, path: str, sizes: Sizes, dtype: str, T: int, B: int, count: int) -> None:
        P = sum(int(np.prod(shape)) for shape in sizes.shapes().values())
        layout: list[tuple[tuple[int, ...], Any]] = [
            ((8,), np.int64),  # the command
            ((count,), np.float64),  # losses
            ((T + 1, B), np.intp),  # ids
            ((P,), dtype),  # weights
            ((count, P), dtype),  # gradients
        ]
        lengths = [-(-int(np.prod(s)) * np.dtype(t).itemsize // 64) * 64 for s, t in layout]
        self.memory = np.memmap(path, np.uint8, "r+", shape=(sum(lengths),))
        starts = np.cumsum([0, *lengths])
        self.command, self.losses, self.ids, self.weights, self.gradients = (
            np.ndarray(shape, t, self.memory, int(start))
            for (shape, t), start in zip(layout, starts)
        )


class Workers:
    """Processes that share out the gradient of a batch.

    Use it as a context manager: leaving it ends the processes.

    Parameters
    ----------
    network
        The network; its weights at the time of each call are used.
    T, B
        The length and number of a batch's sequences, at most.
    count
        How many processes.
    """

    leads = True

    def __init__(self, network: Network, T: int, B: int, count: int) -> None:
        import json
        import subprocess
        import tempfile

        self.network, self.count = network, count
        dtype = network.parameters.flat.dtype.str
        descriptor, self._path = tempfile.mkstemp(prefix="npchar-", suffix=".shared")
        self._processes: list[subprocess.Popen[bytes]] = []
        self._shared: Shared | None = None
        try:
            size = network.parameters.flat.nbytes * (count + 1) + (T + 1) * B * 8 + (count + 8) * 64
            with os.fdopen(descriptor, "wb") as file:
                file.truncate(size)
            self._shared = Shared(self._path, network.sizes, dtype, T, B, count)
            program = (
                f"import sys; sys.path[:] = {[str(p) for p in sys.path]!r}; "
                "from npchar.training.parallel import serve; serve(sys.argv[1])"
            )
            for rank in range(count):
                job = json.dumps([rank, self._path, list(network.sizes), dtype, T, B, count])
                self._processes.append(
                    subprocess.Popen(
                        [sys.executable, "-c", program, job],
                        stdin=subprocess.PIPE,
                        stdout=subprocess.PIPE,
                        bufsize=0,
                        env=os.environ | WORKER_ENVIRONMENT,
                        start_new_session=True,  # Ctrl-C is for the model's process alone
                        creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
                    )
                )
            self._await_all()  # every worker has mapped the file, so its name can go
        except BaseException:
            self.close()
            raise
        self._remove_file()

    def __enter__(self) -> Workers:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the processes."""
        import subprocess

        for process in self._processes:
            assert process.stdin is not None
            with contextlib.suppress(OSError):
                process.stdin.close()
        for process in self._processes:
            try:
                process.wait(timeout=SECONDS_TO_END)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            assert process.stdout is not None
            process.stdout.close()
        self._processes = []
        self._shared = None
        self._remove_file()

    def _remove_file(self) -> None:
        with contextlib.suppress(OSError):  # Windows keeps a mapped file until the end
            os.unlink(self._path)

    def gradient(self, batch: Array, targets: str, seed: int, out: Parameters) -> float:
        """Write the gradient of the batch's mean loss to `out`; return the loss: see `Share`."""
        rows, B = batch.shape
        shared = self._shared
        assert shared is not None
        shared.command[:4] = rows, B, LAST if targets == "last" else ALL, seed
        shared.ids[:rows, :B] = batch
        weights = self.network.parameters.flat
        in_parts(weights.size, lambda part: np.copyto(shared.weights[part], weights[part]))
        for process in self._processes:
            assert process.stdin is not None
            try:
                process.stdin.write(b"g")
            except OSError:
                raise self._ended(process) from None
        self._await_all()

        def add_up(part: slice) -> None:
            total = out.flat[part]
            first, second, *others = shared.gradients[:, part]
            np.add(first, second, out=total)  # a third of the time of a sum over an axis
            for other in others:
                total += other

        in_parts(out.flat.size, add_up)
        return float(shared.losses.sum())

    def broadcast(self, value: float) -> float:
        """What the process that leads found: this one."""
        return value

    def _await_all(self) -> None:
        for process in self._processes:
            assert process.stdout is not None
            answer = process.stdout.read(1)
            if not answer:
                raise self._ended(process)
            if answer != ANSWER:
                raise WorkerError(
                    f"a training process printed {answer!r}, where its answers go: something "
                    "prints when Python starts. Pass workers=1 to train without such processes"
                )

    @staticmethod
    def _ended(process: subprocess.Popen[bytes]) -> WorkerError:
        status = process.wait()
        return WorkerError(
            f"a training process ended before its time (exit status {status}); what it said "
            "stands above. The model is as it was after the last whole step. Pass workers=1 "
            "to train without such processes."
        )


def serve(job: str) -> None:
    """What a worker process does: its share of each batch, until its input closes."""
    import json

    rank, path, sizes, dtype, T, B, count = json.loads(job)
    try:
        shared = Shared(path, Sizes(*sizes), dtype, T, B, count)
    except FileNotFoundError:
        return  # the training was ended meanwhile, and the worker beside has removed it: see below
    shapes = Sizes(*sizes).shapes()
    network = Network(Sizes(*sizes), Parameters(shapes, flat=shared.weights))
    gradient = Parameters(shapes, flat=shared.gradients[rank])
    share = Share(network, rank, count)
    served = False
    for _ in requests_on_standard_input():
        served = True
        rows, columns, which, seed = (int(n) for n in shared.command[:4])
        targets = "last" if which == LAST else "all"
        batch = shared.ids[:rows, :columns]
        shared.losses[rank] = share.gradient(batch, targets, seed, gradient)
    if not served:  # the model's process may have been killed before it could do this
        with contextlib.suppress(OSError):
            os.unlink(path)


def requests_on_standard_input() -> Iterator[None]:
    """Announce readiness; then yield once per byte that comes in, and answer it after."""
    with contextlib.suppress(BrokenPipeError):  # the model's process ended meanwhile
        os.write(1, ANSWER)
        while os.read(0, 1):
            yield
            os.write(1, ANSWER)
