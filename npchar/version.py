"""The version of npchar, and whether it runs in a browser."""

import sys

__version__ = "2.0.0"


def in_browser() -> bool:
    """Whether Python runs in a browser with Pyodide, as in JupyterLite.

    A browser has no processes and no signals, and its files are in memory.
    """
    return sys.platform == "emscripten"
