"""``python -m npchar`` is the command ``npchar``."""

import sys

from npchar.cli import main

if __name__ == "__main__":
    sys.exit(main())
