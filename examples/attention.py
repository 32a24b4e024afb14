"""Attention over the states of an LSTM, from npchar's layers and two functions.

    python examples/attention.py                    about two minutes
    python examples/attention.py --only dates --figure alignment.png

An encoder LSTM reads a text. A decoder LSTM starts from its last state and writes another text.
This state has a fixed size. With attention, each step of the decoder also reads a weighted sum
of all states of the encoder (Bahdanau et al. 2015; Luong et al. 2015).

check
    The gradient against the complex step.
recall
    The first symbol of a sequence is asked for at its end, 10 to 300 symbols later.
dates
    Dates in several written forms are rewritten as 1987-03-21: one to three of them in a text.

The numbers of steps are fixed, so that a seed determines the result. For dates, both networks
train for about the same seconds. For recall, both have the same number of steps at most. Tables
report the seconds. ``9-attention.ipynb`` explains the code, and ``causal_attention.py`` has
attention without an LSTM.
"""

import argparse
import os

# With several threads, products this small are slower. NumPy reads it when loaded.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import datetime
import math
import time

import numpy as np

import npchar
from npchar.network.gradcheck import complex_step

# Attention: T keys and values, U queries, B sequences


def attend(q, k, v, mask=True):
    """Weighted sums of the values; queries (U, B, H), keys and values (T, B, H).

    s = q kᵀ / √H     scores: how well each query fits each key
    a = softmax(s)    weights: positive, and 1 in sum over the keys
    y = a v           weighted sums of the values

    Returns y, (U, B, H), and a, (B, U, T). Where the mask, (U, T), is False, a is 0.
    """
    q, k, v = (array.swapaxes(0, 1) for array in (q, k, v))  # (B, ., H)
    s = q @ k.swapaxes(1, 2) / math.sqrt(q.shape[2])  # (B, U, T)
    s = np.where(mask, s, s.dtype.type(-1e9))
    e = np.exp(s - s.real.max(axis=2, keepdims=True))
    a = e / e.sum(axis=2, keepdims=True)
    return (a @ v).swapaxes(0, 1), a


def attend_backward(q, k, v, a, dy):
    """The gradients with respect to q, k and v. Each line is the derivative of one above.

    da = dy vᵀ                    of y = a v
    dv = aᵀ dy
    ds = a (da − Σ a da)          of a = softmax(s); the sum is over the keys
    dq = ds k / √H                of s = q kᵀ / √H
    dk = dsᵀ q / √H
    """
    q, k, v, dy = (array.swapaxes(0, 1) for array in (q, k, v, dy))  # (B, ., H)
    da = dy @ v.swapaxes(1, 2)  # (B, U, T)
    dv = a.swapaxes(1, 2) @ dy  # (B, T, H)
    ds = a * (da - (a * da).sum(axis=2, keepdims=True)) / math.sqrt(q.shape[2])
    dq = ds @ k  # (B, U, H)
    dk = ds.swapaxes(1, 2) @ q  # (B, T, H)
    return [gradient.swapaxes(0, 1) for gradient in (dq, dk, dv)]


class Network:
    """Layers whose arrays lie on one vector, and its optimizer."""

    def __init__(self, layers, seed, dtype="float32"):
        self.layers = layers
        self.parameters = npchar.Parameters.of(
            dtype, **{name: kind.shapes(*sizes) for name, (kind, *sizes) in layers.items()}
        )
        self.gradient = self.parameters.zeros_like()
        self.optimizer = npchar.Adam()
        self.weights, self.into = self.on(self.parameters), self.on(self.gradient)
        rng = np.random.default_rng(seed)
        for layer in self.weights.values():
            layer.initialise(rng)

    def on(self, arrays):
        """The layers, of the weights or of a gradient."""
        return {name: kind(**arrays.part(name)) for name, (kind, *_) in self.layers.items()}

    def train_step(self, *batch, rate):
        """One step on a batch; returns its loss."""
        loss = self.backward(*batch)
        npchar.clip_by_global_norm(self.gradient.flat, 1.0)
        self.optimizer.update(self.parameters.flat, self.gradient.flat, rate)
        return float(loss)


