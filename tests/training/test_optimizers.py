"""Optimizers compared with hand calculations; clipping; schedules."""

import math

import numpy as np
import pytest

import npchar
from npchar import SGD, Adam, Muon, RMSprop, clip_by_global_norm, softmax_cross_entropy
from npchar.training import optimizers
from npchar.training.optimizers import OPTIMIZERS, orthogonalize
from npchar.training.schedule import learning_rate_at


def make(name, **arguments):
    """An optimizer for two layers with 101 weights."""
    optimizer = OPTIMIZERS[name](**arguments)
    optimizer.shapes = {"rnn0.Wx": (10,), "rnn0.Wh": (9, 9), "rnn1.Wx": (5,), "rnn1.b": (5,)}
    return optimizer


def test_steps_by_hand():
    rmsprop, adam, sgd = RMSprop(rho=0.5, epsilon=1e-3), Adam(beta1=0.8, beta2=0.9), SGD()
    m = v = v_adam = u = 0.0
    expected, weights = np.ones(3), np.ones((3, 1))
    for n, g in enumerate((0.5, -2.0, 0.1), start=1):
        for optimizer, weight in zip((rmsprop, adam, sgd), weights):
            optimizer.update(weight, np.array([g]), 0.2)
        v, m, v_adam, u = (
            0.5 * (v + g**2),
            0.8 * m + 0.2 * g,
            0.9 * v_adam + 0.1 * g**2,
            0.9 * u + g,
        )
        m_hat, v_hat = m / (1 - 0.8**n), v_adam / (1 - 0.9**n)
        expected -= 0.2 * np.array([g / math.sqrt(v + 1e-3), m_hat / (math.sqrt(v_hat) + 1e-8), u])
        np.testing.assert_allclose(weights[:, 0], expected, rtol=1e-13)


@pytest.mark.parametrize("steps", [1, 3, 5])
def test_orthogonalize_changes_singular_values_only(steps):
    """Each singular value is mapped by a polynomial; after five steps all are near 1."""
    matrices = np.random.default_rng(0).normal(size=(3, 20, 20))
    U, values, V = np.linalg.svd(matrices)
    values /= np.sqrt((values**2).sum(axis=1, keepdims=True))
    for _ in range(steps):
        values = 3.4445 * values - 4.775 * values**3 + 2.0315 * values**5
    found = orthogonalize(matrices, steps)
    np.testing.assert_allclose(found, U * values[:, None] @ V, atol=1e-12)
    if steps == 5:
        polar = U @ V
        assert np.abs(np.linalg.svd(found, compute_uv=False) - 1)[:, :-1].max() < 0.35
        assert (found * polar).sum() / (polar * polar).sum() > 0.85
    assert orthogonalize(np.zeros((1, 2, 2), "float32"), 3).tolist() == [[[0, 0], [0, 0]]]


def test_muon_is_that_of_pytorch_for_recurrent_weights(monkeypatch):
    """PyTorch iterates in bfloat16, which has 8 bits of precision."""
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(optimizers, "STEPS", 5)
    weights, *gradients = np.random.default_rng(0).normal(size=(4, 4, 16, 16))
    gates = [torch.tensor(gate) for gate in weights]
    theirs = torch.optim.Muon(gates, lr=0.06, momentum=0.9, weight_decay=0)
    ours = Muon(learning_rate=0.03, momentum=0.9, recurrent_scale=2)
    ours.shapes = {"lstm.Wh": weights.shape}
    for gradient in gradients:
        for gate, gradient_of_gate in zip(gates, gradient):
            gate.grad = torch.tensor(gradient_of_gate)
        theirs.step()
        ours.update(weights.reshape(-1), gradient.reshape(-1))
    np.testing.assert_allclose(weights, torch.stack(gates).numpy(), atol=0.004)


