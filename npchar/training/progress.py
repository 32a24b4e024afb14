"""Prints the progress of a run: a line per epoch, and a line per special event.

``training/trainer.py`` calls it with the numbers of ``training/history.py``.
"""

from __future__ import annotations

import contextlib
import math
import sys
import time
from datetime import timedelta
from typing import Any

from npchar.training.history import History


class Progress:
    """Prints a line per epoch. On a terminal, the line of the current epoch is updated in place.

    In a notebook, all lines are one output of the cell, which is updated.
    """

    def __init__(self, epochs: int, symbols: int, symbol_name: str, held_out: str = "") -> None:
        self.epochs, self.held_out = epochs, held_out
        self.symbols, self.symbol_name = symbols, symbol_name  # the symbols of an epoch
        self.live = False  # whether standard output is a terminal
        with contextlib.suppress(AttributeError, ValueError):  # it may be None, or closed
            self.live = sys.stdout.isatty()
        self.has_baselines = False  # whether they are printed
        self.lines: list[str] = []  # the permanent lines in a notebook
        self.display = notebook_display()
        self.width = 0  # of the text on the terminal's line
        self.last_shown = time.perf_counter()
        # The latest epoch of `update`; its fraction and the time at its first call.
        self.epoch, self.share, self.begun = -1, 0.0, 0.0

    def begin(self, history: History, epochs_done: int, finished: bool) -> None:
        """Print the validation set, and the epoch after which the run is resumed."""
        if self.held_out:
            self.say(f"held out: {self.held_out}")
        self._say_baselines(history)
        if finished:
            self.say(f"the run is already complete, after epoch {epochs_done}")
        elif epochs_done:
            self.say(f"resuming after epoch {epochs_done}")

    def _say_baselines(self, history: History) -> None:
        """Print the baselines once, when they are known."""
        if history.baselines and not self.has_baselines:
            self.has_baselines = True
            losses = ", ".join(f"{name} {loss:.3f}" for name, loss in history.baselines.items())
            self.say(f"baselines, nats per {self.symbol_name}: {losses}")

    def say(self, line: str) -> None:
        """Print a permanent line."""
        self._show(line, end="\n")

    def update(self, epoch: int, share: float, loss: float) -> None:
        """Report a step: the epoch (from 0), its completed fraction, and the loss."""
        now = time.perf_counter()
        if epoch != self.epoch:
            self.epoch, self.share, self.begun = epoch, share, now
        if not (self.live or self.display) or now - self.last_shown < 0.2 or share == self.share:
            return
        self.last_shown = now
        rate = (share - self.share) * self.symbols / (now - self.begun)
        left = (self.epochs - epoch - share) * self.symbols / rate
        self._show_epoch(epoch, f"loss {loss:.4f}", rate, left, end="")

    def end_epoch(self, history: History) -> None:
        """Report the end of an epoch and its validation."""
        self._say_baselines(history)
        epoch, seconds = len(history.loss) - 1, history.seconds[-1]
        losses = f"loss {history.loss[-1]:.4f}"
        if history.val_loss:
            losses += f"  val_loss {history.val_loss[-1]:.4f}"
        name, simple = min(history.baselines.items(), key=lambda baseline: baseline[1])
        losses += f" = {history.bits_per_character[-1]:.2f} bits"
        losses += f" ({name} {simple / math.log(2):.2f})"
        left = seconds * (self.epochs - epoch - 1)
        self._show_epoch(epoch, losses, self.symbols / seconds, left, end="\n")

    def _show_epoch(self, epoch: int, losses: str, rate: float, left: float, end: str) -> None:
        """Show the losses of an epoch, the characters per second, and the seconds left."""
        name = f"epoch {epoch + 1:>{len(str(self.epochs))}}/{self.epochs}"
        time_left = timedelta(seconds=round(min(left, 1e9)))
        self._show(f"{name}  {losses}  {rate:,.0f} {self.symbol_name}s/s  {time_left} left", end)

    def _show(self, line: str, end: str) -> None:
        if self.display is not None:
            self.display.update({"text/plain": "\n".join([*self.lines, line])}, raw=True)
            self.lines += [line] if end else []
        else:
            show(("\r" if self.live else "") + line.ljust(self.width), end)
            self.width = 0 if end else len(line)


def show(text: str, end: str = "\n") -> None:
    """Print a text, and ignore errors, so that the run continues.

    Standard output may be closed, a broken pipe, or a full disk. Characters that it cannot encode
    become "?".
    """
    with contextlib.suppress(OSError, ValueError):
        try:
            print(text, end=end, flush=True)
        except UnicodeEncodeError:
            encoding = getattr(sys.stdout, "encoding", None) or "ascii"
            print(text.encode(encoding, "replace").decode(encoding), end=end, flush=True)


def notebook_display() -> Any:
    """An output of a notebook cell that can be updated; None outside notebooks."""
    if "ipykernel" in sys.modules:
        from IPython import get_ipython
        from IPython.display import display

        if hasattr(get_ipython(), "kernel"):
            return display({"text/plain": ""}, raw=True, display_id=True)
    return None
