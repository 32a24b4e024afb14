"""The answers to the exercises.

``python examples/answers.py`` checks them as ``exercises.py`` checks yours.
"""

import math
import sys

import numpy as np

# 1  From text to tensors


def one_hot(ids, V):
    """1.1 The rows of the identity."""
    return np.eye(V)[ids]


def windows(ids, maxlen, step):
    """1.2 A view with a stride for the start of a window and one within it."""
    return np.lib.stride_tricks.sliding_window_view(ids, maxlen + 1)[::step]


def gather_rows(Wx, ids):
    """1.3 All summands of the product except one are 0."""
    return Wx[:, ids]


def add_rows(rows, ids, V):
    """1.4 `np.add.at` adds every row, also if an id is repeated."""
    sums = np.zeros((V, rows.shape[1]))
    np.add.at(sums, ids, rows)
    return sums


# 2  A plain RNN


def rnn_step(Wx, Wh, b, x, h_):
    """2.1 Elman's equation."""
    return np.tanh(x @ Wx + h_ @ Wh + b)


def rnn_gradients(Wh, x, h, dh):
    """2.2 One loop from the last step to the first."""
    dWx, dWh, db = np.zeros((x.shape[2], len(Wh))), np.zeros_like(Wh), np.zeros(len(Wh))
    later = np.zeros_like(h[0])
    for t in reversed(range(len(x))):
        dz = (dh[t] + later) * (1 - h[t + 1] ** 2)  # (B, H)
        dWx += x[t].T @ dz
        dWh += h[t].T @ dz
        db += dz.sum(axis=0)
        later = dz @ Wh.T
    return dWx, dWh, db


def spectral_radius(Wh):
    """2.3 Absolute values, because eigenvalues may be complex."""
    return np.abs(np.linalg.eigvals(Wh)).max()


def gradient_norms(Wh, dh, n):
    """2.4 A row goes back through the transposed matrix."""
    norms = [np.linalg.norm(dh)]
    for _ in range(n):
        dh = dh @ Wh.T
        norms.append(np.linalg.norm(dh))
    return np.array(norms)


# 3  The LSTM forward


def sigmoid(z):
    """3.1 tanh is bounded, so nothing overflows."""
    return 0.5 * (1 + np.tanh(z / 2))


def lstm_step(Wx, Wh, b, x, h_, c_):
    """3.2 The sums of all gates, the gates, the cell, the output."""
    z = x @ Wx + h_ @ Wh + b[:, None]  # (4, B, H)
    i, f, o = sigmoid(z[:3])
    g = np.tanh(z[3])
    c = f * c_ + i * g
    return o * np.tanh(c), c


def number_of_parameters(V, H, layers):
    """3.3 Four gates with input weights, recurrent weights and a bias; then Dense."""
    first = 4 * H * (V + H + 1)
    above = 4 * H * (H + H + 1)
    return first + (layers - 1) * above + (H + 1) * V


# 4  Backpropagation through time


def logits_gradient(logits, targets):
    """4.1 Softmax minus one-hot, over n for the mean."""
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    softmax = weights / weights.sum(axis=1, keepdims=True)
    return (softmax - one_hot(targets, logits.shape[1])) / len(targets)


def lstm_step_gradient(gates, c_, c, dh, dc):
    """4.2 The equations of forward, from the last to the first."""
    i, f, o, g = gates
    do = dh * np.tanh(c)  # h = o tanh(c)
    dc = dc + dh * o * (1 - np.tanh(c) ** 2)
    di, df, dg = dc * g, dc * c_, dc * i  # c = f c_ + i g
    dz = [di * i * (1 - i), df * f * (1 - f), do * o * (1 - o), dg * (1 - g**2)]
    return np.array(dz), dc * f


def numeric_gradients(function, x, delta):
    """4.3 A step in the direction of each entry: the rows of the identity."""
    steps = np.eye(len(x))
    central = [(function(x + delta * e) - function(x - delta * e)) / (2 * delta) for e in steps]
    complex_step = [function(x + 1e-20j * e).imag / 1e-20 for e in steps]
    return np.array(central), np.array(complex_step)


