"""A plain implementation of the LSTM and its training, as a reference for the tests.

It follows the docstrings, computes one sequence and one gate at a time in float64, and uses no
code of npchar.
"""

from __future__ import annotations

import math

import numpy as np


def sigma(z):
    return 1 / (1 + np.exp(-z))


def forward(layer, x, h, c):
    """The steps of one sequence, (T, D), from a state, (H,) each, as one dictionary per step."""
    steps = []
    for x_t in x:
        z = [x_t @ layer["Wx"][k] + h @ layer["Wh"][k] + layer["b"][k] for k in range(4)]
        i, f, o, g = sigma(z[0]), sigma(z[1]), sigma(z[2]), np.tanh(z[3])
        step = {"x": x_t, "h_": h, "c_": c, "i": i, "f": f, "o": o, "g": g}
        c = f * c + i * g
        h = o * np.tanh(c)
        steps.append(step | {"c": c, "h": h})
    return steps


def backward(layer, steps, dh_above, dh, dc):
    """The gradients with respect to a layer's arrays, x, and the initial state.

    `dh_above` is the gradient with respect to each output, (T, H); `dh` and `dc` are the gradients
    with respect to the final state.
    """
    gradient = {name: np.zeros_like(array) for name, array in layer.items()}
    dx = []
    for step, above in zip(reversed(steps), reversed(dh_above)):
        i, f, o, g, tanh_c = step["i"], step["f"], step["o"], step["g"], np.tanh(step["c"])
        dh = dh + above
        dc = dc + dh * o * (1 - tanh_c**2)
        di, df, do, dg = dc * g, dc * step["c_"], dh * tanh_c, dc * i
        dz = [di * i * (1 - i), df * f * (1 - f), do * o * (1 - o), dg * (1 - g**2)]
        for k in range(4):
            gradient["Wx"][k] += np.outer(step["x"], dz[k])
            gradient["Wh"][k] += np.outer(step["h_"], dz[k])
            gradient["b"][k] += dz[k]
        dx.insert(0, sum(layer["Wx"][k] @ dz[k] for k in range(4)))
        dh = sum(layer["Wh"][k] @ dz[k] for k in range(4))
        dc = dc * f
    return gradient, np.array(dx), dh, dc


def layers_of(weights):
    """The arrays of each LSTM layer from the lowest, by short names, and the Dense layer's."""
    count = sum(name.endswith(".Wx") for name in weights)
    names = [f"lstm{k}" for k in range(count)] + ["dense"]
    return [
        {n.split(".")[1]: array for n, array in weights.items() if n.startswith(f"{name}.")}
        for name in names
    ]


def loss_and_gradient(weights, ids, targets, masks=()):
    """The mean loss of a batch, (T, B), and its gradient, a dictionary of arrays.

    `targets` are (T, B), or (B,) for the last step only. `masks` are the dropout masks, (1, B, H),
    of each layer's outputs.
    """
    *lstms, dense = layers_of(weights)
    gradient = {name: np.zeros_like(array) for name, array in weights.items()}
    (T, B), H = ids.shape, len(dense["W"])
    zeros = np.zeros(H)
    loss = 0.0
    for n in range(B):
        x, tapes = np.eye(len(dense["b"]))[ids[:, n]], []
        for k, layer in enumerate(lstms):
            tapes.append(forward(layer, x, zeros, zeros))
            x = np.array([step["h"] for step in tapes[-1]])  # (T, H)
            if len(masks):
                x = x * masks[k][:, n]
        dh = np.zeros((T, H))
        for t in range(T) if targets.ndim == 2 else [T - 1]:
            y = targets[t, n] if targets.ndim == 2 else targets[n]
            logits = x[t] @ dense["W"] + dense["b"]
            p = np.exp(logits) / np.exp(logits).sum()
            loss -= math.log(p[y]) / targets.size
            dlogits = (p - np.eye(len(p))[y]) / targets.size
            gradient["dense.W"] += np.outer(x[t], dlogits)
            gradient["dense.b"] += dlogits
            dh[t] = dense["W"] @ dlogits
        for k in reversed(range(len(lstms))):
            if len(masks):
                dh = dh * masks[k][:, n]
            found, dh, _, _ = backward(lstms[k], tapes[k], dh, zeros, zeros)
            for name, array in found.items():
                gradient[f"lstm{k}.{name}"] += array
    return loss, gradient


