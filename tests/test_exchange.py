"""Weights to Keras and PyTorch and back: golden values, and live where they are installed."""

import numpy as np
import peers
import pytest

import npchar
from npchar import Model, Vocabulary, from_keras, from_torch, to_keras, to_torch

V, H = 11, 6
VOCABULARY = Vocabulary("abcdefghijk")


def made(num_layers, dtype="float32"):
    weights, ids, targets = peers.random_case(num_layers, "all")
    model = Model(VOCABULARY, hidden_size=H, num_layers=num_layers, dtype=dtype)
    for name, array in weights.items():
        model.parameters[name] = array
    return model, ids, targets


@pytest.mark.parametrize("num_layers", [1, 2, 3])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("to", "back"), [(to_keras, from_keras), (to_torch, from_torch)])
def test_there_and_back_the_arrays_are_the_same(num_layers, dtype, to, back):
    model, _, _ = made(num_layers, dtype)
    again = back(to(model), VOCABULARY)
    assert again.parameters.flat.dtype == dtype
    for name, array in model.parameters.items():
        assert np.array_equal(again.parameters[name], array), name
    assert again.vocabulary == VOCABULARY


@pytest.mark.parametrize("num_layers", [1, 2])
def test_keras_list_is_what_the_golden_gradients_came_by(num_layers):
    """The golden values of Keras and PyTorch were made from arrays laid out like these."""
    model, ids, targets = made(num_layers, "float64")
    weights = peers.random_case(num_layers, "all")[0]
    expected = []
    for k in range(num_layers):
        expected += [peers.joined(weights[f"lstm{k}.{name}"]) for name in ("Wx", "Wh", "b")]
    expected += [weights["dense.W"], weights["dense.b"]]
    for ours, theirs in zip(to_keras(model), expected, strict=True):
        assert np.array_equal(ours, theirs)
    state = to_torch(model)
    assert np.array_equal(state["lstm.weight_ih_l0"], expected[0].T)
    assert np.array_equal(state["lstm.weight_hh_l0"], expected[1].T)
    assert not state["lstm.bias_hh_l0"].any()
    assert np.array_equal(state["dense.weight"], weights["dense.W"].T)


@pytest.mark.parametrize(("to", "back"), [(to_keras, from_keras), (to_torch, from_torch)])
def test_neither_sees_the_others_changes(to, back):
    model, _, _ = made(1)
    before = model.parameters.flat.copy()
    arrays = to(model)
    again = back(arrays, VOCABULARY)
    for array in arrays.values() if isinstance(arrays, dict) else arrays:
        array += 1
    np.testing.assert_array_equal(model.parameters.flat, before)
    np.testing.assert_array_equal(again.parameters.flat, before)


def test_two_biases_of_pytorch_become_one():
    model, _, _ = made(1)
    state = to_torch(model)
    state["lstm.bias_hh_l0"] += 0.25
    state["lstm.bias_ih_l0"] -= 0.25
    state = {name.replace("lstm.", "core.rnn.").replace("dense.", "head."): array
             for name, array in state.items()}  # fmt: skip
    again = from_torch(state, VOCABULARY)
    np.testing.assert_allclose(again.parameters.flat, model.parameters.flat, atol=1e-6)


@pytest.mark.parametrize("num_layers", [1, 2])
def test_keras_live(num_layers):
    keras = pytest.importorskip("keras", reason="Keras is not installed")
    pytest.importorskip("tensorflow", reason="TensorFlow is not installed")
    model, ids, targets = made(num_layers)
    layers = [keras.layers.LSTM(H, return_sequences=True) for _ in range(num_layers)]
    peer = keras.Sequential([keras.Input((len(ids), V)), *layers, keras.layers.Dense(V)])
    peer.set_weights(to_keras(model))
    x = np.eye(V, dtype=np.float32)[ids].swapaxes(0, 1)  # (B, T, V)
    ours, _ = model.network.logits(ids)
    np.testing.assert_allclose(np.asarray(peer(x)).swapaxes(0, 1), ours, atol=1e-6)

    # Trained on there, it goes on here.
    peer.compile(keras.optimizers.RMSprop(0.01),
                 keras.losses.SparseCategoricalCrossentropy(from_logits=True))  # fmt: skip
    first = model.loss_and_gradient(ids, targets)[0]
    losses = [float(peer.train_on_batch(x, targets.T)) for _ in range(20)]
    assert losses[0] == pytest.approx(first, rel=1e-5)
    again = from_keras(peer.get_weights(), VOCABULARY)
    assert again.loss_and_gradient(ids, targets)[0] < losses[-1] < losses[0]
    np.testing.assert_allclose(
        np.asarray(peer(x)).swapaxes(0, 1), again.network.logits(ids)[0], atol=2e-6
    )


