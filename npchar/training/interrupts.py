"""Ctrl-C and SIGTERM, taken between the steps of a training and not within one.

In the middle of a step the weights are half changed: nothing to save. Workers make some steps at a
time, of which the same holds.
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType

from npchar.version import in_browser


def interrupt(sentence: str) -> KeyboardInterrupt:
    """A Ctrl-C of which a notebook shows a sentence alone, not the frames it came through.

    No class of its own: Python ends by the signal, as a shell expects, for KeyboardInterrupt
    itself alone.
    """
    error = KeyboardInterrupt(sentence)
    error._render_traceback_ = lambda: [sentence]  # type: ignore[attr-defined]  # IPython asks
    return error


class Interrupts:
    """While it is entered, holds back what comes in within `uninterrupted`.

    A second Ctrl-C is not held back. Where the program has handlers of its own, in
    another thread than the main one, where a signal is ignored (Ctrl-C in what a script
    started in the background, by its shell's wish), and where there are no signals, as in a
    browser, it changes nothing.

    Parameters
    ----------
    terminate
        Whether SIGTERM ends the training as Ctrl-C does, by a SystemExit of 143,
        so that there is time to save.
    """

    def __init__(self, terminate: bool) -> None:
        self.wanted: dict[int, object] = {signal.SIGINT: signal.default_int_handler}
        if terminate:
            self.wanted[signal.SIGTERM] = signal.SIG_DFL
        self.busy = False
        self.held: int | None = None
        self.taken: list[int] = []

    def __enter__(self) -> Interrupts:
        import threading

        if in_browser() or threading.current_thread() is not threading.main_thread():
            return self
        for number, usual in self.wanted.items():
            if signal.getsignal(number) is usual:
                with contextlib.suppress(Exception):  # a subinterpreter, or forbidden
                    signal.signal(number, self._handle)
                    self.taken.append(number)
        return self

    def __exit__(self, *_: object) -> None:
        for number in self.taken:
            if signal.getsignal(number) == self._handle:  # a callback may have set another
                signal.signal(number, self.wanted[number])  # type: ignore[arg-type]

    @contextlib.contextmanager
    def uninterrupted(self) -> Iterator[None]:
        """Complete the body before a signal takes effect, also where the body fails."""
        self.busy = True
        try:
            yield
        finally:
            self.busy = False
            if self.held is not None:
                number, self.held = self.held, None
                self._raise(number)  # with the body's error as its context

    def _handle(self, number: int, _: FrameType | None) -> None:
        if self.busy and self.held is None:
            self.held = number
        else:
            self._raise(number)

    @staticmethod
    def _raise(number: int) -> None:
        if number == signal.SIGTERM:
            raise SystemExit(128 + number)
        raise KeyboardInterrupt
