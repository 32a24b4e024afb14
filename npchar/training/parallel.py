"""The steps of a training, made by several processes side by side.

Each worker process computes the gradient of a share of the batch, and makes the optimizer's
step for a part of the weights: ``training/worker.py``. The model's own process keeps the weights
and does the rest of the training. Some steps at a time it copies the weights into memory that
all share, with the batches, and copies them back when the steps are made: a worker that dies
in between takes those steps with it, and no more.

Processes, because threads would fight for Python's global lock between any two
of the hundreds of NumPy calls of a step. Workers are started by a command of
their own, not forked, so that this works in scripts, notebooks and beside
other libraries' threads; and with one BLAS thread each, which an environment
variable can only set before NumPy is loaded. A worker is asked by a byte on its
standard input: when the model's process ends, however it ends, the pipe closes
and the worker ends too.
"""

from __future__ import annotations

import contextlib
import math
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from queue import SimpleQueue
from threading import Thread
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np

from npchar.arrays import Array
from npchar.cores import available_cores, in_parts
from npchar.layers.network import Network
from npchar.training.optimizers import Optimizer
from npchar.training.settings import Settings
from npchar.training.steps import Outcome, Source
from npchar.training.worker import ANSWER, MOST, Job, Shared

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
ZEROS = bytes(1 << 16)
SECONDS_TO_END = 5.0  # for a worker, once it is of no more use
SECONDS_AT_ONCE = 0.5  # of steps that are asked for together: Ctrl-C waits for them
ROWS_WORTH_A_WORKER = 8  # fewer sequences cost a process about as much as these


def default_workers(batch_size: int) -> int:
    """How many workers suit a batch on this machine; 1 means none beside this process."""
    return max(1, min(available_cores(), batch_size // ROWS_WORTH_A_WORKER))


class WorkerError(RuntimeError):
    """A worker process ended before its time.

    Examples
    --------
    >>> text = "the cat sat on the mat. " * 40
    >>> model = npchar.Model(npchar.Vocabulary.from_text(text), hidden_size=8)
    >>> try:
    ...     history = model.fit(text, epochs=1, maxlen=20, workers=1, verbose=False)
    ... except npchar.WorkerError:  # raised with workers=2 and more alone
    ...     print("the model is as it was a few steps ago")
    """


class Workers(Source):
    """Processes that make the steps of a training.

    Parameters
    ----------
    network, optimizer
        What is trained, and by what: as they are at the time of each call.
    settings
        Of the training.
    T, B
        The length and number of a batch's sequences, at most.
    count
        How many processes.
    """

    def __init__(
        self, network: Network, optimizer: Optimizer, settings: Settings, T: int, B: int, count: int
    ) -> None:
        import json
        import subprocess
        import tempfile

        super().__init__(network, optimizer, count)
        descriptor, path = tempfile.mkstemp(prefix="npchar-", suffix=".shared")
        self._job = Job(
            path=path,
            sizes=network.sizes,
            dtype=network.parameters.flat.dtype.str,
            optimizer=settings.optimizer,
            epsilon=settings.epsilon,
            memory=len(optimizer.memory),
            targets=settings.targets,
            limit=settings.clip_norm or math.inf,
            T=T,
            B=B,
            count=count,
        )
        self._processes: list[subprocess.Popen[bytes]] = []
        self._answers: SimpleQueue[tuple[subprocess.Popen[bytes], bytes]] = SimpleQueue()
        self._listening: list[Thread] = []
        self._shared: Shared | None = None
        try:
            with os.fdopen(descriptor, "wb") as file:
                # With a number in each place: a full disk is an error here, and would be a crash
                # when the memory is used.
                left = Shared.size(self._job)
                while left:
                    left -= file.write(ZEROS[:left])
            self._shared = Shared(self._job)
            program = (
                f"import sys; sys.path[:] = {[str(p) for p in sys.path]!r}; "
                "from npchar.training.worker import serve; serve(int(sys.argv[1]), sys.argv[2])"
            )
            job = json.dumps(asdict(self._job))
            for rank in range(count):
                process = subprocess.Popen(
                    [sys.executable, "-c", program, str(rank), job],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    bufsize=0,
                    env=os.environ | WORKER_ENVIRONMENT,
                    start_new_session=True,  # Ctrl-C is for the model's process alone
                    creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
                )
                self._processes.append(process)
                listening = Thread(target=self._listen, args=[process], daemon=True)
                listening.start()
                self._listening.append(listening)
            self._await_all()  # every worker has mapped the file, so its name can go
        except BaseException:
            self.close()
            raise
        self._remove_file()

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
        for process, thread in zip(self._processes, self._listening):
            thread.join(SECONDS_TO_END)
            assert process.stdout is not None
            if not thread.is_alive():  # else something that the worker started has the other end
                process.stdout.close()
        self._processes = []
        self._shared = None
        self._remove_file()

    def _remove_file(self) -> None:
        with contextlib.suppress(OSError):  # Windows keeps a mapped file until the end
            os.unlink(self._job.path)

    def steps(
        self, batches: Sequence[Array], seeds: Sequence[int], rates: Sequence[float]
    ) -> list[Outcome]:
        """See `Source`."""
        shared = self._shared
        assert shared is not None
        start, n = time.perf_counter(), len(batches)
        shared.count[0] = n
        shared.seeds[:n], shared.rates[:n] = seeds, rates
        for k, batch in enumerate(batches):
            rows, columns = shared.shapes[k] = batch.shape
            shared.ids[k, :rows, :columns] = batch
        weights, memory = self.network.parameters.flat, self.optimizer.memory
        copy(weights, shared.weights)
        copy(memory, shared.memory)
        for process in self._processes:
            assert process.stdin is not None
            try:
                process.stdin.write(b"s")
            except OSError:
                raise self._ended(process) from None
        self._await_all()
        self.whole = False
        copy(shared.weights, weights)
        copy(shared.memory, memory)
        seconds = (time.perf_counter() - start) / n
        self.at_once = max(1, min(MOST, int(SECONDS_AT_ONCE / seconds)))
        return [(loss, norm) for loss, norm in shared.outcomes[:n].tolist()]

    def _listen(self, process: subprocess.Popen[bytes]) -> None:
        """Pass on what a worker answers; nothing when it has ended."""
        assert process.stdout is not None
        while answer := process.stdout.read(1):
            self._answers.put((process, answer))
        self._answers.put((process, b""))

    def _await_all(self) -> None:
        for _ in self._processes:
            process, answer = self._answers.get()  # of any: when one has died the rest wait for it
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
            f"stands above. The model is as it was at most {MOST} steps ago. Pass workers=1 to "
            "train without such processes."
        )


def copy(source: Array, to: Array) -> None:
    """Copy a vector."""
    in_parts(source.size, lambda part: np.copyto(to[part], source[part]))
