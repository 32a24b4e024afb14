"""Gradients compared with the complex step, central differences, Keras and PyTorch."""

import functools

import numpy as np
import peers
import pytest
from conftest import TESTS, randomised

import npchar
from npchar.fast.lstm import FastLSTM
from npchar.layers.parameters import Parameters
from npchar.network.gradcheck import central_difference, complex_step
from npchar.network.network import Network, NetworkConfig
from npchar.training.optimizers import RMSprop

GOLDEN = TESTS / "golden.npz"


@functools.cache  # no test changes the model
def small_model(num_layers, condition):
    """A small float64 model: untrained, briefly trained, or with saturated gates."""
    text = "to be or not to be. " * 24
    vocabulary = npchar.Vocabulary.from_text(text)
    model = npchar.Model(vocabulary, hidden_size=5, num_layers=num_layers, dtype="float64")
    if condition == "trained":
        model.fit(text, epochs=2, maxlen=12, batch_size=4, verbose=False, workers=1)
        # The cells keep their values, so that the gradient of the initial state is larger than
        # the rounding errors of the loss, which limit central differences.
        for k in range(num_layers):
            model.parameters[f"lstm{k}.b"][1] += 2
    elif condition == "saturated":
        # The input saturates the gates. Large recurrent weights would make the network
        # chaotic, and gradients of chaotic functions cannot be computed to thirteen digits.
        randomised(model.network, scale=0.5)
        for k in range(num_layers):
            model.parameters[f"lstm{k}.Wx"] *= 8
            model.parameters[f"lstm{k}.b"] *= 4
            model.parameters[f"lstm{k}.b"][1] += 2  # open gates: gradients reach 60 steps
        gates = gates_of(model)
        assert ((gates < 0.02) | (gates > 0.98)).mean() > 0.25
    return model


def gates_of(model):
    """The sigmoid gates of the first layer over a few steps."""
    ids = np.random.default_rng(0).integers(0, len(model.vocabulary), (8, 3))
    _, tapes = model.network.forward(ids)
    return tapes[0].gates[:, :3]


@pytest.mark.parametrize("condition", ["fresh", "trained", "saturated"])
@pytest.mark.parametrize("targets", ["all", "last"])
@pytest.mark.parametrize(
    ("T", "num_layers"), [(5, 1), (5, 2), pytest.param(60, 2, marks=pytest.mark.slow)]
)
def test_gradients_are_right(T, num_layers, targets, condition):
    model = small_model(num_layers, condition)
    rng = np.random.default_rng(T)
    ids = rng.integers(0, len(model.vocabulary), (T + 1, 2))
    y = ids[1:] if targets == "all" else ids[-1]
    before = model.parameters.flat.copy()
    check = npchar.check_gradients(model, ids[:-1], y, samples=3, verbose=False)
    names = {row.name for row in check.rows}
    assert names == {*model.parameters, "input"} | {
        f"lstm{k}.{name}" for k in range(num_layers) for name in ("h0", "c0")
    }
    assert all(row.norm > 0 for row in check.rows)
    np.testing.assert_array_equal(model.parameters.flat, before)
    assert check.passed, str(check)


def test_gradient_through_dropout():
    network = randomised(Network(NetworkConfig(9, 6, 3, 0.4), dtype="float64"))
    ids = np.random.default_rng(1).integers(0, 9, (6, 4))
    masks = network.dropout_masks(4, seed=5)

    def loss(flat):
        parameters = Parameters(network.parameters.shapes, flat=flat)
        return Network(network.config, parameters).gradients(ids, ids, masks=masks).loss

    flat = network.parameters.flat
    entries = np.random.default_rng(2).choice(len(flat), 80, replace=False)
    analytic = network.gradients(ids, ids, masks=masks).parameters.flat[entries]
    error = np.linalg.norm(complex_step(loss, flat, entries) - analytic)
    assert error / np.linalg.norm(analytic) < 1e-13


def wrong_gate(backward):
    def broken(self, tape, dh, dstate, gradient):
        result = backward(self, tape, dh, dstate, gradient)
        gradient.Wx[2] *= 1 + 1e-6
        return result

    return broken


def wrong_state(backward):
    def broken(self, tape, dh, dstate, gradient):
        dx, state = backward(self, tape, dh, dstate, gradient)
        return dx, state._replace(c=state.c * 1.001)

    return broken


def no_recurrence(backward):
    def broken(self, tape, dh, dstate, gradient):
        return backward(FastLSTM(self.Wx, self.Wh * 0.999, self.b), tape, dh, dstate, gradient)

    return broken


