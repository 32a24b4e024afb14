"""The page ``shipped_models.md``, for the API reference."""

from npchar.guide import page

__doc__ = page("shipped_models")
