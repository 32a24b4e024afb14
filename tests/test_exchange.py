"""Weight exchange with Keras and PyTorch: golden values, and live tests where installed."""

import numpy as np
import peers
import pytest

import npchar
from npchar import Model, Vocabulary, from_keras, from_torch, to_keras, to_onnx, to_torch

V, H = 11, 6
VOCABULARY = Vocabulary("abcdefghijk")
RECURRENT = ["lstm", "gru", "rnn"]
ALL = [*RECURRENT, "conv"]
WAYS = [
    *((to_keras, from_keras, layer) for layer in RECURRENT),
    *((to_torch, from_torch, layer) for layer in ALL),
]


def made(num_layers, dtype="float32", layer="lstm"):
    weights, ids, targets = peers.random_case(num_layers, "all", layer=layer)
    model = Model(VOCABULARY, layer=layer, hidden_size=H, num_layers=num_layers, dtype=dtype)
    for name, array in weights.items():
        model.parameters[name] = array
    return model, ids, targets


def assert_same_weights(model, other):
    assert set(other.parameters) == set(model.parameters)
    for name, array in model.parameters.items():
        assert np.array_equal(other.parameters[name], array), name


def assert_close(logits, expected):
    assert np.linalg.norm(logits - expected) < 1e-12 * np.linalg.norm(expected)


@pytest.mark.parametrize("num_layers", [1, 2])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("to", "back", "layer"), WAYS)
def test_there_and_back_the_arrays_are_the_same(num_layers, dtype, to, back, layer):
    model, _, _ = made(num_layers, dtype, layer)
    arrays = to(model)
    again = back(arrays, VOCABULARY)
    for array in arrays.values() if isinstance(arrays, dict) else arrays:
        assert array.flags.c_contiguous
        array += 1  # must change neither model
    assert again.parameters.flat.dtype == dtype
    assert again.network.config == model.network.config
    assert_same_weights(made(num_layers, dtype, layer)[0], again)
    assert_same_weights(made(num_layers, dtype, layer)[0], model)
    assert again.vocabulary == VOCABULARY


@pytest.mark.parametrize("num_layers", [1, 2])
@pytest.mark.parametrize("layer", RECURRENT)
def test_keras_list_is_what_the_golden_gradients_came_by(num_layers, layer):
    """The golden values were computed from arrays with this layout."""
    model, _, _ = made(num_layers, "float64", layer)
    weights = peers.random_case(num_layers, "all", layer=layer)[0]
    for ours, theirs in zip(to_keras(model), peers.keras_arrays(weights), strict=True):
        assert np.array_equal(ours, theirs)
    state, order = to_torch(model), peers.TORCH_ORDER[layer]
    for k in range(num_layers):
        Wx, Wh, b = (peers.joined(weights[f"{layer}{k}.{n}"], order) for n in ("Wx", "Wh", "b"))
        assert np.array_equal(state[f"{layer}.weight_ih_l{k}"], Wx.T)
        assert np.array_equal(state[f"{layer}.weight_hh_l{k}"], Wh.T)
        assert np.array_equal(state[f"{layer}.bias_ih_l{k}"], b)
        second = np.zeros_like(b)
        if layer == "gru":
            second[2 * H :] = weights[f"gru{k}.bq"]
        assert np.array_equal(state[f"{layer}.bias_hh_l{k}"], second)
    assert np.array_equal(state["dense.weight"], weights["dense.W"].T)


def test_convolutions_of_pytorch_as_its_documentation_has_them():
    """Weights (rows, D, 2) are for the input d steps earlier and now; rows of values come first."""
    model, ids, _ = made(3, "float64", "conv")
    state = to_torch(model)
    x = np.eye(V)[ids]  # (T, B, D)
    for k in range(3):
        weight, d = state[f"conv.{k}.weight"], 2**k
        before = np.concatenate([np.zeros((d, *x.shape[1:])), x])[: len(x)]
        out = before @ weight[:, :, 0].T + x @ weight[:, :, 1].T + state[f"conv.{k}.bias"]
        v, z = np.split(out, 2, axis=-1)
        x = v / (1 + np.exp(-z)) + (x if k else 0)
    logits = x @ state["dense.weight"].T + state["dense.bias"]
    assert_close(logits, model.network.logits(ids)[0])


