"""Checks of notebook 3: a sigmoid, a step, a count."""

from __future__ import annotations

import math
from itertools import permutations

import numpy as np

from checks.checking import B, D, H, call, exercise, expect, parts, sigma, some_lstm
from npchar.layers.lstm import State
from npchar.network.network import NetworkConfig


@exercise("3.1", "sigmoid")
def check_sigmoid(function, rng):
    """Moderate numbers, then large ones."""
    z = 3 * rng.normal(size=(2, 4))
    mistakes = {
        "this is the sigmoid of 2 z": sigma(2 * z),
        "this is the sigmoid of -z": sigma(-z),
        "this is tanh": np.tanh(z),
        "this is tanh(z / 2), from -1 to 1": np.tanh(z / 2),
        "this is the sigmoid's derivative": sigma(z) * (1 - sigma(z)),
    }
    expect(call(function, z), sigma(z), mistakes=mistakes)
    large = np.array([-1000.0, -50, 0, 50, 1000])
    came = call(function, large, case="z from -1000 to 1000")
    expect(came, [0, 0, 0.5, 1, 1], case="z from -1000 to 1000")


@exercise("3.2", "lstm_step")
def check_lstm_step(function, rng):
    """Compared with `npchar.LSTM.step`."""
    lstm = some_lstm(rng)
    x, h_, c_ = rng.normal(size=(B, D)), rng.normal(size=(B, H)), rng.normal(size=(B, H))
    _, expected = lstm.step(x, State(h_, c_))
    came = parts(call(function, lstm.Wx, lstm.Wh, lstm.b, x, h_, c_), "h, c")
    zx, zh, b = x @ lstm.Wx, h_ @ lstm.Wh, lstm.b[:, None]

    def step(order="ifog", z=zx + zh + b, candidate=np.tanh):
        gate = dict(zip(order, z))
        i, f, o = (sigma(gate[name]) for name in "ifo")
        c = f * c_ + i * candidate(gate["g"])
        return o * np.tanh(c), c, o, i, f, candidate(gate["g"])

    h, c, o, i, f, g = step()
    wrong = {
        f"the gates are in another order, as if {', '.join(order)}; i, f, o, g is right": step(
            order
        )
        for order in permutations("ifog")
        if order != tuple("ifog")
    }
    transposed = h_ @ lstm.Wh.swapaxes(1, 2)
    wrong |= {
        "Wh is transposed, h_ Whᵀ; it should be h_ Wh": step(z=zx + transposed + b),
        "the sums z use the cell c_; they should use the hidden state h_": step(
            z=zx + c_ @ lstm.Wh + b
        ),
        "the new cell uses f h_; it should use f c_": (o * np.tanh(f * h_ + i * g), f * h_ + i * g),
        "the bias is missing": step(z=zx + zh),
        "the share of h_, h_ Wh, is missing": step(z=zx + b),
        "the share of x, x Wx, is missing": step(z=zh + b),
        "the candidate g has a sigmoid; it should have tanh": step(candidate=sigma),
        "the candidate g has no tanh": step(candidate=lambda z: z),
        "i and f are swapped in c": (o * np.tanh(i * c_ + f * g), i * c_ + f * g),
        "this is f c_ + g: the input gate is missing": (o * np.tanh(f * c_ + g), f * c_ + g),
        "h and c are swapped": (c, h),
    }
    expect(came[1], expected.c, "c", {s: value[1] for s, value in wrong.items()})
    mistakes = {
        "this is o c: tanh is missing": o * c,
        "this is o tanh(c_), from the cell before the step; it should be o tanh(c)": o
        * np.tanh(c_),
        "this is tanh(c): the output gate is missing": np.tanh(c),
        "this is tanh(o c); the gate belongs outside of tanh": np.tanh(o * c),
    }
    expect(came[0], expected.h, "h", mistakes | {s: value[0] for s, value in wrong.items()})


@exercise("3.3", "number_of_parameters")
def check_number_of_parameters(function, rng):
    """Compared with the shapes of a model's arrays."""
    V, H = (int(n) for n in rng.integers(5, 60, 2))
    for layers in (1, 2, 3):
        came = call(function, V, H, layers)
        expected = sum(math.prod(s) for s in NetworkConfig(V, H, layers, 0.0).shapes().values())
        mistakes = {
            "the Dense layer is missing": expected - (H + 1) * V,
            "the bias of Dense is missing": expected - V,
            "the biases of the LSTMs are missing": expected - 4 * H * layers,
            "all biases are missing": expected - 4 * H * layers - V,
            "each gate has a second bias, as in PyTorch": expected + 4 * H * layers,
            "the recurrent weights are missing": expected - 4 * H * H * layers,
            "one gate is counted; there are four sets of weights": (expected - (H + 1) * V) / 4
            + (H + 1) * V,
            "three gates are counted; g has weights too": (expected - (H + 1) * V) * 3 / 4
            + (H + 1) * V,
            "each layer is taken to read V numbers; layers above the first read H": expected
            + (layers - 1) * 4 * H * (V - H),
            "only one layer is counted": sum(
                math.prod(s) for s in NetworkConfig(V, H, 1, 0.0).shapes().values()
            )
            if layers > 1
            else expected,
        }
        expect(came, expected, mistakes=mistakes, case=f"{V = }, {H = }, {layers = }")
