"""The exercises: answers pass, stubs are "not yet", and common mistakes are diagnosed."""

import inspect
import math
import re
import types
from pathlib import Path

import answers
import exercises
import numpy as np
import pytest
from answers import lstm_step_gradient, one_hot, sigmoid
from checks.checking import EXERCISES, check, main, verdict

EXAMPLES = Path(__file__).parents[1] / "examples"
BY_NUMBER = {number: (name, check) for number, name, check in sorted(EXERCISES)}


def judged(number, function):
    return verdict(function, *BY_NUMBER[number])


@pytest.mark.parametrize("number", BY_NUMBER)
def test_an_answer_is_right_and_a_stub_is_not_yet(number):
    name, _ = BY_NUMBER[number]
    stub, answer = getattr(exercises, name), getattr(answers, name)
    assert judged(number, answer) == "right"
    assert judged(number, stub) == "not yet"
    assert stub.__doc__.startswith(f"{number} ")
    assert answer.__doc__.startswith(f"{number} ")
    assert list(inspect.signature(stub).parameters) == list(inspect.signature(answer).parameters)


# Mistakes: the exercise, the wrong answer, and a pattern of the message.


def windows_too_narrow(ids, maxlen, step):
    return np.lib.stride_tricks.sliding_window_view(ids, maxlen)[::step]


def add_each_row_once(rows, ids, V):
    sums = np.zeros((V, rows.shape[1]))
    sums[ids] += rows
    return sums


def step_with(order="ifog", squash=np.tanh, transpose=False, cell=False):
    def lstm_step(Wx, Wh, b, x, h_, c_):
        Wh = Wh.swapaxes(1, 2) if transpose else Wh
        z = dict(zip(order, x @ Wx + (c_ if cell else h_) @ Wh + b[:, None]))
        i, f, o = (sigmoid(z[gate]) for gate in "ifo")
        c = f * c_ + i * np.tanh(z["g"])
        return o * squash(c), c

    return lstm_step


def softmax(z, shift=True, axis=1):
    weights = np.exp(z - z.max(axis=axis, keepdims=True) * shift)
    return weights / weights.sum(axis=axis, keepdims=True)


def subtract_in_every_row(logits, targets):
    p = softmax(logits)
    p[:, targets] -= 1
    return p / len(p)


def one_step_with(slope=lambda c: 1 - np.tanh(c) ** 2, carried=1, order=(0, 1, 2, 3),
                  slope_g=lambda g: 1 - g**2, add="dh", show="dh"):  # fmt: skip
    def one_step(gates, c_, c, dh, dc):
        i, f, o, g = gates
        named = {"dh": dh, "dc": dc}
        full = carried * dc + named[add] * o * slope(c)
        dz = [full * g * i * (1 - i), full * c_ * f * (1 - f),
              named[show] * np.tanh(c) * o * (1 - o), full * i * slope_g(g)]  # fmt: skip
        return np.array(dz)[list(order)], full * f

    return one_step


def whole_with(carry_h=1, carry_c=1, transpose=True, before=slice(None, -1), mean=False):
    def whole(Wh, x, gates, c, h, dh):
        dz = np.empty_like(gates)
        dh_next = dc = np.zeros_like(h[0])
        for t in reversed(range(len(x))):
            dh_t = dh[t] + carry_h * dh_next
            dz[t], dc = lstm_step_gradient(gates[t], c[t], c[t + 1], dh_t, carry_c * dc)
            dh_next = (dz[t] @ (Wh.swapaxes(1, 2) if transpose else Wh)).sum(axis=0)
        dWx, dWh = np.einsum("tbd,tgbh->gdh", x, dz), np.einsum("tbk,tgbh->gkh", h[before], dz)
        total = x.shape[1] if mean else 1
        return dWx / total, dWh / total, dz.sum(axis=(0, 2)) / total

    return whole


