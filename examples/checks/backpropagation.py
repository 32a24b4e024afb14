"""Checks of notebook 4: analytic and numerical gradients."""

from __future__ import annotations

from itertools import permutations

import numpy as np

import npchar
from checks.checking import (
    B,
    D,
    H,
    T,
    V,
    Wrong,
    alike,
    call,
    exercise,
    expect,
    parts,
    sigma,
    softmax,
    some_lstm,
)
from npchar.layers.lstm import LSTM, State
from npchar.network.gradcheck import complex_step


@exercise("4.1", "logits_gradient")
def check_logits_gradient(function, rng):
    """Compared with `npchar.softmax_cross_entropy`."""
    n = 5
    logits, targets = rng.normal(size=(n, V)), rng.integers(0, V, n)
    any_target = np.isin(np.arange(V), targets)
    expected = npchar.softmax_cross_entropy(logits, targets)[1]
    one_hot = np.eye(V)[targets]
    mistakes = {
        "this is for the sum of the losses; the loss is their mean": expected * n,
        "this is divided by n V; divide by n, because the mean is over the rows": expected / V,
        "this is only softmax; subtract 1 at the target": softmax(logits) / n,
        "the sums of softmax run down the columns, not along the rows": (
            (softmax(logits, axis=0) - one_hot) / n
        ),
        "this is logits minus one-hot; it should be softmax minus one-hot": (logits - one_hot) / n,
        "1 is subtracted in every row at the targets of all rows, as `p[:, targets]` picks them; "
        "each row has one: `p[np.arange(n), targets]`": (softmax(logits) - any_target) / n,
        "this is softmax with 0 at the target; subtract 1 there": softmax(logits)
        * (1 - one_hot)
        / n,
    }
    expect(call(function, logits, targets), expected, mistakes=mistakes)
    case = "logits around 1000"
    came = call(function, logits + 1000, targets, case=case)
    expect(came, expected, case=case)


