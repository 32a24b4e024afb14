"""Products in tiles, and the fast layers that use them, against the plain ones."""

import numpy as np
import pytest

from npchar.arrays import aligned_empty
from npchar.layers import products
from npchar.layers.dense import Dense
from npchar.layers.dense_fast import USUAL, FastDense, overwrite_with_gradient
from npchar.layers.kinds import FAST, PLAIN
from npchar.layers.loss import softmax_cross_entropy
from npchar.layers.network import Network, Sizes
from npchar.layers.products import (
    column_tiles,
    joined_column_tiles,
    product_tiles,
    row_tiles,
    tiling,
)


@pytest.fixture
def small_tiles(monkeypatch):
    """As on a processor whose BLAS likes small matrices, and calls few numbers many."""
    monkeypatch.setattr(products, "HAS_SMALL_KERNELS", True)
    monkeypatch.setattr(products, "SMALL", 5000)


@pytest.mark.parametrize("gates", [(), (3,)], ids=["one", "three"])
@pytest.mark.parametrize(("M", "K", "N"), [(24, 10, 64), (16, 7, 48), (40, 12, 96), (9, 20, 34)])
def test_the_product_of_tiles_is_the_product(M, K, N, gates, small_tiles):
    rng = np.random.default_rng(0)
    a, W = rng.standard_normal((M, K)), rng.standard_normal((*gates, K, N))
    rows, columns = tiling(M, K, N, a.dtype)
    assert (rows, columns) != (M, N)
    assert rows * columns * K <= products.SMALL
    out = np.full((*gates, M, N), np.nan)
    np.matmul(
        row_tiles(a, rows, leading=len(gates)),
        column_tiles(W, columns),
        out=product_tiles(out, rows, columns),
    )
    np.testing.assert_allclose(out, a @ W, rtol=0, atol=1e-13)


def test_one_tile_where_nothing_is_gained(monkeypatch):
    assert tiling(4, 8, 8, "float32") == (4, 8)  # small anyway
    monkeypatch.setattr(products, "HAS_SMALL_KERNELS", True)
    assert tiling(64, 512, 128, "float32") != (64, 128)
    assert tiling(64, 512, 128, "complex128") == (64, 128)
    assert tiling(61, 512, 127, "float32") == (61, 127)  # primes: no tile divides them
    assert tiling(64, 2048, 512, "float32") == (64, 512)  # a tile would not stay in the cache
    assert tiling(16, 2048, 512, "float32") != (16, 512)
    monkeypatch.setattr(products, "HAS_SMALL_KERNELS", False)
    assert tiling(64, 512, 128, "float32") == (64, 128)


@pytest.mark.parametrize("shape", [7, (), (0, 3), (3, 5, 2)])
@pytest.mark.parametrize("dtype", ["float32", "float64", "complex128"])
def test_aligned_memory_begins_a_line_of_the_cache(shape, dtype):
    kept = [aligned_empty(shape, dtype) for _ in range(20)]  # at different places
    for array in kept:
        assert array.__array_interface__["data"][0] % 64 == 0 or not array.size
        assert (array.shape, array.dtype) == (np.empty(shape).shape, np.dtype(dtype))
        assert array.flags.c_contiguous
        assert array.flags.writeable


@pytest.mark.parametrize("layer", ["lstm", "gru", "rnn"])
def test_what_is_computed_on_most_is_aligned(layer):
    network = Network(Sizes(9, 32, 1, 0.0, layer))
    (tape,) = network.tapes(5, 8)
    arrays = [a for a in vars(tape).values() if isinstance(a, np.ndarray)]
    tiles = column_tiles(network.layers[0].Wh, 32)
    for array in [*arrays, tiles, network.parameters.flat]:
        assert array.__array_interface__["data"][0] % 64 == 0
    assert len(arrays) >= 3


@pytest.mark.parametrize("longest", [1024, 100], ids=["one product", "four"])
@pytest.mark.parametrize("layer", ["lstm", "gru", "rnn"])
def test_fast_layers_in_tiles_are_the_plain_ones(layer, longest, small_tiles, monkeypatch):
    monkeypatch.setattr(products, "SMALL", 40_000)
    monkeypatch.setattr("npchar.layers.lstm_fast.LONGEST", longest)
    B, H, V = 48, 32, 9
    assert tiling(B, H, H, "float64") == (24, 32)
    assert tiling(B, 4 * H, H, "float64") == (8, 32)
    network = Network(Sizes(V, H, 2, 0.0, layer), dtype="float64", kind=FAST[layer])
    network.initialise(0)
    plain = Network(network.sizes, network.parameters, kind=PLAIN[layer])
    ids = np.random.default_rng(1).integers(0, V, (6, B))
    fast, slow = (n.gradients(ids[:-1], ids[1:]) for n in (network, plain))
    np.testing.assert_allclose(fast.loss, slow.loss, rtol=1e-13)
    np.testing.assert_allclose(fast.parameters.flat, slow.parameters.flat, rtol=0, atol=1e-13)
    steps, plain_steps = (n.steps_from(n.zero_states(B)) for n in (network, plain))
    for x in ids:
        np.testing.assert_allclose(steps(x), plain_steps(x), rtol=0, atol=1e-13)


