"""Child processes of the tests: they get the usual signals, and end with their test.

A process that starts pytest may ignore SIGINT (a script's ``pytest &``, ``nohup``, some CI
runners), and child processes inherit this setting. Here each child handles SIGINT as at a
terminal. Each child has its own session, so that its descendants can be ended with it.
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

LIMIT = 60  # seconds; only a test with a hanging process waits this long

running: list[Child] = []


class Child(subprocess.Popen):
    """A process started by a test."""

    def await_line(self, stream: IO[str], wanted: Callable[[str], object]) -> str:
        """Read lines up to the first that satisfies `wanted`, and return all of them."""
        watch = threading.Timer(LIMIT, self.end)  # readline has no time limit of its own
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
        """Kill the process and its descendants."""
        if not hasattr(os, "killpg"):
            self.kill()
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)


@contextlib.contextmanager
def interrupts(handler: Any = signal.default_int_handler) -> Iterator[None]:
    """Handle SIGINT by `handler` here, and by default in processes started in this context.

    The default handler is Python's own. Child processes do not inherit handlers of Python.
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
    """Start a command whose output is read as text through pipes."""
    if os.environ.get("PYTHONDONTWRITEBYTECODE"):  # otherwise each process compiles npchar again
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
    """Start Python with unbuffered output."""
    return start(sys.executable, "-u", *arguments, **options)


def run(
    *command: object, given: str | None = None, **options: Any
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, with `given` as its standard input."""
    if given is not None:
        options["stdin"] = subprocess.PIPE
    child = start(*command, **options)
    out, errors = child.communicate(given, timeout=LIMIT)
    return subprocess.CompletedProcess(child.args, child.returncode, out, errors)


def run_python(*arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run Python to its end."""
    return run(sys.executable, *arguments, **options)


def wait_for_ends(pids: Iterable[int]) -> None:
    """Wait for processes that are not children of this process."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):  # the process has already ended
            descriptor = os.pidfd_open(pid)
            try:
                assert select.select([descriptor], [], [], LIMIT)[0], f"process {pid} does not end"
            finally:
                os.close(descriptor)


def end_all() -> None:
    """End the processes that a test has left, for example because it failed."""
    while running:
        child = running.pop()
        child.end()
        child.wait(LIMIT)
        for stream in (child.stdin, child.stdout, child.stderr):
            if stream is not None:
                with contextlib.suppress(OSError):  # unread output
                    stream.close()
