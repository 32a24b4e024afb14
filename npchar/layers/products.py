"""Matrix products in tiles, for the fast layers.

OpenBLAS, which NumPy brings, has kernels for small matrices on processors with AVX-512: up to a
million multiplications it works on the operands where they lie. Larger products it first
copies into an order of its own, which for the sizes of a recurrent step, some dozen rows, costs
up to as much again. So a product is cut into tiles that are small enough, of which one call of
``np.matmul`` computes all. Measured on one core (an Intel Xeon), (B, 4H) by (4H, H), in µs:

    ===========  ======  ======  ======
    B, H         16,128  64,128  16,256
    whole            26      89     107
    tiles            19      74      74
    aligned ones     14      50      50
    ===========  ======  ======  ======

Aligned tiles begin where a line of the cache does (`column_tiles`); with them the processor reaches
its peak. Where there are no such kernels `tiling` says that one tile is all of it, and the
product is the usual one. Only rows and columns are cut, never the sum over K: where that is too
long for a tile to stay in the cache, the product is left whole.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numpy as np

from npchar.arrays import Array, aligned_empty

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

SMALL = 1_000_000  # multiplications, at most, of a product that OpenBLAS calls small
WIDEST = 64  # columns of a tile: wider ones gain nothing
STRIP = 32  # columns that are copied at once: half of the time of 128
LONGEST = 1024  # K: the columns of a longer product leave the cache between two tiles of rows


def has_small_kernels() -> bool:
    """Whether NumPy's BLAS has kernels for small matrices on this processor."""
    try:
        built: Any = np.show_config(mode="dicts")
        blas = built["Build Dependencies"]["blas"]["name"]
        features = built["SIMD Extensions"]["found"]
    except (KeyError, TypeError):  # a NumPy built in another way
        return False
    return "openblas" in blas and any(f == "X86_V4" or f.startswith("AVX512_") for f in features)


HAS_SMALL_KERNELS = has_small_kernels()


def tiling(M: int, K: int, N: int, dtype: DTypeLike) -> tuple[int, int]:
    """The rows and columns of the tiles for a product of (M, K) by (K, N).

    (M, N), all of it, where tiles would not be quicker.

    Examples
    --------
    >>> from npchar.layers.products import tiling
    >>> rows, columns = tiling(64, 128, 128, "float32")
    >>> 64 % rows, 128 % columns
    (0, 0)
    """
    fits = K <= LONGEST or M <= 16  # with few rows the columns are read a few times only
    if HAS_SMALL_KERNELS and np.dtype(dtype).kind == "f" and M * K * N > SMALL and fits:
        for most in (WIDEST, WIDEST // 2):
            # Whole vectors of 16 numbers are quicker.
            columns = 16 * largest_divisor(N // 16, most // 16) if N % 16 == 0 else 0
            columns = columns or largest_divisor(N, most)
            rows = largest_divisor(M, SMALL // (K * columns))
            if columns >= 16 and rows >= 8:  # thinner ones are slow
                return rows, columns
    return M, N


@functools.cache
def largest_divisor(n: int, most: int) -> int:
    """The largest divisor of n that is at most `most`; 0 where that is below 1."""
    return next((d for d in range(min(n, most), 0, -1) if n % d == 0), 0)


def row_tiles(a: Array, rows: int, leading: int = 0) -> Array:
    """A view of (…, M, K) as tiles to multiply with `column_tiles`: (M/rows, …, 1, rows, K).

    `leading` is how many axes the other matrix has before its rows, as of gates, where this
    one, (M, K), has none.
    """
    *own, M, K = a.shape
    tiles = a.reshape(*own, M // rows, *(1,) * (1 + leading), rows, K)
    return np.moveaxis(tiles, len(own), 0)


def column_tiles(W: Array, columns: int, scale: Array | None = None) -> Array:
    """A copy of (…, K, N) in the order of its tiles: (…, N/columns, K, columns).

    Multiplied by `scale`, (…, 1, 1), where it is given.
    """
    *leading, K, N = W.shape
    tiles = aligned_empty((*leading, N // columns, K, columns), W.dtype)
    in_order = W.reshape(*leading, K, N // columns, columns).swapaxes(-2, -3)
    if scale is None:
        tiles[...] = in_order
    else:
        np.multiply(in_order, scale[..., None], tiles)
    return tiles


def joined_column_tiles(W: Array, columns: int) -> Array:
    """A copy of (G, K, N) as one matrix, (GK, N), in the order of its tiles."""
    G, K, N = W.shape
    tiles = aligned_empty((N // columns, G, K, columns), W.dtype)
    in_order = np.moveaxis(W.reshape(G, K, N // columns, columns), 2, 0)
    # The neighbours in a row of a transposed W lie on different lines of the cache: strip by
    # strip, those lines are still there when their next numbers are copied.
    for start in range(0, columns, STRIP):
        strip = slice(start, start + STRIP)
        tiles[..., strip] = in_order[..., strip]
    return tiles.reshape(N // columns, G * K, columns)


def product_tiles(out: Array, rows: int, columns: int) -> Array:
    """A view of (…, M, N) for the products of tiles: (M/rows, …, N/columns, rows, columns)."""
    *leading, M, N = out.shape
    tiles = out.reshape(*leading, M // rows, rows, N // columns, columns).swapaxes(-2, -3)
    return np.moveaxis(tiles, -4, 0)
