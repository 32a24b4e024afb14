"""Layers without a model: used, checked, and misused."""

import importlib

import numpy as np
import pytest

import npchar
from npchar import GRU, LSTM, RNN, Conv, Dense, FastGRU, FastLSTM, FastRNN, Parameters
from npchar.layers.gradcheck import complex_step
from npchar.layers.layer import Layer

ALL = [LSTM, FastLSTM, GRU, FastGRU, RNN, FastRNN, Conv]
FAST_ONES = [FastLSTM, FastGRU, FastRNN]
T, B, D, H = 6, 3, 5, 4


@pytest.mark.parametrize("kind", ALL)
def test_its_gradients_are_checked_alone(kind, capsys):
    layer = kind.create(D, H)
    check = npchar.check_gradients(layer, samples=8)
    assert check.passed, str(check)
    states = {f"{field}0" for field in layer.zero_state(1)._fields}
    assert {row.name for row in check.rows} == {*layer.arrays, *states, "x"}
    assert "of random weights" in capsys.readouterr().out


def test_a_layer_of_ones_own_is_checked():
    """Here one that forgets a factor in backward."""

    class Leaky(RNN):
        name = "leaky"

        def backward(self, tape, dh, dstate, gradient):
            dx, state = super().backward(tape, dh, dstate, gradient)
            return dx, type(state)(state.h * self.factor)

        factor = 1.0

    layer = Leaky.create(D, H, dtype="float64")
    assert npchar.check_gradients(layer, samples=4, verbose=False).passed
    Leaky.factor = 1 + 1e-7
    check = npchar.check_gradients(layer, samples=4, verbose=False)
    assert [row.name for row in check.rows if not row.passed] == ["h0"]


def test_a_fast_layer_is_checked_against_the_plain_one(monkeypatch):
    """Both of whose passes may be wrong alike."""
    forward = FastRNN.forward
    monkeypatch.setattr(
        FastRNN, "forward", lambda self, x, *rest: forward(FastRNN(self.Wx, self.Wh, self.b * 0), x)
    )
    assert not npchar.check_gradients(FastRNN(*(np.ones(s) for s in RNN.shapes(D, H).values())),
                                      samples=4, verbose=False).passed  # fmt: skip


def test_mean_squared_error():
    rng = np.random.default_rng(0)
    outputs, targets = rng.normal(size=(2, 4, 3))
    loss, doutputs = npchar.mean_squared_error(outputs, targets)
    assert loss == pytest.approx(((outputs - targets) ** 2).sum() / 12)
    numeric = complex_step(
        lambda flat: npchar.mean_squared_error(flat.reshape(4, 3), targets)[0],
        outputs.reshape(-1), range(12),
    )  # fmt: skip
    np.testing.assert_allclose(doutputs.reshape(-1), numeric, rtol=1e-14)
    single = npchar.mean_squared_error(outputs.astype("f4"), targets.astype("f4"))
    assert single[0].dtype == single[1].dtype == np.float32


def test_parameters_of_several_layers():
    parameters = Parameters.of("float64", lower=GRU.shapes(D, H), top=Dense.shapes(H, 2))
    parameters.flat[:] = np.arange(len(parameters.flat))
    layer, dense = GRU(**parameters.part("lower")), Dense(**parameters.part("top"))
    assert layer.Wx.base is not None
    assert dense.b.tolist() == parameters.flat[-2:].tolist()
    layer.bq[...] = -1
    assert (parameters["lower.bq"] == -1).all()


def test_reprs_tell_shapes():
    assert repr(LSTM.create(5, 4)) == "LSTM(input_size=5, hidden_size=4, dtype=float32)"
    assert repr(Conv.create(5, 4, dtype="float64")) == (
        "Conv(input_size=5, hidden_size=4, dtype=float64)"
    )
    assert repr(Dense.create(4, 2)) == "Dense(input_size=4, output_size=2, dtype=float32)"
    assert "lower.b" in repr(Parameters({"lower.b": (3,)}))


