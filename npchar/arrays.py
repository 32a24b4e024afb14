"""The type of arrays, as annotations name it, and memory for those that are computed on most."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

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
