"""Child processes of the tests: started with the signals they need, gone when their test ends.

Whoever started pytest may have SIGINT ignored (a script's ``pytest &``, ``nohup``, some CI
runners), and processes inherit that; here each gets it as at a terminal. All are in sessions
of their own, so that whatever they start can be ended with them.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import IO, Any

LIMIT = 60  # seconds; nothing waits for it but a test whose process hangs

running: list[Child] = []


class Child(subprocess.Popen):
    """A process that a test has started."""

    def await_line(self, stream: IO[str], wanted: Callable[[str], object]) -> str:
        """Read lines up to the first that is `wanted`; return all of them."""
        watch = threading.Timer(LIMIT, self.end)  # a readline has no time limit of its own
        watch.start()
        seen = ""
        try:
            for line in stream:
                seen += line
                if wanted(line):
                    return seen
        finally:
            watch.cancel()
            watch.join()
        raise AssertionError(f"the line that was waited for did not come, but this:\n{seen}")

    def end(self) -> None:
        """Kill it and all that it started."""
        if not hasattr(os, "killpg"):
            self.kill()
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)


@contextlib.contextmanager
def interrupts(handler: Any = signal.default_int_handler) -> Iterator[None]:
    """Handle SIGINT so, here and in processes started meanwhile; they know no handlers of Python's.

    By default as Python does at a terminal.
    """
    before = signal.signal(signal.SIGINT, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def start(
    *command: object,
    env: dict[str, str] | None = None,
    ignore_interrupts: bool = False,
    **options: Any,
) -> Child:
    """Start a command; what it writes comes as text, through pipes."""
    if os.environ.get("PYTHONDONTWRITEBYTECODE"):  # else each process compiles npchar again
        cache = {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": os.environ["MPLCONFIGDIR"]}
        env = cache | (env or {})
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with interrupts(signal.SIG_IGN if ignore_interrupts else signal.default_int_handler):
        child = Child(
            [*map(str, command)],
            env=os.environ | (env or {}),
            **{**pipes, "text": True, "start_new_session": True, **options},
        )
    running.append(child)
    return child


def python(*arguments: object, **options: Any) -> Child:
    """Start Python, unbuffered."""
    return start(sys.executable, "-u", *arguments, **options)


def run(
    *command: object, given: str | None = None, **options: Any
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end; `given` is its standard input."""
    if given is not None:
        options["stdin"] = subprocess.PIPE
    child = start(*command, **options)
    out, errors = child.communicate(given, timeout=LIMIT)
    return subprocess.CompletedProcess(child.args, child.returncode, out, errors)


def run_python(*arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run Python to its end."""
    return run(sys.executable, *arguments, **options)


def wait_for_ends(pids: Iterable[int]) -> None:
    """Wait for processes that are not children of this one."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):  # it has ended already
            descriptor = os.pidfd_open(pid)
            try:
                assert select.select([descriptor], [], [], LIMIT)[0], f"process {pid} does not end"
            finally:
                os.close(descriptor)


def end_all() -> None:
    """End what a test has left, which is much when it fails."""
    while running:
        child = running.pop()
        child.end()
        child.wait(LIMIT)
        for stream in (child.stdin, child.stdout, child.stderr):
            if stream is not None:
                with contextlib.suppress(OSError):  # of what nobody read
                    stream.close()
