"""Requirements for all recurrent and convolutional layers, and the plain RNN's equation."""

import numpy as np
import pytest

import npchar
from npchar.layers.conv import Conv
from npchar.layers.gru import GRU
from npchar.layers.lstm import LSTM
from npchar.layers.rnn import RNN
from npchar.network.gradcheck import complex_step
from npchar.network.network import Network, NetworkConfig
from npchar.network.registry import FAST, PLAIN

T, B, D, H = 7, 3, 5, 4
KINDS = sorted({*FAST.values(), *PLAIN.values()}, key=lambda kind: kind.__name__)
# One layer of each kind, and one convolution inside a stack.
LAYERS = [(kind, D, 0) for kind in KINDS] + [(Conv, H, 2)]


@pytest.fixture(params=LAYERS, ids=lambda one: f"{one[0].__name__}-{one[2]}")
def layer(request):
    kind, input_size, depth = request.param
    layer = kind.create(input_size, H, dtype="float64")
    layer.depth = depth
    rng = np.random.default_rng(3)
    for array in layer.arrays.values():
        array[...] = rng.normal(0, 0.6, array.shape)
    return layer


def some_input(layer, vectors, steps=T):
    rng = np.random.default_rng(5)
    D, _ = layer.sizes
    return rng.normal(size=(steps, B, D)) if vectors else rng.integers(0, D, (steps, B))


def some_state(layer, seed=4):
    rng = np.random.default_rng(seed)
    zeros = layer.zero_state(B)
    return type(zeros)(*(rng.normal(size=array.shape) for array in zeros))


@pytest.mark.parametrize("last_alone", [False, True])
@pytest.mark.parametrize("vectors", [False, True])
def test_every_gradient_by_complex_step(layer, vectors, last_alone):
    """The gradients with respect to all arrays, the input vectors and the initial state."""
    x, state, dstate = some_input(layer, vectors), some_state(layer), some_state(layer, seed=6)
    dh = np.random.default_rng(7).normal(size=(B, H) if last_alone else (T, B, H))
    gradient = some_gradient(layer)
    dx, dinitial = layer.backward(layer.forward(x, state), dh, dstate, gradient)
    parts = {**layer.arrays, **state._asdict(), **({"x": x} if vectors else {})}
    found = {**gradient.arrays, **dinitial._asdict(), **({"x": dx} if vectors else {})}
    assert (dx is None) == (not vectors)

    def loss(flat, name):
        values = {n: array.astype(flat.dtype) for n, array in parts.items()}
        values[name] = flat.reshape(parts[name].shape)
        changed = layer.with_arrays({n: values[n] for n in layer.arrays})
        tape = changed.forward(values.get("x", x), type(state)(*(values[n] for n in state._fields)))
        outputs = tape.outputs[-1] if last_alone else tape.outputs
        final = sum((a * d).sum() for a, d in zip(tape.final_state, dstate))
        return (outputs * dh).sum() + final

    for name, part in parts.items():
        expected = complex_step(lambda flat, n=name: loss(flat, n), part.ravel(), range(part.size))
        error = np.linalg.norm(found[name].ravel() - expected)
        assert error <= 1e-13 * np.linalg.norm(expected), name  # both may be 0


def some_gradient(layer):
    """A buffer for a gradient, with old values that must be overwritten."""
    gradient = layer.zeros_like()
    for array in gradient.arrays.values():
        array += 7
    return gradient


@pytest.mark.parametrize("vectors", [False, True])
def test_one_long_run_is_its_chunks(layer, vectors):
    x, state = some_input(layer, vectors, 60), some_state(layer)
    whole, parts = layer.forward(x, state), []
    for chunk in (x[:1], x[1:20], x[20:]):
        tape = layer.forward(chunk, state)
        parts.append(tape.outputs.copy())
        state = tape.final_state
    np.testing.assert_allclose(np.concatenate(parts), whole.outputs, rtol=0, atol=1e-14)
    np.testing.assert_allclose(state, whole.final_state, rtol=0, atol=1e-14)


