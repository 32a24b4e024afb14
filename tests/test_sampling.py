"""Temperature and chance."""

import math
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from npchar.sampling import draw, reweight_distribution, sample, soften

probabilities = arrays(
    np.float64, st.integers(1, 12), elements=st.floats(0, 1) | st.sampled_from([0.0, 1e-300])
).filter(lambda p: p.max() > 0)
temperatures = st.floats(0, math.inf)


@given(probabilities, temperatures)
def test_reweighted_is_a_distribution(p, temperature):
    q = reweight_distribution(p, temperature)
    assert q.dtype == np.float64
    assert (q >= 0).all()
    assert q.sum() == pytest.approx(1)
    assert (q[p == 0] == 0).all()
    assert q[p.argmax()] == q.max()


@given(probabilities, temperatures, st.integers(0, 100))
def test_impossible_is_never_drawn(p, temperature, seed):
    assert p[sample(p, temperature, np.random.default_rng(seed))] > 0


@given(arrays(np.float64, st.integers(1, 12), elements=st.floats(1e-6, 1)), st.floats(0.1, 10))
def test_it_is_the_books_function(p, temperature):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        book = np.exp(np.log(p) / temperature)
    np.testing.assert_allclose(reweight_distribution(p, temperature), book / book.sum(), rtol=1e-9)


def test_the_limits():
    p = [0.1, 0.4, 0.4, 0.1, 0.0]
    assert reweight_distribution(p, 0).tolist() == [0, 1, 0, 0, 0]
    assert reweight_distribution(p, math.inf).tolist() == [0.25, 0.25, 0.25, 0.25, 0]
    np.testing.assert_allclose(reweight_distribution(p, 1e-320), [0, 0.5, 0.5, 0, 0])
    np.testing.assert_allclose(reweight_distribution(p, 1), p)


def test_the_draws_have_the_right_frequencies():
    p = np.array([0.5, 0.0, 0.3, 0.15, 0.05])
    rng = np.random.default_rng(0)
    counts = np.bincount([sample(p, rng=rng) for _ in range(20_000)], minlength=5)
    # Pearson's chi-squared with 3 degrees of freedom: above 16.3 once in a thousand.
    expected = 20_000 * p[p > 0]
    assert ((counts[p > 0] - expected) ** 2 / expected).sum() < 16.3
    assert counts[1] == 0


def test_rows_are_drawn_apart():
    weights = np.eye(5)[[3, 0, 4]] * 7.0
    assert draw(weights, np.array([[0.0], [0.5], [1 - 1e-16]])).tolist() == [3, 0, 4]


def test_float32_probabilities_that_multinomial_refuses():
    rng = np.random.default_rng(0)
    for _ in range(200):
        p = rng.random(57).astype(np.float32)
        p /= p.sum()
        assert 0 <= sample(p, 0.5, rng) < 57


def test_softened_logits_do_not_overflow():
    with np.errstate(over="ignore"):
        weights = soften(np.array([[1e300, 0, -1e300], [-5, -5, -5]]), 1e-10)
    assert weights.tolist() == [[1, 0, 0], [1, 1, 1]]


@pytest.mark.parametrize("temperature", [-1, -1e-9, math.nan, "hot", None])
def test_bad_temperatures(temperature):
    with pytest.raises(ValueError, match="temperature is .* from 0"):
        sample([0.5, 0.5], temperature)


@pytest.mark.parametrize("p", [[], [-0.1, 1.1], [math.nan, 1], [0, 0], [math.inf, 1], 0.5])
def test_bad_probabilities(p):
    with pytest.raises(ValueError, match="probabilities"):
        reweight_distribution(p)


def test_sample_takes_one_distribution():
    with pytest.raises(ValueError, match="2 dimensions"):
        sample([[0.5, 0.5]])
    assert sample([0.0, 1.0]) == 1