def test_the_example_runs(capsys):
    own = importlib.import_module("own-network")
    assert own.classify(steps=200) > 0.6
    errors = own.continue_sines(steps=100)
    assert errors.shape == (20,)
    assert errors[0] < 0.5
    assert "loss" in capsys.readouterr().out


# What can be done wrong: the layer gets a call, and says what was expected and what came.


def ids(*shape):
    return np.zeros(shape, int)


def used_twice(layer):
    tape = layer.forward(ids(T, B))
    for _ in "ab":
        layer.backward(tape, np.zeros((T, B, H)), None, layer.zeros_like())


def backward(layer, dh, dstate=None):
    layer.backward(layer.forward(ids(T, B)), dh, dstate, layer.zeros_like())


MISTAKES = [
    (lambda layer: layer.forward(np.zeros((T, D))), r"\(T, B, 5\), .* got float64 .*\(6, 5\)"),
    (lambda layer: layer.forward(np.zeros((T, B, D + 1))), r"got float64 of the shape \(6, 3, 6\)"),
    (lambda layer: layer.forward(ids(T)), r"ids, \(T, B\) whole numbers.* got int64 .*\(6,\)"),
    (lambda layer: layer.forward(ids(T, B, D)), r"got int64 of the shape \(6, 3, 5\)"),
    (lambda layer: layer.forward(ids(0, B)), r"no empty ones, got int64 of the shape \(0, 3\)"),
    (lambda layer: layer.forward(ids(T, B) - 1), "expected ids from 0 to 4, got -1 to -1"),
    (lambda layer: layer.forward(ids(T, B) + D), "expected ids from 0 to 4, got 5 to 5"),
    (lambda layer: layer.forward(ids(T, B), layer.zero_state(B + 1)), "expected a state of the "),
    (lambda layer: backward(layer, np.zeros((T, B))), r"dh of the shape \(6, 3, 4\), or \(3, 4\)"),
    (lambda layer: backward(layer, np.zeros((T + 1, B, H))), r"got \(7, 3, 4\)"),
    (lambda layer: backward(layer, None, layer.zero_state(B + 1)), "expected a state of the shape"),
]


@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize(("call", "message"), MISTAKES)
def test_errors_say_what_is_wrong(kind, call, message):
    layer: Layer = kind.create(D, H)
    with pytest.raises(ValueError, match=message) as error:
        call(layer)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("kind", FAST_ONES)
def test_a_tape_that_is_used_up(kind):
    with pytest.raises(ValueError, match="uses the tape up; run forward again, or"):
        used_twice(kind.create(D, H))
    with pytest.raises(ValueError, match="no forward pass"):
        layer = kind.create(D, H)
        layer.backward(layer.tape(T, B), None, None, layer.zeros_like())


@pytest.mark.parametrize("kind", [LSTM, GRU, RNN, Conv])
def test_a_plain_tape_lasts(kind):
    used_twice(kind.create(D, H))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: npchar.softmax_cross_entropy(np.zeros((2, 3)), np.array([0, -1])), "got -1 to 0"),
        (lambda: npchar.softmax_cross_entropy(np.zeros((2, 3)), np.array([0, 3])), "got 0 to 3"),
        (lambda: npchar.softmax_cross_entropy(np.zeros((2, 3)), ids(3)), r"expected \(2,\)"),
        (lambda: npchar.softmax_cross_entropy(np.zeros((0, 3)), ids(0)), "at least one, got none"),
        (lambda: npchar.mean_squared_error(np.zeros(3), np.zeros((3, 1))), r"got \(3,\) and \(3,"),
        (lambda: Dense.create(4, 2).forward(np.zeros((3, 5))), r"\(\.\.\., 4\), got \(3, 5\)"),
        (
            lambda: Dense.create(4, 2).backward(
                np.zeros((3, 4)), np.zeros((3, 4)), Dense.create(4, 2)
            ),
            r"dlogits of the shape \(3, 2\)",
        ),
        (lambda: Parameters({"W": (2, 3)}, flat=np.zeros(5)), r"flat of the shape \(6,\)"),
    ],
)
def test_errors_of_what_is_around_layers(call, message):
    with pytest.raises(ValueError, match=message):
        call()