def train(
    weights, ids, *, epochs, maxlen, step, targets, batch_size, learning_rate, schedule, epsilon,
    clip_norm, validation_split, seed, dropout, restore_best, optimizer="rmsprop",
    warm_up=0.0, recurrent_dropout=0.0,
):  # fmt: skip
    """Train weights, given by their names, as the docstring of `Model.fit` says; return them."""
    weights = {name: array.copy() for name, array in weights.items()}
    v = {name: np.zeros_like(array) for name, array in weights.items()}
    m = {name: np.zeros_like(array) for name, array in weights.items()}
    held = int(len(ids) * validation_split)
    train_ids, held_out = ids[: len(ids) - held], ids[len(ids) - held :]
    n, H, layers = len(train_ids), len(weights["dense.W"]), len(layers_of(weights)) - 1
    if targets == "all" and not weights["dense.b"].any():
        V = len(weights["dense.b"])
        weights["dense.b"] = np.log([(1 + sum(train_ids == k)) / (n + V) for k in range(V)])
    rng = np.random.default_rng(seed)
    per_epoch = math.ceil(len(range(0, n - maxlen, step)) / batch_size)
    history = {"loss": [], "val_loss": [], "gradient_norm": []}
    steps, best = 0, (math.inf, None)
    for _ in range(epochs):
        first = rng.integers(min(step, n - maxlen)) if targets == "all" else 0
        starts = np.arange(first, n - maxlen, step)
        rng.shuffle(starts)
        losses, norms = [], []  # one value per window
        for k in range(0, len(starts), batch_size):
            batch = np.array([train_ids[s : s + maxlen + 1] for s in starts[k : k + batch_size]]).T
            B = batch.shape[1]
            number = rng.integers(1 << 62)
            chance = np.random.default_rng(number)
            masks = []
            if dropout:
                masks = [
                    (chance.random((1, B, H), np.float32) < 1 - dropout) / (1 - dropout)
                    for _ in range(layers)
                ]
            y = batch[1:] if targets == "all" else batch[-1]
            kept = {name: 1.0 for name in weights}
            if recurrent_dropout:
                keep, chance = 1 - recurrent_dropout, np.random.default_rng([number, 1])
                for k in range(layers):
                    shape = weights[f"lstm{k}.Wh"].shape
                    kept[f"lstm{k}.Wh"] = (chance.random(shape, np.float32) < keep) / keep
            thinned = {name: array * kept[name] for name, array in weights.items()}
            loss, gradient = loss_and_gradient(thinned, batch[:-1], y, masks)
            gradient = {name: array * kept[name] for name, array in gradient.items()}
            norm = math.sqrt(sum((g**2).sum() for g in gradient.values()))
            rate = learning_rate
            if schedule == "linear":
                rate *= 1 - steps / (epochs * per_epoch)
            if schedule == "cosine":
                rate *= 0.5 + 0.5 * math.cos(math.pi * steps / (epochs * per_epoch))
            if warm_up:
                rate *= min(1, (steps + 1) / (epochs * per_epoch) / warm_up)
            steps += 1
            for name, g in gradient.items():
                if clip_norm is not None and norm > clip_norm:
                    g = g * clip_norm / norm
                if optimizer == "rmsprop":
                    v[name] = 0.9 * v[name] + 0.1 * g**2
                    change = g / np.sqrt(v[name] + epsilon)
                elif optimizer == "adam":
                    m[name] = 0.9 * m[name] + 0.1 * g
                    v[name] = 0.99 * v[name] + 0.01 * g**2
                    m_hat, v_hat = m[name] / (1 - 0.9**steps), v[name] / (1 - 0.99**steps)
                    change = m_hat / (np.sqrt(v_hat) + epsilon)
                else:
                    m[name] = change = 0.9 * m[name] + g
                weights[name] = weights[name] - rate * change
            losses += [loss] * B
            norms += [norm] * B
        history["loss"].append(np.mean(losses))
        history["gradient_norm"].append(np.mean(norms))
        if held:
            history["val_loss"].append(validation(weights, held_out, targets, maxlen, step))
            if history["val_loss"][-1] < best[0]:
                best = history["val_loss"][-1], dict(weights)
    if held and restore_best:
        weights = best[1]
    return weights, history, steps


def validation(weights, held_out, targets, maxlen, step):
    """The validation loss: of the whole text in one pass, or of the last targets of windows."""
    if targets == "all":
        return loss_and_gradient(weights, held_out[:-1, None], held_out[1:, None])[0]
    starts = range(0, len(held_out) - maxlen, step)
    batch = np.array([held_out[s : s + maxlen + 1] for s in starts]).T
    return loss_and_gradient(weights, batch[:-1], batch[-1])[0]
