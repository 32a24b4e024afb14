"""``python -m npchar`` is the command ``npchar``."""

import sys

from npchar.command import main

sys.exit(main())
