"""The type of arrays, as annotations name it, and memory for those that are computed on most."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import DTypeLike, NDArray

    Array = NDArray[Any]
else:
    Array = np.ndarray  # numpy.typing would add 2 ms to `import npchar`

LINE = 64  # bytes of a processor's cache that are loaded at once


def aligned_empty(shape: int | tuple[int, ...], dtype: DTypeLike) -> Array:
    """An array like `numpy.empty`'s that begins where a line of the cache does.

    NumPy's own begin 16 bytes behind that, mostly. With AVX-512, whose vectors are as long as a
    line, each then lies on two lines: on such a processor a product of matrices takes 1.4 times
    as long, and an elementwise product twice.
    """
    dtype, shape = np.dtype(dtype), (shape,) if isinstance(shape, int) else shape
    size = math.prod(shape) * dtype.itemsize
    memory = np.empty(size + LINE, np.uint8)
    start = -memory.__array_interface__["data"][0] % LINE
    return memory[start : start + size].view(dtype).reshape(shape)


class _View(NamedTuple):
    """An array as its place in the memory that it shares with others."""

    base: Array
    offset: int  # bytes
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: np.dtype[Any]

    @classmethod
    def of(cls, array: Array) -> _View:
        base = array.base
        if not isinstance(base, np.ndarray) or not base.flags.c_contiguous:
            base = array = np.ascontiguousarray(array)
        start, first = (a.__array_interface__["data"][0] for a in (base, array))
        return cls(base, first - start, array.shape, array.strides, array.dtype)

    def restored(self) -> Array:
        return np.ndarray(self.shape, self.dtype, self.base, self.offset, self.strides)


class CopiesKeepViews:
    """Copies and pickles whose array attributes share memory as the originals do.

    NumPy copies a view as an array of its own. A copied model would then train one vector and
    predict with another. Here the memory is copied once, and the views are made anew on it, also
    across several such objects that are copied together.
    """

    def __getstate__(self) -> dict[str, Any]:
        return {
            name: _View.of(value) if isinstance(value, np.ndarray) else value
            for name, value in vars(self).items()
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            setattr(self, name, value.restored() if isinstance(value, _View) else value)