def rnn_with(carry=1, slope=lambda h: 1 - h**2, transpose=True, before=0):
    def rnn_gradients(Wh, x, h, dh):
        dWx, dWh, db, later = 0, 0, 0, 0
        for t in reversed(range(len(x))):
            dz = (dh[t] + carry * later) * slope(h[t + 1])
            dWx, dWh, db = dWx + x[t].T @ dz, dWh + h[t + before].T @ dz, db + dz.sum(axis=0)
            later = dz @ (Wh.T if transpose else Wh)
        return dWx, dWh, db

    return rnn_gradients


def clip_each(gradients, limit):
    return [a * min(1, limit / np.linalg.norm(a)) for a in gradients]


def rmsprop_in_place(weights, gradient, v, learning_rate, rho, epsilon):
    weights -= 1
    return weights, v


def reweigh_probabilities(p, t):
    return softmax(p[None] / t)[0]


def top_p_of_sums_up_to(p, share):
    kept, order = np.zeros_like(p), np.argsort(-p)
    kept[order] = np.where(np.cumsum(p[order]) <= share, p[order], 0)
    return kept / kept.sum()


def correlations_by_numpy(values, feature):
    r = np.corrcoef(values.T, feature)[-1, :-1]
    return np.abs(r).argmax(), r[np.abs(r).argmax()]


def saliency_with(reduce):
    def saliency(loss, x):
        gradient = np.empty_like(x)
        for place in np.ndindex(*x.shape):
            moved = x.astype(complex)
            moved[place] += 1e-20j
            gradient[place] = loss(moved).imag / 1e-20
        return reduce(gradient, x)

    return saliency


