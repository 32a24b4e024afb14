"""The LSTM against its equations, written out plainly: `plain.forward` and `plain.backward`."""

import warnings

import numpy as np
import plain
import pytest
from conftest import randomised
from hypothesis import given
from hypothesis import strategies as st

from npchar.fast.lstm import FastLSTM
from npchar.layers.lstm import LSTM, State
from npchar.network.network import Network, Sizes

T, B, D, H = 7, 3, 5, 4


@pytest.fixture(params=[LSTM, FastLSTM])
def layer(request):
    layer = request.param.create(D, H, dtype="float64")
    rng = np.random.default_rng(3)
    for array in (layer.Wx, layer.Wh, layer.b):
        array[...] = rng.normal(0, 0.7, array.shape)
    return layer


@pytest.fixture
def state():
    rng = np.random.default_rng(4)
    return State(rng.normal(0, 0.5, (B, H)), rng.normal(0, 1, (B, H)))


def random_layer(kind, rng, D, H, scale):
    return kind(*(rng.normal(0, scale, shape) for shape in kind.shapes(D, H).values()))


@given(
    st.sampled_from([LSTM, FastLSTM]),
    *(st.integers(1, most) for most in (12, 4, 5, 5)),  # T, B, D, H
    st.booleans(),
    st.sampled_from([0.1, 0.7, 3.0]),
    st.integers(0, 2**32),
)
def test_forward_and_backward_are_the_plain_loops(kind, T, B, D, H, vectors, scale, seed):
    """From any state, with gradients from every output and from the final state."""
    rng = np.random.default_rng(seed)
    layer = random_layer(kind, rng, D, H, scale)
    arrays = {name: getattr(layer, name) for name in layer.shapes(D, H)}
    x = rng.normal(size=(T, B, D)) if vectors else rng.integers(0, D, (T, B))
    h, c, dh, dc = rng.normal(size=(4, B, H))
    dh_above = rng.normal(size=(T, B, H))

    tape = layer.forward(x, State(h, c))
    outputs, final = tape.outputs.copy(), tape.final_state
    gradient = random_layer(kind, rng, D, H, 1.0)  # whatever is in it is overwritten
    dx, dstate = layer.backward(tape, dh_above, State(dh, dc), gradient)

    summed = {name: np.zeros_like(array) for name, array in arrays.items()}
    for n in range(B):
        vectors_n = x[:, n] if vectors else np.eye(D)[x[:, n]]
        steps = plain.forward(arrays, vectors_n, h[n], c[n])
        for t in range(T):
            np.testing.assert_allclose(outputs[t, n], steps[t]["h"], rtol=0, atol=1e-12)
        np.testing.assert_allclose(final.c[n], steps[-1]["c"], rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(final.h[n], steps[-1]["h"], rtol=0, atol=1e-12)
        found, dx_n, dh_n, dc_n = plain.backward(arrays, steps, dh_above[:, n], dh[n], dc[n])
        for name, array in found.items():
            summed[name] += array
        close = {"rtol": 1e-9, "atol": 1e-12 * (1 + scale) ** T}
        if vectors:
            np.testing.assert_allclose(dx[:, n], dx_n, **close)
        np.testing.assert_allclose(dstate.h[n], dh_n, **close)
        np.testing.assert_allclose(dstate.c[n], dc_n, **close)
    for name, array in summed.items():
        np.testing.assert_allclose(getattr(gradient, name), array, **close)
    assert (dx is None) == (not vectors)


def test_no_gradient_from_above_is_a_gradient_of_zeros(layer, state):
    x = np.random.default_rng(5).normal(size=(T, B, D))
    last = np.random.default_rng(6).normal(size=(B, H))
    dh = np.zeros((T, B, H))
    dh[-1] = last
    found = []
    for from_above, dstate in ((None, State(last, 0 * last)), (last, None), (dh, None)):
        gradient = layer.zeros_like()
        dx, dinitial = layer.backward(layer.forward(x, state), from_above, dstate, gradient)
        found.append([dx, *dinitial, *gradient.arrays.values()])
    for other in found[1:]:
        for array, same in zip(found[0], other):
            np.testing.assert_allclose(array, same, atol=1e-14)


def test_initialisation_is_keras():
    layer = LSTM.create(57, 128, seed=0, dtype="float64")
    limit = np.sqrt(6 / (57 + 4 * 128))
    assert 0.98 * limit < np.abs(layer.Wx).max() <= limit
    assert abs(layer.Wx.mean()) < limit / 50
    # Keras draws one (H, 4H) matrix with orthonormal rows.
    joined = np.concatenate(list(layer.Wh), axis=1)
    np.testing.assert_allclose(joined @ joined.T, np.eye(128), atol=1e-12)
    assert (layer.b[1] == 1).all()
    assert (layer.b[[0, 2, 3]] == 0).all()
    gates = layer.Wx.reshape(4, -1)
    assert np.abs(np.corrcoef(gates) - np.eye(4)).max() < 0.1  # no gate starts like another


def test_saturated_gates_make_no_warning():
    network = randomised(Network(Sizes(9, 6, 1, 0.0)), scale=200)
    ids = np.random.default_rng(0).integers(0, 9, (20, 4))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = network.gradients(ids, ids)
        network.layers[0].step(ids[0], network.layers[0].zero_state(4))
    assert np.isfinite(result.parameters.flat).all()


def test_dropout_masks_keep_the_mean_and_the_seed():
    network = Network(Sizes(9, 64, 3, 0.25))
    first, second, _ = network.dropout_masks(320, seed=1)
    assert first.shape == (1, 320, 64)  # the same at every step
    assert {0.0, np.float32(1 / 0.75)} == set(np.unique(first).tolist())
    assert abs(first.mean() - 1) < 0.02
    assert (first != second).any()
    np.testing.assert_array_equal(first, network.dropout_masks(320, seed=1)[0])
    assert Network(Sizes(9, 64, 3, 0.0)).dropout_masks(16, seed=1) == []


def test_a_gradient_is_written_where_it_is_wanted():
    """In the one that is passed, and in a new one where none is; not in the one before."""
    network = randomised(Network(Sizes(5, 4, 1, 0.0), dtype="float64"))
    one, two = network.parameters.zeros_like(), network.parameters.zeros_like()
    batches = np.random.default_rng(0).integers(0, 5, (4, 7, 2))
    expected = [network.gradients(ids[:-1], ids[1:]).parameters for ids in batches]
    for gradient, (ids, right) in zip((one, two, one, one), zip(batches, expected)):
        network.gradients(ids[:-1], ids[1:], gradient=gradient)
        np.testing.assert_array_equal(gradient.flat, right.flat)
    np.testing.assert_array_equal(two.flat, expected[1].flat)
