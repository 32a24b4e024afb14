"""The page ``your_texts.md``, for the API reference."""

from npchar.guide import page

__doc__ = page("your_texts")