@pytest.mark.parametrize(
    ("breakage", "caught_in"),
    [(wrong_gate, "lstm0.Wx"), (wrong_state, "lstm0.c0"), (no_recurrence, "lstm0.h0")],
)
def test_a_gradient_broken_on_purpose_fails(monkeypatch, capsys, breakage, caught_in):
    model = small_model(1, "fresh")
    monkeypatch.setattr(FastLSTM, "backward", breakage(FastLSTM.backward))
    check = npchar.check_gradients(model, samples=6)
    assert not check.passed
    assert caught_in in [row.name for row in check.rows if not row.passed]
    printed = capsys.readouterr().out
    assert "WRONG" in printed
    assert "Every gradient is right" not in printed


def test_a_mistake_that_forward_and_backward_share_is_caught(monkeypatch):
    """A fast layer that ignores its biases in both passes is consistent, but wrong."""
    model = small_model(1, "fresh")
    forward, backward = FastLSTM.forward, FastLSTM.backward

    def without_biases(self):
        return FastLSTM(self.Wx, self.Wh, 0 * self.b)

    def forward_without(self, x, state=None, tape=None):
        return forward(without_biases(self), x, state, tape)

    def backward_without(self, tape, dh, dstate, gradient):
        result = backward(without_biases(self), tape, dh, dstate, gradient)
        gradient.b[...] = 0
        return result

    monkeypatch.setattr(FastLSTM, "forward", forward_without)
    monkeypatch.setattr(FastLSTM, "backward", backward_without)
    assert not npchar.check_gradients(model, samples=6, verbose=False).passed


def test_the_methods_on_a_function_known_in_closed_form():
    def function(x):
        return np.exp(x[0]) * np.sin(x[1]) + x[2] ** 3

    x = np.array([0.3, 1.1, -2.0])
    exact = [np.exp(0.3) * np.sin(1.1), np.exp(0.3) * np.cos(1.1), 12.0]
    np.testing.assert_allclose(complex_step(function, x, range(3)), exact, rtol=1e-15)
    np.testing.assert_allclose(central_difference(function, x, range(3)), exact, rtol=1e-10)


def test_a_lost_imaginary_part_is_an_error():
    def casts(x):
        buffer = np.zeros(1)
        buffer[0:1] = x[:1]
        return (buffer * x).sum()

    with pytest.raises(np.exceptions.ComplexWarning):
        complex_step(casts, np.ones(1), [0])


# Keras and PyTorch


def ours(weights):
    V, H = len(weights["dense.b"]), len(weights["dense.W"])
    layer, num_layers = peers.kind_and_depth(weights)
    network = Network(NetworkConfig(V, H, num_layers, 0.0, layer), dtype="float64")
    for name, array in weights.items():
        network.parameters[name] = array
    return network


def assert_same(case, loss, gradient):
    weights, ids, targets = case
    result = ours(weights).gradients(ids, targets)
    np.testing.assert_allclose(result.loss, loss, rtol=1e-13)
    assert set(gradient) == set(result.parameters)
    for name, array in gradient.items():
        difference = np.linalg.norm(result.parameters[name] - array)
        assert difference < 1e-12 * np.linalg.norm(array), name


@pytest.mark.parametrize("num_layers", [1, 2])
@pytest.mark.parametrize("targets", ["all", "last"])
@pytest.mark.parametrize(
    ("peer", "layer"),
    [("keras", "lstm"), ("torch", "lstm"), ("torch", "gru"), ("torch", "rnn"), ("torch", "conv")],
)
def test_golden_values(peer, layer, targets, num_layers):
    golden = np.load(GOLDEN)
    start = peers.golden_start(peer, layer, num_layers, targets)
    found = {n.removeprefix(start): golden[n] for n in golden.files if n.startswith(start)}
    case = peers.random_case(num_layers, targets, layer=layer)
    assert_same(case, found.pop("loss"), found)


def test_rmsprop_follows_keras():
    golden = np.load(GOLDEN)
    weights, ids, targets = peers.random_case(1, "all")
    network = ours(weights)
    optimizer = RMSprop()
    losses = []
    for _ in range(50):
        result = network.gradients(ids, targets)
        losses.append(float(result.loss))
        optimizer.update(network.parameters.flat, result.parameters.flat, 0.01)
    assert losses[-1] < 0.6 * losses[0]
    np.testing.assert_allclose(losses, golden["rmsprop-losses"], rtol=1e-6)
    for name in weights:
        np.testing.assert_allclose(
            network.parameters[name], golden[f"rmsprop-{name}"], atol=1e-6, err_msg=name
        )


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("num_layers", [1, 2])
@pytest.mark.parametrize("targets", ["all", "last"])
@pytest.mark.parametrize(
    ("peer", "layer"),
    [(peer, layer) for peer in ("keras", "torch") for layer in ("lstm", "gru", "rnn")]
    + [("torch", "conv")],
)
def test_live_peers(peer, layer, targets, num_layers):
    for module in ("keras", "tensorflow") if peer == "keras" else ("torch",):
        pytest.importorskip(module)
    case = peers.random_case(num_layers, targets, seed=11, layer=layer)
    function = getattr(peers, f"{peer}_loss_and_gradient")
    assert_same(case, *function(*case))
