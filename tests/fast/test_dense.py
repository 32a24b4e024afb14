"""The output layer with its loss, compared with `Dense` and `softmax_cross_entropy`."""

import numpy as np
import pytest

from npchar.fast import dense, matmul
from npchar.fast.dense import FastDense
from npchar.fast.matmul import MatmulPlan
from npchar.layers.dense import Dense
from npchar.layers.loss import softmax_cross_entropy


def assert_loss_is_plain(H, V, h, targets, count=None):
    rng = np.random.default_rng(2)
    plain = Dense.create(H, V, dtype="float64")
    plain.b[...] = rng.standard_normal(V)
    gradients = [Dense(np.full((H, V), np.nan), np.full(V, np.nan)) for _ in range(2)]
    loss, dlogits = softmax_cross_entropy(plain.forward(h), targets, count=count)
    dh = plain.backward(h, dlogits, gradients[0])
    computed = FastDense(plain.W, plain.b).cross_entropy(h, targets, gradients[1], count)
    np.testing.assert_allclose(computed[0], loss, rtol=1e-14)
    np.testing.assert_allclose(computed[1], dh, rtol=0, atol=1e-15)
    np.testing.assert_allclose(gradients[1].W, gradients[0].W, rtol=0, atol=1e-15)
    np.testing.assert_allclose(gradients[1].b, gradients[0].b, rtol=0, atol=1e-15)


@pytest.mark.parametrize("block", [1, 13 * 64, 1 << 20], ids=["three", "two", "one"])
@pytest.mark.parametrize("chunk", [1, 1 << 21])
@pytest.mark.parametrize("without_target", [0, 5, 40, 77])
def test_the_loss_in_blocks_of_rows_is_the_loss(block, chunk, without_target, monkeypatch):
    monkeypatch.setattr(dense, "BLOCK", block)
    monkeypatch.setattr(dense, "CHUNK", chunk)
    rng = np.random.default_rng(3)
    h, targets = rng.standard_normal((16, 5, 6)), rng.integers(0, 13, (16, 5))
    targets.reshape(-1)[:without_target] = -1
    assert_loss_is_plain(6, 13, h, targets)
    assert_loss_is_plain(6, 13, h, targets, count=100)


def test_the_loss_in_tiles_is_the_loss(monkeypatch):
    monkeypatch.setattr(matmul, "HAS_SMALL_KERNELS", True)
    monkeypatch.setattr(matmul, "SMALL", 5000)
    assert MatmulPlan(24, 20, 48, "float64").is_tiled
    rng = np.random.default_rng(4)
    assert_loss_is_plain(20, 48, rng.standard_normal((4, 6, 20)), rng.integers(0, 48, (4, 6)))


@pytest.mark.parametrize("dtype", ["uint8", "int32", "uint64"])
def test_targets_may_be_any_whole_numbers(dtype):
    rng = np.random.default_rng(4)
    assert_loss_is_plain(6, 9, rng.standard_normal((4, 6)), rng.integers(0, 9, 4).astype(dtype))


def test_one_target_is_not_that_of_all():
    layer, gradient = FastDense(np.zeros((2, 3)), np.zeros(3)), Dense(np.ones((2, 3)), np.ones(3))
    with pytest.raises(ValueError, match=r"shape \(1,\) for logits of \(4, 3\)"):
        layer.cross_entropy(np.zeros((4, 2)), np.zeros(1, int), gradient)


@pytest.mark.parametrize("size", [1, 30, 1000])
def test_logits_of_any_size(size):
    """exp(1,000) overflows, so the softmax must subtract the maximum."""
    rng = np.random.default_rng(5)
    assert_loss_is_plain(6, 13, size * rng.uniform(-1, 1, (9, 6)), np.arange(9))
