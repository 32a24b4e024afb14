"""The same network in Keras and in PyTorch, as independent references.

The tests use these functions if the libraries are installed. ``make_golden.py`` uses them to
write the committed values. Weights and gradients have npchar's names and shapes.
"""

from __future__ import annotations

import numpy as np

# npchar orders the gates of an LSTM as i, f, o, g, Keras as i, f, g, o, and PyTorch as i, f, g,
# o. The gates of a GRU are r, z, n in npchar and PyTorch, and z, r, h in Keras. Each permutation
# is its own inverse.
KERAS_ORDER = {"lstm": [0, 1, 3, 2], "gru": [1, 0, 2], "rnn": [0]}
TORCH_ORDER = {"lstm": [0, 1, 3, 2], "gru": [0, 1, 2], "rnn": [0]}


def shapes(layer: str, D: int, H: int):
    """The shapes of a layer's arrays."""
    if layer == "conv":
        return {"W": (2, 2, D, H), "b": (2, H)}
    gates = {"lstm": (4,), "gru": (3,), "rnn": ()}[layer]
    found = {"Wx": (*gates, D, H), "Wh": (*gates, H, H), "b": (*gates, H)}
    return found | {"bq": (H,)} if layer == "gru" else found


def random_case(num_layers: int, targets: str, seed: int = 7, layer: str = "lstm"):
    """Distinct random weights and a batch, with V 11, H 6, T 9, B 4."""
    V, H, T, B = 11, 6, 9, 4
    rng = np.random.default_rng(seed)
    weights = {}
    for k in range(num_layers):
        for name, shape in shapes(layer, V if k == 0 else H, H).items():
            weights[f"{layer}{k}.{name}"] = rng.normal(0, 0.5, shape)
    weights["dense.W"] = rng.normal(0, 0.5, (H, V))
    weights["dense.b"] = rng.normal(0, 0.5, V)
    ids = rng.integers(0, V, (T + 1, B))
    return weights, ids[:-1], ids[1:] if targets == "all" else ids[-1]


def kind_and_depth(weights):
    """The kind of layer and the number of layers."""
    stack = {name.split(".")[0] for name in weights} - {"dense"}
    return min(stack).rstrip("0123456789"), len(stack)


def golden_start(peer, layer, num_layers, targets):
    """The prefix of a case's names in the golden file; the LSTM has none for historical reasons."""
    return "-".join([peer, *([] if layer == "lstm" else [layer]), f"{num_layers}", targets, ""])


def joined(W, order):
    """(G, ..., H) by gate to (..., GH) in the order of the other library."""
    return W if len(order) == 1 else np.concatenate(list(W[order]), axis=-1)


def parted(W, order):
    """(..., GH) in the order of the other library to (G, ..., H)."""
    return W if len(order) == 1 else np.stack(np.split(W, len(order), axis=-1))[order]


# Keras


def keras_model(weights, ids, targets):
    """A Keras model with these weights, and its inputs and targets with the batch axis first."""
    import keras

    layer, num_layers = kind_and_depth(weights)
    kind = {"lstm": keras.layers.LSTM, "gru": keras.layers.GRU, "rnn": keras.layers.SimpleRNN}
    V = len(weights["dense.b"])
    H = len(weights["dense.W"])
    layers = [keras.Input((len(ids), V), dtype="float64")]
    for k in range(num_layers):
        sequences = k < num_layers - 1 or targets.ndim == 2
        layers.append(kind[layer](H, return_sequences=sequences, dtype="float64"))
    layers.append(keras.layers.Dense(V, dtype="float64"))
    model = keras.Sequential(layers)
    model.set_weights(keras_arrays(weights))
    return model, np.eye(V)[ids].swapaxes(0, 1), targets.T


def keras_arrays(weights):
    """The list of weights in Keras' order."""
    layer, num_layers = kind_and_depth(weights)
    flat = []
    for k in range(num_layers):
        Wx, Wh, b = (
            joined(weights[f"{layer}{k}.{name}"], KERAS_ORDER[layer]) for name in ("Wx", "Wh", "b")
        )
        if layer == "gru":  # a row of biases for the input, and one for the state
            b = np.stack([b, np.concatenate([np.zeros(2 * len(Wh)), weights[f"gru{k}.bq"]])])
        flat += [Wx, Wh, b]
    return [*flat, weights["dense.W"], weights["dense.b"]]


