"""The page ``keras_and_pytorch.md``, for the API reference."""

from npchar.guide import page

__doc__ = page("keras_and_pytorch")