@pytest.mark.parametrize("layer", RECURRENT)
def test_two_biases_of_pytorch_become_one(layer):
    model, _, _ = made(1, layer=layer)
    state = to_torch(model)
    gates = slice(2 * H) if layer == "gru" else slice(None)  # a GRU's candidate has both biases
    state[f"{layer}.bias_hh_l0"][gates] += 0.25
    state[f"{layer}.bias_ih_l0"][gates] -= 0.25
    state = {name.replace(f"{layer}.", "core.cell.").replace("dense.", "head."): array
             for name, array in state.items()}  # fmt: skip
    again = from_torch(state, VOCABULARY)
    np.testing.assert_allclose(again.parameters.flat, model.parameters.flat, atol=1e-6)


def test_convolutions_are_taken_by_the_numbers_in_their_names():
    model, _, _ = made(12, layer="conv")
    state = {name.replace("conv.", "net.block"): a for name, a in to_torch(model).items()}
    # Sorted alphabetically, as in some files: block10 comes before block2.
    assert_same_weights(model, from_torch(dict(sorted(state.items())), VOCABULARY))


@pytest.mark.parametrize("num_layers", [1, 2])
@pytest.mark.parametrize("layer", RECURRENT)
def test_keras_live(num_layers, layer):
    keras = pytest.importorskip("keras", reason="Keras is not installed")
    pytest.importorskip("tensorflow", reason="TensorFlow is not installed")
    model, ids, targets = made(num_layers, layer=layer)
    kind = {"lstm": keras.layers.LSTM, "gru": keras.layers.GRU, "rnn": keras.layers.SimpleRNN}
    layers = [kind[layer](H, return_sequences=True) for _ in range(num_layers)]
    peer = keras.Sequential([keras.Input((len(ids), V)), *layers, keras.layers.Dense(V)])
    peer.set_weights(to_keras(model))
    x = np.eye(V, dtype=np.float32)[ids].swapaxes(0, 1)  # (B, T, V)
    ours, _ = model.network.logits(ids)
    np.testing.assert_allclose(np.asarray(peer(x)).swapaxes(0, 1), ours, atol=1e-6)

    # npchar continues the training.
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


