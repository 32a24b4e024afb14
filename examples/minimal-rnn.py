"""A plain recurrent network that learns to write, in 100 lines of NumPy.

    python examples/minimal-rnn.py               learns one sentence
    python examples/minimal-rnn.py my-text.txt

The hidden state h is the only memory: h = tanh(x Wx + h₋ Wh + b). Notebook 2 explains each line.
"""

import sys
from pathlib import Path

import numpy as np

H, T = 64, 25  # hidden units; characters between two updates
RATE, LIMIT, STEPS = 0.1, 1.0, 2000  # learning rate; largest norm of a gradient; updates
TEXT = "the will to power is not the will to live, and the will to truth is neither. " * 50


def create(V, rng):
    """The parameters for V characters."""
    shapes = {"Wx": (V, H), "Wh": (H, H), "b": H, "Wy": (H, V), "by": V}  # y: logits
    return {name: rng.normal(0, 0.1, shape) for name, shape in shapes.items()}


def step(p, x, h):
    """The hidden state after one more character, its id x."""
    return np.tanh(p["Wx"][x] + h @ p["Wh"] + p["b"])


def predict(p, h):
    """Probabilities of the next character; the largest exponent is 0, so exp cannot overflow."""
    z = h @ p["Wy"] + p["by"]
    e = np.exp(z - z.real.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def forward(p, ids, targets, h):
    """The loss of a window in nats per character; all hidden states and predictions."""
    hs = [h]
    for x in ids:
        hs.append(step(p, x, hs[-1]))
    y = predict(p, np.array(hs[1:]))  # (T, V)
    return -np.log(y[np.arange(len(ids)), targets]).mean(), np.array(hs), y


def loss_and_gradient(p, ids, targets, h):
    """The loss, its gradient by backpropagation through time, and the last hidden state."""
    loss, hs, dlogits = forward(p, ids, targets, h)
    dlogits[np.arange(len(ids)), targets] -= 1  # softmax and logarithm: p - one-hot
    dlogits /= len(ids)  # the loss is a mean
    d = {name: np.zeros_like(array) for name, array in p.items()}
    d["Wy"], d["by"], dh = hs[1:].T @ dlogits, dlogits.sum(axis=0), np.zeros_like(h)
    for t in reversed(range(len(ids))):
        dh = dh + p["Wy"] @ dlogits[t]  # from the step after (at first 0) and the prediction
        dz = dh * (1 - hs[t + 1] ** 2)  # tanh' = 1 - tanh²
        d["Wx"][ids[t]] += dz
        d["Wh"] += np.outer(hs[t], dz)
        d["b"] += dz
        dh = p["Wh"] @ dz
    return loss, d, hs[-1]


def check(p, ids, targets, h, rng):
    """The largest error of some entries of the gradient, against the complex step."""
    d, errors = loss_and_gradient(p, ids, targets, h)[1], []
    for name, array in p.items():
        for k in rng.integers(array.size, size=5):
            moved = array.astype(complex)
            moved.flat[k] += 1e-20j
            exact = forward({**p, name: moved}, ids, targets, h)[0].imag / 1e-20
            errors.append(abs(d[name].flat[k] - exact) / np.abs(d[name]).max())
    return max(errors)


def main():
    """Check the gradient, train by Adagrad, and write a sample at intervals."""
    text = Path(sys.argv[1]).read_text(encoding="utf-8") if len(sys.argv) > 1 else TEXT
    characters, ids = np.unique(list(text), return_inverse=True)
    rng, h, starts = np.random.default_rng(0), np.zeros(H), range(0, len(ids) - T, T)
    p = create(len(characters), rng)
    print(f"error of the gradient: {check(p, ids[:T], ids[1 : T + 1], h, rng):.0e}")
    squares = {name: np.full_like(array, 1e-8) for name, array in p.items()}
    for k in range(STEPS + 1):
        start = starts[k % len(starts)]  # the next window continues this one, with its last state
        window = ids[start : start + T + 1]
        loss, d, h = loss_and_gradient(p, window[:-1], window[1:], h * (start > 0))
        scale = min(1, LIMIT / np.sqrt(sum((g**2).sum() for g in d.values())))  # clipping
        for name, g in d.items():
            squares[name] += (scale * g) ** 2
            p[name] -= RATE * scale * g / np.sqrt(squares[name])
        if k % 200 == 0:
            x, state, written = window[-1], h, ""
            for _ in range(77):
                written, state = written + characters[x], step(p, x, state)
                x = rng.choice(len(characters), p=predict(p, state))
            print(f"step {k}, loss {loss:.2f}: {written!r}", flush=True)


if __name__ == "__main__":
    main()
