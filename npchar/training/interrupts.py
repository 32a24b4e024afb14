"""Delays Ctrl-C and SIGTERM until a training step is complete.

In the middle of a step, the weights may be half updated and cannot be saved.
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator
from types import FrameType

Handler = Callable[[int, FrameType | None], object] | signal.Handlers


def interrupt(sentence: str) -> KeyboardInterrupt:
    """A KeyboardInterrupt that notebooks show as one sentence, without a traceback.

    It is not a subclass, because only an uncaught KeyboardInterrupt itself makes Python end by the
    signal, as shells expect.
    """
    error = KeyboardInterrupt(sentence)
    error._render_traceback_ = lambda: [sentence]  # type: ignore[attr-defined]  # IPython asks
    return error


class Interrupts:
    """A context manager that delays signals within `uninterrupted`.

    A second Ctrl-C is not delayed. Signals are not handled if the program has its own handlers,
    outside the main thread, if a signal is ignored (as in background jobs of a script), or if there
    are no signals (as in a browser).

    Parameters
    ----------
    terminate
        Whether SIGTERM also ends the run in an orderly way, with a SystemExit of 143, so that
        the run can be saved.
    """

    def __init__(self, terminate: bool) -> None:
        self.usual: dict[int, Handler] = {signal.SIGINT: signal.default_int_handler}
        if terminate:
            self.usual[signal.SIGTERM] = signal.SIG_DFL
        self.busy = False
        self.delayed: int | None = None
        """The signal that arrived within `uninterrupted`."""

    def __enter__(self) -> Interrupts:
        for number, usual in self.usual.items():
            self._replace(number, usual, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, usual in self.usual.items():
            self._replace(number, self._handle, usual)  # a callback may have set another

    @staticmethod
    def _replace(number: int, old: Handler, new: Handler) -> None:
        """Replace a signal handler if this is possible."""
        if signal.getsignal(number) == old:
            with contextlib.suppress(Exception):  # another thread, a subinterpreter, or a browser
                signal.signal(number, new)

    @contextlib.contextmanager
    def uninterrupted(self) -> Iterator[None]:
        """Complete the body before a signal takes effect, even if the body raises an error."""
        self.busy = True
        try:
            yield
        finally:
            self.busy = False
            if self.delayed is not None:
                number, self.delayed = self.delayed, None
                self._raise(number)  # with the body's error as its context

    def _handle(self, number: int, _: FrameType | None) -> None:
        if self.busy and self.delayed is None:
            self.delayed = number
        else:
            self._raise(number)

    @staticmethod
    def _raise(number: int) -> None:
        raise SystemExit(128 + number) if number == signal.SIGTERM else KeyboardInterrupt
