"""More than one core: what is long is done by threads beside each other.

With a large vocabulary a network has millions of weights, and the sum of the processes' gradients,
its norm and the optimizer's step read and write all of them, while the processes of
``training/parallel.py`` wait: a quarter of a step of training with 4,000 symbols. Done a part at
a time, it stays in the cache for all that is done to it, and NumPy lets other threads run
meanwhile: on two cores it takes 0.4 of the time. What is written does not depend on how many
threads there are.

``generation/sampling.py`` has noise for the next characters made while the network computes.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from npchar.version import in_browser

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

PART = 1 << 17  # numbers, of which some arrays go into a core's cache
FEW = 3  # parts, for which it is not worth waking a thread

Result = TypeVar("Result")


def in_parts(size: int, work: Callable[[slice], Result]) -> list[Result]:
    """Call `work` with each part of vectors of a size; return what it returns, in their order.

    Short vectors are one part. NumPy's `errstate` is that of a thread: it does not reach `work`.
    """
    if size <= FEW * PART:
        return [work(slice(0, size))]
    parts = [slice(start, min(start + PART, size)) for start in range(0, size, PART)]
    if available_cores() == 1:
        return [work(part) for part in parts]
    return list(threads().map(work, parts))


def available_cores() -> int:
    """Processors that threads and processes of this one may use."""
    if in_browser():
        return 1
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def threads() -> ThreadPoolExecutor:
    """The threads of this process, as many as cores; they are made when first needed."""
    return _threads_of(os.getpid())


@functools.cache
def _threads_of(process: int) -> ThreadPoolExecutor:  # noqa: ARG001  (a fork has none of them)
    from concurrent.futures import ThreadPoolExecutor

    return ThreadPoolExecutor(available_cores(), "npchar")