MISTAKES = [
    ("1.1", lambda ids, V: one_hot(ids, V).swapaxes(0, 1), r"B is the f.* \(5, 2, 7\), got \(2"),
    ("1.1", lambda ids, V: ids, r"expected the shape \(5, 2, 7\), got \(5, 2\)"),
    ("1.2", lambda ids, maxlen, step: answers.windows(ids, maxlen, step).copy(), "is a copy"),
    ("1.2", windows_too_narrow, "have maxlen ids; they should include the next"),
    ("1.3", lambda Wx, ids: one_hot(ids, Wx.shape[1]) @ Wx[:, None], "NaN .*product"),
    ("1.3", lambda Wx, ids: Wx[ids], "pick gates, Wx's first axis"),
    ("1.4", add_each_row_once, "only the last row counts"),
    ("1.4", lambda *a: answers.add_rows(*a).astype("f"), r"float32.*expected (.+), got (?!\1)"),
    ("2.1", lambda Wx, Wh, b, x, h_: x @ Wx + h_ @ Wh + b, "tanh is missing"),
    ("2.1", lambda Wx, Wh, b, x, h_: answers.rnn_step(Wx, Wh.T, b, x, h_), "Wh is transposed"),
    ("2.1", lambda Wx, Wh, b, x, h_: np.tanh(x @ Wx + h_ + b), "without its matrix Wh"),
    ("2.2", rnn_with(carry=0), "dWx: the share of the later step is not carried"),
    ("2.2", rnn_with(slope=lambda h: 1), "dWx: the slope of tanh is missing"),
    ("2.2", rnn_with(slope=lambda h: 1 - np.tanh(h) ** 2), "h is a tanh already"),
    ("2.2", rnn_with(transpose=False), "dWx: dz goes back through Wh; it should be Whᵀ"),
    ("2.2", rnn_with(before=1), r"dWh: the factor is h\[t \+ 1\], the state after a step"),
    ("2.3", lambda Wh: np.linalg.eigvals(Wh).real.max(), "not the largest absolute value"),
    ("2.3", lambda Wh: np.linalg.norm(Wh, 2), "largest singular value"),
    ("2.4", lambda Wh, dh, n: answers.gradient_norms(Wh.T, dh, n), "is the way forward"),
    ("2.4", lambda Wh, dh, n: answers.gradient_norms(Wh, dh, n) ** 2, "squares of the norms"),
    ("3.1", lambda z: 0.5 * (np.tanh(z) + 1), "this is the sigmoid of 2 z"),
    ("3.1", lambda z: 1 / (1 + np.exp(-z)), r"overflow encountered in exp \(z from -1000"),
    ("3.2", step_with(order="ifgo"), "c: the gates are in another order, as if i, f, g, o"),
    ("3.2", step_with(squash=lambda c: c), "h: this is o c: tanh is missing"),
    ("3.2", step_with(transpose=True), "c: Wh is transposed, h_ Whᵀ; it should be h_ Wh"),
    ("3.2", step_with(cell=True), "c: the sums z use the cell c_; they should use the hidden"),
    ("3.3", lambda V, H, n: n * 4 * H * (V + H + 1) + (H + 1) * V, "layers above the first read H"),
    ("3.3", lambda V, H, n: answers.number_of_parameters(V, H, n) + 4 * H * n, "second bias"),
    ("4.1", lambda z, targets: softmax(z) / len(z), "only softmax"),
    ("4.1", subtract_in_every_row, r"every row at the targets of all rows, as `p\[:, targets\]`"),
    ("4.2", one_step_with(carried=0), "dz of the input gate i: dc is not carried"),
    ("4.2", one_step_with(slope=lambda c: 1 - c**2), "taken as 1 - c²"),
    ("4.2", one_step_with(slope=lambda c: 1), "slope of tanh at c is missing"),
    ("4.2", one_step_with(order=(0, 1, 3, 2)), "output gate o: it has the gradient of the cand"),
    ("4.2", one_step_with(add="dc"), r"gate i: the share of h is taken as dc o \(1 - tanh\(c\)²\)"),
    ("4.2", one_step_with(show="dc"), "output gate o: its factor is dc; it should be dh"),
    ("4.2", one_step_with(slope_g=lambda g: (1 - g) ** 2), r"slope is taken as \(1 - g\)²"),
    ("4.3", lambda f, x, d: [2 * g for g in answers.numeric_gradients(f, x, d)], "2 delta apart"),
    ("4.4", whole_with(carry_c=0), "dWx: dc is not carried"),
    ("4.4", whole_with(carry_h=0), "dWx: dh is not carried"),
    ("5.1", lambda n: 0.5 ** (1 / n), "this is f; it should be the bias.*would be left"),
    ("5.1", lambda n: -answers.forget_bias(n), "sign is wrong"),
    ("5.2", clip_each, "clipped by its own norm"),
    ("5.2", lambda gradients, limit: [np.clip(a, -limit, limit) for a in gradients], "one by one"),
    ("6.1", rmsprop_in_place, "changes its argument weights; work on a copy"),
    ("6.1", lambda w, g, *rest: answers.rmsprop(w, -g, *rest), "the weights go up"),
    ("6.2", lambda rate, step, steps: rate * step / steps, "the rate rises"),
    ("6.2", lambda rate, step, steps: rate * (1 - step / (steps - 1)), "last step"),
    ("6.3", lambda log_p: -log_p.mean(), "these are nats"),
    ("6.3", lambda log_p: -log_p.sum() / math.log(2), "this is a sum"),
    ("6.4", lambda a, b, V: answers.unigram_loss(a, b, V) / math.log(2), "in bits"),
    ("6.4", lambda a, b, V: answers.unigram_loss(b, b, V), "counts are from `held_out`"),
    ("6.4", lambda a, b, V: -np.log(np.bincount(a, minlength=V) / 50)[b].mean(), "1 is mis"),
    (
        "7.1",
        lambda p, t: answers.reweight_distribution(p + 1e-12, t),
        "p = 0. becomes .*expected 0",
    ),
    ("7.1", reweigh_probabilities, "divides the probabilities; it should divide their log"),
    ("7.1", lambda p, t: answers.reweight_distribution(p, 1 / t), "it multiplies logarithms"),
    ("7.2", lambda p: -(p * np.log2(p)).sum(axis=-1), "in bits; it should be in nats"),
    ("7.2", lambda p: (p * np.log(p)).sum(axis=-1), "sign is wrong"),
    ("7.3", lambda p, u: p.argmax(), "the most probable id for every u"),
    ("7.3", lambda p, u: answers.draw(p, u) * 1.0, "one whole number"),
    ("7.4", lambda p, share: np.where(p >= share, p, 0), "of at least `share` are kept"),
    ("7.4", top_p_of_sums_up_to, "is missing: keep also .*`cumulative sum <= share` drops"),
    ("8.1", lambda *data: tuple(np.abs(answers.best_unit(*data))), "correlation: .*absolute"),
    ("8.1", correlations_by_numpy, "never changes, .*norm is 0.*NumPy warns in line .*divide"),
    ("8.2", lambda text: np.arange(len(text)) + 1, "never restarts"),
    ("8.3", saliency_with(lambda g, x: g), "this is the gradient; take its norm"),
    ("8.3", saliency_with(lambda g, x: g.sum(axis=1)), "signs cancel"),
    ("9.1", lambda q, k, v: softmax(q @ k.T) @ v, "not divided by √H"),
    ("9.1", lambda q, k, v: softmax(q @ k.T / 3**0.5, axis=0) @ v, "over the queries"),
    ("9.1", lambda q, k, v: softmax(q @ k.T / 3**0.5, shift=False) @ v, "overflow .*score is"),
    ("9.2", lambda a, da: a * da, "sum is missing"),
    ("9.2", lambda a, da: a * (1 - a) * da, "rule of the sigmoid"),
    ("9.3", lambda s: softmax(s) * np.tri(len(s)), "after the softmax"),
    ("9.3", lambda s: softmax(s * np.tri(len(s))), "masked score of 0"),
]


