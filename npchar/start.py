"""The first moments of the command line: Ctrl-C while Python loads NumPy and npchar.

That takes a fifth of a second, in which nothing can catch an interrupt: it would end in a
traceback, or NumPy would lose it. So where the process is ``npchar`` or ``python -m npchar``, the
import of this module, the first of all, leaves Ctrl-C to the system, which ends the process at
once and without a word; ``command.main`` takes it back. A program that imports npchar sees
none of this.
"""

import os
import signal
import sys


def is_the_command() -> bool:
    """Whether this process is the command line, and no program that imports npchar."""
    name = os.path.basename(sys.argv[0]) if sys.argv else ""
    if name == "-m":  # while Python looks for the module
        return "npchar" in sys.orig_argv or "-mnpchar" in sys.orig_argv
    return name.partition(".")[0] == "npchar"


QUIET = is_the_command() and signal.getsignal(signal.SIGINT) is signal.default_int_handler
if QUIET:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def handle_again() -> None:
    """Let Ctrl-C raise a KeyboardInterrupt again."""
    if QUIET:
        signal.signal(signal.SIGINT, signal.default_int_handler)
