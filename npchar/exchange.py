"""Weights to and from Keras 3 and PyTorch, as plain arrays; models to ONNX.

For larger models than NumPy can train. Neither library is imported here: Keras'
``set_weights`` and PyTorch's ``load_state_dict`` take these arrays as they are.

The equations are the same everywhere. The order of the gates differs, as do their axis and the
number of biases. `_export_layers` and `_import_layer` convert a recurrent layer, with the order of
gates in `GATES`. The importers compare all names and shapes with an export of the new model.
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

# The gates in the order of each library, by our numbers: i, f, o, g of an LSTM, r, z, n of a GRU.
# Each order swaps two gates at most, so that it is its own inverse.
GATES = {
    "torch": {"lstm": [0, 1, 3, 2], "gru": [0, 1, 2], "rnn": [0]},
    "keras": {"lstm": [0, 1, 3, 2], "gru": [1, 0, 2], "rnn": [0]},
    "onnx": {"lstm": [0, 2, 1, 3], "gru": [1, 0, 2], "rnn": [0]},
}


def to_keras(model: Model) -> list[Array]:
    """The weights as Keras 3 has them, for ``set_weights``.

    For a Sequential of an LSTM, GRU or SimpleRNN for each layer (with
    ``return_sequences=True``, but perhaps the last) and ``Dense(V)``, whose input is
    one-hot: (B, T, V).

    Returns
    -------
    list of Array
        A layer's kernel (D, GH), recurrent kernel (H, GH) and bias (GH,), or (2, 3H) of a
        GRU, for each layer, where G is 4 for an LSTM, 3 for a GRU and 1 for a SimpleRNN; the
        Dense kernel (H, V) and bias (V,).

    Raises
    ------
    ValueError
        For a model of convolutions.

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
    """The model with the weights of Keras 3's ``get_weights``, as `to_keras` describes them.

    The layers must have Keras' default activations (tanh, and sigmoid for the gates), and
    a GRU its default ``reset_after=True``.

    Parameters
    ----------
    weights
        The list that ``get_weights`` returns.
    vocabulary
        What the model was trained with, V symbols.

    Raises
    ------
    ValueError
        Unless they are the weights of layers of one kind and a Dense layer, for this vocabulary.

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
            "expected three arrays for each LSTM, GRU or SimpleRNN and two for the Dense layer "
            f"above, got {len(arrays)} arrays; pass all that get_weights() returns, and take "
            "convolutions from PyTorch, with from_torch"
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
    """The weights as PyTorch has them, for ``load_state_dict`` with ``torch.from_numpy``.

    For a module with ``lstm = nn.LSTM(V, H, num_layers)``, or ``gru = nn.GRU(...)``, or
    ``rnn = nn.RNN(...)``, and ``dense = nn.Linear(H, V)``. PyTorch has two biases for a gate;
    where one would do, the second is zero.

    Convolutions are for ``conv = nn.ModuleList(...)`` of an
    ``nn.Conv1d(D, 2 * H, kernel_size=2, dilation=d)`` for each layer k, with
    ``d = 2 ** (k % 10)``. Its output for ``x``, (B, D, T), is:

        y = F.glu(self.conv[k](F.pad(x, (d, 0))), dim=1)
        x = x + y if k else y

    Returns
    -------
    dict of str to Array
        By PyTorch's names: ``weight_ih_lK`` (GH, D), ``weight_hh_lK`` (GH, H) and two biases (GH,)
        for each layer K, where G is 4 for an LSTM, 3 for a GRU and 1 for an RNN; ``dense.weight``
        (V, H) and ``dense.bias`` (V,).

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
            W = W.transpose(0, 3, 2, 1)[..., ::-1]  # (2, H, D, 2): there the input before is first
            arrays[f"conv.{k}.weight"] = W.reshape(-1, *W.shape[2:]).copy()  # (2H, D, 2)
            arrays[f"conv.{k}.bias"] = b.flatten()
    else:
        for k, (Wx, Wh, b) in enumerate(_export_layers(model.network, "torch")):
            arrays[f"{layer}.weight_ih_l{k}"] = Wx.T.copy()  # (GH, D)
            arrays[f"{layer}.weight_hh_l{k}"] = Wh.T.copy()
            arrays[f"{layer}.bias_ih_l{k}"], arrays[f"{layer}.bias_hh_l{k}"] = b
    return arrays | {"dense.weight": p["dense.W"].T.copy(), "dense.bias": p["dense.b"].copy()}


def from_torch(state: Mapping[str, ArrayLike], vocabulary: Vocabulary) -> Model:
    """The model with the weights of a PyTorch ``state_dict``.

    Of a module with one ``nn.LSTM``, ``nn.GRU`` or ``nn.RNN`` (with tanh), not bidirectional
    and without projection, or with convolutions as `to_torch` describes them; and one
    ``nn.Linear`` above, whatever their names. Convolutions are taken in the order of the
    numbers in their names.

    Parameters
    ----------
    state
        The arrays, or tensors, by name.
    vocabulary
        What the model was trained with, V symbols.

    Raises
    ------
    ValueError
        Unless they are the weights of such a module, for this vocabulary.

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
    arrays: dict[str, Array] = {}  # by the names of `to_torch`, "recurrent" for the kind of layer
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
    """Write the model for ONNX runtimes; needs the package ``onnx``: pip install "npchar[onnx]".

    The file is in float32, also for a float64 model: runtimes have no recurrent layers in float64.
    Inputs are ``ids`` (T, B) int64, and for each layer K the state before, ``hK`` and of an
    LSTM ``cK`` (1, B, H); outputs ``logits`` (T, B, V) and the state after, ``hK_next`` and
    ``cK_next``.

    Parameters
    ----------
    model
        Of LSTM, GRU or plain recurrent layers.
    path
        Where, as in "model.onnx".

    Raises
    ------
    ValueError
        For a model of convolutions.

    Examples
    --------
    >>> model = npchar.Model(npchar.Vocabulary("abc"), hidden_size=4)
    >>> npchar.to_onnx(model, "model.onnx")  # doctest: +SKIP

    It needs the package onnx; with it, any ONNX runtime runs the file:

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
    """Each recurrent layer with the gates of a library side by side: (D, GH), (H, GH), (2, GH)."""
    orders, kind = GATES[library], network.config.layer
    if kind not in orders:
        raise ValueError(
            f"expected a model of {', '.join(orders)} layers, got {kind}: only to_torch converts "
            "convolutions"
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
            "expected recurrent weights of H by 4H numbers (LSTM), 3H (GRU) or H (plain RNN), got "
            f"the shape {shape}, with Dense weights of H by V numbers in float32 or float64, got "
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
    """Raise a ValueError that names the first array of another shape or type, if there is one."""
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
    """A tensor of PyTorch, also one with a gradient or of a type that NumPy has not."""
    if hasattr(tensor, "detach"):
        tensor = tensor.detach()
        tensor = tensor.float() if "bfloat16" in str(tensor.dtype) else tensor
    return np.asarray(tensor)