@pytest.mark.parametrize("vectors", [False, True])
def test_steps_are_forward(layer, vectors):
    x, state = some_input(layer, vectors), some_state(layer)
    outputs = layer.forward(x, state).outputs
    dense = npchar.Dense.create(H, 6, dtype="float64")
    stepper, to_logits = layer.stepper(state), layer.stepper(state, dense)
    for t in range(T):
        output, state = layer.step(x[t], state)
        np.testing.assert_allclose(output, outputs[t], rtol=0, atol=1e-14)
        np.testing.assert_allclose(stepper.step(x[t]), outputs[t], rtol=0, atol=1e-14)
        logits = dense.forward(outputs[t])
        np.testing.assert_allclose(to_logits.step(x[t]), logits, rtol=0, atol=1e-13)


def test_a_stepper_goes_on_with_the_weights_it_was_made_with(layer):
    state, (D, _) = some_state(layer), layer.sizes
    dense = npchar.Dense.create(H, 6, dtype="float64")
    ids = np.random.default_rng(7).integers(0, D, (4, B))
    logits = []
    for changed in (False, True):
        stepper = layer.stepper(state, dense)
        if changed:
            for array in (*layer.arrays.values(), dense.W, dense.b, *state):
                array += 1
        logits.append([stepper.step(x).copy() for x in ids])
    np.testing.assert_array_equal(*logits)


def test_what_a_tape_gave_stays_when_it_is_used_again(layer):
    rng = np.random.default_rng(9)
    first, second = rng.normal(size=(2, T, B, layer.sizes[0]))
    tape = layer.forward(first)
    final, gradient = tape.final_state, layer.zeros_like()
    dx, initial = layer.backward(tape, np.ones((T, B, H)), None, gradient)
    results = [*final, dx, *initial]
    copies = [array.copy() for array in results]
    layer.backward(layer.forward(second, tape=tape), -np.ones((T, B, H)), None, gradient)
    for result, copy in zip(results, copies):
        np.testing.assert_array_equal(result, copy)


@pytest.mark.parametrize("name", sorted(FAST))
@pytest.mark.parametrize("targets", ["all", "last"])
def test_a_network_is_made_of_any(name, targets):
    """`Network` knows no layer by name: gradients, steps and long texts work for any layer."""
    num_layers = 2
    network = Network(NetworkConfig(6, 5, num_layers, 0.0, name), dtype="float64")
    network.initialise(1)
    ids = np.random.default_rng(2).integers(0, 6, (6, 2))
    y = ids[1:] if targets == "all" else ids[-1]

    class OfNetwork:
        pass

    model = OfNetwork()
    model.network = network
    check = npchar.check_gradients(model, ids[:-1], y, samples=4, verbose=False)
    assert check.passed, str(check)
    assert {row.name.split(".")[0] for row in check.rows} == {
        "dense", "input", *(f"{name}{k}" for k in range(num_layers)),
    }  # fmt: skip
    logits, states = network.logits(ids[:-1])
    np.testing.assert_allclose(network.stepper(states)(ids[-1]), network.logits(ids)[0][-1])
    plain, _ = network.plain().logits(ids[:-1])
    np.testing.assert_allclose(plain, logits, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("kind", "fans"),
    [
        (LSTM, 57 + 4 * 128),
        (GRU, 57 + 3 * 128),
        (RNN, 57 + 128),
        (Conv, 2 * 57 + 128),
        (npchar.Dense, 57 + 128),
    ],
)
def test_initialisation(kind, fans):
    """Initialization is Glorot-uniform with the documented fans, orthogonal, or zero."""
    layer = kind.create(57, 128, seed=0, dtype="float64")
    arrays = {"W": layer.W, "b": layer.b} if kind is npchar.Dense else layer.arrays
    weights = next(iter(arrays.values()))
    limit = np.sqrt(6 / fans)
    assert 0.98 * limit < np.abs(weights).max() <= limit
    assert abs(weights.mean()) < limit / 50
    if "Wh" in arrays:
        joined = np.concatenate(list(np.atleast_3d(arrays["Wh"].T).T), axis=1)  # (H, GH)
        np.testing.assert_allclose(joined @ joined.T, np.eye(128), atol=1e-12)
    if kind is LSTM:
        assert (layer.b[1] == 1).all()  # the forget gates begin open
        layer.b[1] -= 1
    assert not any(array.any() for name, array in arrays.items() if name[0] == "b")
