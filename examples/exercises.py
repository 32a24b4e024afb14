"""Exercises for the notebooks, in the same order: write the functions, and run the checks.

    python examples/exercises.py          check all
    python examples/exercises.py 3.2      check one
    python examples/exercises.py 3        check the exercises of notebook 3

Each docstring describes the arguments and the result. Replace `raise NotImplementedError` by your
own lines. You need only NumPy. Return new arrays, and do not change the arguments. The checks (in
``checks/``) compare your results with npchar on random cases. The answers are in ``answers.py``.
The cells of each notebook contain some of its exercises.

T time, B batch, V vocabulary, H hidden, D a layer's input. The gates are in the order i, f, o, g.
A name that ends in ``_`` is the value before the step. dx is the gradient of the loss with respect
to x.
"""

import sys
from collections.abc import Callable

import numpy as np

# 1  From text to tensors: 1-text-to-tensors.ipynb


def one_hot(ids: np.ndarray, V: int) -> np.ndarray:
    """1.1 One-hot vectors.

    Each id becomes a vector of V numbers: 1 at the place of the id, 0 elsewhere.

    ids (T, B), whole numbers below V  ->  (T, B, V)

    Hint: the rows of `np.eye(V)` are these vectors, and an array of ids is an index.
    """
    raise NotImplementedError


def windows(ids: np.ndarray, maxlen: int, step: int) -> np.ndarray:
    """1.2 Windows without a copy.

    A window has `maxlen` ids and the id after them, which is to be predicted. Return every
    `step`-th window. The result shares the memory of `ids`: it is a view.

    ids (n,)  ->  (windows, maxlen + 1)

    Hint: `np.lib.stride_tricks.sliding_window_view` has all windows; a slice takes every `step`-th.
    """
    raise NotImplementedError


