"""The number of available processors, and the threads of the BLAS of NumPy."""

from __future__ import annotations

import contextlib
import functools
import math
import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np

from npchar.version import in_browser

if TYPE_CHECKING:
    from pathlib import Path


def available_cores() -> int:
    """The number of processors available to this process, limited by affinity and cgroup."""
    if in_browser():
        return 1
    if hasattr(os, "sched_getaffinity"):
        count = len(os.sched_getaffinity(0))
    else:
        count = os.cpu_count() or 1
    return max(1, round(min(count, cpu_quota())))


@functools.cache
def cpu_quota(root: str = "/") -> float:
    """The processor limit of this process by its cgroup, which containers set.

    It is infinite without a limit. `root` is the folder that contains ``proc`` and ``sys``.
    """
    from pathlib import Path, PurePosixPath  # here, for a fast `import npchar`

    quota = math.inf
    with contextlib.suppress(OSError):
        for line in Path(root, "proc/self/cgroup").read_text().splitlines():
            _, controllers, group = line.split(":", 2)
            mount = Path(root, "sys/fs/cgroup", "cpu" if controllers else "")
            if "cpu" in controllers.split(",") or not controllers:
                for folder in (group, *PurePosixPath(group).parents):  # each may have a limit
                    quota = min(quota, _cgroup_quota(mount / str(folder).lstrip("/")))
    return quota


def _cgroup_quota(folder: Path) -> float:
    """The limit of one cgroup, from the files of cgroup version 2 or 1."""
    for names in (["cpu.max"], ["cpu.cfs_quota_us", "cpu.cfs_period_us"]):
        with contextlib.suppress(OSError, ValueError):  # a ValueError: "max"
            numbers = " ".join((folder / name).read_text() for name in names).split()
            quota, period = map(int, numbers)
            if quota > 0:
                return quota / period
    return math.inf


@contextlib.contextmanager
def one_blas_thread() -> Iterator[None]:
    """Limit the BLAS of NumPy to one thread in the body, if `can_limit_blas`."""
    with contextlib.ExitStack() as stack:
        functions = _openblas()
        if functions is not None:
            get_threads, set_threads = functions
            stack.callback(set_threads, get_threads())
            set_threads(1)
        elif can_limit_blas():
            from threadpoolctl import threadpool_limits

            stack.enter_context(threadpool_limits(1))
        yield


def can_limit_blas() -> bool:
    """Whether the number of threads of the BLAS of NumPy can be set in a running process.

    This is possible for OpenBLAS, and for other libraries with threadpoolctl.
    """
    import importlib.util  # here, for a fast `import npchar`

    return _openblas() is not None or importlib.util.find_spec("threadpoolctl") is not None


@functools.cache
def _openblas() -> tuple[Callable[[], int], Callable[[int], None]] | None:
    """The functions that get and set the number of threads of OpenBLAS; None without it."""
    import ctypes

    # A symbol lookup in the extension module includes the libraries that it is linked with. On
    # Windows, these are in a folder next to NumPy.
    import glob  # here, for a fast `import npchar`
    import importlib

    modules = [importlib.import_module("numpy.linalg._umath_linalg").__file__]
    for path in modules + glob.glob(f"{os.path.dirname(np.__file__)}.libs/*openblas*.dll"):
        with contextlib.suppress(OSError):
            library = ctypes.CDLL(path)
            for prefix in ("scipy_openblas", "openblas"):
                for suffix in ("64_", ""):
                    names = [f"{prefix}_{verb}_num_threads{suffix}" for verb in ("get", "set")]
                    if all(hasattr(library, name) for name in names):
                        get_threads, set_threads = (getattr(library, name) for name in names)
                        return get_threads, set_threads
    return None