@pytest.mark.parametrize("num_layers", [1, 2])
def test_pytorch_live(num_layers):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")

    class Peer(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.lstm = torch.nn.LSTM(V, H, num_layers)
            self.dense = torch.nn.Linear(H, V)

        def forward(self, x):
            return self.dense(self.lstm(x)[0])

    model, ids, targets = made(num_layers)
    peer = Peer()
    peer.load_state_dict({name: torch.from_numpy(a) for name, a in to_torch(model).items()})
    x = torch.eye(V)[torch.tensor(ids)]
    ours, _ = model.network.logits(ids)
    np.testing.assert_allclose(peer(x).detach().numpy(), ours, atol=1e-6)

    optimizer = torch.optim.RMSprop(peer.parameters(), 0.01)
    y = torch.tensor(targets).reshape(-1)
    for _ in range(20):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(peer(x).reshape(-1, V), y)
        loss.backward()
        optimizer.step()
    again = from_torch(peer.state_dict(), VOCABULARY)
    assert again.loss_and_gradient(ids, targets)[0] < loss.item()
    np.testing.assert_allclose(peer(x).detach().numpy(), again.network.logits(ids)[0], atol=2e-6)


@pytest.mark.parametrize("num_layers", [1, 2])
def test_onnx_live(num_layers, tmp_path):
    pytest.importorskip("onnx", reason="onnx is not installed")
    runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    model, ids, _ = made(num_layers)
    npchar.to_onnx(model, tmp_path / "model.onnx")
    session = runtime.InferenceSession(tmp_path / "model.onnx")
    zeros = np.zeros((1, ids.shape[1], H), np.float32)
    states = {f"{s}{k}": zeros for s in "hc" for k in range(num_layers)}
    names = [output.name for output in session.get_outputs()]
    found = dict(zip(names, session.run(None, {"ids": ids[:4], **states})))
    states = {name: found[f"{name}_next"] for name in states}
    (after,) = session.run(["logits"], {"ids": ids[4:], **states})
    ours, _ = model.network.logits(ids)
    np.testing.assert_allclose(np.concatenate([found["logits"], after]), ours, atol=1e-6)


def test_tensors_with_gradients_and_half_precision():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    model, _, _ = made(1)
    state = {k: torch.nn.Parameter(torch.from_numpy(a)) for k, a in to_torch(model).items()}
    assert np.array_equal(from_torch(state, VOCABULARY).parameters.flat, model.parameters.flat)
    half = {name: tensor.bfloat16() for name, tensor in state.items()}
    again = from_torch(half, VOCABULARY)
    assert again.parameters.flat.dtype == np.float32
    np.testing.assert_allclose(again.parameters.flat, model.parameters.flat, rtol=0.01)


def test_an_lstm_without_biases():
    model, _, _ = made(1)
    again = from_torch(state_without("lstm.bias_ih_l0", "lstm.bias_hh_l0"), VOCABULARY)
    assert not again.parameters["lstm0.b"].any()
    assert np.array_equal(again.parameters["lstm0.Wh"], model.parameters["lstm0.Wh"])


def state_without(*names):
    return {k: v for k, v in to_torch(made(1)[0]).items() if k not in names}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: from_keras(to_keras(made(1)[0])[:-1], VOCABULARY), "got 4 arrays"),
        (lambda: from_keras([*to_keras(made(1)[0]), np.zeros(3)], VOCABULARY), "got 6 arrays"),
        (
            lambda: from_keras(to_keras(made(1)[0]), Vocabulary("abc")),
            "lstm0.Wx of the shape .* of 3",
        ),
        (lambda: from_keras([np.zeros(3)] * 5, VOCABULARY), "4 gates in the Wx"),
        (lambda: from_torch({"w": np.zeros(3)}, VOCABULARY), "the arrays of one nn.LSTM"),
        (lambda: from_torch(state_without("dense.bias"), VOCABULARY), "one nn.Linear"),
        (lambda: from_torch(state_without("dense.bias", "dense.weight"), VOCABULARY), "nothing"),
        (
            lambda: from_torch(state_without("lstm.weight_hh_l0"), VOCABULARY),
            "4 gates in the Wh of layer 0 ",
        ),
        (
            lambda: from_torch(state_without() | {"lstm.bias_hh_l0": np.zeros(1)}, VOCABULARY),
            r"bias_hh_l0 of the shape .* got \(1,\)",
        ),
        (
            lambda: from_torch(
                state_without() | {"dense.weight": np.zeros((11, 6), np.float64)}, VOCABULARY
            ),
            "types float32, float64",
        ),
        (
            lambda: from_torch(
                state_without() | {"lstm.weight_ih_l0_reverse": np.zeros((24, 11))}, VOCABULARY
            ),
            "one nn.Linear",
        ),
    ],
)
def test_errors_say_what_is_wrong(call, message):
    with pytest.raises(ValueError, match=message):
        call()
