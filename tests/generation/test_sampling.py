"""Temperature and random sampling."""

import itertools
import math
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import npchar
from npchar.generation.sampling import (
    ALTERNATIVE,
    LOOP,
    entropy,
    forbid_repeats,
    require_top,
    reweight_distribution,
    sample,
    sampler,
)

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


def generators(n):
    return [np.random.default_rng(k) for k in range(n)]


def surprise(counts, p):
    """Pearson's chi-squared per degree of freedom, of counts against their probabilities."""
    assert (counts[p == 0] == 0).all()
    expected = counts.sum() * p[p > 0]
    return ((counts[p > 0] - expected) ** 2 / expected).sum() / (len(expected) - 1)


def test_the_draws_have_the_right_frequencies():
    p = np.array([0.5, 0.0, 0.3, 0.15, 0.05])
    rng = np.random.default_rng(0)
    counts = np.bincount([sample(p, rng=rng) for _ in range(4000)], minlength=5)
    assert surprise(counts, p) < 5.4  # with 3 degrees of freedom, p = 0.001


@pytest.fixture(params=["noise", "cumulative sum"])
def _both_ways(request, monkeypatch):
    """Sample by the method for few ids and by the method for many."""
    if request.param != "noise":
        monkeypatch.setattr("npchar.generation.sampling.MANY", 1)
        monkeypatch.setattr("npchar.generation.sampling.NOISE", 64)  # numbers drawn together


@pytest.mark.usefixtures("_both_ways")
@pytest.mark.parametrize("temperature", [0.0, 0.2, 0.5, 1.0, 1.2, 3.0, math.inf])
def test_choices_have_the_distribution_of_the_book(temperature):
    p = np.array([0.5, 0.0, 0.3, 0.15, 0.05])
    with np.errstate(divide="ignore"):
        logits = np.log(p) + 7
    logits[1] = -1e4  # networks never give a logit of minus infinity
    rows = np.array([logits, logits[::-1]] * 50)
    choose = sampler([temperature, 0.0] * 50, 5, generators(100))
    chosen = np.array([choose(rows) for _ in range(100)])  # (time, row)
    assert (chosen[:, 1::2] == 4).all()  # each row has its own temperature
    expected = reweight_distribution(p, temperature)
    if math.isinf(temperature):  # uniform, even for id 1: its logit is finite
        expected = np.full(5, 0.2)
    counts = np.bincount(chosen[:, ::2].ravel(), minlength=5)
    if temperature == 0:
        assert counts.tolist() == [5000, 0, 0, 0, 0]
    else:
        assert surprise(counts, expected) < 5.4


@pytest.mark.usefixtures("_both_ways")
def test_choices_of_rows_and_times_are_independent():
    choose = sampler([1.0] * 100, 2, generators(100))
    bits = np.array([choose(np.zeros((100, 2))) for _ in range(200)])  # (time, row)
    for one, other in ((bits[:, 1:], bits[:, :-1]), (bits[1:], bits[:-1])):
        assert abs(np.corrcoef(one.ravel(), other.ravel())[0, 1]) < 0.03


@pytest.mark.parametrize("V", [20, 300])
@pytest.mark.parametrize("temperature", [0.0, 1e-3, 0.5, 1.0, math.inf])
def test_a_row_alone_is_drawn_as_among_others(temperature, V, monkeypatch):
    monkeypatch.setattr("npchar.generation.sampling.NOISE", 1000)
    logits = np.random.default_rng(1).standard_normal((500, 3, V)).astype("float32") * 3
    together, alone = (sampler([temperature] * n, V, generators(n)) for n in (3, 1))
    assert [int(alone(rows[:1])[0]) for rows in logits] == [int(together(r)[0]) for r in logits]


def test_many_ids_are_drawn_by_the_inverse_of_the_cumulative_sum():
    draw, uniform = sampler([1.0], 1000, generators(1)), generators(1)[0]
    rows = np.random.default_rng(2).standard_normal((2000, 1, 1000)).astype("float32") * 2
    for logits in rows:
        cumulative = np.exp(logits[0].astype(float)).cumsum()
        goals = (uniform.random() + np.array([-1e-5, 1e-5])) * cumulative[-1]  # float32 rounds
        first, last = np.searchsorted(cumulative, goals, "right")
        assert first <= draw(logits)[0] <= last


@pytest.mark.parametrize("limits", [(0, None), (None, 0), (None, 1.1), (None, "all")])
def test_wrong_limits(limits):
    with pytest.raises((TypeError, ValueError), match="top_[kp] is"):
        require_top(*limits)


def chances(temperature, **limits):
    """The frequencies of five ids in 2,500 draws."""
    logits = np.log(np.tile([0.4, 0.05, 0.3, 0.15, 0.1], (100, 1)))
    choose = sampler([temperature] * 100, 5, generators(100), **limits)
    return np.bincount(np.concatenate([choose(logits) for _ in range(25)]), minlength=5)


