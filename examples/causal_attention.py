"""A causal attention layer beside the LSTM: the next character of a text.

    python examples/causal_attention.py             about one minute

`CausalAttention` has the interface of npchar's layers, so that `npchar.check_gradients` applies to
it. Each position sees itself and the positions before it, as in a transformer (Vaswani et al.
2017). It has one head and no normalization.

Both networks of the table have about the same number of parameters. The numbers of steps are
fixed, so that a seed determines the losses. They take about the same seconds, which the last
column reports.
"""

import argparse
import math
import os

# With several threads, products this small are slower. NumPy reads it when loaded.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from typing import NamedTuple

import numpy as np
from attention import Network, attend, attend_backward, timed
from nietzsche import load_text

import npchar
from npchar.layers.layer import Layer


class NoState(NamedTuple):
    """The state of a layer that sees only its window."""


class Tape(NamedTuple):
    """The values of a forward pass."""

    x: np.ndarray
    u: np.ndarray
    qkv: np.ndarray
    a: np.ndarray
    r: np.ndarray
    m: np.ndarray
    outputs: np.ndarray
    final_state: NoState = NoState()


class CausalAttention(Layer):
    """Attention of each position to itself and to the ones before, then two dense layers.

    u = x Wx + P                  with P a learned vector for each position
    r = u + attend(u Wq, u Wk, u Wv)
    m = tanh(r W1 + b)
    h = r + m W2
    """

    name, state_type, tape_size, positions = "attention", NoState, 0, 64

    def __init__(self, Wx, P, Wa, W1, b, W2):
        self.Wx, self.P, self.Wa, self.W1, self.b, self.W2 = Wx, P, Wa, W1, b, W2
        self._set_sizes()

    @staticmethod
    def shapes(input_size, hidden_size):
        """The names and shapes of its arrays; Wa has Wq, Wk and Wv."""
        D, H = input_size, hidden_size
        return {"Wx": (D, H), "P": (CausalAttention.positions, H), "Wa": (3, H, H),
                "W1": (H, 2 * H), "b": (2 * H,), "W2": (2 * H, H)}  # fmt: skip

    def initialise(self, rng):
        """Fill the weights: normal, with the deviations below; zero biases."""
        scales = {"Wx": 0.5, "P": 0.1, "b": 0, "W2": 0.5 / math.sqrt(2 * self.sizes[1])}
        for name, array in self.arrays.items():
            scale = scales.get(name, 1 / math.sqrt(self.sizes[1]))
            array[...] = scale * rng.standard_normal(array.shape)

    def forward(self, x, state=None, tape=None):  # noqa: ARG002
        """Run over T steps, at most `positions`: see `Layer.forward`."""
        x, _ = self._begin(x, state)
        T, B = x.shape[:2]
        u = (self.Wx[x] if x.ndim == 2 else x @ self.Wx) + self.P[:T, None]  # (T, B, H)
        qkv = (u.reshape(T * B, -1) @ self.Wa).reshape(3, T, B, -1)
        y, a = attend(*qkv, mask=np.tri(T, dtype=bool))
        r = u + y
        m = np.tanh(r @ self.W1 + self.b)  # (T, B, 2 H)
        return Tape(x, u, qkv, a, r, m, r + m @ self.W2)

    def backward(self, tape, dh, dstate, gradient):
        """Backpropagate: see `Layer.backward`."""
        dh, _ = self._begin_backward(tape, Tape, dh, dstate, gradient)
        x, u, qkv, a, r, m = tape[:6]
        T, B, H = dh.shape

        def rows(array):
            return array.reshape(T * B, -1)

        gradient.W2[...] = rows(m).T @ rows(dh)  # of h = r + m W2
        dz = (dh @ self.W2.T) * (1 - m**2)  # of m = tanh(z)
        gradient.W1[...] = rows(r).T @ rows(dz)  # of z = r W1 + b
        gradient.b[...] = rows(dz).sum(axis=0)
        dr = dh + dz @ self.W1.T
        dqkv = np.stack(attend_backward(*qkv, a, dr)).reshape(3, T * B, H)  # of r = u + y
        gradient.Wa[...] = rows(u).T @ dqkv
        du = dr + (dqkv @ self.Wa.swapaxes(1, 2)).sum(axis=0).reshape(T, B, H)
        gradient.P[:T] = du.sum(axis=1)  # of u = x Wx + P
        gradient.Wx[...] = rows(self.vectors(x)).T @ rows(du)
        return (None if x.ndim == 2 else du @ self.Wx.T), NoState()


