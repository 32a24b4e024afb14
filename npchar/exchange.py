"""Converts weights to and from Keras 3 and PyTorch, and models to ONNX.

These conversions are useful for models that are too large to train with NumPy. The weights are
plain arrays for ``set_weights`` of Keras and ``load_state_dict`` of PyTorch, which are not imported
here.

The equations of the layers are the same in all libraries. The order and the axis of the gates and
the number of biases differ. `_export_layers` and `_import_layer` convert a recurrent layer; `GATES`
has the orders of the gates. The importers compare all names and shapes with an export of the new
model.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from npchar.arrays import Array
from npchar.files import DTYPES
from npchar.model import Model
from npchar.network.network import Network, NetworkConfig
from npchar.text.vocabulary import Vocabulary

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

# The order of gates in each library, as indices of the order here (i, f, o, g or r, z, n). Each
# order swaps at most two gates, so it is its own inverse.
GATES = {
    "torch": {"lstm": [0, 1, 3, 2], "gru": [0, 1, 2], "rnn": [0]},
    "keras": {"lstm": [0, 1, 3, 2], "gru": [1, 0, 2], "rnn": [0]},
    "onnx": {"lstm": [0, 2, 1, 3], "gru": [1, 0, 2], "rnn": [0]},
}


def to_keras(model: Model) -> list[Array]:
    """Convert the weights of a model for ``set_weights`` of Keras 3.

    The Keras model is a Sequential with an LSTM, GRU or SimpleRNN per layer and a ``Dense(V)``. All
    recurrent layers except the last need ``return_sequences=True``. The input is one-hot, (B, T,
    V).

    Returns
    -------
    list of Array
        For each layer, the kernel (D, GH), the recurrent kernel (H, GH) and the bias, (GH,) or
        (2, 3H) for a GRU. G is 4 for an LSTM, 3 for a GRU and 1 for a SimpleRNN. The last two
        arrays are the Dense kernel (H, V) and bias (V,).

    Raises
    ------
    ValueError
        If the model has convolutions.

    Examples
    --------
    >>> model = npchar.Model(npchar.Vocabulary("abc"), hidden_size=4)
    >>> [array.shape for array in npchar.to_keras(model)]
    [(3, 16), (4, 16), (16,), (4, 3), (3,)]
    """
    arrays = []
    for kernel, recurrent, b in _export_layers(model.network, "keras"):
        arrays += [kernel, recurrent, b if model.network.config.layer == "gru" else b[0]]
    p = model.parameters
    return [*arrays, p["dense.W"].copy(), p["dense.b"].copy()]


def from_keras(weights: Sequence[ArrayLike], vocabulary: Vocabulary) -> Model:
    """Create a model from the weights of a Keras 3 model.

    The Keras model must have the structure described in `to_keras`, the default activations (tanh,
    and sigmoid for gates), and for a GRU the default ``reset_after=True``.

    Parameters
    ----------
    weights
        The result of ``get_weights``.
    vocabulary
        The vocabulary of the model, V symbols.

    Raises
    ------
    ValueError
        If the weights do not belong to such a model, or do not fit the vocabulary.
    TypeError
        If `weights` is not a sequence.

    Examples
    --------
    >>> model = npchar.Model(npchar.Vocabulary("abc"), hidden_size=4)
    >>> same = npchar.from_keras(npchar.to_keras(model), model.vocabulary)
    >>> np.array_equal(same.parameters.flat, model.parameters.flat)
    True
    """
    if not isinstance(weights, Sequence):
        raise TypeError(
            f"expected the list of arrays that get_weights() returns, got {type(weights).__name__}"
        )
    arrays = [np.asarray(array) for array in weights]
    layers, rest = divmod(len(arrays) - 2, 3)
    if layers < 1 or rest:
        raise ValueError(
            "expected three arrays for each LSTM, GRU or SimpleRNN and two for the Dense layer, "
            f"got {len(arrays)} arrays; pass the whole result of get_weights(), and import "
            "convolutions from PyTorch with from_torch"
        )
    model = _new_model(vocabulary, arrays[1].T, layers, arrays[-2].T)
    kinds = ("kernel", "recurrent kernel", "bias")
    names = [f"the {kind} of layer {k}" for k in range(layers) for kind in kinds]
    names += ["the Dense kernel", "the Dense bias"]
    expected = dict(zip(names, to_keras(model)))
    advice = "pass the weights of layers of one kind, a GRU's with reset_after=True"
    _require_arrays(dict(zip(names, arrays)), expected, vocabulary, advice)
    for k in range(layers):
        kernel, recurrent, b = arrays[3 * k : 3 * k + 3]
        _import_layer(model.network, k, "keras", kernel, recurrent, b)
    model.parameters["dense.W"], model.parameters["dense.b"] = arrays[-2:]
    return model


def to_torch(model: Model) -> dict[str, Array]:
    """Convert the weights of a model for ``load_state_dict`` of PyTorch.

    Convert the arrays with ``torch.from_numpy``. The module has ``lstm = nn.LSTM(V, H,
    num_layers)``, ``gru = nn.GRU(...)`` or ``rnn = nn.RNN(...)``, and ``dense = nn.Linear(H, V)``.
    PyTorch has two biases per gate. If one bias is enough, the second is zero.

    For convolutions, the module has ``conv = nn.ModuleList(...)`` with an
    ``nn.Conv1d(D, 2 * H, kernel_size=2, dilation=d)`` for each layer k, where
    ``d = 2 ** (k % 10)``. The output of layer k for ``x``, (B, D, T), is:

        y = F.glu(self.conv[k](F.pad(x, (d, 0))), dim=1)
        x = x + y if k else y

    Returns
    -------
    dict of str to Array
        Arrays by their names in PyTorch. Each recurrent layer K has ``weight_ih_lK`` (GH, D),
        ``weight_hh_lK`` (GH, H) and two biases (GH,), where G is 4 for an LSTM, 3 for a GRU and 1
        for an RNN. Each convolution k has ``conv.k.weight`` (2H, D, 2) and ``conv.k.bias`` (2H,).
        The output layer has ``dense.weight`` (V, H) and ``dense.bias`` (V,).

    Examples
    --------
    >>> model = npchar.Model(npchar.Vocabulary("abc"), hidden_size=4)
    >>> list(npchar.to_torch(model))[:2]
    ['lstm.weight_ih_l0', 'lstm.weight_hh_l0']
    """
    p, layer = model.parameters, model.network.config.layer
    arrays = {}
    if layer == "conv":
        for k, (W, b) in enumerate(each.arrays.values() for each in model.network.layers):
            W = W.transpose(0, 3, 2, 1)[..., ::-1]  # (2, H, D, 2): PyTorch has the old input first
            arrays[f"conv.{k}.weight"] = W.reshape(-1, *W.shape[2:]).copy()  # (2H, D, 2)
            arrays[f"conv.{k}.bias"] = b.flatten()
    else:
        for k, (Wx, Wh, b) in enumerate(_export_layers(model.network, "torch")):
            arrays[f"{layer}.weight_ih_l{k}"] = Wx.T.copy()  # (GH, D)
            arrays[f"{layer}.weight_hh_l{k}"] = Wh.T.copy()
            arrays[f"{layer}.bias_ih_l{k}"], arrays[f"{layer}.bias_hh_l{k}"] = b
    return arrays | {"dense.weight": p["dense.W"].T.copy(), "dense.bias": p["dense.b"].copy()}


def from_torch(state: Mapping[str, ArrayLike], vocabulary: Vocabulary) -> Model:
    """Create a model from the ``state_dict`` of a PyTorch module.

    The module must have one ``nn.Linear`` as output layer, and either one ``nn.LSTM``, ``nn.GRU``
    or ``nn.RNN`` (with tanh, not bidirectional, without projection) or convolutions as described
    in `to_torch`. The names of these modules do not matter. Convolutions are sorted by the numbers
    in their names.

    Parameters
    ----------
    state
        Arrays or tensors by name.
    vocabulary
        The vocabulary of the model, V symbols.

    Raises
    ------
    ValueError
        If the weights do not belong to such a module, or do not fit the vocabulary.

    Examples
    --------
    >>> model = npchar.Model(npchar.Vocabulary("abc"), layer="gru", hidden_size=4)
    >>> same = npchar.from_torch(npchar.to_torch(model), model.vocabulary)
    >>> np.array_equal(same.parameters.flat, model.parameters.flat)
    True
    """
    tensors = {name: _as_array(tensor) for name, tensor in state.items()}
    convolutions = [name for name, array in tensors.items() if array.ndim == 3]
    convolutions.sort(key=lambda name: [int(number) for number in re.findall(r"\d+", name)])
    modules = {name.rpartition(".")[0]: f"conv.{k}" for k, name in enumerate(convolutions)}
    arrays: dict[str, Array] = {}  # by the names of `to_torch`, with "recurrent" for "lstm" etc.
    for name, array in tensors.items():
        module, _, kind = name.rpartition(".")
        module = "recurrent" if "_l" in kind else modules.get(module, "dense")
        arrays[f"{module}.{kind}"] = array
    recurrent = arrays.get("recurrent.weight_hh_l0")
    is_module = (recurrent is None) == bool(convolutions) and "dense.weight" in arrays
    if not is_module or len(arrays) < len(tensors):
        raise ValueError(
            "expected the arrays of one nn.LSTM, nn.GRU or nn.RNN, such as 'lstm.weight_hh_l0', or "
            f"of nn.Conv1d, and of one nn.Linear, got {', '.join(tensors) or 'nothing'}"
        )
    layers = len(convolutions) or len(re.findall(r"weight_ih_l\d+\b", " ".join(arrays)))
    model = _new_model(vocabulary, recurrent, layers, arrays["dense.weight"])
    layer = model.network.config.layer
    arrays = {name.replace("recurrent", layer): array for name, array in arrays.items()}
    expected = to_torch(model)
    for name, array in expected.items():
        if "bias" in name and "dense" not in name:  # layers may have no biases
            arrays.setdefault(name, np.zeros_like(array))
    _require_arrays(arrays, expected, vocabulary, "see npchar.to_torch for the module")
    for k in range(layers):
        if convolutions:
            W, b = arrays[f"conv.{k}.weight"], arrays[f"conv.{k}.bias"]
            W = W.reshape(2, -1, *W.shape[1:])[..., ::-1]  # (2, H, D, 2)
            model.parameters[f"conv{k}.W"] = W.transpose(0, 3, 2, 1)
            model.parameters[f"conv{k}.b"] = b.reshape(2, -1)
        else:
            Wx, Wh = (arrays[f"{layer}.weight_{kind}_l{k}"].T for kind in ("ih", "hh"))
            b = np.stack([arrays[f"{layer}.bias_{kind}_l{k}"] for kind in ("ih", "hh")])
            _import_layer(model.network, k, "torch", Wx, Wh, b)
    model.parameters["dense.W"] = arrays["dense.weight"].T
    model.parameters["dense.b"] = arrays["dense.bias"]
    return model


def to_onnx(model: Model, path: str | os.PathLike[str]) -> None:
    """Write a model to an ONNX file. This needs ``pip install onnx``.

    The weights are float32, because ONNX runtimes do not support recurrent layers in float64. The
    inputs are ``ids`` (T, B), int64, and the initial state of each layer K, (1, B, H): ``hK``, and
    ``cK`` for an LSTM. The outputs are ``logits`` (T, B, V) and the final states, ``hK_next`` and
    ``cK_next``.

    Parameters
    ----------
    model
        A model of LSTM, GRU or plain recurrent layers.
    path
        The path of the file, such as "model.onnx".

    Raises
    ------
    ValueError
        If the model has convolutions.

    Examples
    --------
    >>> model = npchar.Model(npchar.Vocabulary("abc"), hidden_size=4)
    >>> npchar.to_onnx(model, "model.onnx")  # doctest: +SKIP

    Any ONNX runtime runs the file:

    >>> import onnxruntime  # doctest: +SKIP
    >>> session = onnxruntime.InferenceSession("model.onnx")  # doctest: +SKIP
    >>> [output.name for output in session.get_outputs()]  # doctest: +SKIP
    ['logits', 'h0_next', 'c0_next']
    """
    network = model.network.astype("float32")
    layer_weights = _export_layers(network, "onnx")
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    p, (V, H, layers, _, layer, _) = network.parameters, network.config
    kind = TensorProto.FLOAT
    constants = {
        "depth": np.array(V),
        "off_on": np.array([0, 1], np.float32),
        "axis": np.array([1]),
        "dense.W": p["dense.W"],
        "dense.b": p["dense.b"],
    }
    inputs = [helper.make_tensor_value_info("ids", TensorProto.INT64, ["T", "B"])]
    outputs = [helper.make_tensor_value_info("logits", kind, ["T", "B", V])]
    nodes = [helper.make_node("OneHot", ["ids", "depth", "off_on"], ["x0"])]
    attributes = {"hidden_size": H} | ({"linear_before_reset": 1} if layer == "gru" else {})
    for k, (Wx, Wh, b) in enumerate(layer_weights):
        constants |= {f"W{k}": Wx.T[None], f"R{k}": Wh.T[None], f"B{k}": b.reshape(1, -1)}
        before = [f"{state}{k}" for state in ("hc" if layer == "lstm" else "h")]
        after = [f"{name}_next" for name in before]
        names = [f"x{k}", f"W{k}", f"R{k}", f"B{k}", "", *before]
        results = [f"y{k}", *after]  # y (T, 1, B, H): for one direction
        nodes += [
            helper.make_node(layer.upper(), names, results, **attributes),
            helper.make_node("Squeeze", [f"y{k}", "axis"], [f"x{k + 1}"]),
        ]
        inputs += [helper.make_tensor_value_info(name, kind, [1, "B", H]) for name in before]
        outputs += [helper.make_tensor_value_info(name, kind, [1, "B", H]) for name in after]
    nodes.append(helper.make_node("MatMul", [f"x{layers}", "dense.W"], ["products"]))
    nodes.append(helper.make_node("Add", ["products", "dense.b"], ["logits"]))
    initial = [numpy_helper.from_array(np.ascontiguousarray(a), n) for n, a in constants.items()]
    graph = helper.make_graph(nodes, "npchar", inputs, outputs, initial)
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), os.fspath(path))


def _export_layers(network: Network, library: str) -> list[tuple[Array, Array, Array]]:
    """The weights of each recurrent layer in the format of a library, with gates side by side.

    The shapes are (D, GH), (H, GH) and (2, GH).
    """
    orders, kind = GATES[library], network.config.layer
    if kind not in orders:
        raise ValueError(
            f"expected a model of {', '.join(orders)} layers, got {kind}; convert convolutions "
            "with to_torch"
        )
    layers = []
    for layer in network.layers:
        weights, (D, H) = layer.arrays, layer.sizes
        bias = weights["b"].reshape(-1, H)
        b = np.stack([bias, np.zeros_like(bias)], axis=1)  # (G, 2, H)
        b[-1, 1] = weights.get("bq", 0)  # the second bias of a GRU's candidate
        by_gate = (weights["Wx"].reshape(-1, D, H), weights["Wh"].reshape(-1, H, H), b)
        Wx, Wh, b = (np.concatenate(list(array[orders[kind]]), axis=-1) for array in by_gate)
        layers.append((Wx, Wh, b))
    return layers


def _import_layer(network: Network, k: int, library: str, Wx: Array, Wh: Array, b: Array) -> None:
    """Set the weights of recurrent layer k from (D, GH), (H, GH) and (GH,) or (2, GH)."""
    order, weights = GATES[library][network.config.layer], network.layers[k].arrays
    Wx, Wh, b = (np.stack(np.split(array, len(order), axis=-1))[order] for array in (Wx, Wh, b))
    for name, array in (("Wx", Wx), ("Wh", Wh), ("b", b if b.ndim == 2 else b.sum(axis=1))):
        weights[name][...] = array.reshape(weights[name].shape)
    if "bq" in weights:
        weights["b"][-1], weights["bq"][...] = b[-1]


def _new_model(vocabulary: Vocabulary, recurrent: Array | None, layers: int, dense: Array) -> Model:
    """A model for recurrent weights, (GH, H), or None for convolutions, and dense weights."""
    H, dtype = dense.shape[-1] if dense.ndim == 2 else 0, str(dense.dtype.newbyteorder("="))
    kinds = {4 * H * H: "lstm", 3 * H * H: "gru", H * H: "rnn"}
    layer = "conv" if recurrent is None else kinds.get(recurrent.size)
    if layer is None or not H or dtype not in DTYPES:
        shape = None if recurrent is None else recurrent.shape
        raise ValueError(
            "expected recurrent weights of H by 4H (LSTM), 3H (GRU) or H (plain RNN) numbers and "
            f"float32 or float64 Dense weights of H by V numbers, got the shapes {shape} and "
            f"{dense.shape} in {dtype}; see npchar.to_keras and npchar.to_torch for the layers"
        )
    model = Model.from_network(
        vocabulary, Network(NetworkConfig(len(vocabulary), H, layers, 0.0, layer), dtype=dtype)
    )
    model.trained_on = None
    return model


def _require_arrays(
    arrays: dict[str, Array], expected: dict[str, Array], vocabulary: Vocabulary, advice: str
) -> None:
    """Raise a ValueError if an array has another shape or dtype, and name the first such array."""
    for name in expected | arrays:
        described = [
            f"{a[name].dtype.newbyteorder('=')} of the shape {a[name].shape}"
            if name in a
            else "nothing"
            for a in (expected, arrays)
        ]
        if described[0] != described[1]:
            raise ValueError(
                f"expected {described[0]} for {name} and a vocabulary of {len(vocabulary)}, got "
                f"{described[1]}; {advice}"
            )


def _as_array(tensor: Any) -> Array:
    """Convert a PyTorch tensor to an array, also with a gradient or in bfloat16."""
    if hasattr(tensor, "detach"):
        tensor = tensor.detach()
        tensor = tensor.float() if "bfloat16" in str(tensor.dtype) else tensor
    return np.asarray(tensor)
