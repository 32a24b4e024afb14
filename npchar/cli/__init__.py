"""The command line, ``npchar`` or ``python -m npchar``.

``options`` defines the commands and their options. ``train`` implements the commands train and
resume, and ``commands`` implements all others. ``inputs`` loads models and texts.
"""

from npchar.cli.commands import main as main
