"""Ctrl-C and SIGTERM, delayed until a training step is complete.

In the middle of a step the weights are half updated, so that there would be nothing to save.
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator
from types import FrameType

Handler = Callable[[int, FrameType | None], object] | signal.Handlers


def interrupt(sentence: str) -> KeyboardInterrupt:
    """A KeyboardInterrupt that a notebook shows as one sentence, without frames.

    It is no subclass, because Python ends by the signal, as a shell expects, only for
    KeyboardInterrupt itself.
    """
    error = KeyboardInterrupt(sentence)
    error._render_traceback_ = lambda: [sentence]  # type: ignore[attr-defined]  # IPython asks
    return error


class Interrupts:
    """While it is entered, delays signals that arrive within `uninterrupted`.

    A second Ctrl-C is not delayed. Nothing changes where the program has handlers of its own,
    outside of the main thread, where a signal is ignored, as in a script's background jobs, and
    where there are no signals, as in a browser.

    Parameters
    ----------
    terminate
        Whether SIGTERM ends the training as Ctrl-C does, by a SystemExit of 143, so that there is
        time to save.
    """

    def __init__(self, terminate: bool) -> None:
        self.usual: dict[int, Handler] = {signal.SIGINT: signal.default_int_handler}
        if terminate:
            self.usual[signal.SIGTERM] = signal.SIG_DFL
        self.busy = False
        self.delayed: int | None = None
        """The signal that has arrived within `uninterrupted`."""

    def __enter__(self) -> Interrupts:
        for number, usual in self.usual.items():
            self._replace(number, usual, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, usual in self.usual.items():
            self._replace(number, self._handle, usual)  # a callback may have set another

    @staticmethod
    def _replace(number: int, old: Handler, new: Handler) -> None:
        """Replace one handler of a signal, where a program may."""
        if signal.getsignal(number) == old:
            with contextlib.suppress(Exception):  # another thread, a subinterpreter, or a browser
                signal.signal(number, new)

    @contextlib.contextmanager
    def uninterrupted(self) -> Iterator[None]:
        """Complete the body before a signal takes effect, also where the body fails."""
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
