"""The command line: ``npchar``, or ``python -m npchar``.

``options`` has the commands and their options. ``commands`` runs the commands. ``inputs`` reads the
models and texts that they name.
"""

from npchar.cli.commands import main as main
