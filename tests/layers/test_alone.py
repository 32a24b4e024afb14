"""Layers without a model: use, gradient checks, and misuse."""

import importlib

import numpy as np
import pytest

import npchar
from npchar import GRU, LSTM, RNN, Conv, Dense, FastGRU, FastLSTM, FastRNN, Parameters
from npchar.layers.layer import Layer
from npchar.network.gradcheck import complex_step
from npchar.network.registry import PLAIN

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
    assert "a random weighting of the outputs" in capsys.readouterr().out


def test_a_layer_of_ones_own_is_checked():
    """The layer omits a factor in its backward pass."""

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


@pytest.mark.slow
def test_the_example_runs(capsys):
    own = importlib.import_module("own-network")
    assert own.classify(steps=100) > 0.6
    errors, *baselines = own.continue_sines(steps=100)
    assert errors.shape == (20,)
    assert errors[0] < min(baseline[0] for baseline in baselines)
    assert "loss" in capsys.readouterr().out


# Misuse: a call to the layer, and a message with the expected and the actual argument.


def ids(*shape):
    return np.zeros(shape, int)


def used_twice(layer):
    tape = layer.forward(ids(T, B))
    for _ in "ab":
        layer.backward(tape, np.zeros((T, B, H)), None, layer.zeros_like())


def backward(layer, dh, dstate=None):
    layer.backward(layer.forward(ids(T, B)), dh, dstate, layer.zeros_like())


def stepped(layer, x, B=B):
    layer.stepper(layer.zero_state(B)).step(x)


def backward_into(layer, gradient):
    layer.backward(layer.forward(ids(T, B)), None, None, gradient)


MISTAKES = [
    (lambda layer: layer.forward(np.zeros((T, D))), r"\(T, B, 5\), got float64 .*\(6, 5\)"),
    (lambda layer: layer.forward(np.zeros((T, B, D)) * 1j), "got complex128"),
    (lambda layer: layer.forward(ids(T)), r"ids of the shape \(T, B\) .* got int64 .*6,"),
    (lambda layer: layer.forward(ids(0, B)), r"got int64 of the shape \(0, 3\)"),
    (lambda layer: layer.forward(ids(T, B) - 1), "ids from 0 to 4, got -1 to -1"),
    (lambda layer: layer.forward(ids(T, B), layer.zero_state(B + 1)), "expected a state of the "),
    (lambda layer: layer.step(ids(B), layer.zero_state(B + 1)), "expected a state of the shapes"),
    (lambda layer: layer.step(np.zeros(D), layer.zero_state(1)), r"got float64 .* \(1, 5\)"),
    (lambda layer: layer.stepper(None), "expected a state such as zero_state.* got None"),
    (
        lambda layer: layer.stepper(layer.zero_state(B), Dense.create(7, 2)),
        "output layer with 4 inp",
    ),
    (lambda layer: stepped(layer, ids(1)), r"shape \(3,\) or vectors .* got int64 of .* \(1,"),
    (lambda layer: stepped(layer, np.zeros((B, D + 1))), r"got float64 of .* \(3, 6\)"),
    (lambda layer: stepped(layer, ids(B, D)), r"got int64 of .* \(3, 5\)"),
    (lambda layer: stepped(layer, ids(B) + D), "ids from 0 to 4, got 5 to 5"),
    (lambda layer: backward(layer, np.zeros((T, B))), r"dh of the shape \(6, 3, 4\), or \(3, 4\)"),
    (lambda layer: backward(layer, None, layer.zero_state(B + 1)), "expected a state of the shape"),
    (lambda layer: backward_into(layer, layer), "the layer itself"),
    (lambda layer: backward_into(layer, type(layer).create(D + 1, H)), "expected another layer"),
    (lambda layer: layer.backward(object(), None, None, layer.zeros_like()), "got a object"),
    (lambda layer: type(layer).create(0, H), "input_size is 0"),
    (
        lambda layer: layer.with_arrays(layer.arrays | {"b": np.zeros(H + 1)}),
        "got {.*'b': \\(5,\\)",
    ),
]


