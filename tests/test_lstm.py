"""The LSTM against its equations, written out plainly."""

import warnings

import numpy as np
import pytest
from conftest import randomised

from npchar.lstm import LSTM, State
from npchar.network import Network, Sizes
from npchar.stepper import Stepper

T, B, D, H = 7, 3, 5, 4


def sigma(x):
    return 1 / (1 + np.exp(-x))


def plain_forward(layer, x, h, c):
    """Gate by gate, sequence by sequence, unit by unit's sums spelled out."""
    outputs = np.empty((len(x), *h.shape), x.dtype)
    h, c = h.copy(), c.copy()
    for t in range(len(x)):
        for n in range(len(h)):
            sums = []
            for gate in range(4):
                z = layer.b[gate].copy()
                for j in range(x.shape[2]):
                    z += x[t, n, j] * layer.Wx[gate, j]
                for j in range(h.shape[1]):
                    z += h[n, j] * layer.Wh[gate, j]
                sums.append(z)
            i, f, o = (sigma(z) for z in sums[:3])
            g = np.tanh(sums[3])
            c[n] = f * c[n] + i * g
            outputs[t, n] = o * np.tanh(c[n])
            # h of the next step is written once all of this one's sums are made
            h[n] = outputs[t, n]
    return outputs, h, c


@pytest.fixture
def layer():
    layer = LSTM.create(D, H, dtype="float64")
    rng = np.random.default_rng(3)
    for array in (layer.Wx, layer.Wh, layer.b):
        array[...] = rng.normal(0, 0.7, array.shape)
    return layer


@pytest.fixture
def state():
    rng = np.random.default_rng(4)
    return State(rng.normal(0, 0.5, (B, H)), rng.normal(0, 1, (B, H)))


def test_forward_is_the_plain_loop(layer, state):
    x = np.random.default_rng(5).normal(size=(T, B, D))
    outputs, h, c = plain_forward(layer, x, *state)
    tape = layer.forward(x, state)
    np.testing.assert_allclose(tape.outputs, outputs, rtol=0, atol=1e-12)
    np.testing.assert_allclose(tape.final_state.h, h, rtol=0, atol=1e-12)
    np.testing.assert_allclose(tape.final_state.c, c, rtol=0, atol=1e-12)


def test_ids_stand_for_one_hot_vectors(layer, state):
    ids = np.random.default_rng(6).integers(0, D, (T, B))
    by_ids = layer.forward(ids, state)
    expected, _, _ = plain_forward(layer, np.eye(D)[ids], *state)
    np.testing.assert_allclose(by_ids.outputs, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("vectors", [False, True])
def test_steps_are_forward(layer, state, vectors):
    x = np.random.default_rng(7).integers(0, D, (T, B))
    if vectors:
        x = np.random.default_rng(7).normal(size=(T, B, D))
    outputs = layer.forward(x, state).outputs
    stepper = Stepper(layer, state)
    for t in range(T):
        state = layer.step(x[t], state)
        np.testing.assert_allclose(state.h, outputs[t], rtol=0, atol=1e-14)
        np.testing.assert_allclose(stepper.step(x[t]), outputs[t], rtol=0, atol=1e-14)
        np.testing.assert_allclose(stepper.c, state.c, rtol=0, atol=1e-14)


def test_one_long_run_is_its_chunks(layer, state):
    x = np.random.default_rng(8).normal(size=(60, B, D))
    whole = layer.forward(x, state)
    parts = []
    for chunk in (x[:1], x[1:20], x[20:]):
        tape = layer.forward(chunk, state)
        parts.append(tape.outputs.copy())
        state = tape.final_state
    np.testing.assert_allclose(np.concatenate(parts), whole.outputs, rtol=0, atol=1e-14)


def test_a_tape_can_be_used_again(layer):
    rng = np.random.default_rng(9)
    first, second = rng.normal(size=(2, T, B, D))
    gradient = LSTM.create(D, H, dtype="float64")
    tape = layer.forward(first)
    layer.backward(tape, np.ones((T, B, H)), None, gradient)
    again = layer.forward(second, tape=tape)
    np.testing.assert_array_equal(again.outputs, layer.forward(second).outputs)


def test_a_tape_and_ids_must_fit(layer):
    ids = np.zeros((5, 2), int)
    tape = layer.forward(ids)
    with pytest.raises(ValueError, match=r"tape is for .*\(5, 2\).*\(6, 2\)"):
        layer.forward(np.zeros((6, 2), int), tape=tape)
    for wrong in (-1, D):
        with pytest.raises(ValueError, match="must be 0 to 4"):
            layer.forward(ids + wrong)


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


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex128"])
@pytest.mark.parametrize("targets", ["all", "last"])
def test_no_other_dtype_appears(dtype, targets):
    network = randomised(Network(Sizes(9, 6, 2, 0.0))).astype(dtype)
    ids = np.random.default_rng(0).integers(0, 9, (5, 4))
    y = ids[::-1] if targets == "all" else ids[0]
    outputs, tapes = network.forward(ids)
    assert outputs.dtype == dtype
    arrays = [array for tape in tapes for array in vars(tape).values() if hasattr(array, "dtype")]
    assert {a.dtype for a in arrays if a.dtype.kind in "fc"} == {np.dtype(dtype)}
    result = network.gradients(ids, y)
    assert result.loss.dtype == result.parameters.flat.dtype == dtype
    assert {a.dtype for state in result.states for a in state} == {np.dtype(dtype)}
    states = [tape.final_state for tape in tapes]
    assert network.steps_from(states)(ids[0]).dtype == dtype
    assert network.lstms[0].step(ids[0], states[0]).c.dtype == dtype


def test_saturated_gates_make_no_warning():
    network = randomised(Network(Sizes(9, 6, 1, 0.0)), scale=200)
    ids = np.random.default_rng(0).integers(0, 9, (20, 4))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = network.gradients(ids, ids)
        network.lstms[0].step(ids[0], network.lstms[0].zero_state(4))
    assert np.isfinite(result.parameters.flat).all()


def test_dropout_masks_keep_the_mean_and_the_seed():
    network = Network(Sizes(9, 64, 3, 0.25))
    first, second = network.dropout_masks(20, 16, seed=1)
    assert {0.0, np.float32(1 / 0.75)} == set(np.unique(first).tolist())
    assert abs(first.mean() - 1) < 0.02
    assert (first != second).any()
    np.testing.assert_array_equal(first, network.dropout_masks(20, 16, seed=1)[0])
    assert Network(Sizes(9, 64, 3, 0.0)).dropout_masks(20, 16, seed=1) == []
