"""The page ``read_loss.md``, for the API reference."""

from npchar.guide import page

__doc__ = page("read_loss")
