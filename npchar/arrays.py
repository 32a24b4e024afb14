"""The array type for annotations, aligned memory, and copies of objects with views."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import DTypeLike, NDArray

    Array = NDArray[Any]
else:
    Array = np.ndarray  # numpy.typing would add 2 ms to `import npchar`

LINE = 64  # bytes of a cache line


def aligned_empty(shape: int | tuple[int, ...], dtype: DTypeLike) -> Array:
    """Create an array, as `numpy.empty` does, that starts at the start of a cache line.

    Arrays of NumPy usually start 16 bytes later. Each AVX-512 vector, which is as long as a cache
    line, then lies on two lines, which makes operations much slower.
    """
    dtype, shape = np.dtype(dtype), (shape,) if isinstance(shape, int) else shape
    size = math.prod(shape) * dtype.itemsize
    memory = np.empty(size + LINE, np.uint8)
    start = -memory.__array_interface__["data"][0] % LINE
    return memory[start : start + size].view(dtype).reshape(shape)


class _View(NamedTuple):
    """The position of an array in memory that it shares with other arrays."""

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
    """Base class whose array attributes still share memory after copying or pickling.

    NumPy copies each view as a separate array. A copied model would then train one vector and
    predict with another. This class copies the shared memory once and creates the views again,
    also across several objects that are copied together.
    """

    def __getstate__(self) -> dict[str, Any]:
        return {
            name: _View.of(value) if isinstance(value, np.ndarray) else value
            for name, value in vars(self).items()
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            setattr(self, name, value.restored() if isinstance(value, _View) else value)
