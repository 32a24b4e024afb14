"""A worker process, and the memory that it shares with the others and with the model's own.

Of each batch it computes the gradient of its share of the sequences. Then the workers make the
step, each for its part of the weights: it adds up that part of all shares' gradients, clips it and
lets the optimizer change it. One process would do this alone, while the others wait.
``training/parallel.py`` starts the workers, and has them make several steps at a time.
"""

from __future__ import annotations

import contextlib
import math
import os
import time
from dataclasses import dataclass
from queue import SimpleQueue
from threading import Lock, Thread
from typing import Any

import numpy as np

from npchar.arrays import LINE, Array, aligned_empty
from npchar.cores import parts_of
from npchar.layers.network import Network, Sizes
from npchar.layers.parameters import Parameters
from npchar.training.optimizers import make_optimizer
from npchar.training.steps import Outcome, Share

MOST = 8  # steps at a time: to begin and to end them takes a tenth of a step of 16 sequences
ANSWER = b"."  # what a worker writes when it is ready, and when the steps are made
TRIES = 4000  # times that a worker looks for another, for some milliseconds, before it sleeps
PAUSE = 1e-4  # seconds of sleep


@dataclass
class Job:
    """What the workers are told when they begin."""

    path: str  # of the file whose memory is shared
    sizes: tuple[Any, ...]
    dtype: str
    optimizer: str
    epsilon: float
    memory: int  # how many numbers the optimizer keeps
    targets: str
    limit: float  # of the gradient's norm
    T: int  # the length and number of a batch's sequences, at most
    B: int
    count: int  # of workers