@pytest.mark.parametrize(("number", "function", "message"), MISTAKES)
def test_a_mistake_is_named(number, function, message):
    said = judged(number, function)
    assert said.startswith("wrong: ")
    assert re.search(message, said), said


def with_names(function, **names):
    """The function with other functions in place of the global names that it calls."""
    return types.FunctionType(function.__code__, {**function.__globals__, **names})


@pytest.mark.parametrize(
    ("number", "earlier", "said"),
    [
        ("4.4", exercises.lstm_step_gradient, "not yet: it calls lstm_step_gradient, exercise 4.2"),
        ("4.4", one_step_with(order=(3, 1, 2, 0)), "wrong: it calls .*, exercise 4.2, which is wr"),
        ("4.4", answers.lstm_step_gradient, "right"),
        ("3.2", lambda z: np.tanh(z / 2), "wrong: it calls sigmoid, exercise 3.1, .* tanh"),
    ],
)
def test_an_earlier_exercise_that_is_not_right_is_named(number, earlier, said):
    name = {"4.4": "lstm_step_gradient", "3.2": "sigmoid"}[number]
    answer = getattr(answers, BY_NUMBER[number][0])
    assert re.match(said, judged(number, with_names(answer, **{name: earlier})))


def test_what_waits_for_an_earlier_exercise_is_not_counted_as_wrong(capsys):
    stub = exercises.lstm_step_gradient
    whole = with_names(answers.lstm_gradients, lstm_step_gradient=stub)
    given = {"lstm_step_gradient": stub, "lstm_gradients": whole}
    assert main(given, ["4.2", "4.4"]) == 1
    assert capsys.readouterr().out.endswith("\n0 of 2 right, 0 wrong, 2 not yet\n")


def test_a_cell_of_a_notebook_is_checked(capsys):
    check(answers.one_hot)
    check(exercises.one_hot)
    assert capsys.readouterr().out == "1.1 one_hot ... right\n1.1 one_hot ... not yet\n"
    with pytest.raises(ValueError, match="name of an exercise, got judged$"):
        check(judged)


def test_an_error_is_told_with_its_line():
    def one_hot(ids, V):
        return ids[V]  # out of range

    _, first = inspect.getsourcelines(one_hot)
    assert f"raises IndexError in line {first + 1}: " in judged("1.1", one_hot)
    assert judged("1.1", None) == "wrong: there is no function one_hot"