def torch_peer(layer, num_layers):
    """The module that `to_torch` describes, in float64."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    F, nn = torch.nn.functional, torch.nn

    class Recurrent(nn.Module):
        def __init__(self):
            super().__init__()
            kind = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}[layer]
            setattr(self, layer, kind(V, H, num_layers))
            self.dense = nn.Linear(H, V)

        def forward(self, x):
            return self.dense(getattr(self, layer)(x)[0])

    class Convolutions(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.ModuleList(
                nn.Conv1d(H if k else V, 2 * H, kernel_size=2, dilation=2 ** (k % 10))
                for k in range(num_layers)
            )
            self.dense = nn.Linear(H, V)

        def forward(self, x):
            x = x.permute(1, 2, 0)  # (B, V, T)
            for k, conv in enumerate(self.conv):
                y = F.glu(conv(F.pad(x, (2 ** (k % 10), 0))), dim=1)
                x = x + y if k else y
            return self.dense(x.permute(2, 0, 1))

    return torch, (Convolutions if layer == "conv" else Recurrent)().double()


@pytest.mark.parametrize(
    ("layer", "num_layers"), [*((layer, n) for layer in ALL for n in (1, 2)), ("conv", 12)]
)
def test_pytorch_live(layer, num_layers):
    torch, peer = torch_peer(layer, num_layers)
    model, ids, targets = made(num_layers, "float64", layer)
    peer.load_state_dict({name: torch.from_numpy(a) for name, a in to_torch(model).items()})
    x = torch.eye(V, dtype=torch.float64)[torch.tensor(ids)]
    ours, _ = model.network.logits(ids)
    assert_close(peer(x).detach().numpy(), ours)

    # npchar continues the training.
    optimizer = torch.optim.RMSprop(peer.parameters(), 0.01)
    y = torch.tensor(targets).reshape(-1)
    for _ in range(20):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(peer(x).reshape(-1, V), y)
        loss.backward()
        optimizer.step()
    again = from_torch(peer.state_dict(), VOCABULARY)
    assert again.loss_and_gradient(ids, targets)[0] < loss.item()
    ours, _ = again.network.logits(ids)
    assert_close(peer(x).detach().numpy(), ours)


@pytest.mark.parametrize("num_layers", [1, 2])
@pytest.mark.parametrize("layer", RECURRENT)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_onnx_live(layer, num_layers, dtype, tmp_path):
    pytest.importorskip("onnx", reason="onnx is not installed")
    runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    model, ids, _ = made(num_layers, dtype, layer)
    model.parameters["dense.b"][0] = 1e-42  # a subnormal number in float32
    with np.errstate(all="raise"):
        to_onnx(model, tmp_path / "model.onnx")
    session = runtime.InferenceSession(tmp_path / "model.onnx")
    zeros = np.zeros((1, ids.shape[1], H), np.float32)
    letters = "hc" if layer == "lstm" else "h"
    states = {f"{s}{k}": zeros for s in letters for k in range(num_layers)}
    assert {i.name for i in session.get_inputs()} == {"ids", *states}
    names = [output.name for output in session.get_outputs()]
    found = dict(zip(names, session.run(None, {"ids": ids[:4], **states})))
    states = {name: found[f"{name}_next"] for name in states}
    (after,) = session.run(["logits"], {"ids": ids[4:], **states})
    ours, _ = model.network.logits(ids)
    np.testing.assert_allclose(np.concatenate([found["logits"], after]), ours, atol=1e-6)


@pytest.mark.parametrize("layer", ALL)
def test_layers_without_biases(layer):
    state = to_torch(made(2, layer=layer)[0])
    again = from_torch(
        {k: v for k, v in state.items() if "bias" not in k or "dense" in k}, VOCABULARY
    )
    for name, array in made(2, layer=layer)[0].parameters.items():
        if ".b" in name and "dense" not in name:
            assert not again.parameters[name].any()
        else:
            assert np.array_equal(again.parameters[name], array)


def state_without(*names, layer="lstm"):
    return {k: v for k, v in to_torch(made(1, layer=layer)[0]).items() if k not in names}


def gru():
    return to_keras(made(2, layer="gru")[0])


def torch_with(layer="lstm", **changes):
    return from_torch(state_without(layer=layer) | changes, VOCABULARY)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: from_keras(to_keras(made(1)[0])[:-1], VOCABULARY), "got 4 arrays"),
        (
            lambda: from_keras(to_keras(made(1)[0]), Vocabulary("abc")),
            "kernel of layer 0 .* vocabulary of 3",
        ),
        (lambda: from_keras([np.zeros(3)] * 5, VOCABULARY), "recurrent weights"),
        (
            lambda: from_keras([a[0] if len(a) == 2 else a for a in gru()], VOCABULARY),
            "reset_after=True",
        ),
        (
            lambda: from_keras(to_keras(made(2)[0])[:3] + gru()[3:], VOCABULARY),
            "bias of layer 1|kernel of layer 1",
        ),
        (lambda: from_keras([np.zeros((2, V, 12)), np.zeros(12)] * 3, VOCABULARY), "from_torch"),
        (lambda: from_torch({"w": np.zeros(3)}, VOCABULARY), "the arrays of one nn.LSTM"),
        (lambda: from_torch(state_without("dense.bias"), VOCABULARY), "dense.bias .* nothing"),
        (lambda: from_torch(state_without("lstm.weight_hh_l0"), VOCABULARY), "lstm.weight_hh_l0"),
        (lambda: torch_with(**{"lstm.weight_hh_l0": np.ones((9, 6))}), r"shapes \(9, 6\)"),
        (lambda: torch_with(**{"lstm.bias_hh_l0": np.zeros(1)}), r"bias_hh_l0 .* shape \(1,\)"),
        (
            lambda: torch_with(**{"dense.weight": np.zeros((11, 6))}),
            "expected float64 .* got float32",
        ),
        (lambda: torch_with(**{"lstm.weight_ih_l0_reverse": np.zeros((24, 11))}), "l0_reverse"),
        (
            lambda: torch_with("conv", **{"conv.0.weight": np.zeros((12, 11, 3))}),
            r"conv.0.weight .* \(12, 11, 3\)",
        ),
        (
            lambda: to_keras(made(1, layer="conv")[0]),
            "got conv; convert convolutions with to_torch",
        ),
        (
            lambda: to_onnx(made(1, layer="conv")[0], "never-written.onnx"),
            "got conv; convert convolutions with to_torch",
        ),
    ],
)
def test_errors_say_what_is_wrong(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_keras_weights_are_a_list():
    with pytest.raises(TypeError, match="the list of arrays that get_weights"):
        npchar.from_keras({}, VOCABULARY)
