"""Exercises to the notebooks, in their order. Write the functions; the checks tell how they are.

    python examples/exercises.py          check all
    python examples/exercises.py 3.2      check one
    python examples/exercises.py 3        check those of the third notebook

Each function says what it takes and what it returns. Put your own lines in the place of
`raise NotImplementedError`. NumPy is all you need. Return new arrays, and leave the arguments
as they are. The checks (in ``checks/``) compare with npchar, on random cases; solutions stand in
``answers.py``. Some of each notebook are in its cells.

T time, B batch, V vocabulary, H hidden, D a layer's input. The gates are in the order i, f, o, g.
A name with ``_`` at its end is the value before the step, and dx is the gradient of the loss with
respect to x.
"""

import sys
from collections.abc import Callable

import numpy as np

# 1  From text to tensors: 1-text-to-tensors.ipynb


def one_hot(ids: np.ndarray, V: int) -> np.ndarray:
    """1.1 One-hot vectors.

    Each id becomes a vector of V numbers, all 0 but for a 1 at the place of the id.

    ids (T, B), whole numbers below V  ->  (T, B, V)

    Hint: the rows of `np.eye(V)` are these vectors, and an array of ids is an index.
    """
    raise NotImplementedError


def windows(ids: np.ndarray, maxlen: int, step: int) -> np.ndarray:
    """1.2 Windows without a copy.

    Every `step`-th window of `maxlen` ids and the one after it, which is to be predicted. The
    result shares the memory of `ids`: it is a view.

    ids (n,)  ->  (windows, maxlen + 1)

    Hint: `np.lib.stride_tricks.sliding_window_view` has them all; a slice takes every `step`-th.
    """
    raise NotImplementedError