@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize(("call", "message"), MISTAKES)
def test_errors_say_what_is_wrong(kind, call, message):
    layer: Layer = kind.create(D, H)
    weights = {name: array.copy() for name, array in layer.arrays.items()}
    with pytest.raises(ValueError, match=message) as error:
        call(layer)
    assert "\n" not in str(error.value)
    for name, array in layer.arrays.items():
        np.testing.assert_array_equal(array, weights[name])


@pytest.mark.parametrize("kind", FAST_ONES)
def test_a_tape_of_another_layer(kind):
    """The tape may come from another fast layer of equal size, whose values mean something else."""
    layer = kind.create(D, H)
    kinds = {LSTM, *FAST_ONES} - {kind}
    others = [one.create(D, H) for one in kinds]
    for other in (*others, kind.create(D, H + 1), kind.create(D, H, dtype="float64")):
        tape = other.forward(ids(T, B))
        with pytest.raises(ValueError, match="expected .* got "):
            layer.forward(ids(T, B), tape=tape)
        with pytest.raises(ValueError, match="expected .* got "):
            layer.backward(tape, None, None, layer.zeros_like())
    with pytest.raises(ValueError, match="6, 3.* got .* 7, 3"):
        layer.forward(ids(T, B), tape=layer.tape(T + 1, B))


@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_type_is_the_layers(kind, dtype):
    """Inputs may be NumPy's default float64 arrays, lists, or a plain tuple as a state."""
    layer = kind.create(D, H, dtype=dtype)
    state = tuple(np.ones(shape) for shape in layer.state_shapes(B))
    x = np.random.default_rng(0).normal(size=(T, B, D))
    tape = layer.forward(x.tolist(), state)
    output, after = layer.step(x[0], state)
    dx, before = layer.backward(tape, np.ones((B, H)).tolist(), state, layer.zeros_like())
    stepper = layer.stepper(state)
    found = [tape.outputs, *tape.final_state, output, *after, dx, *before, stepper.step(x[0])]
    assert {array.dtype for array in found} == {np.dtype(dtype)}
    np.testing.assert_allclose(tape.outputs[0], output, rtol=1e-5)


def test_a_convolution_inside_a_stack():
    conv = Conv(**Conv.create(H, H, dtype="float64").arrays, depth=3)
    assert conv.reach == 8
    assert npchar.check_gradients(conv, samples=6, verbose=False).passed
    with pytest.raises(ValueError, match="equal input and output sizes.* got 5 and 4"):
        Conv(**Conv.create(D, H).arrays, depth=1)
    with pytest.raises(ValueError, match="expected a recurrent layer, got Conv"):
        npchar.gradient_flow(conv, np.zeros((T, B, H)), np.zeros((B, H)))


@pytest.mark.parametrize("kind", FAST_ONES)
def test_a_tape_that_is_used_up(kind):
    used_twice(PLAIN[kind.name].create(D, H))  # plain tapes can be used again
    with pytest.raises(ValueError, match="got one that backward has used; run forward again, or"):
        used_twice(kind.create(D, H))
    with pytest.raises(ValueError, match="a new forward pass"):
        layer = kind.create(D, H)
        layer.backward(layer.tape(T, B), None, None, layer.zeros_like())


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: npchar.softmax_cross_entropy(np.zeros((2, 3)), np.array([0, 3])), "got 0 to 3"),
        (lambda: npchar.softmax_cross_entropy(np.zeros((2, 3)), ids(3)), r"expected \(2,\)"),
        (lambda: npchar.softmax_cross_entropy(np.zeros((0, 3)), ids(0)), "at least one, got none"),
        (lambda: npchar.mean_squared_error(np.zeros(3), np.zeros((3, 1))), r"float64 \(3,\) and "),
        (lambda: npchar.mean_squared_error(np.zeros(3, int), np.zeros(3)), r"got int64 \(3,\)"),
        (lambda: Dense.create(4, 2).forward(np.zeros((3, 5))), r"\(\.\.\., 4\), got \(3, 5\)"),
        (lambda: Dense.create(4, 2).backward(*np.zeros((2, 3, 4)), Dense.create(4, 2)), "dlogits"),
        (lambda: Parameters({"W": (2, 3)}, flat=np.zeros(5)), r"flat of the shape \(6,\)"),
    ],
)
def test_errors_of_what_is_around_layers(call, message):
    with pytest.raises(ValueError, match=message):
        call()
