"""The command line: ``npchar``, or ``python -m npchar``.

``options`` has the commands and their options. ``train`` has the commands train and resume,
``commands`` the others. ``inputs`` reads the models and texts that they name.
"""

from npchar.cli.commands import main as main
