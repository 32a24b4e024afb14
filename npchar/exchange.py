"""Weights to and from Keras 3 and PyTorch, as plain arrays; models to ONNX.

For larger models than NumPy can train. Neither library is imported here: Keras'
``set_weights`` and PyTorch's ``load_state_dict`` take these arrays as they are.
What differs is the order of the gates (i, f, o, g here; i, f, g, o there; i, o, f, g
in ONNX) and whether they lie side by side in rows or in columns.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from npchar.arrays import Array
from npchar.model import Model
from npchar.text.vocabulary import Vocabulary

IFGO = [0, 1, 3, 2]  # our gates in the order of Keras and PyTorch; and the other way round
IOFG = [0, 2, 1, 3]  # and of ONNX


def to_keras(model: Model) -> list[Array]:
    """The weights as Keras 3 has them, for ``set_weights``.

    For a Sequential of an LSTM for each layer (with ``return_sequences=True``, but
    perhaps the last) and ``Dense(V)``, whose input is one-hot: (B, T, V).

    Returns
    -------
    list of Array
        A layer's kernel (D, 4H), recurrent kernel (H, 4H) and bias (4H,), for each
        layer; the Dense kernel (H, V) and bias (V,).
    """
    p = model.parameters
    arrays = [
        side_by_side(p[f"lstm{k}.{name}"], IFGO)
        for k in range(model.network.sizes.num_layers)
        for name in ("Wx", "Wh", "b")
    ]
    return [*arrays, p["dense.W"].copy(), p["dense.b"].copy()]


def from_keras(weights: Sequence[Any], vocabulary: Vocabulary) -> Model:
    """The model with the weights of Keras 3's ``get_weights``, as `to_keras` describes them.

    The LSTMs must have Keras' usual activations: tanh, and sigmoid for the gates.
    """
    if not isinstance(weights, Sequence):
        raise TypeError(
            f"expected the list of arrays that get_weights() returns, got {type(weights).__name__}"
        )
    arrays = [np.asarray(array) for array in weights]
    layers, rest = divmod(len(arrays) - 2, 3)
    if layers < 1 or rest:
        raise ValueError(
            "expected three arrays for each LSTM and two for the Dense layer above, as "
            f"get_weights() returns them, got {len(arrays)} arrays"
        )
    named = {}
    for k in range(layers):
        for name, array in zip(("Wx", "Wh", "b"), arrays[3 * k :]):
            named[f"lstm{k}.{name}"] = one_by_one(array, f"{name} of LSTM {k}")
    return assembled(named | {"dense.W": arrays[-2], "dense.b": arrays[-1]}, vocabulary)


def to_torch(model: Model) -> dict[str, Array]:
    """The weights as PyTorch has them, for ``load_state_dict`` with ``torch.from_numpy``.

    For a module with ``lstm = nn.LSTM(V, H, num_layers)`` and ``dense = nn.Linear(H, V)``.
    PyTorch has two biases for a gate where one would do: the second is zero.
    """
    p = model.parameters
    arrays: dict[str, Array] = {}
    for k in range(model.network.sizes.num_layers):
        Wx, Wh, b = (side_by_side(p[f"lstm{k}.{name}"], IFGO) for name in ("Wx", "Wh", "b"))
        arrays |= {
            f"lstm.weight_ih_l{k}": np.ascontiguousarray(Wx.T),  # (4H, D)
            f"lstm.weight_hh_l{k}": np.ascontiguousarray(Wh.T),
            f"lstm.bias_ih_l{k}": b,
            f"lstm.bias_hh_l{k}": np.zeros_like(b),
        }
    dense = {"dense.weight": np.ascontiguousarray(p["dense.W"].T), "dense.bias": p["dense.b"]}
    return arrays | {name: array.copy() for name, array in dense.items()}


def from_torch(state: Mapping[str, Any], vocabulary: Vocabulary) -> Model:
    """The model with the weights of a PyTorch ``state_dict``.

    Of a module with one ``nn.LSTM``, not bidirectional and without projection, and one
    ``nn.Linear`` above it, whatever their names.
    """
    arrays = {name: as_array(tensor) for name, tensor in state.items()}
    starts = [name.removesuffix("weight_ih_l0") for name in arrays if name.endswith("weight_ih_l0")]
    if len(starts) != 1:
        raise ValueError(
            "expected the arrays of one nn.LSTM, such as 'lstm.weight_ih_l0', and of one "
            f"nn.Linear, got {', '.join(arrays)}"
        )
    named = {}
    k = 0
    while f"{starts[0]}weight_ih_l{k}" in arrays:
        Wx = arrays.pop(f"{starts[0]}weight_ih_l{k}")
        Wh = arrays.pop(f"{starts[0]}weight_hh_l{k}", np.empty(()))
        b = np.zeros(Wx.shape[:1], Wx.dtype)
        for kind in ("ih", "hh"):  # an LSTM with bias=False has none
            bias = arrays.pop(f"{starts[0]}bias_{kind}_l{k}", b)
            if bias.shape != b.shape:
                raise ValueError(
                    f"expected bias_{kind}_l{k} of the shape {b.shape}, got {bias.shape}"
                )
            b = b + bias
        for name, array in (("Wx", Wx.T), ("Wh", Wh.T), ("b", b)):
            named[f"lstm{k}.{name}"] = one_by_one(array, f"{name} of layer {k} of the nn.LSTM")
        k += 1
    shapes = {name: array.ndim for name, array in arrays.items()}
    if sorted(shapes.values()) != [1, 2]:
        raise ValueError(
            "expected the weight and the bias of one nn.Linear beside the LSTM, got "
            f"{', '.join(arrays) or 'nothing'}"
        )
    (W,), (b,) = ([a for a in arrays.values() if a.ndim == ndim] for ndim in (2, 1))
    return assembled(named | {"dense.W": W.T, "dense.b": b}, vocabulary)


def to_onnx(model: Model, path: str | os.PathLike[str]) -> None:
    """Write the model for ONNX runtimes; needs the package ``onnx``: pip install "npchar[onnx]".

    Inputs are ``ids`` (T, B) int64, and for each layer K the state before, ``hK`` and
    ``cK`` (1, B, H); outputs ``logits`` (T, B, V) and the state after, ``hK_next`` and
    ``cK_next``.
    """
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    p, (V, H, layers, *_) = model.parameters, model.network.sizes
    kind = helper.np_dtype_to_tensor_dtype(p.flat.dtype)
    constants = {
        "depth": np.array(V),
        "off_on": np.array([0, 1], p.flat.dtype),
        "axis": np.array([1]),
        "dense.W": p["dense.W"],
        "dense.b": p["dense.b"],
    }
    inputs = [helper.make_tensor_value_info("ids", TensorProto.INT64, ["T", "B"])]
    outputs = [helper.make_tensor_value_info("logits", kind, ["T", "B", V])]
    nodes = [helper.make_node("OneHot", ["ids", "depth", "off_on"], ["x0"])]
    for k in range(layers):
        for name, ours in (("W", "Wx"), ("R", "Wh")):
            gates = p[f"lstm{k}.{ours}"][IOFG]  # (4, D, H)
            constants[f"{name}{k}"] = gates.swapaxes(1, 2).reshape(1, 4 * H, -1)
        b = p[f"lstm{k}.b"][IOFG].reshape(1, -1)
        constants[f"B{k}"] = np.concatenate([b, np.zeros_like(b)], axis=1)
        names = [f"x{k}", f"W{k}", f"R{k}", f"B{k}", "", f"h{k}", f"c{k}"]
        results = [f"y{k}", f"h{k}_next", f"c{k}_next"]  # y (T, 1, B, H): for one direction
        nodes.append(helper.make_node("LSTM", names, results, hidden_size=H))
        nodes.append(helper.make_node("Squeeze", [f"y{k}", "axis"], [f"x{k + 1}"]))
        for state in ("h", "c"):
            inputs.append(helper.make_tensor_value_info(f"{state}{k}", kind, [1, "B", H]))
            outputs.append(helper.make_tensor_value_info(f"{state}{k}_next", kind, [1, "B", H]))
    nodes.append(helper.make_node("MatMul", [f"x{layers}", "dense.W"], ["products"]))
    nodes.append(helper.make_node("Add", ["products", "dense.b"], ["logits"]))
    initial = [numpy_helper.from_array(np.ascontiguousarray(a), n) for n, a in constants.items()]
    graph = helper.make_graph(nodes, "npchar", inputs, outputs, initial)
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), os.fspath(path))


def as_array(tensor: Any) -> Array:
    """A tensor of PyTorch, also one with a gradient or of a type that NumPy has not."""
    if hasattr(tensor, "detach"):
        tensor = tensor.detach()
        tensor = tensor.float() if "bfloat16" in str(tensor.dtype) else tensor
    return np.asarray(tensor)


def side_by_side(array: Array, order: list[int]) -> Array:
    """(4, ..., H) by gate as (..., 4H), the gates in another order."""
    return np.concatenate(list(array[order]), axis=-1)


def one_by_one(array: Array, name: str) -> Array:
    """(..., 4H) of Keras or PyTorch as (4, ..., H), in our order."""
    if not array.ndim or not array.size or array.shape[-1] % 4:
        raise ValueError(f"expected 4 gates in the {name}, got the shape {array.shape}")
    return np.stack(np.split(array, 4, axis=-1))[IFGO]


def assembled(arrays: dict[str, Array], vocabulary: Vocabulary) -> Model:
    """A model of these arrays, if they are of one."""
    types = {array.dtype.newbyteorder("=") for array in arrays.values()}
    if len(types) > 1 or arrays["dense.W"].ndim != 2:
        raise ValueError(
            f"expected arrays of one type and Dense weights (H, V), got the types "
            f"{', '.join(sorted(map(str, types)))} and the shape {arrays['dense.W'].shape}"
        )
    dtype = str(types.pop())
    model = Model(
        vocabulary,
        hidden_size=arrays["dense.W"].shape[0],
        num_layers=(len(arrays) - 2) // 3,
        dtype=dtype,
    )
    for name, array in model.parameters.items():
        if arrays[name].shape != array.shape:
            raise ValueError(
                f"expected {name} of the shape {array.shape} for a vocabulary of "
                f"{len(vocabulary)} and {model.network.sizes.hidden_size} hidden units, got "
                f"{arrays[name].shape}"
            )
        model.parameters[name] = arrays[name]
    return model