def gather_rows(Wx: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """1.3 Pick rows instead of multiplying by one-hot vectors.

    Return the product of `one_hot(ids, D)` with each of the four matrices of Wx, but compute no
    product: a one-hot vector times a matrix is one row of the matrix. In the check, the rows that
    no id picks are NaN, so a multiplication is noticed.

    Wx (4, D, H), ids (T, B)  ->  (4, T, B, H)

    Hint: one index. Which axis of Wx do the ids count?
    """
    raise NotImplementedError


def add_rows(rows: np.ndarray, ids: np.ndarray, V: int) -> np.ndarray:
    """1.4 Add up rows: the product with the transposed one-hot vectors.

    Return, for every id, the sum of the rows at its places. This is `one_hot(ids, V).T @ rows`,
    again without a product. The gradient of `gather_rows` is such a sum.

    rows (n, H), ids (n,)  ->  (V, H)

    Hint: an id may be repeated, and `sums[ids] += rows` then adds only one row. See `np.add.at`.
    """
    raise NotImplementedError


# 2  A plain RNN: 2-a-plain-rnn.ipynb


def rnn_step(
    Wx: np.ndarray, Wh: np.ndarray, b: np.ndarray, x: np.ndarray, h_: np.ndarray
) -> np.ndarray:
    """2.1 One step of a plain RNN.

    The new hidden state is the tanh of a sum: the input times Wx, the old state times Wh, and b.

    Wx (D, H), Wh (H, H), b (H,), x (B, D), h_ (B, H)  ->  (B, H)

    Hint: one line. Vectors are rows, so the matrix is on their right.
    """
    raise NotImplementedError


def rnn_gradients(
    Wh: np.ndarray, x: np.ndarray, h: np.ndarray, dh: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """2.2 The gradient of a plain RNN: backpropagation through time.

    The forward pass is done. Steps count from 0: h[t] is the state before step t, and h[t + 1] the
    state after it. dh[t] is the gradient of the loss with respect to the output of step t,
    h[t + 1], without the share of later steps. All gradients are sums over time and batch.

    Wh (H, H), x (T, B, D), h (T + 1, B, H), dh (T, B, H)  ->  dWx (D, H), dWh (H, H), db (H,)

    Hint: from the last step to the first. Add the share of the later step to dh[t], go through
    tanh, add to the three sums, and send dz Whᵀ to the step before.
    """
    raise NotImplementedError


def spectral_radius(Wh: np.ndarray) -> float:
    """2.3 The spectral radius: the growth per step in the long run.

    The largest absolute value of the eigenvalues.

    Wh (H, H)  ->  a number

    Hint: `np.linalg.eigvals`. An eigenvalue may be negative or complex.
    """
    raise NotImplementedError


def gradient_norms(Wh: np.ndarray, dh: np.ndarray, n: int) -> np.ndarray:
    """2.4 The norm of a gradient after 0, 1, ..., n steps back in a linear RNN.

    The forward step is h = h_ Wh, without tanh and without an input. dh is the gradient with
    respect to the last h. The norm is the root of the sum of squares.

    Wh (H, H), dh (H,)  ->  (n + 1,)

    Hint: h is a row. Is dh_ then dh Wh or dh Whᵀ?
    """
    raise NotImplementedError


# 3  The LSTM forward: 3-lstm-forward.ipynb


def sigmoid(z: np.ndarray) -> np.ndarray:
    """3.1 A sigmoid that does not overflow.

    1 / (1 + exp(-z)), without a warning even for z = -1000.

    z (...)  ->  (...)

    Hint: the sigmoid is a shifted and scaled tanh. By which factor is z scaled?
    """
    raise NotImplementedError


def lstm_step(
    Wx: np.ndarray, Wh: np.ndarray, b: np.ndarray, x: np.ndarray, h_: np.ndarray, c_: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """3.2 One step of an LSTM.

    The equations are at the top of ``npchar/layers/lstm.py``.

    Wx (4, D, H), Wh (4, H, H), b (4, H), x (B, D), h_ and c_ (B, H)  ->  h, c (B, H) each

    Hint: `x @ Wx` is (4, B, H), for all gates; `b[:, None]` is (4, 1, H).
    """
    raise NotImplementedError


def number_of_parameters(V: int, H: int, layers: int) -> int:
    """3.3 The number of parameters of a model.

    A model is a stack of LSTM layers and a Dense layer. The first LSTM reads V numbers, each
    layer above reads H, and Dense turns H numbers into V logits.

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

    Hint: softmax minus one-hot, and remember the mean. For a logit of 1000, exp overflows: which
    number can you subtract from a row without changing its softmax?
    """
    raise NotImplementedError


def lstm_step_gradient(
    gates: np.ndarray, c_: np.ndarray, c: np.ndarray, dh: np.ndarray, dc: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """4.2 One step of an LSTM, backward.

    gates are i, f, o, g after their sigmoid or tanh, and z are the sums inside the sigmoid or
    tanh. dh is the whole gradient with respect to h, from the output and from the next step. dc
    and dc_ are carried shares: dc comes from the next step, without the share of h, and dc_ goes
    to the step before.

    gates (4, B, H), c_, c, dh and dc (B, H)  ->  dz (4, B, H), dc_ (B, H)

    Hint: first h = o tanh(c), then c = f c_ + i g, then the gates. The derivative of
    s = sigmoid(z) is s (1 - s), and the derivative of g = tanh(z) is 1 - g².
    """
    raise NotImplementedError


def numeric_gradients(
    function: Callable[[np.ndarray], np.ndarray], x: np.ndarray, delta: float
) -> tuple[np.ndarray, np.ndarray]:
    """4.3 Numerical gradients by two methods.

    Change one entry of x after the other. The central difference is
    (f(x + delta) - f(x - delta)) / (2 delta). The complex step is the imaginary part of
    f(x + 1e-20j), divided by 1e-20.

    function of a vector to a number, x (n,), delta  ->  central (n,), complex step (n,)

    Hint: an array of real numbers cannot hold an imaginary part: `x.astype(complex)`.
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
    """4.4 The whole backpropagation through time.

    The forward pass is done: gates[t] are the gates of step t, h[t] and c[t] the state before
    the step, and h[t + 1] and c[t + 1] the state after it. dh[t] is the gradient of the loss with
    respect to the output of step t, h[t + 1], without the share of later steps. All gradients are
    sums over time and batch.

    Wh (4, H, H), x (T, B, D), gates (T, 4, B, H), c and h (T + 1, B, H), dh (T, B, H)
    ->  dWx (4, D, H), dWh (4, H, H), db (4, H)

    Hint: from the last step to the first, with your `lstm_step_gradient`. The step before gets
    dc_ and, summed over the gates, dz Whᵀ.
    """
    raise NotImplementedError


# 5  Why LSTM: 5-why-lstm.ipynb


def forget_bias(n: float) -> float:
    """5.1 The bias of the forget gate for a memory that halves in n steps.

    Nothing is written (i = 0), and the forget gate is f = sigmoid(bias) at every step. After n
    steps, half of c should be left.

    n  ->  a number

    Hint: what should fⁿ be? The inverse of the sigmoid is log(f / (1 - f)).
    """
    raise NotImplementedError


def clip_by_global_norm(gradients: list[np.ndarray], limit: float) -> list[np.ndarray]:
    """5.2 Clipping by the global norm.

    The global norm is the norm of all gradients as one vector. If it is larger than `limit`,
    multiply all gradients by one factor, so that the new global norm is `limit`. Otherwise leave
    them.

    a list of arrays of any shapes, limit  ->  a list of arrays of the same shapes

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

    v is the running mean of the squared gradient: the old v has the weight rho, and the new
    squared gradient has the weight 1 - rho. Subtract from each weight the learning rate times its
    gradient over √(v + epsilon), with the new v.

    weights, gradient and v (n,)  ->  new weights, new v (n,) each

    Hint: two lines. Is epsilon inside the root? Libraries differ.
    """
    raise NotImplementedError


def linear_schedule(learning_rate: float, step: int, steps: int) -> float:
    """6.2 A learning rate that falls to zero.

    `step` of `steps` steps are done. At step 0 the rate is `learning_rate`. From there it falls in
    a straight line, and would be 0 after the last step.

    learning_rate, step from 0 to steps - 1, steps  ->  a number

    Hint: which share of the steps is left?
    """
    raise NotImplementedError


def bits_per_character(log_probabilities: np.ndarray) -> float:
    """6.3 Bits per character.

    The mean surprise in bits. The arguments are natural logarithms: of the probabilities that a
    model gave to the characters of a text.

    log_probabilities (n,) in nats, negative  ->  a number

    Hint: one bit is log 2 nats.
    """
    raise NotImplementedError


def unigram_loss(train: np.ndarray, held_out: np.ndarray, V: int) -> float:
    """6.4 The unigram baseline: a model of the frequencies of characters.

    The probability of an id is its count in `train` + 1, divided by the sum of these numbers over
    all V ids. The + 1 gives a probability to ids that are not in `train`. The loss is the mean
    surprise over `held_out`, in nats per character.

    train (n,) and held_out (m,), ids  ->  a number

    Hint: `np.bincount` with `minlength`.
    """
    raise NotImplementedError


# 7  Randomness and temperature: 7-randomness-and-temperature.ipynb


def reweight_distribution(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """7.1 A distribution at another temperature.

    The new probabilities are proportional to exp(log(p) / temperature). An impossible id (p = 0)
    stays impossible, without a warning. A temperature of 0.001 works too.

    probabilities (V,), temperature  ->  (V,), with the sum 1

    Hint: p ** 1000 is rounded to 0. Subtract the largest logarithm first.
    `with np.errstate(divide="ignore"):` allows an intended log of 0.
    """
    raise NotImplementedError


def entropy(probabilities: np.ndarray) -> np.ndarray:
    """7.2 Entropy: the uncertainty of a distribution.

    The sum of -p log p over the last axis, in nats; 0 log 0 counts as 0.

    probabilities (..., V), rows with the sum 1  ->  (...)

    Hint: `np.where` can put a 1 under the logarithm where p is 0.
    """
    raise NotImplementedError


def draw(probabilities: np.ndarray, u: float) -> int:
    """7.3 Draw an id by the inverse of the cumulative sum.

    Imagine the probabilities as pieces of a line, end to end. A random number u, 0 <= u < 1, is a
    place on this line, as a share of its length. The id is the piece at this place. The sum of the
    probabilities may differ from 1 a little, as in float32. An id with the probability 0 must
    never be drawn.

    probabilities (V,), u  ->  an id

    Hint: `np.cumsum`, `np.searchsorted`. Which side for u = 0 and a first probability of 0?
    """
    raise NotImplementedError


def top_p(probabilities: np.ndarray, share: float) -> np.ndarray:
    """7.4 Keep the most probable ids.

    Begin with the most probable id, and keep as few ids as have a sum of at least `share`: the id
    that brings the sum to `share` is kept too. The others become 0. The kept probabilities are
    scaled to the sum 1.

    probabilities (V,) with the sum 1, 0 < share <= 1  ->  (V,), in the old order

    Hint: `np.argsort(-probabilities)`, and the sum of those before each.
    """
    raise NotImplementedError


# 8  Inside the cells: 8-inside-the-cells.ipynb


def best_unit(values: np.ndarray, feature: np.ndarray) -> tuple[int, float]:
    """8.1 The unit with the strongest correlation to a feature.

    Compare the absolute values of Pearson's correlation, because a unit that is low where the
    feature is high follows it too. Return the correlation with its sign. The correlation of a
    unit that never changes is 0.

    values (T, H), feature (T,)  ->  unit, its correlation (-1 to 1)

    Hint: subtract the means. Divide the sum of products by both norms, if they are not 0.
    """
    raise NotImplementedError


def since_newline(text: str) -> np.ndarray:
    """8.2 A feature: the position in the line.

    The position of a newline is 0. The first character after a newline has the position 1, the
    next one 2, and so on. The first line begins with 1 too.

    text of T characters  ->  (T,) whole numbers

    Hint: a loop with a counter is enough.
    """
    raise NotImplementedError


def saliency(loss: Callable[[np.ndarray], np.ndarray], x: np.ndarray) -> np.ndarray:
    """8.3 Saliency: the effect of each character on a prediction.

    x are the one-hot vectors of a text. loss(x) is a number: a model's surprise at the character
    after the text. Return, for each character, the norm of the gradient of the loss with respect
    to its vector. loss accepts complex numbers.

    loss, x (T, V)  ->  (T,)

    Hint: the complex step, one entry of x after the other.
    """
    raise NotImplementedError


# 9  Attention: 9-attention.ipynb


def weighted_sum(q: np.ndarray, k: np.ndarray, v: np.ndarray) -> np.ndarray:
    """9.1 Attention: U queries read T states of one sequence.

    The score of a query and a key is their scalar product over √H. The weights of a query are the
    softmax of its scores. Its result is the sum of the values, each times its weight. A score of
    1000 works too.

    q (U, H), k and v (T, H)  ->  (U, H)

    Hint: the scores are (U, T). Over which axis is the sum of the weights 1?
    """
    raise NotImplementedError


def softmax_gradient(a: np.ndarray, da: np.ndarray) -> np.ndarray:
    """9.2 The gradient of the softmax, for U queries.

    Each row of a is the softmax of a row of scores s. Return ds.

    a and da (U, T)  ->  ds (U, T)

    Hint: `keepdims=True` keeps the sum of each row as a column.
    """
    raise NotImplementedError


def causal_weights(s: np.ndarray) -> np.ndarray:
    """9.3 Causal attention: a position sees itself and the positions before it.

    s[t, j] is the score of position j for position t. Return the weights: each row has the sum 1.

    s (T, T)  ->  (T, T)

    Hint: `np.tri(T, dtype=bool)`. Which score has the weight 0?
    """
    raise NotImplementedError


if __name__ == "__main__":
    from checks import main

    sys.exit(main(globals(), sys.argv[1:]))