def test_muon_is_rmsprop_for_all_other_weights():
    """The input weights of the first layer have another rate."""
    gradients, found = np.random.default_rng(0).normal(size=(3, 101)), np.ones((3, 101))
    plain, scaled = make("rmsprop", epsilon=1e-12), make("rmsprop", epsilon=1e-12, input_scale=2)
    for optimizer, rate, weights in zip((make("muon"), scaled, plain), (0.1, 0.1, 0.2), found):
        for gradient in gradients:
            optimizer.update(weights, gradient, rate)
    assert (found[0] == found[1]).tolist() == [True] * 10 + [False] * 81 + [True] * 10
    assert (found[1] == found[2]).tolist() == [True] * 10 + [False] * 91
    with pytest.raises(ValueError, match="shapes of the arrays in the 3 weights, got None; set"):
        Muon().update(np.ones(3), np.ones(3))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_state_is_all_that_is_kept(name):
    """The state is allocated at the first update, and another instance can continue with it."""
    gradients = np.random.default_rng(0).normal(size=(4, 101))
    optimizer, (whole, parts) = make(name), np.ones((2, 101))
    assert optimizer.state is None
    for gradient in gradients:
        optimizer.update(whole, gradient, 0.01)
    state = None
    for gradient in gradients:
        other = make(name)
        other.state = state
        other.update(parts, gradient, 0.01)
        state = other.state
    np.testing.assert_array_equal(parts, whole)
    other.shapes = {"dense.b": (4,)}
    with pytest.raises(ValueError, match="other weights: 4 float64 weights .* new optimizer"):
        other.update(np.ones(4), np.ones(4), 0.01)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_update_without_a_rate_uses_the_optimizers_own(name):
    by_default, given = make(name, learning_rate=0.3), make(name)
    weights, others = np.ones((2, 101))
    gradient = np.random.default_rng(0).normal(size=101)
    by_default.update(weights, gradient)
    given.update(others, gradient, 0.3)
    np.testing.assert_array_equal(weights, others)


@pytest.mark.parametrize("kind", [RMSprop, Adam, SGD])
def test_the_number_of_weights_of_version_1_is_an_error(kind):
    with pytest.raises(TypeError, match=rf"by keyword, as in {kind.__name__}\(learning_rate=0.01"):
        kind(1000)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: RMSprop(learning_rate=0), "learning_rate is 0"),
        (lambda: RMSprop(rho=1), "rho is 1"),
        (lambda: Adam(beta2=-0.1), "beta2 is -0.1"),
        (lambda: Adam(epsilon=math.nan), "epsilon is nan"),
        (lambda: SGD(momentum=1.5), "momentum is 1.5"),
        (lambda: SGD().update(np.ones((2, 2)), np.ones((2, 2))), r"same shape \(n,\)"),
        (lambda: SGD().update(np.ones(2), np.ones(3)), r"got \(2,\) float64 and \(3,\)"),
        (lambda: SGD().update(np.ones(2, int), np.ones(2)), "floating-point"),
    ],
)
def test_wrong_arguments(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_clipping(monkeypatch):
    gradient = np.array([3.0, 4.0])
    assert clip_by_global_norm(gradient, 10) == 5
    assert gradient.tolist() == [3, 4]
    monkeypatch.setattr(optimizers, "PART", 1)  # long arrays in parts, too
    assert clip_by_global_norm(gradient, 1) == 5
    np.testing.assert_allclose(gradient, [0.6, 0.8], rtol=1e-14)


def test_schedules():
    assert [learning_rate_at("linear", 0.02, step, 4) for step in (0, 1, 4)] == [0.02, 0.015, 0]
    assert learning_rate_at("constant", 0.02, 9, 10) == 0.02
    cosine = [learning_rate_at("cosine", 0.02, step, 4) for step in (0, 1, 2, 4)]
    assert cosine == pytest.approx([0.02, 0.01 + 0.01 / math.sqrt(2), 0.01, 0])
    assert learning_rate_at(lambda progress: progress**2, 0.02, 1, 2) == 0.005
    with pytest.raises(ValueError, match="'step'; expected one of linear, cosine, constant"):
        npchar.Schedule("step")
    with pytest.raises(ValueError, match="schedule returned nan at a progress of 0.5"):
        learning_rate_at(lambda progress: math.nan, 0.02, 1, 2)


def test_warm_up_rises_to_the_rate_and_never_is_zero():
    rates = [learning_rate_at("constant", 0.1, step, 20, warm_up=0.25) for step in range(7)]
    assert rates == pytest.approx([0.02, 0.04, 0.06, 0.08, 0.1, 0.1, 0.1])
    assert learning_rate_at("constant", 0.1, 0, 3, warm_up=0.1) == 0.1  # shorter than one step


def test_cross_entropy_of_hopeless_logits_is_finite_and_pulls_back():
    loss, dlogits = softmax_cross_entropy(np.array([[1000.0, -1000.0]]), np.array([1]))
    assert loss == 2000
    assert dlogits.tolist() == [[1, -1]]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_parts_change_no_bit(name, monkeypatch):
    rng = np.random.default_rng(0)
    gradients, results = rng.standard_normal((3, 101)).astype("float32"), []
    for size in (1 << 17, 8):
        monkeypatch.setattr(optimizers, "PART", size)
        weights, optimizer = np.ones(101, "float32"), make(name)
        for gradient in gradients:
            optimizer.update(weights, gradient, 0.01)
        results.append([weights, optimizer.state])
    for whole, in_parts in zip(*results):
        np.testing.assert_array_equal(in_parts, whole)