class Rewriter(Network):
    """An encoder, a decoder, and attention between them or none."""

    def __init__(self, V, H, attention, seed, kind=npchar.FastLSTM, dtype="float32"):
        self.attention = attention
        layers = {"encoder": (kind, V, H), "decoder": (kind, V, H)}
        if attention:
            layers["query"] = (npchar.Dense, H, H)
        layers["dense"] = (npchar.Dense, 2 * H if attention else H, V)
        super().__init__(layers, seed, dtype)

    def forward(self, source, before):
        """Logits, (U, B, V), of a source, (T, B), and the output so far, (U, B); and a record."""
        net = self.weights
        encoder = net["encoder"].forward(source)
        decoder = net["decoder"].forward(before, encoder.final_state)
        states, h, a = encoder.outputs, decoder.outputs, None  # (T, B, H), (U, B, H)
        q = y = None
        if self.attention:
            q = net["query"].forward(h)
            y, a = attend(q, states, states)
        joined = h if y is None else np.concatenate([h, y], axis=2)  # (U, B, 2 H)
        return net["dense"].forward(joined), (encoder, decoder, q, a, joined)

    def backward(self, source, before, targets):
        """The loss; its gradient is written to `gradient`."""
        logits, (encoder, decoder, q, a, joined) = self.forward(source, before)
        loss, dlogits = npchar.softmax_cross_entropy(logits, targets)
        net, into = self.weights, self.into
        djoined = net["dense"].backward(joined, dlogits, into["dense"])
        h, states, dstates = decoder.outputs, encoder.outputs, None
        dh = djoined[..., : h.shape[2]]
        if self.attention:
            dq, dk, dv = attend_backward(q, states, states, a, djoined[..., h.shape[2] :])
            dstates = dk + dv  # the states are keys and values
            dh = dh + net["query"].backward(h, dq, into["query"])
        _, dfinal = net["decoder"].backward(decoder, dh, None, into["decoder"])
        net["encoder"].backward(encoder, dstates, dfinal, into["encoder"])
        return loss

    def write(self, source, length, first):
        """The most probable output, (U, B), a symbol at a time; and the weights, (B, U, T)."""
        out = np.full((1, source.shape[1]), first)
        for _ in range(length):  # short outputs: each step reads the whole output again
            logits, (*_, a, _) = self.forward(source, out)
            out = np.concatenate([out, logits[-1:].argmax(axis=2)])
        return out[1:], a


# The tasks

LETTERS = " -,/;^0123456789abcdefghijklmnopqrstuvwxyz"  # ^ begins an output
MONTHS = ("january", "february", "march", "april", "may", "june", "july", "august", "september",
          "october", "november", "december")  # fmt: skip
FORMS = ("{d} {month} {y}", "{month} {d}, {y}", "{d:02}/{m:02}/{y}", "{d}-{mon}-{y}",
         "the {d} of {month}, {y}")  # fmt: skip


def dates(rng, n, B, held_out=False):
    """B texts of n dates each, in random forms: ids, (T, B), and as ISO dates, (11 n, B).

    Every tenth day is held out. Spaces at the beginning make the texts equally long.
    """
    days = rng.integers(0, 3650, (B, n)) * 10 + (9 if held_out else rng.integers(0, 9, (B, n)))
    sources, targets = [], []
    for row in days:
        at = [datetime.date(1950, 1, 1) + datetime.timedelta(int(day)) for day in row]
        texts = []
        for date in at:
            month, form = MONTHS[date.month - 1], FORMS[rng.integers(len(FORMS))]
            texts.append(form.format(d=date.day, m=date.month, month=month, mon=month[:3],
                                     y=date.year))  # fmt: skip
        sources.append("; ".join(texts))
        targets.append(";".join(map(str, at)) + ";")
    width = max(map(len, sources))
    return encode([source.rjust(width) for source in sources]), encode(targets)


def encode(texts):
    """Texts of equal length as ids, (T, B)."""
    return np.array([[LETTERS.index(character) for character in text] for text in texts]).T


def decode(ids):
    """Ids, (T, B), as texts."""
    return ["".join(LETTERS[k] for k in column) for column in ids.T]


def learn_dates(attention, seed, steps, H=64, B=32):
    """A trained `Rewriter`: texts of one date at first, then of one to three."""
    network, rng = Rewriter(len(LETTERS), H, attention, seed), np.random.default_rng(seed)
    for step in range(steps):
        source, target = dates(rng, 1 if step < steps / 2 else rng.integers(1, 4), B)
        before = np.concatenate([np.full((1, B), LETTERS.index("^")), target[:-1]])
        network.train_step(source, before, target, rate=0.01 * min(1, 3 * (1 - step / steps)))
    return network


def date_accuracy(network, n, B=100):
    """The share of held-out dates that are right in every character, in texts of n dates."""
    source, target = dates(np.random.default_rng(n), n, B, held_out=True)
    written, _ = network.write(source, len(target), LETTERS.index("^"))
    return float((written == target).reshape(n, 11, B).all(axis=1).mean())


