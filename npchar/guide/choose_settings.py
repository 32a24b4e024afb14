"""The page ``choose_settings.md``, for the API reference."""

from npchar.guide import page

__doc__ = page("choose_settings")