def test_joined_tiles_of_a_transposed_matrix_are_all_of_it():
    W = np.random.default_rng(6).standard_normal((3, 80, 7))
    tiles = joined_column_tiles(W.swapaxes(1, 2), 40)  # (2, 3 · 7, 40)
    np.testing.assert_array_equal(np.concatenate([*tiles], axis=1), np.concatenate([*W], axis=1).T)


def assert_loss_is_plain(H, V, h, targets):
    rng = np.random.default_rng(2)
    plain = Dense.create(H, V, dtype="float64")
    plain.b[...] = rng.standard_normal(V)
    gradients = [Dense(np.full((H, V), np.nan), np.full(V, np.nan)) for _ in range(2)]
    loss, dlogits = softmax_cross_entropy(plain.forward(h), targets)
    dh = plain.backward(h, dlogits, gradients[0])
    found = FastDense(plain.W, plain.b).cross_entropy(h, targets, gradients[1])
    np.testing.assert_allclose(found[0], loss, rtol=1e-14)
    np.testing.assert_allclose(found[1], dh, rtol=0, atol=1e-15)
    np.testing.assert_allclose(gradients[1].W, gradients[0].W, rtol=0, atol=1e-15)
    np.testing.assert_allclose(gradients[1].b, gradients[0].b, rtol=0, atol=1e-15)


@pytest.mark.parametrize("block", [7, 64, 1 << 20], ids=["rows", "blocks", "whole"])
@pytest.mark.parametrize("none", [0, 5, 11])
@pytest.mark.parametrize("H", [6, 7], ids=["many", "few"])  # symbols beside units
def test_loss_in_blocks_of_rows_is_the_loss(H, block, none, monkeypatch):
    monkeypatch.setattr("npchar.layers.dense_fast.IN_CACHE", block)
    rng = np.random.default_rng(3)
    h, targets = rng.standard_normal((4, 5, H)), rng.integers(0, 13, (4, 5))
    targets.reshape(-1)[:none] = -1
    assert_loss_is_plain(H, 13, h, targets)


@pytest.mark.parametrize(("H", "K"), [(20, 21), (24, 24)], ids=["many", "few"])
def test_loss_by_tiles_is_the_loss(H, K, small_tiles):
    assert tiling(24, K, 48, "float64") == (12, 16)
    rng = np.random.default_rng(4)
    assert_loss_is_plain(H, 48, rng.standard_normal((4, 6, H)), rng.integers(0, 48, (4, 6)))


@pytest.mark.parametrize("dtype", ["uint8", "int32", "uint64"])
def test_targets_may_be_any_whole_numbers(dtype):
    rng = np.random.default_rng(4)
    assert_loss_is_plain(6, 9, rng.standard_normal((4, 6)), rng.integers(0, 9, 4).astype(dtype))


def test_one_target_is_not_that_of_all():
    dense, gradient = FastDense(np.zeros((2, 3)), np.zeros(3)), Dense(np.ones((2, 3)), np.ones(3))
    with pytest.raises(ValueError, match=r"shape \(1,\) for logits of \(4, 3\)"):
        dense.cross_entropy(np.zeros((4, 2)), np.zeros(1, int), gradient)


@pytest.mark.parametrize("size", [1, 29, 31, 1000])
def test_loss_of_logits_of_any_size(size):
    """Beyond 30 by the row's largest, as an exponential of 1,000 is infinite."""
    logits = np.random.default_rng(5).uniform(-1, 1, (9, 13)) * size
    logits[0, 3], targets, scale = size, np.arange(9), np.full((9, 1), np.nan)
    loss, dlogits = softmax_cross_entropy(logits, targets, count=20)
    np.testing.assert_allclose(
        overwrite_with_gradient(logits, targets, 20, scale), loss, rtol=1e-13
    )
    np.testing.assert_allclose(scale * logits, dlogits, rtol=1e-12, atol=1e-18)


def test_loss_at_the_limit_of_usual_logits_is_finite():
    """Not even where the target is the most improbable of many, in the smaller type."""
    most = np.nextafter(np.float32(USUAL), np.float32(0))
    logits, scale = np.full((1, 4000), most), np.empty((1, 1), np.float32)
    logits[0, 0] = -most
    expected = 2 * np.float64(most) + np.log(3999)
    assert overwrite_with_gradient(logits, np.zeros(1, int), 1, scale) == pytest.approx(expected)
    assert scale * logits[0, 0] == pytest.approx(-1)
    np.testing.assert_allclose(scale * logits[0, 1:], [[1 / 3999] * 3999], rtol=1e-5)


def test_the_loss_of_nan_logits_is_nan():
    logits = np.array([[0.0, np.nan]])
    assert np.isnan(overwrite_with_gradient(logits, np.zeros(1, int), 1, np.ones((1, 1))))
