"""Work for several threads: long vectors in parts, and what is wanted a little later.

With a large vocabulary a network has millions of weights, and the gradient's norm and the
optimizer's step read and write all of them. A part at a time stays in the cache for all that is
done to it, and NumPy lets other threads run meanwhile: on two cores it takes 0.4 of the time. What
is written does not depend on how many threads there are.

``generation/sampling.py`` has noise for the next characters made while the network computes.
"""

from __future__ import annotations

import contextlib
import functools
import math
import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, TypeVar

from npchar.version import in_browser

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

PART = 1 << 17  # numbers: a few such arrays fit in a core's cache
FEW = 2  # parts, for which it is not worth waking a thread

_limit: int | None = None

Result = TypeVar("Result")


def in_parts(size: int, work: Callable[[slice], Result]) -> list[Result]:
    """Call `work` with each part of vectors of a size; return what it returns, in their order.

    Short vectors are one part. NumPy's `errstate` is that of a thread: it reaches only the parts
    that the calling thread does.
    """
    if size <= FEW * PART:
        return [work(slice(0, size))]
    parts = parts_of(0, size)
    share = math.ceil(len(parts) / available_cores())

    def done(first: int) -> list[Result]:
        return [work(part) for part in parts[first : first + share]]

    # The calling thread takes a share too: waking a thread takes as long as two or three parts.
    others = [begin(functools.partial(done, first)) for first in range(share, len(parts), share)]
    try:
        results = done(0)
    finally:  # after an error, too: none is to write any more when this is left
        rest = [other() for other in others]
    return sum(rest, results)


def parts_of(first: int, last: int) -> list[slice]:
    """What lies between two places of a vector, in parts that fit in a core's cache."""
    return [slice(start, min(start + PART, last)) for start in range(first, last, PART)]


def begin(work: Callable[[], Result]) -> Callable[[], Result]:
    """Have another thread do some work; return what waits for it and gives its result.

    Where no thread can be had the work is done when its result is asked for: on one core, and while
    Python ends, as a thread that a script started may find.
    """
    if available_cores() == 1:
        return work
    try:
        return _threads_of(os.getpid()).submit(work).result
    except RuntimeError:
        return work


@contextlib.contextmanager
def at_most(count: int) -> Iterator[None]:
    """Use no more cores than that while this is entered: others use the rest."""
    global _limit
    before, _limit = _limit, count
    try:
        yield
    finally:
        _limit = before


def available_cores() -> int:
    """Processors that threads and processes of this one may use."""
    if in_browser():
        return 1
    if hasattr(os, "sched_getaffinity"):
        count = len(os.sched_getaffinity(0))
    else:
        count = os.cpu_count() or 1
    return count if _limit is None else min(count, _limit)


@functools.cache
def _threads_of(process: int) -> ThreadPoolExecutor:  # noqa: ARG001
    """Threads, as many as cores, made when first needed, and again in a process that was forked."""
    from concurrent.futures import ThreadPoolExecutor

    return ThreadPoolExecutor(available_cores(), "npchar")
