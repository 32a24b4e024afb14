"""Matrix products in tiles, for the fast layers.

On processors with AVX-512, OpenBLAS multiplies small matrices in place. It copies larger matrices
into its own layout first, which takes a large part of the time of a product with a few dozen rows.
A product in tiles avoids these copies: one call of ``np.matmul`` computes many small products. On
other processors, a single tile covers the whole product.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import numpy as np

from npchar.arrays import Array, aligned_empty

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

SMALL = 1_000_000  # multiplications: OpenBLAS treats products up to this size as small
WIDEST = 64  # columns of a tile: wider tiles are not faster
LONGEST = 1024  # rows of a right operand: longer columns do not stay in the cache


def _has_small_kernels() -> bool:
    """Whether the BLAS of NumPy has kernels for small matrices on this processor."""
    try:
        config = np.show_config(mode="dicts") or {}
        blas = config["Build Dependencies"]["blas"]["name"]
        features = config["SIMD Extensions"]["found"]
    except (KeyError, TypeError):  # a NumPy with other build information
        return False
    return "openblas" in blas and any(f == "X86_V4" or f.startswith("AVX512_") for f in features)


ONE = np.ones((1, 1, 1), np.float32)
HAS_SMALL_KERNELS = _has_small_kernels()


class MatmulPlan:
    """The tiles for products of (G, M, K) or (1, M, K) by (G, K, N).

    ``np.matmul(plan.left(a), plan.right(W), plan.out(c))`` writes ``a @ W`` to ``c``. `left` and
    `out` return views, which can be created once per buffer. `right` returns a copy.

    Examples
    --------
    >>> from npchar.fast.matmul import MatmulPlan
    >>> plan = MatmulPlan(64, 256, 128, "float32")
    >>> a, W, c = np.ones((1, 64, 256)), np.ones((4, 256, 128)), np.empty((4, 64, 128))
    >>> product = np.matmul(plan.left(a), plan.right(W), plan.out(c))
    >>> np.array_equal(c, a @ W)
    True
    """

    def __init__(self, M: int, K: int, N: int, dtype: DTypeLike) -> None:
        self.rows, self.columns = M, N  # of a tile
        has_kernels = HAS_SMALL_KERNELS and np.dtype(dtype).kind == "f"
        if has_kernels and M * K * N > SMALL and K <= LONGEST:
            for widest in (WIDEST, WIDEST // 2):
                # Tiles are faster if their rows are whole AVX-512 vectors of 16 numbers.
                columns = 16 * _largest_divisor(N // 16, widest // 16) if N % 16 == 0 else 0
                columns = columns or _largest_divisor(N, widest)
                rows = _largest_divisor(M, SMALL // (K * columns))
                if columns >= 16 and rows >= 8:  # thinner tiles are slow
                    self.rows, self.columns = rows, columns
                    break
        self.is_tiled = (self.rows, self.columns) != (M, N)

    def left(self, a: Array) -> Array:
        """A view of the left operand, (G or 1, M, K): (M/rows, G or 1, 1, rows, K)."""
        G, _, K = a.shape
        return a.reshape(G, -1, self.rows, K).swapaxes(0, 1)[:, :, None]

    def right(self, W: Array, scale: Array = ONE, is_joined: bool = False) -> Array:
        """A copy of the right operand, (G, K, N), times `scale`: (G, N/columns, K, columns).

        With `is_joined`, the operand is one matrix, (GK, N): (1, N/columns, GK, columns).
        """
        G, K, N = W.shape
        blocks = N // self.columns
        tiles = aligned_empty((blocks, G, K, self.columns), W.dtype)
        tiles = tiles if is_joined else tiles.reshape(G, blocks, K, self.columns)
        by_gate = tiles.swapaxes(0, 1) if is_joined else tiles
        np.multiply(W.reshape(G, K, blocks, -1).swapaxes(1, 2), scale[..., None], by_gate)
        return tiles.reshape(1, blocks, G * K, -1) if is_joined else tiles

    def out(self, c: Array) -> Array:
        """A view of the result, (G, M, N): (M/rows, G, N/columns, rows, columns)."""
        G, _, N = c.shape
        tiles = c.reshape(G, -1, self.rows, N // self.columns, self.columns)
        return tiles.transpose(1, 0, 3, 2, 4)


@functools.cache
def _largest_divisor(n: int, most: int) -> int:
    """The largest divisor of n that is at most `most`; 0 if n or `most` is below 1."""
    return next((d for d in range(min(n, most), 0, -1) if n % d == 0), 0)
