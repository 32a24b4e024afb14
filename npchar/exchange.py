"""Weights to and from Keras 3 and PyTorch, as plain arrays; models to ONNX.

For larger models than NumPy can train. Neither library is imported here: Keras'
``set_weights`` and PyTorch's ``load_state_dict`` take these arrays as they are.

The equations are the same everywhere. What differs is the order of the gates, whether they
lie side by side in rows or in columns, and whether a gate has one bias or two. So all
functions pass through one form, a recurrent layer *by gate*: ``Wx`` (G, D, H), ``Wh``
(G, H, H) and ``b`` (G, 2, H), whose two biases are added to the products with x and with h₋;
G gates in our order. Where one bias would do, the second is zero.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from npchar.arrays import Array
from npchar.files import DTYPES
from npchar.model import Model
from npchar.network.network import Network, NetworkConfig
from npchar.text.vocabulary import Vocabulary


class Gates(NamedTuple):
    """How a recurrent layer lies elsewhere: its gates in their order there, by our numbers."""

    torch: list[int]
    keras: list[int]
    onnx: list[int]
    state: str = "h"  # the names of its arrays, a letter each
    attributes: Mapping[str, int] = {}  # of its node in ONNX


IFGO = [0, 1, 3, 2]  # an LSTM's gates are i, f, o, g here
IOFG = [0, 2, 1, 3]
RZN = [0, 1, 2]  # and a GRU's r, z, n
ZRN = [1, 0, 2]
GATES = {  # each order swaps two gates at most, so that it also leads back
    "lstm": Gates(torch=IFGO, keras=IFGO, onnx=IOFG, state="hc"),
    "gru": Gates(torch=RZN, keras=ZRN, onnx=ZRN, attributes={"linear_before_reset": 1}),
    "rnn": Gates(torch=[0], keras=[0], onnx=[0]),
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
    gates = gates_of(model, "Keras has no layer like these gated convolutions; use to_torch")
    arrays = []
    for weights in by_gate(model.network):
        kernel, recurrent, b = (side_by_side(array, gates.keras) for array in weights)
        arrays += [kernel, recurrent, b if model.network.config.layer == "gru" else b[0]]
    p = model.parameters
    return [*arrays, p["dense.W"].copy(), p["dense.b"].copy()]


def from_keras(weights: Sequence[Any], vocabulary: Vocabulary) -> Model:
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
    layer = layer_of(arrays[1], "the recurrent kernel of layer 0")
    named: dict[str, Array] = {}
    for k in range(layers):
        kernel, recurrent, b = arrays[3 * k : 3 * k + 3]
        if layer != "gru":
            b = np.stack([b, np.zeros_like(b)])
        elif b.ndim != 2 or len(b) != 2:
            raise ValueError(
                f"expected the biases of GRU {k} of the shape (2, 3H), got {b.shape}; make the "
                "layer with reset_after=True"
            )
        named |= by_name(layer, k, GATES[layer].keras, kernel, recurrent, b)
    return assembled(layer, named | {"dense.W": arrays[-2], "dense.b": arrays[-1]}, vocabulary)


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
        for k, weights in enumerate(by_gate(model.network)):
            Wx, Wh, b = (side_by_side(array, GATES[layer].torch) for array in weights)
            arrays[f"{layer}.weight_ih_l{k}"] = Wx.T.copy()  # (GH, D)
            arrays[f"{layer}.weight_hh_l{k}"] = Wh.T.copy()
            arrays[f"{layer}.bias_ih_l{k}"], arrays[f"{layer}.bias_hh_l{k}"] = b
    return arrays | {"dense.weight": p["dense.W"].T.copy(), "dense.bias": p["dense.b"].copy()}


def from_torch(state: Mapping[str, Any], vocabulary: Vocabulary) -> Model:
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
    arrays = {name: as_array(tensor) for name, tensor in state.items()}
    convolutions = any(array.ndim == 3 for array in arrays.values())
    layer, named = (take_convolutions if convolutions else take_recurrent)(arrays)
    if sorted(array.ndim for array in arrays.values()) != [1, 2]:
        raise ValueError(
            f"expected the weight and the bias of one nn.Linear beside the {layer} layers, got "
            f"{', '.join(arrays) or 'nothing'}; see npchar.to_torch for the module"
        )
    (W,), (b,) = ([a for a in arrays.values() if a.ndim == ndim] for ndim in (2, 1))
    return assembled(layer, named | {"dense.W": W.T, "dense.b": b}, vocabulary)


def take_recurrent(arrays: dict[str, Array]) -> tuple[str, dict[str, Array]]:
    """Take the arrays of an nn.LSTM, nn.GRU or nn.RNN out: its kind, and them as ours."""
    starts = [name.removesuffix("weight_ih_l0") for name in arrays if name.endswith("weight_ih_l0")]
    if len(starts) != 1:
        raise ValueError(
            "expected the arrays of one nn.LSTM, nn.GRU or nn.RNN, such as 'lstm.weight_ih_l0', "
            f"or of nn.Conv1d, and of one nn.Linear, got {', '.join(arrays)}"
        )
    start, nothing = starts[0], np.empty(())
    layer = layer_of(arrays.get(f"{start}weight_hh_l0", nothing), f"{start}weight_hh_l0")
    named: dict[str, Array] = {}
    k = 0
    while f"{start}weight_ih_l{k}" in arrays:
        Wx = arrays.pop(f"{start}weight_ih_l{k}")
        Wh = arrays.pop(f"{start}weight_hh_l{k}", nothing)
        b = np.stack([take_bias(arrays, f"{start}bias_{of}_l{k}", Wx) for of in ("ih", "hh")])
        named |= by_name(layer, k, GATES[layer].torch, Wx.T, Wh.T, b)
        k += 1
    return layer, named


def take_convolutions(arrays: dict[str, Array]) -> tuple[str, dict[str, Array]]:
    """Take the arrays of all nn.Conv1d out: their kind, and them as ours."""
    named: dict[str, Array] = {}
    names = [name for name, array in arrays.items() if array.ndim == 3]
    names.sort(key=lambda name: [int(number) for number in re.findall(r"\d+", name)])
    for k, name in enumerate(names):
        weight = arrays.pop(name)
        rows, D, width = weight.shape
        if rows % 2 or width != 2:
            raise ValueError(
                f"expected {name} of the shape (2H, D, 2), got {weight.shape}; make it "
                "nn.Conv1d(D, 2 * H, kernel_size=2)"
            )
        b = take_bias(arrays, name.removesuffix("weight") + "bias", weight)
        W = weight.reshape(2, rows // 2, D, 2)[..., ::-1]  # (2, H, D, 2)
        named |= {f"conv{k}.W": W.transpose(0, 3, 2, 1), f"conv{k}.b": b.reshape(2, -1)}
    return "conv", named


def take_bias(arrays: dict[str, Array], name: str, weight: Array) -> Array:
    """Take a bias for each row of the weights out; zeros where a layer has none."""
    zeros = np.zeros(weight.shape[:1], weight.dtype)
    bias = arrays.pop(name, zeros)
    if bias.shape != zeros.shape:
        raise ValueError(f"expected {name} of the shape {zeros.shape}, got {bias.shape}")
    return bias


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
    gates = gates_of(
        model, "ONNX's Conv takes no state; convert it with to_torch and export it with torch.onnx"
    )
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    network = model.network.astype("float32")
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
    for k, weights in enumerate(by_gate(network)):
        Wx, Wh, b = (side_by_side(array, gates.onnx) for array in weights)
        constants |= {f"W{k}": Wx.T[None], f"R{k}": Wh.T[None], f"B{k}": b.reshape(1, -1)}
        before = [f"{state}{k}" for state in gates.state]
        after = [f"{name}_next" for name in before]
        names = [f"x{k}", f"W{k}", f"R{k}", f"B{k}", "", *before]
        results = [f"y{k}", *after]  # y (T, 1, B, H): for one direction
        nodes += [
            helper.make_node(layer.upper(), names, results, hidden_size=H, **gates.attributes),
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


def gates_of(model: Model, instead: str) -> Gates:
    """The gates of a model's layers, if they are recurrent."""
    layer = model.network.config.layer
    if layer not in GATES:
        raise ValueError(f"expected a model of {', '.join(GATES)} layers, got {layer}: {instead}")
    return GATES[layer]


