"""What goes on inside, against the equations, one step at a time."""

import numpy as np
import pytest
from plain import sigma

import npchar
from npchar.activations import gradient_flow
from npchar.gradcheck import complex_step
from npchar.lstm import LSTM
from npchar.rnn import RNN


def test_gates_and_cells_are_the_equations():
    model = npchar.Model(npchar.Vocabulary("abcd"), hidden_size=5, num_layers=2, dtype="float64")
    text = "abcdabca" * 126  # longer than a chunk
    seen = model.activations(text)
    for layer in range(2):
        Wx, Wh, b = (model.parameters[f"lstm{layer}.{name}"] for name in ("Wx", "Wh", "b"))
        h = c = np.zeros(5)
        for t in range(len(text)):
            k = "abcd".index(text[t])
            x = np.eye(4)[k] if layer == 0 else seen.h[t, 0]
            z = x @ Wx + b + h @ Wh
            i, f, o, g = sigma(z[0]), sigma(z[1]), sigma(z[2]), np.tanh(z[3])
            c = f * c + i * g
            h = o * np.tanh(c)
            for name, value in zip("ifogch", (i, f, o, g, c, h)):
                np.testing.assert_allclose(getattr(seen, name)[t, layer], value, atol=1e-12)


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
        (lambda seen: seen.unit(99), "no unit 99"),
        (lambda seen: seen.unit(0, layer=1), "layer 1"),
        (lambda seen: seen.html(0, of="z"), "of is 'z'"),
        (lambda seen: seen.find([1, 2]), r"shape \(2,\)"),
        (lambda seen: seen.find(np.ones(len(seen.text))), "not all alike"),
        (lambda seen: seen.find(np.full(len(seen.text), np.nan)), "finite"),
        (lambda seen: seen.unit(1.5), "no unit 1.5"),
    ],
)
def test_errors_say_what_is_wrong(model, text, call, message):
    with pytest.raises(ValueError, match=message):
        call(model.activations(text))


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


def test_gradient_flow_is_backward_cut_at_every_step():
    layer = LSTM.create(3, 4, seed=2, dtype="float64")
    rng = np.random.default_rng(0)
    x, dh = rng.normal(size=(9, 2, 3)), rng.normal(size=(2, 4))
    flow = gradient_flow(layer, x, dh)
    assert len(flow) == 10
    for t in range(9):
        state = layer.forward(x[:t]).final_state if t else None
        tape = layer.forward(x[t:], state)
        scratch = LSTM(*(np.empty_like(a) for a in (layer.Wx, layer.Wh, layer.b)))
        _, whole = layer.backward(tape, None, type(flow[0])(dh, np.zeros_like(dh)), scratch)
        np.testing.assert_allclose(flow[t].h, whole.h, atol=1e-14)
        np.testing.assert_allclose(flow[t].c, whole.c, atol=1e-14)


@pytest.mark.parametrize("ids", [True, False])
def test_the_plain_rnn(ids):
    layer = RNN.create(5, 4, seed=1, dtype="float64")
    rng = np.random.default_rng(3)
    x = rng.integers(0, 5, (7, 2)) if ids else rng.normal(size=(7, 2, 5))
    dh = rng.normal(size=(7, 2, 4))
    h0 = rng.normal(size=(2, 4))
    states = layer.forward(x, h0)
    np.testing.assert_array_equal(states[0], h0)
    for t in range(7):
        row = layer.Wx[x[t]] if ids else x[t] @ layer.Wx
        np.testing.assert_allclose(
            states[t + 1], np.tanh(row + states[t] @ layer.Wh + layer.b), atol=1e-14
        )
    gradient = RNN(*(np.empty_like(a) for a in (layer.Wx, layer.Wh, layer.b)))
    flow = layer.backward(x, states, dh, gradient)
    for name, array in (("Wx", gradient.Wx), ("Wh", gradient.Wh), ("b", gradient.b)):

        def loss(flat, name=name):
            changed = RNN(layer.Wx, layer.Wh, layer.b)
            setattr(changed, name, flat.reshape(getattr(layer, name).shape))
            inside = changed.Wh.astype(flat.dtype)
            changed.Wh = inside
            return (changed.forward(x, h0)[1:] * dh).sum()

        numeric = complex_step(loss, getattr(layer, name).reshape(-1), range(array.size))
        np.testing.assert_allclose(array.reshape(-1), numeric, rtol=1e-11, atol=1e-13)

    def by_state(flat):
        changed = RNN(layer.Wx, layer.Wh.astype(flat.dtype), layer.b)
        return (changed.forward(x, flat.reshape(h0.shape))[1:] * dh).sum()

    numeric = complex_step(by_state, h0.reshape(-1), range(h0.size))
    np.testing.assert_allclose(flow[0].reshape(-1), numeric, rtol=1e-11)
