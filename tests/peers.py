"""The same network in Keras and in PyTorch: a third and a fourth opinion.

Used live where they are installed, and by ``make_golden.py`` for the committed
values. Weights and gradients go in and out under npchar's names and shapes.
"""

from __future__ import annotations

import numpy as np

# npchar's gates are i, f, o, g; Keras' i, f, c, o and PyTorch's i, f, g, o, both
# with g third and o fourth. Its own inverse.
REORDER = [0, 1, 3, 2]


def random_case(num_layers: int, targets: str, seed: int = 7):
    """Distinct random weights and a batch: V 11, H 6, T 9, B 4."""
    V, H, T, B = 11, 6, 9, 4
    rng = np.random.default_rng(seed)
    weights = {}
    for k in range(num_layers):
        D = V if k == 0 else H
        weights[f"lstm{k}.Wx"] = rng.normal(0, 0.5, (4, D, H))
        weights[f"lstm{k}.Wh"] = rng.normal(0, 0.5, (4, H, H))
        weights[f"lstm{k}.b"] = rng.normal(0, 0.5, (4, H))
    weights["dense.W"] = rng.normal(0, 0.5, (H, V))
    weights["dense.b"] = rng.normal(0, 0.5, V)
    ids = rng.integers(0, V, (T + 1, B))
    return weights, ids[:-1], ids[1:] if targets == "all" else ids[-1]


def joined(W):
    """(4, ..., H) by gate to (..., 4H) in the peers' order."""
    return np.concatenate(list(W[REORDER]), axis=-1)


def parted(W):
    """(..., 4H) in the peers' order to (4, ..., H)."""
    return np.stack(np.split(W, 4, axis=-1))[REORDER]


def keras_model(weights, ids, targets):
    """A Keras model with these weights, and the inputs and targets for it, batch first."""
    import keras

    num_layers = sum(name.endswith("Wx") for name in weights)
    V = len(weights["dense.b"])
    H = len(weights["dense.W"])
    layers = [keras.Input((len(ids), V), dtype="float64")]
    for k in range(num_layers):
        sequences = k < num_layers - 1 or targets.ndim == 2
        layers.append(keras.layers.LSTM(H, return_sequences=sequences, dtype="float64"))
    layers.append(keras.layers.Dense(V, dtype="float64"))
    model = keras.Sequential(layers)
    flat = []
    for k in range(num_layers):
        flat += [joined(weights[f"lstm{k}.{name}"]) for name in ("Wx", "Wh", "b")]
    model.set_weights([*flat, weights["dense.W"], weights["dense.b"]])
    return model, np.eye(V)[ids].swapaxes(0, 1), targets.T


def from_keras(arrays, num_layers):
    """Keras' list of weights or gradients under npchar's names."""
    named = {}
    for k in range(num_layers):
        for name, array in zip(("Wx", "Wh", "b"), arrays[3 * k :]):
            named[f"lstm{k}.{name}"] = parted(np.asarray(array))
    named["dense.W"], named["dense.b"] = (np.asarray(a) for a in arrays[-2:])
    return named


def keras_loss_and_gradient(weights, ids, targets):
    """The loss and its gradient by Keras on TensorFlow."""
    import keras
    import tensorflow as tf

    model, x, y = keras_model(weights, ids, targets)
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(
            keras.losses.sparse_categorical_crossentropy(y, model(x), from_logits=True)
        )
    gradients = tape.gradient(loss, model.trainable_variables)
    num_layers = (len(gradients) - 2) // 3
    return float(loss), from_keras([g.numpy() for g in gradients], num_layers)


def keras_trajectory(weights, ids, targets, steps=50, learning_rate=0.01):
    """The losses of `steps` steps of Keras' RMSprop on one batch, and the weights after."""
    import keras

    model, x, y = keras_model(weights, ids, targets)
    model.compile(
        optimizer=keras.optimizers.RMSprop(learning_rate),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    losses = [float(model.train_on_batch(x, y)) for _ in range(steps)]
    arrays = model.get_weights()
    return losses, from_keras(arrays, (len(arrays) - 2) // 3)


def torch_loss_and_gradient(weights, ids, targets):
    """The loss and its gradient by PyTorch."""
    import torch

    num_layers = sum(name.endswith("Wx") for name in weights)
    V = len(weights["dense.b"])
    H = len(weights["dense.W"])
    lstm = torch.nn.LSTM(V, H, num_layers, dtype=torch.float64)
    dense = torch.nn.Linear(H, V, dtype=torch.float64)
    with torch.no_grad():
        for k in range(num_layers):
            getattr(lstm, f"weight_ih_l{k}").copy_(torch.tensor(joined(weights[f"lstm{k}.Wx"]).T))
            getattr(lstm, f"weight_hh_l{k}").copy_(torch.tensor(joined(weights[f"lstm{k}.Wh"]).T))
            getattr(lstm, f"bias_ih_l{k}").copy_(torch.tensor(joined(weights[f"lstm{k}.b"])))
            getattr(lstm, f"bias_hh_l{k}").zero_()
        dense.weight.copy_(torch.tensor(weights["dense.W"].T))
        dense.bias.copy_(torch.tensor(weights["dense.b"]))
    outputs, _ = lstm(torch.tensor(np.eye(V)[ids]))
    logits = dense(outputs if targets.ndim == 2 else outputs[-1])
    loss = torch.nn.functional.cross_entropy(
        logits.reshape(-1, V), torch.tensor(targets.reshape(-1))
    )
    loss.backward()
    gradient = {}
    for k in range(num_layers):
        gradient[f"lstm{k}.Wx"] = parted(getattr(lstm, f"weight_ih_l{k}").grad.numpy().T)
        gradient[f"lstm{k}.Wh"] = parted(getattr(lstm, f"weight_hh_l{k}").grad.numpy().T)
        gradient[f"lstm{k}.b"] = parted(getattr(lstm, f"bias_ih_l{k}").grad.numpy())
    gradient["dense.W"] = dense.weight.grad.numpy().T
    gradient["dense.b"] = dense.bias.grad.numpy()
    return loss.item(), gradient