def recall(attention, distance, seed, steps, H=32, B=16, rate=0.005, forget_bias=1.0):
    """Learn to recall the first of `distance` + 1 symbols; the share of new ones recalled.

    The symbol is one of 8; 8 others follow. Training ends after four batches without an error.
    `forget_bias` is the initial forget bias of the encoder.
    """
    network, rng = Rewriter(17, H, attention, seed), np.random.default_rng(seed)
    network.weights["encoder"].b[1] = forget_bias
    question, shares = np.full((1, B), 16), []
    for step in range(steps + 10):  # the last ten only measure
        source = rng.integers(8, 16, (distance + 1, B))
        source[0] = rng.integers(0, 8, B)
        if step % 20 == 0 or step >= steps:
            logits, _ = network.forward(source, question)
            shares.append((logits.argmax(axis=2) == source[:1]).mean())
            if shares[-4:] == [1.0] * 4:
                break
        if step < steps:
            network.train_step(source, question, source[:1], rate=rate)
    return float(np.mean(shares[-10:] if step >= steps else shares[-4:]))


# Tables


def check():
    """The error of the gradient of a small `Rewriter`, against the complex step."""
    rng = np.random.default_rng(0)
    batch = [rng.integers(0, 6, (T, 2)) for T in (5, 3, 3)]
    network = Rewriter(6, 4, True, 0, npchar.LSTM, "float64")
    network.backward(*batch)

    def loss(flat):
        other = Rewriter(6, 4, True, 0, npchar.LSTM, flat.dtype)
        other.parameters.flat[:] = flat
        return npchar.softmax_cross_entropy(other.forward(*batch[:2])[0], batch[2])[0]

    exact, entries = network.gradient.flat, range(network.gradient.flat.size)
    numerical = complex_step(loss, network.parameters.flat, entries)
    return float(np.linalg.norm(numerical - exact) / np.linalg.norm(exact))


def timed(function, *arguments):
    """A result and its seconds."""
    start = time.perf_counter()
    return function(*arguments), time.perf_counter() - start


def alignment(weights, source, written):
    """The weights as text, (U, T): a row for each written character, darker for more."""
    shades = [" .:-=+*#%@"[min(9, int(10 * w))] for w in weights.ravel()]
    rows = np.reshape(shades, weights.shape)
    return "\n".join([f"    {source}", *(f"  {c} {''.join(r)}" for c, r in zip(written, rows))])


def run_check(seeds, scale):
    """Print the check of the gradient."""
    print(f"check: encoder, attention and decoder, error {check():.0e} (must be below 1e-13)")


def run_recall(seeds, scale):
    """Print the share recalled over each distance."""
    print("recall: share of first symbols recalled (a guess: 0.12)")
    print(f"{'distance':<14}{10:>7}{30:>7}{100:>7}{300:>7}   seconds")
    for attention in (False, True):
        at = [timed(recall, attention, d, 0, int(250 * scale)) for d in (10, 30, 100, 300)]
        row = "".join(f"{share:7.2f}" for share, _ in at)
        print(f"{NAMES[attention]:<14}{row}   {sum(s for _, s in at):.0f}", flush=True)


def run_dates(seeds, scale):
    """Print the share of dates that are right; return the weights of an example."""
    print("dates: share of held-out dates right in every character, by dates in the text")
    print(f"{'':<14}{'seed':>5}{1:>7}{2:>7}{3:>7}   seconds")
    for attention, steps in ((False, 850), (True, 700)):
        for seed in range(seeds):
            network, seconds = timed(learn_dates, attention, seed, int(steps * scale))
            row = "".join(f"{date_accuracy(network, n):7.2f}" for n in (1, 2, 3))
            print(f"{NAMES[attention]:<14}{seed:>5}{row}   {seconds:.0f}", flush=True)
    source = encode(["the 21 of march, 1987"])
    written, a = network.write(source, 11, LETTERS.index("^"))
    result = a[0], decode(source)[0], decode(written)[0]
    print("The weights for each written character (rows), over the text:")
    print(alignment(*result))
    return result


NAMES = ("last state", "attention")
PARTS = {"check": run_check, "recall": run_recall, "dates": run_dates}


def main():
    """Run all parts, or some."""
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n\n")[0])
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--seeds", type=int, default=3, help="seeds of dates (default: 3)")
    parser.add_argument("--scale", type=float, default=1, help="factor on all steps (default: 1)")
    parser.add_argument("--figure", help="write the alignment of dates to this picture")
    options = parser.parse_args()
    results = {name: PARTS[name](options.seeds, options.scale) for name in options.only}
    if options.figure and "dates" in results:
        from matplotlib import pyplot

        weights, source, written = results["dates"]
        figure, ax = pyplot.subplots(figsize=(6, 3.2), layout="constrained")
        figure.colorbar(ax.imshow(weights, cmap="Blues", vmin=0, vmax=1), label="weight")
        ax.set_xticks(range(len(source)), source.replace(" ", "␣"), family="monospace")
        ax.set_yticks(range(len(written)), written, family="monospace")
        ax.set(xlabel="text", ylabel="written", title="Attention of each written character")
        figure.savefig(options.figure, dpi=90)


if __name__ == "__main__":
    main()