def layer_of(recurrent: Array, name: str) -> str:
    """The kind of layer that has these recurrent weights: (H, GH), or (GH, H)."""
    if recurrent.ndim == 2 and recurrent.size:
        short, long = sorted(recurrent.shape)
        for layer, gates in GATES.items():
            if long == len(gates.torch) * short:
                return layer
    raise ValueError(
        f"expected {name} of H by 4H numbers (LSTM), 3H (GRU) or H (plain RNN), got the shape "
        f"{recurrent.shape}; see npchar.to_keras and npchar.to_torch for the layers"
    )


def by_gate(network: Network) -> Iterator[tuple[Array, Array, Array]]:
    """Each recurrent layer by gate: Wx (G, D, H), Wh (G, H, H) and b (G, 2, H)."""
    for layer in network.layers:
        own, (D, H) = layer.arrays, layer.sizes
        bias = own["b"].reshape(-1, H)
        b = np.stack([bias, np.zeros_like(bias)], axis=1)
        b[-1, 1] = own.get("bq", 0)  # the second bias of a GRU's candidate
        yield own["Wx"].reshape(-1, D, H), own["Wh"].reshape(-1, H, H), b


def by_name(
    layer: str, k: int, order: list[int], Wx: Array, Wh: Array, b: Array
) -> dict[str, Array]:
    """Layer k's own arrays, of (D, GH), (H, GH) and (2, GH) with the gates in another order."""
    G = len(order)
    for name, array in (("Wx", Wx), ("Wh", Wh), ("b", b)):
        if array.ndim != 2 or not array.size or array.shape[1] % G:
            raise ValueError(
                f"expected {G} gates in the {name} of layer {k}, got the shape {array.shape}"
            )
    Wx, Wh, b = (np.stack(np.split(array, G, axis=1))[order] for array in (Wx, Wh, b))
    own = {"Wx": Wx, "Wh": Wh, "b": b[:, 0] + b[:, 1]}
    if layer == "gru":
        own["b"][-1], own["bq"] = b[-1]
    return {f"{layer}{k}.{name}": a if G > 1 else a[0] for name, a in own.items()}


