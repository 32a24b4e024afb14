"""The fast recurrent layers, compared with the plain layers for every way to compute a product."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import npchar
from npchar.fast import matmul
from npchar.network.registry import FAST, PLAIN

CELLS = ["gru", "lstm", "rnn"]


def random_case(name, T, B, D, H, vectors, seed, at_the_end=False):
    """Arrays, inputs, a state, and the gradients of the final state and of the outputs."""
    rng = np.random.default_rng(seed)
    arrays = {n: rng.normal(0, 0.4, s) for n, s in PLAIN[name].shapes(D, H).items()}
    x = rng.normal(size=(T, B, D)) if vectors else rng.integers(0, D, (T, B))
    zeros = PLAIN[name](**arrays).zero_state(B)
    state, dstate = (type(zeros)(*(rng.normal(size=z.shape) for z in zeros)) for _ in "ab")
    return arrays, x, state, dstate, rng.normal(size=(B, H) if at_the_end else (T, B, H))


def everything(kind, arrays, x, state, dstate, dh, tape=None):
    """The results of a layer's forward and backward pass."""
    layer = kind(**arrays)
    tape = layer.forward(x, state, tape)
    results = [tape.outputs.copy(), *tape.final_state]
    gradient = layer.zeros_like()
    for array in gradient.arrays.values():
        array += 7  # old values are overwritten
    dx, dinitial = layer.backward(tape, dh, dstate, gradient)
    assert (dx is None) == (x.ndim == 2)
    return [*results, *dinitial, *([] if dx is None else [dx]), *gradient.arrays.values()]


@given(
    st.sampled_from(CELLS),
    *(st.integers(1, most) for most in (100, 9, 8, 8)),  # T, B, D, H
    st.booleans(),
    st.booleans(),
    st.integers(0, 2**32),
)
@example("lstm", 100, 9, 8, 8, True, False, 0)
@example("gru", 100, 9, 8, 8, False, True, 0)
@example("rnn", 100, 9, 8, 8, True, True, 0)
@example("lstm", 100, 9, 2, 3, False, False, 0)  # more rows of a symbol than are copied together
@example("rnn", 64, 1, 1, 1, False, False, 8)  # terms of 1 whose sum is 4e-4
@example("rnn", 69, 1, 5, 6, True, True, 88428)  # gradients that vanish to 1e-25
def test_fast_is_plain(name, T, B, D, H, vectors, at_the_end, seed):
    """Outputs, states and gradients agree to twelve digits of the terms in their sums.

    Where terms cancel, or gradients vanish over many steps, rounding may change more than the
    twelfth digit of a result. There the fast layer may differ by as much as the plain layer does
    when all its arguments differ by 1e-12.
    """
    arrays, x, state, dstate, dh = case = random_case(name, T, B, D, H, vectors, seed, at_the_end)
    rng = np.random.default_rng([seed, 1])

    def close(a):
        return a * (1 + 1e-12 * rng.normal(size=a.shape))

    near = (
        {n: close(a) for n, a in arrays.items()},
        close(x) if vectors else x,
        type(state)(*map(close, state)),
        type(dstate)(*map(close, dstate)),
        close(dh),
    )
    computed, expected = everything(FAST[name], *case), everything(PLAIN[name], *case)
    for result, right, other in zip(
        computed, expected, everything(PLAIN[name], *near), strict=True
    ):
        error, norm, change = map(np.linalg.norm, (result - right, right, other - right))
        assert error <= 1e-12 * norm + change


@pytest.fixture(params=[1024, 70], ids=["joined", "split"])
def is_split(request, monkeypatch):
    """Products in tiles, with the gradients of all gates in one product or in separate products."""
    monkeypatch.setattr(matmul, "HAS_SMALL_KERNELS", True)
    monkeypatch.setattr(matmul, "SMALL", 40_000)
    monkeypatch.setattr(matmul, "LONGEST", request.param)
    return request.param == 70


@pytest.mark.parametrize("vectors", [False, True])
@pytest.mark.parametrize("name", CELLS)
def test_fast_is_plain_in_tiles(name, vectors, is_split):
    B, H = 48, 32
    case = arrays, x, state, *_ = random_case(name, 6, B, 9, H, vectors, seed=1)
    layer, plain = FAST[name](**arrays), PLAIN[name](**arrays)
    tape = layer.tape(6, B)
    assert tape.plan.is_tiled
    assert tape.is_split == (is_split and name != "rnn")  # a plain RNN has one gate
    computed, expected = everything(FAST[name], *case, tape), everything(PLAIN[name], *case)
    for result, right in zip(computed, expected, strict=True):
        np.testing.assert_allclose(result, right, rtol=1e-12, atol=1e-13)
    stepper, outputs = layer.stepper(state), plain.forward(x, state).outputs
    for x_t, output in zip(x, outputs):
        np.testing.assert_allclose(stepper.step(x_t), output, rtol=0, atol=1e-13)


@pytest.mark.parametrize("name", CELLS)
def test_the_same_inputs_give_the_same_bits(name):
    """The tape may be new, or may contain values of earlier passes over ids or vectors."""
    cases = [random_case(name, 5, 3, 4, 8, vectors, seed=2) for vectors in (False, True)]
    tape = FAST[name](**cases[0][0]).tape(5, 3)
    for case in (cases[0], cases[1], cases[0], cases[1]):
        for one, other in zip(everything(FAST[name], *case, tape), everything(FAST[name], *case)):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("B", [1, 2, 5])
@pytest.mark.parametrize("vectors", [False, True])
@pytest.mark.parametrize("name", CELLS)
def test_a_stepper_of_any_number_of_sequences_is_plain(name, vectors, B):
    """Ids may follow vectors; the step of one does not affect the other."""
    arrays, x, state, *_ = random_case(name, 6, B, 5, 4, vectors, seed=3)
    dense = npchar.Dense.create(4, 7, dtype="float64")
    dense.b[...] = np.arange(7)
    layer, plain = FAST[name](**arrays), PLAIN[name](**arrays)
    steppers = [one.stepper(state, dense) for one in (layer, plain)]
    below = layer.stepper(state)
    ids = np.random.default_rng(4).integers(0, 5, B)
    for x_t in (*x, ids, x[0], ids):
        logits, expected = (one.step(x_t) for one in steppers)
        np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-13)
        np.testing.assert_allclose(dense.forward(below.step(x_t)), expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("D", [40, 4000])
def test_symbols_that_do_not_occur(name, D):
    """Their gradient is zero, and the gradients of other symbols keep their places."""
    arrays, x, state, dstate, dh = random_case(name, 6, 5, D, 3, vectors=False, seed=D)
    x = x % 13 * (D // 13)  # some symbols occur several times, most never
    results = [everything(one[name], arrays, x, state, dstate, dh) for one in (FAST, PLAIN)]
    for computed, expected in zip(*results, strict=True):
        np.testing.assert_allclose(computed, expected, rtol=0, atol=1e-12)
