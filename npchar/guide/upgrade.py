"""The page ``upgrade.md``, for the API reference."""

from npchar.guide import page

__doc__ = page("upgrade")
