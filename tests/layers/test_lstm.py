"""The LSTM, compared with a plain implementation: `plain.forward` and `plain.backward`."""

import warnings

import numpy as np
import plain
from conftest import randomised
from hypothesis import given
from hypothesis import strategies as st

from npchar.fast.lstm import FastLSTM
from npchar.layers.lstm import LSTM, State
from npchar.network.network import Network, NetworkConfig

T, B, D, H = 7, 3, 5, 4


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
    """The initial state is arbitrary; gradients come from all outputs and the final state."""
    rng = np.random.default_rng(seed)
    layer = random_layer(kind, rng, D, H, scale)
    arrays = {name: getattr(layer, name) for name in layer.shapes(D, H)}
    x = rng.normal(size=(T, B, D)) if vectors else rng.integers(0, D, (T, B))
    h, c, dh, dc = rng.normal(size=(4, B, H))
    dh_above = rng.normal(size=(T, B, H))

    tape = layer.forward(x, State(h, c))
    outputs, final = tape.outputs.copy(), tape.final_state
    gradient = random_layer(kind, rng, D, H, 1.0)  # old values are overwritten
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


def test_saturated_gates_make_no_warning():
    network = randomised(Network(NetworkConfig(9, 6, 1, 0.0)), scale=200)
    ids = np.random.default_rng(0).integers(0, 9, (20, 4))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = network.gradients(ids, ids)
        network.layers[0].step(ids[0], network.layers[0].zero_state(4))
    assert np.isfinite(result.parameters.flat).all()


def test_dropout_masks_keep_the_mean_and_the_seed():
    network = Network(NetworkConfig(9, 64, 3, 0.25))
    first, second, _ = network.dropout_masks(320, seed=1)
    assert first.shape == (1, 320, 64)  # equal at every step
    assert {0.0, np.float32(1 / 0.75)} == set(np.unique(first).tolist())
    assert abs(first.mean() - 1) < 0.02
    assert (first != second).any()
    np.testing.assert_array_equal(first, network.dropout_masks(320, seed=1)[0])
    assert Network(NetworkConfig(9, 64, 3, 0.0)).dropout_masks(16, seed=1) == []