@exercise("4.2", "lstm_step_gradient")
def check_lstm_step_gradient(function, rng):
    """Compared with `npchar.LSTM.backward`, sequence by sequence: db is then dz."""
    z = rng.normal(size=(4, B, H))
    c_, dh, dc = rng.normal(size=(3, B, H))
    gates = np.concatenate([sigma(z[:3]), np.tanh(z[3:])])
    i, f, o, g = gates
    c = f * c_ + i * g
    dz, dc_ = np.empty_like(z), np.empty_like(c)
    for n in range(B):
        none, one = np.zeros((4, H, H)), slice(n, n + 1)
        lstm, gradient = LSTM(none, none, z[:, n]), LSTM(none.copy(), none.copy(), z[:, n].copy())
        tape = lstm.forward(np.zeros((1, 1, H)), State(np.zeros((1, H)), c_[one]))
        _, before = lstm.backward(tape, dh[None, one], State(np.zeros((1, H)), dc[one]), gradient)
        dz[:, n], dc_[n] = gradient.b, before.c[0]
    came = parts(call(function, gates, c_, c, dh, dc), "dz, dc_")
    names = ("input gate i", "forget gate f", "output gate o", "candidate g")
    tanh_c, slopes = np.tanh(c), np.array([i * (1 - i), f * (1 - f), o * (1 - o), 1 - g**2])
    full = dc + dh * o * (1 - tanh_c**2)
    through = {
        "the share of dh in dc, by h = o tanh(c), is missing": dc,
        "dc is not carried: the share of the next step is missing": full - dc,
        "the share of h is taken as dc o (1 - tanh(c)²); it should have dh for dc": (
            dc + dc * o * (1 - tanh_c**2)
        ),
        "dh and dc are swapped": dh + dc * o * (1 - tanh_c**2),
        "the slope of tanh at c is taken as 1 - c²; it should be 1 - tanh(c)²": dc
        + dh * o * (1 - c**2),
        "the slope of tanh at c is missing": dc + dh * o,
        "the slope of tanh is taken at h = o tanh(c); it should be taken at c": (
            dc + dh * o * (1 - (o * tanh_c) ** 2)
        ),
        "the share of dh in dc lacks the output gate": dc + dh * (1 - tanh_c**2),
        "the slope of tanh is taken at c_; it should be taken at c": dc
        + dh * o * (1 - np.tanh(c_) ** 2),
    }
    ways = [g, c_, None, i]  # from dc to the gates
    if np.shape(came[0]) != dz.shape:
        expect(came[0], dz, "dz")
    for order in permutations("ifog"):
        taken = dict(zip(order, gates))
        wrong_dz, wrong_dc_ = one_step_back(*(taken[name] for name in "ifog"), c_, c, dh, dc)
        for returned in {order, tuple("ifog")}:
            if (
                order != tuple("ifog")
                and alike(came[1], wrong_dc_)
                and alike(came[0], [wrong_dz["ifog".index(name)] for name in returned])
            ):
                raise Wrong(f"the gates are taken as {', '.join(order)}; they come as i, f, o, g")
    for k in range(4):
        mistakes = {}
        if ways[k] is not None:
            mistakes = {s: a * ways[k] * slopes[k] for s, a in through.items()}
            mistakes["the slope of the sigmoid or tanh is missing"] = full * ways[k]
        else:
            mistakes["the slope of the sigmoid is missing"] = dh * tanh_c
            mistakes["its factor is dc; it should be dh"] = dc * tanh_c * slopes[2]
            mistakes["its factor is the new dc; it should be dh"] = full * tanh_c * slopes[2]
            mistakes["its factor is c; it should be tanh(c)"] = dh * c * slopes[2]
        if k == 1:
            mistakes["its factor is c; it should be c_, before the step"] = full * c * slopes[1]
        if k in (0, 3):
            own, other = (i, "g") if k == 0 else (g, "i")
            mistakes[
                f"i and g are swapped: its factor is {names[k][-1]} itself; it should be {other}, "
                "the other factor of i g"
            ] = full * own * slopes[k]
        if k == 3:
            mistakes["the slope is taken as 1 - tanh(g)²; g is a tanh already: 1 - g²"] = (
                full * i * (1 - np.tanh(g) ** 2)
            )
            mistakes["the slope is taken as (1 - g)²; it should be 1 - g²"] = (
                full * i * (1 - g) ** 2
            )
            mistakes["the slope is taken as g (1 - g), a sigmoid's; g is a tanh: 1 - g²"] = (
                full * i * g * (1 - g)
            )
        else:
            s = gates[k]
            factor = dh * tanh_c if k == 2 else full * ways[k]
            mistakes["the slope is taken as 1 - s², a tanh's; it is a sigmoid: s (1 - s)"] = (
                factor * (1 - s**2)
            )
            mistakes["a second sigmoid is taken; the gate s is a sigmoid already: s (1 - s)"] = (
                factor * sigma(s) * (1 - sigma(s))
            )
        for other in range(4):
            if other != k:
                mistakes[f"it has the gradient of the {names[other]}"] = dz[other]
        expect(came[0][k], dz[k], f"dz of the {names[k]}", mistakes)
    mistakes = {s: a * f for s, a in through.items()} | {
        "f is missing: dc_ should be dc f": full,
        "dc is multiplied by i; it should be multiplied by f": full * i,
    }
    expect(came[1], dc_, "dc_", mistakes)


def one_step_back(i, f, o, g, c_, c, dh, dc):
    """One step backward: dz, a list, and dc_."""
    dc = dc + dh * o * (1 - np.tanh(c) ** 2)
    slopes = i * (1 - i), f * (1 - f), o * (1 - o), 1 - g**2
    factors = dc * g, dc * c_, dh * np.tanh(c), dc * i
    return [a * slope for a, slope in zip(factors, slopes)], dc * f