def side_by_side(array: Array, order: list[int]) -> Array:
    """(G, ..., H) by gate as (..., GH), the gates in another order."""
    return np.concatenate(list(array[order]), axis=-1)


def as_array(tensor: Any) -> Array:
    """A tensor of PyTorch, also one with a gradient or of a type that NumPy has not."""
    if hasattr(tensor, "detach"):
        tensor = tensor.detach()
        tensor = tensor.float() if "bfloat16" in str(tensor.dtype) else tensor
    return np.asarray(tensor)


def assembled(layer: str, arrays: dict[str, Array], vocabulary: Vocabulary) -> Model:
    """A model of these arrays, if they are of one."""
    types = {str(array.dtype.newbyteorder("=")) for array in arrays.values()}
    if len(types) > 1 or not types <= {*DTYPES} or arrays["dense.W"].ndim != 2:
        raise ValueError(
            f"expected arrays of one type, float32 or float64, and Dense weights (H, V), got "
            f"{', '.join(sorted(types))} and the shape {arrays['dense.W'].shape}"
        )
    H, dtype = len(arrays["dense.W"]), types.pop()
    layers = len({name.split(".")[0] for name in arrays}) - 1  # all but dense
    network = Network(NetworkConfig(len(vocabulary), H, layers, 0.0, layer), dtype=dtype)
    model = Model.from_network(vocabulary, network)
    model.trained_on = None
    for name, array in model.parameters.items():
        if arrays[name].shape != array.shape:
            raise ValueError(
                f"expected {name} of the shape {array.shape} for a vocabulary of "
                f"{len(vocabulary)} and {H} hidden units, got {arrays[name].shape}; pass all "
                "arrays of one model and the vocabulary that it was trained with"
            )
        model.parameters[name] = arrays[name]
    return model
