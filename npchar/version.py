"""The version, and whether this is a browser: what every other module may ask for."""

import sys

__version__ = "2.0.0.dev0"


def in_browser() -> bool:
    """Whether Python runs in a browser, by Pyodide, as in JupyterLite.

    There it starts no processes, takes no signals, and its files are in memory.
    """
    return sys.platform == "emscripten"
