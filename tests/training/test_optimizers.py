"""RMSprop by hand arithmetic, clipping, schedules."""

import math

import numpy as np
import pytest

from npchar.layers.loss import softmax_cross_entropy
from npchar.training.optimizers import RMSprop, clip_by_global_norm, learning_rate_at


def test_two_steps_by_hand():
    optimizer = RMSprop(2, dtype="float64")
    weights = np.array([1.0, -2.0])
    gradient = np.array([0.5, 0.0])
    optimizer.update(weights, gradient, 0.01)
    v = 0.1 * 0.25
    expected = 1 - 0.01 * 0.5 / math.sqrt(v + 1e-7)
    assert weights == pytest.approx([expected, -2.0], rel=1e-14)
    optimizer.update(weights, gradient, 0.01)
    v = 0.9 * v + 0.1 * 0.25
    assert weights[0] == pytest.approx(expected - 0.01 * 0.5 / math.sqrt(v + 1e-7), rel=1e-14)
    assert gradient.tolist() == [0.5, 0.0]


def test_another_rho():
    optimizer = RMSprop(1, rho=0.5, epsilon=1e-3, dtype="float64")
    weights, v = np.array([1.0]), 0.0
    expected = 1.0
    for g in (0.5, -2.0, 0.1):
        optimizer.update(weights, np.array([g]), 0.1)
        v = 0.5 * v + 0.5 * g**2
        expected -= 0.1 * g / math.sqrt(v + 1e-3)
        assert weights[0] == pytest.approx(expected, rel=1e-14)


def test_no_subnormal_is_left_behind():
    optimizer = RMSprop(3)
    weights = np.zeros(3, np.float32)
    for step in range(2000):
        optimizer.update(weights, np.full(3, 1e-3 if step == 0 else 0, np.float32), 0.01)
    assert (optimizer.v_plus_epsilon >= np.finfo(np.float32).tiny).all()
    assert optimizer.v_plus_epsilon.dtype == weights.dtype == np.float32


def test_clipping():
    gradient = np.array([3.0, 4.0])
    assert clip_by_global_norm(gradient, 10) == 5
    assert gradient.tolist() == [3, 4]
    assert clip_by_global_norm(gradient, 1) == 5
    np.testing.assert_allclose(gradient, [0.6, 0.8])


def test_schedules():
    assert [learning_rate_at("linear", 0.02, p) for p in (0, 0.25, 1)] == [0.02, 0.015, 0]
    assert learning_rate_at("constant", 0.02, 0.9) == 0.02
    with pytest.raises(ValueError, match="'cosine'"):
        learning_rate_at("cosine", 0.02, 0.5)


def test_cross_entropy_of_a_known_distribution():
    p = np.array([[0.7, 0.2, 0.1], [0.1, 0.1, 0.8]])
    loss, dlogits = softmax_cross_entropy(np.log(p) + 5, np.array([0, 2]))
    assert loss == pytest.approx(-(math.log(0.7) + math.log(0.8)) / 2)
    np.testing.assert_allclose(dlogits, (p - [[1, 0, 0], [0, 0, 1]]) / 2)


def test_cross_entropy_of_hopeless_logits_is_finite_and_pulls_back():
    loss, dlogits = softmax_cross_entropy(np.array([[1000.0, -1000.0]]), np.array([1]))
    assert loss == 2000
    assert dlogits.tolist() == [[1, -1]]


def test_cross_entropy_names_shapes():
    with pytest.raises(ValueError, match=r"\(2,\).*\(3, 4\)"):
        softmax_cross_entropy(np.zeros((3, 4)), np.zeros(2, int))