class Reader(Network):
    """A stack of layers and a Dense layer that predict the next character."""

    def __init__(self, kind, V, H, num_layers, seed):
        layers = {f"layer{k}": (kind, H if k else V, H) for k in range(num_layers)}
        super().__init__({**layers, "dense": (npchar.Dense, H, V)}, seed)

    def forward(self, ids):
        """Logits, (T, B, V), and the tapes."""
        *layers, dense = self.weights.values()
        x, tapes = ids, []
        for layer in layers:
            tapes.append(layer.forward(x))
            x = tapes[-1].outputs
        return dense.forward(x), tapes

    def backward(self, ids, targets):
        """The loss; its gradient is written to `gradient`."""
        logits, tapes = self.forward(ids)
        loss, dlogits = npchar.softmax_cross_entropy(logits, targets)
        (*layers, dense), (*intos, into) = self.weights.values(), self.into.values()
        dh = dense.backward(tapes[-1].outputs, dlogits, into)
        for layer, tape, into in zip(layers[::-1], tapes[::-1], intos[::-1]):
            dh, _ = layer.backward(tape, dh, None, into)
        return loss


def hidden_size(kind, num_layers, V, parameters):
    """The largest hidden size, a multiple of 4, for a limit on the parameters."""
    H = 4
    while Reader(kind, V, H + 4, num_layers, 0).parameters.flat.size <= parameters:
        H += 4
    return H


def learn_text(kind, H, num_layers, seed, steps, ids, V, B=32):
    """Learn windows of 64 characters; the loss on the last tenth, in nats per character."""
    T, end = CausalAttention.positions, len(ids) - len(ids) // 10
    network, rng = Reader(kind, V, H, num_layers, seed), np.random.default_rng(seed)
    for step in range(steps):
        at = rng.integers(0, end - T, B) + np.arange(T + 1)[:, None]  # (T + 1, B)
        network.train_step(ids[at[:-1]], ids[at[1:]], rate=0.01 * (1 - step / steps))
    at = np.arange(end, len(ids) - T, T) + np.arange(T + 1)[:, None]
    loss, _ = npchar.softmax_cross_entropy(network.forward(ids[at[:-1]])[0], ids[at[1:]])
    return float(loss)


def compare(seeds, scale):
    """Print a row for each layer."""
    text = load_text()[:200_000]
    vocabulary = npchar.Vocabulary.from_text(text)
    ids, V = vocabulary.encode(text).astype(int), len(vocabulary)
    print("text: held-out loss in windows of 64 characters, nats per character")
    print(f"{'layer':<22}{'parameters':>11}   loss of each seed   seconds")
    for kind, num_layers, steps in ((npchar.FastLSTM, 1, 200), (CausalAttention, 2, 160)):
        H = hidden_size(kind, num_layers, V, 80_000)
        size = Reader(kind, V, H, num_layers, 0).parameters.flat.size
        at = [timed(learn_text, kind, H, num_layers, k, int(steps * scale), ids, V)
              for k in range(seeds)]  # fmt: skip
        row = " ".join(f"{loss:.3f}" for loss, _ in at)
        name = f"{num_layers} x {kind.__name__}"
        print(f"{name:<22}{size:>11,}   {row:<17}   {np.mean([s for _, s in at]):.0f}", flush=True)


def main():
    """Check the gradient and compare the layers."""
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n\n")[0])
    parser.add_argument("--seeds", type=int, default=3, help="seeds of each layer (default: 3)")
    parser.add_argument("--scale", type=float, default=1, help="factor on all steps (default: 1)")
    options = parser.parse_args()
    npchar.check_gradients(CausalAttention.create(5, 4, dtype="float64"))
    compare(options.seeds, options.scale)


if __name__ == "__main__":
    main()
