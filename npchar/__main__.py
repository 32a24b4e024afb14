"""Runs the command line: ``python -m npchar``."""

import sys

from npchar.cli import main

if __name__ == "__main__":
    sys.exit(main())