class Shared:
    """What the processes share: a memory-mapped file, and the arrays on it."""

    count: Array  # (1,), of the steps to make
    shapes: Array  # (MOST, 2), of the batches
    seeds: Array  # (MOST,)
    rates: Array  # (MOST,)
    ids: Array  # (MOST, T + 1, B)
    outcomes: Array  # (MOST, 2), of the steps that are made
    weights: Array  # (P,)
    memory: Array  # of the optimizer, flat
    gradients: Array  # (workers, P), of the workers' shares
    losses: Array  # (workers,), likewise
    squares: Array  # (workers,), the sum of the squares of each part of the gradient
    arrived: Array  # (workers, LINE / 8), of which one number is used: see `Meeting`

    def __init__(self, job: Job) -> None:
        buffer = np.memmap(job.path, np.uint8, "r+")
        start = 0
        for name, (shape, dtype) in self._layout(job).items():
            setattr(self, name, np.ndarray(shape, dtype, buffer, start))
            start += room(shape, dtype)
        self.gradients = self.gradients[:, : len(self.weights)]

    @classmethod
    def size(cls, job: Job) -> int:
        """How long the file must be."""
        return sum(room(*one) for one in cls._layout(job).values())

    @staticmethod
    def _layout(job: Job) -> dict[str, tuple[tuple[int, ...], Any]]:
        P = sum(math.prod(shape) for shape in Sizes(*job.sizes).shapes().values())
        return {
            "count": ((1,), np.int64),
            "shapes": ((MOST, 2), np.int64),
            "seeds": ((MOST,), np.int64),
            "rates": ((MOST,), np.float64),
            "ids": ((MOST, job.T + 1, job.B), np.intp),
            "outcomes": ((MOST, 2), np.float64),
            "weights": ((P,), job.dtype),
            "memory": ((job.memory,), job.dtype),
            "gradients": ((job.count, -(-P // LINE) * LINE), job.dtype),  # each begins with a line
            "losses": ((job.count,), np.float64),
            "squares": ((job.count,), np.float64),
            "arrived": ((job.count, LINE // 8), np.int64),  # a line each
        }


def room(shape: tuple[int, ...], dtype: Any) -> int:
    """The bytes of an array, in whole lines of the cache."""
    lines: int = math.ceil(math.prod(shape) * np.dtype(dtype).itemsize / LINE)
    return lines * LINE


class Meeting:
    """Where the workers wait for each other, in memory alone: no other way is as quick.

    Parameters
    ----------
    arrived
        (workers, any): in the first number of its row a worker says how often it has arrived.
    rank
        Which of them this is.
    """

    def __init__(self, arrived: Array, rank: int) -> None:
        self._others = [memoryview(row[:1]) for row in arrived]  # quicker to read than an array
        self._own = self._others.pop(rank)
        self._times = 0
        self._lock = Lock()
        self._lock.acquire()

    def wait(self) -> None:
        """Wait until all have arrived; what they wrote before is then seen."""
        self._times += 1
        self._fence()
        self._own[0] = self._times
        for other in self._others:
            for _ in range(TRIES):
                if other[0] >= self._times:
                    break
                give_way()
            else:  # the other's core has other things to do
                while other[0] < self._times:
                    time.sleep(PAUSE)
        self._fence()

    def _fence(self) -> None:
        """Keep apart what is read and written before and after.

        Not all processors do so by themselves, but all do for a lock that is released and taken.
        """
        self._lock.release()
        self._lock.acquire()


def give_way() -> None:
    """Let another process have the core, if one wants it."""
    if hasattr(os, "sched_yield"):
        os.sched_yield()
    else:
        time.sleep(0)


class Worker:
    """What a worker does in a step: its share of the gradient, its part of the weights."""

    def __init__(self, job: Job, rank: int, shared: Shared) -> None:
        self.job, self.rank, self.shared = job, rank, shared
        sizes = Sizes(*job.sizes)
        shapes, P = sizes.shapes(), len(shared.weights)
        network = Network(sizes, Parameters(shapes, flat=shared.weights))
        self.share = Share(network, rank, job.count)
        self.gradient = Parameters(shapes, flat=shared.gradients[rank])
        about = job.optimizer, P, job.epsilon, job.dtype
        self.optimizer = make_optimizer(*about, memory=shared.memory)
        self.meeting = Meeting(shared.arrived, rank)
        first, last = (P * k // job.count // LINE * LINE for k in (rank, rank + 1))
        self.parts = parts_of(first, P if rank == job.count - 1 else last)
        self.total = aligned_empty(P, job.dtype)  # of which its part is used

    def step(self, batch: Array, seed: int, rate: float) -> Outcome:
        """See `steps.Steps.step`."""
        job, shared, rank, meeting = self.job, self.shared, self.rank, self.meeting
        shared.losses[rank] = self.share.gradient(batch, job.targets, seed, self.gradient)
        meeting.wait()
        squares = 0.0
        for part in self.parts:
            total = self.total[part]
            first, second, *others = shared.gradients[:, part]
            np.add(first, second, out=total)  # a third of the time of a sum over an axis
            for other in others:
                total += other
            squares += float(np.dot(total, total))
        shared.squares[rank] = squares
        meeting.wait()
        loss, norm = float(shared.losses.sum()), math.sqrt(shared.squares.sum())
        if math.isfinite(loss + norm):
            for part in self.parts:
                total = self.total[part]
                if norm > job.limit:
                    total *= job.limit / norm
                self.optimizer._update(part, shared.weights[part], total, rate)
        meeting.wait()
        if rank == 0 and math.isfinite(loss + norm):
            self.optimizer._end_step()
        return loss, norm


def serve(rank: int, about: str) -> None:
    """What a worker process does, until its standard input closes, given its `Job` as JSON."""
    import json

    job = Job(**json.loads(about))
    try:
        shared = Shared(job)
    except FileNotFoundError:
        return  # the training was ended meanwhile, and the worker beside has removed it: see below
    worker = Worker(job, rank, shared)
    asked: SimpleQueue[bytes] = SimpleQueue()

    def listen() -> None:
        """End this process, whatever it does, as soon as its input closes."""
        served = False
        while byte := os.read(0, 1):
            served = True
            asked.put(byte)
        if not served:  # the model's process may have been killed before it could do this
            with contextlib.suppress(OSError):
                os.unlink(job.path)
        os._exit(0)

    listening = Thread(target=listen, daemon=True)
    listening.start()
    with contextlib.suppress(BrokenPipeError):
        while True:
            os.write(1, ANSWER)
            asked.get()
            for k in range(int(shared.count[0])):
                rows, columns = shared.shapes[k]
                batch = shared.ids[k, :rows, :columns]
                outcome = worker.step(batch, int(shared.seeds[k]), float(shared.rates[k]))
                if rank == 0:
                    shared.outcomes[k] = outcome
    listening.join()  # the model's process has ended, and this one is about to
