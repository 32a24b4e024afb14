"""The command line: ``npchar``, or ``python -m npchar``.

``options`` has the commands and their options. ``training`` runs ``train`` and ``resume``,
``commands`` the other commands. ``inputs`` reads the models and texts that they name.
"""

from npchar.cli.commands import main as main