def gather_rows(Wx: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """1.3 Why picking rows is the product with one-hot vectors.

    The product of `one_hot(ids, D)` with each of the four matrices of Wx, without a product: a
    one-hot vector times a matrix is one row of it. To see that you multiply nothing, a row that
    no id picks is NaN.

    Wx (4, D, H), ids (T, B)  ->  (4, T, B, H)

    Hint: one index. Which axis of Wx do the ids count?
    """
    raise NotImplementedError


def add_rows(rows: np.ndarray, ids: np.ndarray, V: int) -> np.ndarray:
    """1.4 And the way back: the product with the one-hot vectors transposed.

    For every id the sum of the rows that stand at its places: `one_hot(ids, V).T @ rows`, again
    without a product. The gradient of `gather_rows` takes this way.

    rows (n, H), ids (n,)  ->  (V, H)

    Hint: an id may come twice, and `sums[ids] += rows` adds to it once; see `np.add.at`.
    """
    raise NotImplementedError


# 2  A plain RNN: 2-a-plain-rnn.ipynb


def rnn_step(
    Wx: np.ndarray, Wh: np.ndarray, b: np.ndarray, x: np.ndarray, h_: np.ndarray
) -> np.ndarray:
    """2.1 One step of a plain RNN.

    The new hidden state: tanh of the input times Wx, plus the state before times Wh, plus b.

    Wx (D, H), Wh (H, H), b (H,), x (B, D), h_ (B, H)  ->  (B, H)

    Hint: one line. Vectors are rows, so the matrix is on their right.
    """
    raise NotImplementedError


def rnn_gradients(
    Wh: np.ndarray, x: np.ndarray, h: np.ndarray, dh: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """2.2 The gradient of a plain RNN: backpropagation through time.

    The forward pass is done: h[t] is the state before step t, and h[t + 1] the state after it.
    dh[t] is the gradient of the loss with respect to the output of step t, h[t + 1], without the
    share of later steps. All gradients are sums over time and batch.

    Wh (H, H), x (T, B, D), h (T + 1, B, H), dh (T, B, H)  ->  dWx (D, H), dWh (H, H), db (H,)

    Hint: from the last step to the first. Add the share of the later step to dh[t], go through
    tanh, add to the three sums, and send dz Whᵀ to the step before.
    """
    raise NotImplementedError


def spectral_radius(Wh: np.ndarray) -> float:
    """2.3 The spectral radius: by what a matrix stretches in the long run.

    The largest of the eigenvalues' absolute values.

    Wh (H, H)  ->  a number

    Hint: `np.linalg.eigvals`; they may be negative, or complex.
    """
    raise NotImplementedError


def gradient_norms(Wh: np.ndarray, dh: np.ndarray, n: int) -> np.ndarray:
    """2.4 The norm of a gradient after 0, 1, ..., n steps back in a linear RNN.

    Forward, h = h_ Wh, and nothing else: no tanh, no input. dh is the gradient with respect
    to the last h; the norm is the root of the sum of squares.

    Wh (H, H), dh (H,)  ->  (n + 1,)

    Hint: h are rows. Is dh_ then dh Wh or dh Whᵀ?
    """
    raise NotImplementedError


# 3  The LSTM forward: 3-lstm-forward.ipynb


def sigmoid(z: np.ndarray) -> np.ndarray:
    """3.1 A sigmoid that does not overflow.

    1 / (1 + exp(-z)), and without a warning for z of -1000 too.

    z (...)  ->  (...)

    Hint: the sigmoid is a tanh, moved and squeezed. By how much is z stretched?
    """
    raise NotImplementedError


def lstm_step(
    Wx: np.ndarray, Wh: np.ndarray, b: np.ndarray, x: np.ndarray, h_: np.ndarray, c_: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """3.2 One step of an LSTM.

    The equations stand at the top of ``npchar/layers/lstm.py``.

    Wx (4, D, H), Wh (4, H, H), b (4, H), x (B, D), h_ and c_ (B, H)  ->  h, c (B, H) each

    Hint: `x @ Wx` is (4, B, H), all gates at once; `b[:, None]` is (4, 1, H).
    """
    raise NotImplementedError


def number_of_parameters(V: int, H: int, layers: int) -> int:
    """3.3 How many numbers a model learns.

    A model has stacked layers, here LSTMs, and a Dense layer: from V characters to H hidden
    units, from H to H in each layer above, and from H to V logits.

    V, H, layers  ->  a whole number

    Hint: `npchar.LSTM.shapes(D, H)` and `npchar.Dense.shapes(H, V)` show the arrays; find a
    formula.
    """
    raise NotImplementedError


# 4  Backpropagation through time: 4-backpropagation-through-time.ipynb


def logits_gradient(logits: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """4.1 The gradient of the mean cross-entropy with respect to the logits.

    The loss is the mean over the n rows of -log softmax(logits)[target].

    logits (n, V), targets (n,) ids  ->  (n, V)

    Hint: softmax minus one-hot; mind the mean. The logits may be 1000, where exp overflows:
    what may be subtracted from a row without changing its softmax?
    """
    raise NotImplementedError


def lstm_step_gradient(
    gates: np.ndarray, c_: np.ndarray, c: np.ndarray, dh: np.ndarray, dc: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """4.2 One step of an LSTM, backward.

    gates are i, f, o, g after their sigmoid or tanh; z is what was inside these. dh is the
    gradient with respect to h, from the output and the next step together; dc is what comes
    from the next step through c, without what h adds to it.

    gates (4, B, H), c_, c, dh and dc (B, H)  ->  dz (4, B, H), dc_ (B, H)

    Hint: h = o tanh(c) first, then c = f c_ + i g, then the gates. With s = sigmoid(z) the
    derivative is s (1 - s), with g = tanh(z) it is 1 - g².
    """
    raise NotImplementedError


def numeric_gradients(
    function: Callable[[np.ndarray], np.ndarray], x: np.ndarray, delta: float
) -> tuple[np.ndarray, np.ndarray]:
    """4.3 Numerical gradients, in two ways.

    By central differences, (f(x + delta) - f(x - delta)) / (2 delta), one entry of x after the
    other; and by the complex step, the imaginary part of f(x + 1e-20j) over 1e-20.

    function of a vector to a number, x (n,)  ->  central (n,), complex step (n,)

    Hint: an array of real numbers has no room for an imaginary part: `x.astype(complex)`.
    """
    raise NotImplementedError


def lstm_gradients(
    Wh: np.ndarray,
    x: np.ndarray,
    gates: np.ndarray,
    c: np.ndarray,
    h: np.ndarray,
    dh: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """4.4 Backpropagation through time, all of it.

    The forward pass is done: gates[t] are those of step t, h[t] and c[t] are the state before
    it and h[t + 1], c[t + 1] after it. dh[t] is the gradient of the loss with respect to
    the output of step t, h[t + 1], without what comes from later steps. All gradients are sums
    over time and batch.

    Wh (4, H, H), x (T, B, D), gates (T, 4, B, H), c and h (T + 1, B, H), dh (T, B, H)
    ->  dWx (4, D, H), dWh (4, H, H), db (4, H)

    Hint: from the last step to the first, by your `lstm_step_gradient`. What goes back to
    the step before: dc_, and through each gate's z, dz Whᵀ.
    """
    raise NotImplementedError


# 5  Why LSTM: 5-why-lstm.ipynb


def forget_bias(n: float) -> float:
    """5.1 The forget gate's bias with which a memory halves in n steps.

    Nothing is written (i = 0), and the forget gate is f = sigmoid(bias) at every step. Of c,
    half shall be left after n steps.

    n  ->  a number

    Hint: what is fⁿ? And the inverse of the sigmoid is log(f / (1 - f)).
    """
    raise NotImplementedError


def clip_by_global_norm(gradients: list[np.ndarray], limit: float) -> list[np.ndarray]:
    """5.2 Clipping by the global norm.

    If the norm of all gradients together, as one vector, is larger than `limit`, they are
    scaled to this norm, by one factor; else they stay.

    a list of arrays of any shapes  ->  a list of arrays of these shapes

    Hint: the square of the global norm is the sum of the squares of all numbers in all arrays.
    """
    raise NotImplementedError


# 6  Training: 6-training.ipynb


def rmsprop(
    weights: np.ndarray,
    gradient: np.ndarray,
    v: np.ndarray,
    learning_rate: float,
    rho: float,
    epsilon: float,
) -> tuple[np.ndarray, np.ndarray]:
    """6.1 One step of RMSprop.

    v is the running mean of the squared gradient: rho of it stays, 1 - rho is new. Each weight
    goes down by the learning rate times its gradient over √(v + epsilon), with the new v.

    weights, gradient and v (n,)  ->  new weights, new v (n,) each

    Hint: two lines. Where does epsilon stand? Libraries differ.
    """
    raise NotImplementedError


def linear_schedule(learning_rate: float, step: int, steps: int) -> float:
    """6.2 The learning rate that falls to zero.

    `step` of `steps` steps are done: with 0 it is the whole rate, with all of them it would
    be 0, and between the two it falls in a straight line.

    learning_rate, step from 0 to steps - 1, steps  ->  a number

    Hint: what share of the steps is left?
    """
    raise NotImplementedError


def bits_per_character(log_probabilities: np.ndarray) -> float:
    """6.3 Bits per character.

    The mean surprise in bits, from the logarithms, to base e, of the probabilities that a model
    gave to the characters that came.

    log_probabilities (n,) in nats, negative  ->  a number

    Hint: one bit is log 2 nats.
    """
    raise NotImplementedError


def unigram_loss(train: np.ndarray, held_out: np.ndarray, V: int) -> float:
    """6.4 The unigram baseline: a model that only counts how often each character comes.

    Each id's probability is (its count in `train` + 1) over the sum of these: the 1 is for
    those that never came. The loss is the mean over `held_out`, in nats per character.

    train (n,) and held_out (m,), ids  ->  a number

    Hint: `np.bincount` with `minlength`.
    """
    raise NotImplementedError


# 7  Randomness and temperature: 7-randomness-and-temperature.ipynb


def reweight_distribution(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """7.1 A distribution at another temperature.

    Probabilities proportional to exp(log(p) / temperature). What is impossible (p = 0) stays
    so, without a warning; and a temperature of 0.001 works too.

    probabilities (V,)  ->  (V,), with the sum 1

    Hint: p ** 1000 is 0 to a computer, for all p. Subtract the largest logarithm first.
    `with np.errstate(divide="ignore"):` is for a log of 0 that is meant.
    """
    raise NotImplementedError


def entropy(probabilities: np.ndarray) -> np.ndarray:
    """7.2 Entropy: how uncertain a distribution is.

    The sum of -p log p over the last axis, in nats; 0 log 0 counts as 0.

    probabilities (..., V), rows with the sum 1  ->  (...)

    Hint: `np.where` can put a 1 under the logarithm where p is 0.
    """
    raise NotImplementedError


def draw(probabilities: np.ndarray, u: float) -> int:
    """7.3 Draw an id, by the inverse of the cumulative sum.

    Lay the probabilities end to end. u is where a random number, 0 <= u < 1, points at, as a
    share of the whole length; the id is the piece that is hit. The sum may be a bit off 1, as
    with float32; an id with probability 0 must never come.

    probabilities (V,), u  ->  an id

    Hint: `np.cumsum`, `np.searchsorted`. Which side for u = 0 and a first probability of 0?
    """
    raise NotImplementedError


def top_p(probabilities: np.ndarray, share: float) -> np.ndarray:
    """7.4 Keep the most probable.

    From the most probable on, as many as are needed for a sum of at least `share`; the one
    that brings it there is kept too. The rest become 0, and the kept have the sum 1 again.

    probabilities (V,) with the sum 1, 0 < share <= 1  ->  (V,), in the old order

    Hint: `np.argsort(-probabilities)`, and the sum of those before each.
    """
    raise NotImplementedError


# 8  Inside the cells: 8-inside-the-cells.ipynb


def best_unit(values: np.ndarray, feature: np.ndarray) -> tuple[int, float]:
    """8.1 The unit that correlates most with a feature.

    By Pearson's correlation, the strongest whatever its sign: a unit that is low where the
    feature is high follows it as well. A unit that never changes correlates with nothing: 0.

    values (T, H), feature (T,)  ->  unit, its correlation (-1 to 1)

    Hint: subtract the means; a sum of products, over both norms.
    """
    raise NotImplementedError


def since_newline(text: str) -> np.ndarray:
    """8.2 A feature to look for: how far into the line it is.

    For every character, how many have come since the last newline, itself included: 0 at a
    newline, 1 at the first character after it, as at the first of the text.

    text of T characters  ->  (T,) whole numbers

    Hint: a loop with a counter will do.
    """
    raise NotImplementedError


def saliency(loss: Callable[[np.ndarray], np.ndarray], x: np.ndarray) -> np.ndarray:
    """8.3 How much each character matters for a prediction.

    x are the one-hot vectors of a text and loss(x) a number: the surprise of a model at the
    character after it. The norm of the gradient of the loss with respect to each character's
    vector.
    loss takes complex numbers too.

    loss, x (T, V)  ->  (T,)

    Hint: the complex step, one entry of x after the other.
    """
    raise NotImplementedError


if __name__ == "__main__":
    from checks import main

    sys.exit(main(globals(), sys.argv[1:]))