@exercise("4.3", "numeric_gradients")
def check_numeric_gradients(function, rng):
    """With a large delta, so that the kinds of differences have different results."""
    x, delta = rng.normal(size=4), 0.1

    def f(x):
        return (np.exp(x) * np.sin(x[::-1])).sum()

    def shifted(steps, divisor):
        return [(f(x + steps[0] * e) - f(x + steps[1] * e)) / divisor for e in delta * np.eye(4)]

    came = parts(call(function, f, x, delta), "central, complex step")
    central = shifted((1, -1), 2 * delta)
    mistakes = {
        "this is a forward difference; the second point should be x - delta": shifted(
            (1, 0), delta
        ),
        "this is a backward difference; the first point should be x + delta": shifted(
            (0, -1), delta
        ),
        "this is divided by delta, but the points are 2 delta apart": shifted((1, -1), delta),
        "this is f(x + delta) - f(x) over 2 delta; the second point should be x - delta": shifted(
            (1, 0), 2 * delta
        ),
        "all entries move together; move one entry after the other": np.full(
            4, (f(x + delta) - f(x - delta)) / (2 * delta)
        ),
    }
    expect(came[0], central, "central", mistakes, f"{delta = }")
    steps = delta * np.eye(4)
    mistakes = {
        "the imaginary part was lost": np.zeros(4),
        "the step is delta; it should be 1e-20": [f(x + 1j * e).imag / delta for e in steps],
        "the real part is taken": [f(x).real / 1e-20] * 4,
        "the imaginary part is not divided by 1e-20": [f(x + 1e-19j * e).imag for e in steps],
        "these are the central differences": central,
    }
    expect(came[1], complex_step(f, x, range(4)), "complex step", mistakes)


@exercise("4.4", "lstm_gradients")
def check_lstm_gradients(function, rng):
    """Compared with `npchar.LSTM.backward`; the mistakes with a plain version that makes them."""
    lstm, x, dh = some_lstm(rng), rng.normal(size=(T, B, D)), rng.normal(size=(T, B, H))
    Wh = lstm.Wh
    h0, c0 = rng.normal(size=(2, B, H))
    tape = lstm.forward(x, State(h0, c0))
    gates = np.array([[step.i, step.f, step.o, step.g] for step in tape.steps])
    h, c = np.array([h0, *(s.h for s in tape.steps)]), np.array([c0, *(s.c for s in tape.steps)])
    gradient = lstm.zeros_like()
    lstm.backward(tape, dh, None, gradient)
    came = parts(call(function, Wh, x, gates, c, h, dh), "dWx, dWh, db")

    def by_hand(
        carry_h=True,
        carry_c=True,
        transpose=True,
        before=slice(-1),
        backward=True,
        swap=False,
        only=slice(None),
    ):
        dz, next_h, next_c = np.empty_like(gates), np.zeros((B, H)), np.zeros((B, H))
        for t in range(T)[:: -1 if backward else 1]:
            cells = (c[t + 1], c[t]) if swap else (c[t], c[t + 1])
            to_h, to_c = dh[t] + carry_h * next_h, carry_c * next_c
            dz[t], next_c = one_step_back(*gates[t], *cells, to_h, to_c)
            next_h = (dz[t] @ (Wh.swapaxes(1, 2) if transpose else Wh)).sum(axis=0)
        shares = dz[only]
        dWx = np.einsum("tbd,tgbh->gdh", x[only], shares)
        dWh = np.einsum("tbk,tgbh->gkh", h[before][only], shares)
        return dWx, dWh, shares.sum(axis=(0, 2))

    wrong = {
        "the loop runs from the first step to the last; it should begin at the last": by_hand(
            backward=False
        ),
        "only the share of step 0 counts: `=` instead of `+=`": by_hand(only=slice(1)),
        "only the share of the last step counts: `=` instead of `+=`": by_hand(
            only=slice(-1, None)
        ),
        "the loop runs from the first step to the last, with `=` instead of `+=`": (
            by_hand(backward=False, only=slice(-1, None))
        ),
        "c[t] and c[t + 1] are swapped: c[t] is before step t, c[t + 1] after it": (
            by_hand(swap=True)
        ),
        "dc is not carried from step to step": by_hand(carry_c=False),
        "dh is not carried from step to step, through Wh": by_hand(carry_h=False),
        "neither dh nor dc is carried from step to step": by_hand(carry_h=False, carry_c=False),
        "dz goes back through Wh; it should be Whᵀ": by_hand(transpose=False),
        "the factor is h[t + 1], the state after a step; it should be h[t]": by_hand(
            before=slice(1, None)
        ),
        "this is a mean over the batch; it should be a sum": [a / B for a in by_hand()],
        "this is a mean over time; it should be a sum": [a / T for a in by_hand()],
        "this is a mean over time and batch; it should be a sum": [a / T / B for a in by_hand()],
    }
    for k, (name, expected) in enumerate(
        {"dWx": gradient.Wx, "dWh": gradient.Wh, "db": gradient.b}.items()
    ):
        expect(came[k], expected, name, {s: value[k] for s, value in wrong.items()})