@pytest.mark.usefixtures("_both_ways")
@pytest.mark.parametrize(
    ("temperature", "limits", "kept"),
    [
        (1.0, {"top_k": 3}, [0, 2, 3]),
        (1.0, {"top_k": 99}, [0, 1, 2, 3, 4]),
        (1.0, {"top_p": 0.69}, [0, 2]),
        (1.0, {"top_p": 0.71}, [0, 2, 3]),
        (0.5, {"top_p": 0.71}, [0, 2]),  # the distribution is sharper: 0.56, 0.32, 0.08, ...
        (math.inf, {"top_k": 2}, [0, 2]),
        (math.inf, {"top_p": 0.5}, [0, 2, 3]),
        (2.0, {"top_k": 2, "top_p": 0.2}, [0]),
        (1.0, {"top_k": 4, "top_p": 0.5}, [0, 2]),
        (0.0, {"top_k": 4, "top_p": 0.9}, [0]),
    ],
)
def test_top_k_and_top_p(temperature, limits, kept):
    p = np.zeros(5)
    p[kept] = np.array([0.4, 0.05, 0.3, 0.15, 0.1])[kept]
    counts = chances(temperature, **limits)
    assert np.flatnonzero(counts).tolist() == kept
    if len(kept) > 1:
        assert surprise(counts, reweight_distribution(p, temperature)) < 5.4


@pytest.mark.usefixtures("_both_ways")
@pytest.mark.parametrize(
    ("temperature", "limits"),
    [(0.0, {}), (0.5, {"top_k": 1}), (1.0, {"top_p": 0.1}), (0.5, {"top_k": 1, "top_p": 0.5})],
)
def test_of_equals_the_first_is_kept(temperature, limits):
    """Ties are resolved as at temperature 0, by the first of the most probable ids."""
    choose = sampler([temperature], 4, generators(1), **limits)
    logits = np.array([[1.0, 2.0, 2.0, 2.0]])
    assert {int(choose(logits)[0]) for _ in range(50)} == {1}


@pytest.mark.usefixtures("_both_ways")
@pytest.mark.parametrize("temperature", [0.0, 1.0, math.inf])
def test_an_id_that_may_not_be_is_never_chosen(temperature):
    """The unknown symbol is excluded at every temperature."""
    choose = sampler([temperature], 3, generators(1))
    assert 1 not in {int(choose(np.array([[0.0, -np.inf, 1.0]]))[0]) for _ in range(200)}


@given(st.integers(1, 4), st.integers(0, 1 << 32).map(np.random.default_rng))
@settings(max_examples=500)
def test_repeats_are_forbidden_by_their_definition(n, rng):
    ids = rng.integers(4, size=rng.integers(13)).tolist() * rng.integers(1, 9)
    logits = rng.normal(scale=2, size=4)
    logits[3] = -np.inf  # an unknown symbol
    expected, p = logits.copy(), np.exp(logits)
    for length, least in ((n, ALTERNATIVE), (LOOP * n, 0)):
        runs = [ids[k : k + length] for k in range(len(ids) - length + 1)]
        repeats = [[*ids, i][-length:] in runs for i in range(4)]
        if np.where(repeats, 0, p).max() > least * p.max():
            expected[repeats] = -np.inf
            break
    forbid_repeats(logits, "".join(map(chr, ids)), n)
    np.testing.assert_array_equal(logits, expected)


@pytest.mark.usefixtures("_both_ways")
def test_generation_without_repeats():
    model, prompts = npchar.Model.pretrained(), ["the sou", "of the will of th"]
    options = {"temperature": 0.2, "no_repeat": 6, "top_k": 20, "top_p": 0.9}
    texts = model.generate(prompts, 60, seed=1, **options)
    for k, text in enumerate(prompts):  # which count as text
        for symbol in itertools.islice(model.stream(text, seed=1 + k, **options), 60):
            p = model.next_probabilities(text)
            repeats = [(text + other)[-6:] in text for other in model.vocabulary.symbols]
            alternative = np.where(repeats, 0, p).max()
            assert (text + symbol)[-6:] not in text or alternative <= ALTERNATIVE * p.max()
            text += symbol
        assert text == prompts[k] + texts[k]
    words = npchar.Model(npchar.Vocabulary.from_text(["to", "be", "or", "not"]), hidden_size=4)
    assert sorted(words.generate(["to"], 3, temperature=0, no_repeat=1)) == ["be", "not", "or"]


def test_entropy():
    assert entropy([1, 0, 0]) == 0
    assert entropy(np.full(57, 3.0)) == pytest.approx(math.log(57))
    p = np.array([[0.5, 0.25, 0.25], [0.9, 0.1, 0]])
    by_hand = [1.5 * math.log(2), -0.9 * math.log(0.9) - 0.1 * math.log(0.1)]
    np.testing.assert_allclose(entropy(p), by_hand)
    rising = [entropy(reweight_distribution(p[0], T)) for T in (0, 0.2, 0.5, 1, 1.2, math.inf)]
    assert rising == sorted(rising)
    assert (rising[0], rising[-1]) == (0, pytest.approx(math.log(3)))


@pytest.mark.parametrize(
    "p", [[], [-0.1, 1.1], [math.nan, 1], [0, 0], [math.inf, 1], 0.5, [[0.4, 0.6], [0, 0]]]
)
def test_bad_probabilities(p):
    with pytest.raises(ValueError, match="probabilities"):
        reweight_distribution(p)


def test_sample_takes_one_distribution():
    with pytest.raises(ValueError, match="2 dimensions"):
        sample([[0.5, 0.5]])
    assert sample([0.0, 1.0]) == 1
