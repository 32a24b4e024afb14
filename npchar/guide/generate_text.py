"""The page ``generate_text.md``, for the API reference."""

from npchar.guide import page

__doc__ = page("generate_text")
