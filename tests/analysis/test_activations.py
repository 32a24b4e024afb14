"""Activations, compared with the equations one step at a time."""

import numpy as np
import plain
import pytest

import npchar
from npchar.analysis.activations import gradient_flow
from npchar.fast.lstm import FastLSTM
from npchar.layers.lstm import LSTM
from npchar.layers.rnn import RNN
from npchar.network.gradcheck import complex_step


def test_gates_and_cells_are_the_equations():
    model = npchar.Model(npchar.Vocabulary("abcd"), hidden_size=5, num_layers=2, dtype="float64")
    text = "abcdabca" * 126  # longer than a chunk
    seen = model.activations(text)
    x, zeros = np.eye(4)[model.vocabulary.encode(text)], np.zeros(5)
    for k, layer in enumerate(plain.layers_of(dict(model.parameters))[:2]):
        steps = plain.forward(layer, x, zeros, zeros)
        for name in "ifogch":
            expected = [step[name] for step in steps]
            np.testing.assert_allclose(getattr(seen, name)[:, k], expected, atol=1e-12)
        x = np.array([step["h"] for step in steps])


def test_a_unit_is_found_and_shown(model, text):
    seen = model.activations(text)
    target = seen.unit(7)
    best = seen.find(-2 * target + 3, 2)
    assert best[0][:2] == (0, 7)
    assert best[0].correlation == pytest.approx(-1)
    assert abs(best[1].correlation) < 1
    assert seen.html(7)._repr_html_().count("<span") == len(text)
    assert "\x1b[" in seen.ansi(3, of="i")
    assert "12" in repr(seen)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda seen: seen.unit(99), "and unit 99"),
        (lambda seen: seen.unit(0, layer=1), "layer 1"),
        (lambda seen: seen.find([1, 2]), r"shape \(2,\)"),
        (lambda seen: seen.find(np.ones(len(seen.text))), "not all equal"),
        (lambda seen: seen.find(np.full(len(seen.text), np.nan)), "finite"),
    ],
)
def test_errors_say_what_is_wrong(model, text, call, message):
    with pytest.raises(ValueError, match=message):
        call(model.activations(text[:60]))


def test_saliency_is_the_gradient_by_the_input(model):
    text = "the cat sat on the mat"
    network = model.network.astype("float64")
    ids = model.vocabulary.encode(text).astype(int)
    one_hot = np.eye(len(model.vocabulary))[ids[:-1], None]  # (T, 1, V)

    def loss(flat):
        return network.astype(flat.dtype).loss(flat.reshape(one_hot.shape), ids[-1:])

    numeric = complex_step(loss, one_hot.reshape(-1), range(one_hot.size)).reshape(len(ids) - 1, -1)
    np.testing.assert_allclose(
        model.saliency(text), np.linalg.norm(numeric, axis=1), rtol=2e-3, atol=1e-7
    )


@pytest.mark.parametrize("kind", [LSTM, FastLSTM, RNN])
def test_gradient_flow_is_backward_cut_at_every_step(kind):
    layer = kind.create(3, 4, seed=2, dtype="float64")
    rng = np.random.default_rng(0)
    x, dh = rng.normal(size=(9, 2, 3)), rng.normal(size=(2, 4))
    flow = gradient_flow(layer, x, dh)
    assert len(flow) == 10
    for t in range(9):
        state = layer.forward(x[:t]).final_state if t else None
        tape = layer.forward(x[t:], state)
        _, whole = layer.backward(tape, dh, None, layer.zeros_like())
        np.testing.assert_allclose(flow[t], whole, atol=1e-14)
