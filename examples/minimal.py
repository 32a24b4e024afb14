"""A character-level LSTM in one file, with NumPy as the only dependency.

    python examples/minimal.py               trains on Python's help texts
    python examples/minimal.py my-text.txt   trains on another text

The network learns to predict the next character of a text. Every 200 steps it generates a sample.
Ctrl-C stops the run. npchar is a complete library for the same task.
"""

import os
import sys

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # faster for matrices this small

import numpy as np

H, T, B = 128, 50, 32  # units; steps in a window; windows in a batch
RATE, STEPS = 0.02, 3000


def create(V, rng):
    """The parameters for V characters; the first axis of each array has the gates i, f, o, g."""
    p = {
        "Wx": rng.normal(0, V**-0.5, (4, V, H)),  # input → gates
        "Wh": rng.normal(0, H**-0.5, (4, H, H)),  # previous h → gates
        "b": np.zeros((4, H)),
        "W": rng.normal(0, H**-0.5, (H, V)),  # h → logits
        "d": np.zeros(V),
    }
    p["b"][1] = 1  # forget gates start at about 0.73, so that cells keep most of their values
    return {name: array.astype(np.float32) for name, array in p.items()}


def step(p, x, h, c):
    """One step of the LSTM for ids, (B,), and the previous state, h and c, (B, H) each."""
    z = p["Wx"][:, x] + h @ p["Wh"] + p["b"][:, None]  # (4, B, H)
    i, f, o = 1 / (1 + np.exp(-z[:3]))
    g = np.tanh(z[3])
    c_, c = c, f * c + i * g
    return o * np.tanh(c), c, (x, h, c_, i, f, o, g, c)


def loss_and_gradient(p, ids, targets):
    """The loss of a batch, (T, B), in nats per character, and its gradient.

    The gradient is computed by backpropagation through time.
    """
    h = c = np.zeros((ids.shape[1], len(p["W"])), p["W"].dtype)
    hs, tape = [], []
    for x in ids:
        h, c, kept = step(p, x, h, c)
        hs.append(h)
        tape.append(kept)
    hs = np.stack(hs)  # (T, B, H)

    logits = hs @ p["W"] + p["d"]  # (T, B, V)
    e = np.exp(logits - logits.max(axis=2, keepdims=True))
    dlogits = e / e.sum(axis=2, keepdims=True)  # the softmax
    at = (*np.indices(ids.shape), targets)
    loss = -np.log(dlogits[at]).mean()
    dlogits[at] -= 1
    dlogits /= targets.size

    d = {name: np.zeros_like(array) for name, array in p.items()}
    d["W"] = np.tensordot(hs, dlogits, ([0, 1], [0, 1]))
    d["d"] = dlogits.sum(axis=(0, 1))
    dhs = dlogits @ p["W"].T  # (T, B, H)
    dh = dc = np.zeros_like(h)
    for t in reversed(range(len(ids))):
        x, h_, c_, i, f, o, g, c = tape[t]
        dh = dh + dhs[t]
        dc = dc + dh * o * (1 - np.tanh(c) ** 2)
        dz = np.stack([
            dc * g * i * (1 - i),
            dc * c_ * f * (1 - f),
            dh * np.tanh(c) * o * (1 - o),
            dc * i * (1 - g**2),
        ])  # (4, B, H)  # fmt: skip
        np.add.at(d["Wx"], (slice(None), x), dz)
        d["Wh"] += h_.T @ dz
        d["b"] += dz.sum(axis=1)
        dh = (dz @ p["Wh"].swapaxes(1, 2)).sum(axis=0)
        dc = dc * f
    return loss, d


def sample(p, characters, n, temperature, rng):
    """Generate n characters, each drawn from the predicted distribution."""
    h = c = np.zeros((1, len(p["W"])), p["W"].dtype)
    x, written = rng.integers(len(characters), size=1), ""
    for _ in range(n):
        h, c, _ = step(p, x, h, c)
        z = (h @ p["W"] + p["d"])[0] / temperature
        e = np.exp(z - z.max())
        x = rng.choice(len(characters), size=1, p=e / e.sum(dtype=float))
        written += characters[x[0]]
    return written


def main():
    """Train, and print a sample every 200 steps."""
    if len(sys.argv) > 1:
        with open(sys.argv[1], encoding="utf-8") as file:
            text = file.read()
    else:
        from pydoc_data.topics import topics

        text = "\n".join(topics.values())
    characters = sorted(set(text))
    place = {character: k for k, character in enumerate(characters)}
    ids = np.array([place[character] for character in text])
    print(f"{len(text):,} characters, {len(characters)} different")

    rng = np.random.default_rng(0)
    p = create(len(characters), rng)
    v = {name: np.zeros_like(array) for name, array in p.items()}
    mean = np.log(len(characters))
    for k in range(STEPS):
        starts = rng.integers(len(ids) - T, size=B)
        window = ids[starts + np.arange(T + 1)[:, None]]  # (T + 1, B)
        loss, d = loss_and_gradient(p, window[:-1], window[1:])
        mean += 0.01 * (loss - mean)
        norm = np.sqrt(sum((g**2).sum() for g in d.values()))
        rate = RATE * min(1, (k + 1) / 100) * (1 - k / STEPS)
        for name, g in d.items():  # RMSprop, after the gradient is clipped at norm 1
            g /= max(1, norm)
            v[name] += 0.1 * (g**2 - v[name])
            p[name] -= rate * g / np.sqrt(v[name] + 1e-12)
        if k % 200 == 199:
            print(f"\n--- step {k + 1}, loss {mean:.2f} nats per character")
            print(sample(p, characters, 200, 0.7, rng), flush=True)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        print()
