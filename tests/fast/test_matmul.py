"""Matrix products in tiles, and the memory that they access."""

import numpy as np
import pytest

from npchar.fast import matmul
from npchar.fast.matmul import MatmulPlan


@pytest.fixture
def small_kernels(monkeypatch):
    """Simulate a processor with kernels for small matrices, and a small limit for their size."""
    monkeypatch.setattr(matmul, "HAS_SMALL_KERNELS", True)
    monkeypatch.setattr(matmul, "SMALL", 5000)


SIZES = [(24, 10, 64), (16, 7, 48), (40, 12, 96), (9, 20, 34)]  # M, K, N


@pytest.mark.usefixtures("small_kernels")
@pytest.mark.parametrize("left_gates", [1, 3])
@pytest.mark.parametrize(("M", "K", "N"), SIZES)
def test_a_product_in_tiles_is_the_product(M, K, N, left_gates):
    rng = np.random.default_rng(0)
    a, W = rng.standard_normal((left_gates, M, K)), rng.standard_normal((3, K, N))
    scale = np.array([1.0, 0.5, 2.0])[:, None, None]
    plan = MatmulPlan(M, K, N, a.dtype)
    assert plan.is_tiled
    assert plan.rows * plan.columns * K <= matmul.SMALL
    c = np.full((3, M, N), np.nan)
    np.matmul(plan.left(a), plan.right(W, scale), out=plan.out(c))
    np.testing.assert_allclose(c, a @ (W * scale), rtol=0, atol=1e-13)


@pytest.mark.usefixtures("small_kernels")
@pytest.mark.parametrize(("M", "K", "N"), SIZES)
def test_joined_matrices_sum_over_gates(M, K, N):
    """Matrices may be views, such as transposed weights."""
    rng = np.random.default_rng(1)
    a, W = rng.standard_normal((M, 2 * K)), rng.standard_normal((2, N, K)).swapaxes(1, 2)
    plan = MatmulPlan(M, 2 * K, N, a.dtype)
    c = np.full((1, M, N), np.nan)
    np.matmul(plan.left(a[None]), plan.right(W, is_joined=True), out=plan.out(c))
    np.testing.assert_allclose(c[0], a[:, :K] @ W[0] + a[:, K:] @ W[1], rtol=0, atol=1e-13)
