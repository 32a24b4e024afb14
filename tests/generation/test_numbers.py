"""Generation and scores with unknown symbols, invalid weights and unusual temperatures."""

import math
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest

import npchar
from npchar import Model, Vocabulary

TEXT = "the cat sat on the mat. " * 60


@pytest.fixture(scope="module")
def with_unknown():
    """A model in which the unknown symbol is the most probable."""
    vocabulary = Vocabulary.from_text("abcabcab" + "xyz", min_count=2)
    model = Model(vocabulary, hidden_size=4, seed=1)
    model.parameters["dense.b"][vocabulary.unknown_id] = 3
    return model


# The unknown symbol


def test_next_probabilities_are_those_that_generate_draws_from(with_unknown):
    p = with_unknown.next_probabilities("abc")
    unknown = with_unknown.vocabulary.unknown_id
    assert p[unknown] == 0
    assert p.sum() == pytest.approx(1)
    n = 4000
    drawn = "".join(with_unknown.generate(["abc"] * n, 1, seed=0))
    counts = np.array([drawn.count(symbol) for symbol in with_unknown.vocabulary])
    errors = np.sqrt(n * p * (1 - p))
    assert (np.abs(counts - n * p) <= 4.5 * errors).all()


@pytest.mark.parametrize("temperature", [0, 0.5, math.inf])
def test_the_unknown_symbol_has_no_share_at_any_temperature(with_unknown, temperature):
    p = with_unknown.next_probabilities("abc", temperature=temperature)
    assert p[with_unknown.vocabulary.unknown_id] == 0
    if temperature == 0:
        best = with_unknown.vocabulary.decode([p.argmax()])
        assert with_unknown.generate("abc", 1, temperature=0) == best


def test_entropies_are_those_of_the_next_probabilities(with_unknown):
    found = with_unknown.entropies("ab", [0.5, 1, math.inf])
    for entropy, t in zip(found, [0.5, 1, math.inf], strict=True):
        p = [with_unknown.next_probabilities(text, temperature=t) for text in ("a", "ab")]
        assert entropy == pytest.approx(npchar.entropy(p).mean())
    assert found[-1] == pytest.approx(math.log(len(with_unknown.vocabulary) - 1))


def test_scores_give_the_unknown_symbol_its_probability(with_unknown):
    """Scores are predictions of texts, and texts contain rare characters."""
    assert np.exp(with_unknown.score("abx").log_probabilities[-1]) > 0.3


# Weights that are not finite

USES = {
    "generate": lambda m: m.generate(["the", "cat"], 5, seed=1, top_p=0.5),
    "stream": lambda m: next(m.stream("the", seed=1)),
    "next_probabilities": lambda m: m.next_probabilities("the"),
    "score": lambda m: m.score("the cat"),
    "evaluate": lambda m: m.evaluate("the cat"),
}


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize(
    ("name", "value"), [("lstm0.Wx", np.nan), ("dense.b", np.inf), ("lstm0.b", -np.inf)]
)
def test_weights_that_are_no_numbers_are_an_error(use, name, value):
    """The weights of a single symbol count too, even if the first steps do not use them."""
    model = Model(Vocabulary.from_text(TEXT), hidden_size=4)
    model.parameters[name][..., -1] = value
    with pytest.raises(ValueError, match=f"expected finite weights, got NaN or infinity in {name}"):
        USES[use](model)


# Temperatures


@pytest.mark.parametrize("temperature", [Fraction(1, 2), np.float32(0.5), np.int8(1), 1])
def test_every_real_number_is_a_temperature(temperature):
    model = Model(Vocabulary.from_text(TEXT), hidden_size=4)
    usual = float(temperature)
    huge, infinite = (model.next_probabilities("the", temperature=T) for T in (10**400, math.inf))
    np.testing.assert_array_equal(huge, infinite)
    for prompt in ("the", ["the", "cat"]):
        text = model.generate(prompt, 20, temperature=temperature, seed=1)
        assert text == model.generate(prompt, 20, temperature=usual, seed=1)
    np.testing.assert_array_equal(
        model.next_probabilities("the", temperature=temperature),
        model.next_probabilities("the", temperature=usual),
    )


@pytest.mark.parametrize(
    "temperature", ["0.5", None, -1e-9, -(10**400), math.nan, 1j, Decimal("0.5")]
)
def test_what_is_no_temperature_is_an_error(temperature):
    model = Model(Vocabulary.from_text(TEXT), hidden_size=4)
    for use in (model.generate, model.next_probabilities, model.stream):
        with pytest.raises(ValueError, match="temperature is .* from 0"):
            use("the", temperature=temperature)
    with pytest.raises(ValueError, match="temperature is .* from 0"):
        npchar.sample([0.5, 0.5], temperature)


# NumPy's error state


@pytest.mark.parametrize("layer", ["lstm", "gru", "rnn", "conv"])
def test_everything_runs_where_numpy_raises_every_error(layer):
    many = Model(Vocabulary(list(range(300))), hidden_size=4)
    many.parameters["dense.W"][...] *= 300
    with np.errstate(all="raise"):
        many.generate([[0], [1]], 20, temperature=1e-9, top_p=0.5, seed=1)
        model = Model(Vocabulary.from_text(TEXT), layer=layer, hidden_size=8)
        model.fit(TEXT, epochs=1, maxlen=20, workers=1, verbose=False)
        for temperature in (1e-300, 1e-9, 1, 1e30):
            model.next_probabilities("the", temperature=temperature)
            model.generate("the", 20, temperature=temperature, top_p=0.5, seed=1)
            model.generate("the", 20, temperature=temperature, top_k=2, seed=1)
        model.evaluate(TEXT, train_text=TEXT)
        model.score(TEXT)
        model.activations("the cat")
        model.saliency("the cat")
        model.entropies("the cat", [0, 1e-9, 1])
        npchar.originality(TEXT[:100], TEXT)
        if layer == "lstm":
            npchar.check_gradients(Model(Vocabulary("abc"), hidden_size=3, dtype="float64"))


def test_activations_of_nothing_are_an_error():
    with pytest.raises(ValueError, match="at least 1 character"):
        Model(Vocabulary("ab"), hidden_size=4).activations("")