def from_keras(arrays, layer):
    """Keras' list of weights or gradients under npchar's names.

    A GRU has two biases for each gate, with equal gradients. The first row is used.
    """
    named = {}
    for k in range((len(arrays) - 2) // 3):
        Wx, Wh, b = (np.asarray(array) for array in arrays[3 * k : 3 * k + 3])
        if layer == "gru":
            b, named[f"gru{k}.bq"] = b[0], b[1, -len(Wh) :]
        for name, array in (("Wx", Wx), ("Wh", Wh), ("b", b)):
            named[f"{layer}{k}.{name}"] = parted(array, KERAS_ORDER[layer])
    named["dense.W"], named["dense.b"] = (np.asarray(a) for a in arrays[-2:])
    return named


def keras_loss_and_gradient(weights, ids, targets):
    """The loss and its gradient, computed by Keras on TensorFlow."""
    import keras
    import tensorflow as tf

    model, x, y = keras_model(weights, ids, targets)
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(
            keras.losses.sparse_categorical_crossentropy(y, model(x), from_logits=True)
        )
    gradients = [g.numpy() for g in tape.gradient(loss, model.trainable_variables)]
    return float(loss), from_keras(gradients, kind_and_depth(weights)[0])


def keras_trajectory(weights, ids, targets, steps=50, learning_rate=0.01):
    """The losses of `steps` steps of Keras' RMSprop on one batch, and the final weights."""
    import keras

    model, x, y = keras_model(weights, ids, targets)
    model.compile(
        optimizer=keras.optimizers.RMSprop(learning_rate),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    losses = [float(model.train_on_batch(x, y)) for _ in range(steps)]
    return losses, from_keras(model.get_weights(), kind_and_depth(weights)[0])


# PyTorch


def torch_loss_and_gradient(weights, ids, targets):
    """The loss and its gradient, computed by PyTorch.

    PyTorch differentiates the conversion of npchar's arrays to its own, so the gradients have
    npchar's layout.
    """
    import torch

    layer, num_layers = kind_and_depth(weights)
    p = {name: torch.tensor(array, requires_grad=True) for name, array in weights.items()}
    x = torch.eye(len(weights["dense.b"]), dtype=torch.float64)[torch.tensor(ids)]  # (T, B, V)
    outputs = (torch_convolutions if layer == "conv" else torch_recurrent)(p, layer, num_layers, x)
    logits = torch.nn.functional.linear(
        outputs if targets.ndim == 2 else outputs[-1], p["dense.W"].T, p["dense.b"]
    )
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, -2), torch.tensor(targets).flatten())
    loss.backward()
    return loss.item(), {name: tensor.grad.numpy() for name, tensor in p.items()}


def torch_recurrent(p, layer, num_layers, x):
    """The outputs of nn.LSTM, nn.GRU or nn.RNN, (T, B, H)."""
    import torch

    H = len(p["dense.W"])
    kind = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU, "rnn": torch.nn.RNN}[layer]
    module = kind(x.shape[-1], H, num_layers, dtype=torch.float64)
    arrays = {}
    for k in range(num_layers):
        for theirs, ours in (("weight_ih", "Wx"), ("weight_hh", "Wh"), ("bias_ih", "b")):
            array = p[f"{layer}{k}.{ours}"]
            if layer != "rnn":
                array = torch.cat([array[gate] for gate in TORCH_ORDER[layer]], dim=-1)
            arrays[f"{theirs}_l{k}"] = array.T if array.ndim == 2 else array
        zeros = torch.zeros_like(arrays[f"bias_ih_l{k}"])
        arrays[f"bias_hh_l{k}"] = (
            torch.cat([zeros[: 2 * H], p[f"gru{k}.bq"]]) if layer == "gru" else zeros
        )
    return torch.func.functional_call(module, arrays, (x,))[0]


def torch_convolutions(p, layer, num_layers, x):
    """The outputs of gated nn.Conv1d layers, (T, B, H), of the current and an earlier input."""
    import torch

    x = x.permute(1, 2, 0)  # (B, V, T)
    for k in range(num_layers):
        d = 2**k
        value, gate = p[f"{layer}{k}.W"]  # (2, D, H) each: current input, earlier input
        weight = torch.cat([torch.stack([W[1].T, W[0].T], dim=-1) for W in (value, gate)])
        module = torch.nn.Conv1d(
            x.shape[1], len(weight), kernel_size=2, dilation=d, dtype=torch.float64
        )
        padded = torch.nn.functional.pad(x, (d, 0))
        arrays = {"weight": weight, "bias": p[f"{layer}{k}.b"].flatten()}
        v, z = torch.func.functional_call(module, arrays, (padded,)).chunk(2, dim=1)
        x = v * torch.sigmoid(z) + (x if k else 0)
    return x.permute(2, 0, 1)