def lstm_gradients(Wh, x, gates, c, h, dh):
    """4.4 dh_next and dc are the shares of the later steps; the sums come after the loop."""
    dz = np.empty_like(gates)  # (T, 4, B, H)
    dh_next = dc = np.zeros_like(h[0])
    for t in reversed(range(len(x))):
        dz[t], dc = lstm_step_gradient(gates[t], c[t], c[t + 1], dh[t] + dh_next, dc)
        dh_next = (dz[t] @ Wh.swapaxes(1, 2)).sum(axis=0)  # over the gates
    dWx = np.einsum("tbd,tgbh->gdh", x, dz)
    dWh = np.einsum("tbk,tgbh->gkh", h[:-1], dz)
    return dWx, dWh, dz.sum(axis=(0, 2))


# 5  Why LSTM


def forget_bias(n):
    """5.1 From fⁿ = 1/2."""
    f = 0.5 ** (1 / n)
    return math.log(f / (1 - f))


def clip_by_global_norm(gradients, limit):
    """5.2 One norm, one factor: the direction stays."""
    norm = math.sqrt(sum((gradient**2).sum() for gradient in gradients))
    factor = min(1, limit / norm)
    return [factor * gradient for gradient in gradients]


# 6  Training


def rmsprop(weights, gradient, v, learning_rate, rho, epsilon):
    """6.1 epsilon inside the root, as in Keras 3."""
    v = rho * v + (1 - rho) * gradient**2
    return weights - learning_rate * gradient / np.sqrt(v + epsilon), v


def linear_schedule(learning_rate, step, steps):
    """6.2 The share of the steps that is left."""
    return learning_rate * (1 - step / steps)


def bits_per_character(log_probabilities):
    """6.3 Nats over log 2."""
    return -log_probabilities.mean() / math.log(2)


def unigram_loss(train, held_out, V):
    """6.4 Counts of `train`, surprise at `held_out`."""
    counts = np.bincount(train, minlength=V) + 1
    return -np.log(counts / counts.sum())[held_out].mean()


# 7  Randomness and temperature


def reweight_distribution(probabilities, temperature):
    """7.1 The largest logarithm becomes 0 and its exp 1, so the sum is never 0."""
    with np.errstate(divide="ignore"):
        z = np.log(probabilities)
    weights = np.exp((z - z.max()) / temperature)
    return weights / weights.sum()


def entropy(probabilities):
    """7.2 Where p is 0, the logarithm is of 1."""
    logs = np.log(np.where(probabilities > 0, probabilities, 1))
    return -(probabilities * logs).sum(axis=-1)


def draw(probabilities, u):
    """7.3 The first piece that ends beyond the point."""
    ends = np.cumsum(probabilities)
    return np.searchsorted(ends, u * ends[-1], side="right")


def top_p(probabilities, share):
    """7.4 An id is kept if the sum before it is less than the share."""
    order = np.argsort(-probabilities)
    falling = probabilities[order]
    before = np.cumsum(falling) - falling
    kept = np.zeros_like(probabilities)
    kept[order] = np.where(before < share, falling, 0)
    return kept / kept.sum()


# 8  Inside the cells


def best_unit(values, feature):
    """8.1 The cosine of the angle between two vectors without their means."""
    values = values - values.mean(axis=0)
    feature = feature - feature.mean()
    norms = np.linalg.norm(values, axis=0) * np.linalg.norm(feature)
    correlations = feature @ values / np.where(norms > 0, norms, np.inf)
    best = np.abs(correlations).argmax()
    return best, correlations[best]


def since_newline(text):
    """8.2 A counter."""
    count, counts = 0, []
    for character in text:
        count = 0 if character == "\n" else count + 1
        counts.append(count)
    return np.array(counts)


def saliency(loss, x):
    """8.3 A complex step for each entry, then a norm for each row."""
    gradient = np.empty_like(x)
    for place in np.ndindex(*x.shape):
        moved = x.astype(complex)
        moved[place] += 1e-20j
        gradient[place] = loss(moved).imag / 1e-20
    return np.linalg.norm(gradient, axis=1)


# 9  Attention


def weighted_sum(q, k, v):
    """9.1 Scores, weights, values; the largest score of a row cancels."""
    s = q @ k.T / math.sqrt(q.shape[1])  # (U, T)
    e = np.exp(s - s.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True) @ v


def softmax_gradient(a, da):
    """9.2 da minus its weighted mean, times the weight."""
    return a * (da - (a * da).sum(axis=1, keepdims=True))


def causal_weights(s):
    """9.3 exp(-inf) is 0; the diagonal is never masked, so no row is empty."""
    s = np.where(np.tri(len(s), dtype=bool), s, -np.inf)
    e = np.exp(s - s.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


if __name__ == "__main__":
    from checks import main

    sys.exit(main(globals(), sys.argv[1:]))
