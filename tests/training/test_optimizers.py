"""The optimizers by hand arithmetic, clipping, schedules."""

import math
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from npchar import cores
from npchar.layers.loss import softmax_cross_entropy
from npchar.training.optimizers import (
    OPTIMIZERS,
    SGD,
    Adam,
    RMSprop,
    clip_by_global_norm,
    learning_rate_at,
    make_optimizer,
)


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


def test_adam_and_momentum_by_hand():
    gradients = (0.5, -2.0, 0.1)
    adam, sgd = Adam(1, 0.8, 0.9, 1e-3, "float64"), SGD(1, 0.7, "float64")
    by_adam, by_sgd = np.array([1.0]), np.array([1.0])
    m = v = u = 0.0
    expected_adam = expected_sgd = 1.0
    for n, g in enumerate(gradients, start=1):
        adam.update(by_adam, np.array([g]), 0.1)
        sgd.update(by_sgd, np.array([g]), 0.1)
        m, v, u = 0.8 * m + 0.2 * g, 0.9 * v + 0.1 * g**2, 0.7 * u + g
        m_hat, v_hat = m / (1 - 0.8**n), v / (1 - 0.9**n)
        expected_adam -= 0.1 * m_hat / (math.sqrt(v_hat) + 1e-3)
        expected_sgd -= 0.1 * u
        assert by_adam[0] == pytest.approx(expected_adam, rel=1e-13)
        assert by_sgd[0] == pytest.approx(expected_sgd, rel=1e-13)


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("name", ["adam", "sgd"])
def test_live_torch(name):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    ours = rng.normal(size=20)
    theirs = torch.tensor(ours.copy(), requires_grad=True)
    if name == "adam":
        peer = torch.optim.Adam([theirs], 0.01, betas=(0.9, 0.99))
    else:
        peer = torch.optim.SGD([theirs], 0.01, momentum=0.9)
    optimizer = make_optimizer(name, 20, 1e-8, "float64")
    for _ in range(50):
        gradient = rng.normal(size=20)
        optimizer.update(ours, gradient, 0.01)
        theirs.grad = torch.tensor(gradient)
        peer.step()
    np.testing.assert_allclose(ours, theirs.detach().numpy(), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_one_goes_on_with_the_memory_of_another(name):
    about = name, 3, 1e-8, "float64"
    gradients = np.random.default_rng(0).normal(size=(4, 3))
    optimizer, whole, parts = make_optimizer(*about), np.ones(3), np.ones(3)
    for gradient in gradients:
        optimizer.update(whole, gradient, 0.01)
    kept = None
    for gradient in gradients:
        again = make_optimizer(*about, memory=kept)
        again.update(parts, gradient, 0.01)
        kept = again.memory
    np.testing.assert_array_equal(parts, whole)
    with pytest.raises(ValueError, match=r"of 4 weights it must be \(\d,\)"):
        make_optimizer(name, 4, 1e-8, "float64", memory=kept)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_no_subnormal_is_left_behind(name):
    optimizer = make_optimizer(name, 3, 1e-12, "float32")
    weights = np.zeros(3, np.float32)
    gradients = np.zeros((15000, 3), np.float32)
    gradients[0] = 1e-3
    for gradient in gradients:
        optimizer.update(weights, gradient, 0.01)
    assert (np.abs(optimizer.memory) >= np.finfo(np.float32).tiny).all()
    assert optimizer.memory.dtype == weights.dtype == np.float32
    assert np.isfinite(weights).all()


def test_clipping():
    gradient = np.array([3.0, 4.0])
    assert clip_by_global_norm(gradient, 10) == 5
    assert gradient.tolist() == [3, 4]
    assert clip_by_global_norm(gradient, 1) == 5
    np.testing.assert_allclose(gradient, [0.6, 0.8])


def test_schedules():
    assert [learning_rate_at("linear", 0.02, step, 4) for step in (0, 1, 4)] == [0.02, 0.015, 0]
    assert learning_rate_at("constant", 0.02, 9, 10) == 0.02
    cosine = [learning_rate_at("cosine", 0.02, step, 4) for step in (0, 1, 2, 4)]
    assert cosine == pytest.approx([0.02, 0.01 + 0.01 / math.sqrt(2), 0.01, 0])
    with pytest.raises(ValueError, match="'step'; expected one of linear, cosine, constant"):
        learning_rate_at("step", 0.02, 1, 2)


def test_warm_up_rises_to_the_rate_and_never_is_zero():
    rates = [learning_rate_at("constant", 0.1, step, 20, warm_up=0.25) for step in range(7)]
    assert rates == pytest.approx([0.02, 0.04, 0.06, 0.08, 0.1, 0.1, 0.1])
    assert learning_rate_at("constant", 0.1, 0, 3, warm_up=0.1) == 0.1  # shorter than one step


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


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("size", [1, 16, 17, 101])
def test_what_is_done_in_parts_is_done_once_to_each(count, size, monkeypatch):
    monkeypatch.setattr(cores, "PART", 8)
    monkeypatch.setattr(cores, "available_cores", lambda: count)
    cores._threads_of.cache_clear()
    numbers, seen = np.zeros(size), set()

    def visit(part):
        numbers[part] += 1
        seen.add(threading.get_ident())
        return part.start, len(numbers[part])

    found = cores.in_parts(size, visit)
    assert numbers.tolist() == [1] * size
    assert [start for start, _ in found] == np.cumsum([0, *(n for _, n in found[:-1])]).tolist()
    assert len(found) == (1 if size <= 16 else -(-size // 8))
    assert threading.get_ident() in seen
    assert (len(seen) > 1) == (count > 1 and size > 16)
    cores._threads_of.cache_clear()


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_parts_change_no_bit(name, monkeypatch):
    rng = np.random.default_rng(0)
    gradients, results = rng.standard_normal((3, 101)).astype("float32"), []
    for size in (1 << 17, 8):
        monkeypatch.setattr(cores, "PART", size)
        weights, optimizer = np.ones(101, "float32"), make_optimizer(name, 101, 1e-7, "float32")
        for gradient in gradients:
            optimizer.update(weights, gradient, 0.01)
        results.append([weights, optimizer.memory])
    for whole, in_parts in zip(*results):
        np.testing.assert_array_equal(in_parts, whole)


def test_a_long_gradient_is_clipped_in_parts(monkeypatch):
    monkeypatch.setattr(cores, "PART", 8)
    gradient = np.random.default_rng(0).standard_normal(101)
    before = gradient.copy()
    norm = clip_by_global_norm(gradient, 1.0)
    assert norm == pytest.approx(np.linalg.norm(before), rel=1e-14)
    np.testing.assert_allclose(gradient, before / norm, rtol=1e-14)


def test_an_error_in_a_part_is_raised(monkeypatch):
    monkeypatch.setattr(cores, "PART", 8)
    with pytest.raises(ZeroDivisionError):
        cores.in_parts(100, lambda part: 1 / (part.start - 48))


def test_others_cores_are_left_to_them():
    before = cores.available_cores()
    with cores.at_most(1):
        assert cores.available_cores() == 1
        with cores.at_most(1000):
            assert cores.available_cores() == before
    assert cores.available_cores() == before


def test_without_threads_the_work_is_done_all_the_same(monkeypatch):
    """As in a thread of a script whose main thread has ended."""
    pool = ThreadPoolExecutor(1)
    pool.shutdown()
    monkeypatch.setattr(cores, "PART", 8)
    monkeypatch.setattr(cores, "available_cores", lambda: 2)
    monkeypatch.setattr(cores, "_threads_of", lambda _: pool)
    assert cores.in_parts(20, lambda part: part.start) == [0, 8, 16]
