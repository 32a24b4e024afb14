"""Scores of long texts, read in segments, compared with one pass over the whole text."""

import numpy as np
import pytest
from conftest import randomised

import npchar
from npchar import Model, Vocabulary


def stepwise(model, ids):
    """The log-probability of each character after the first, computed one step at a time."""
    logits, states = [], None
    for start in range(0, len(ids) - 1, 500):
        found, states = model.network.logits(ids[start : start + 500][:, None], states)
        logits.append(found[:, 0].astype(float))
    z = np.concatenate(logits)[: len(ids) - 1]
    z -= z.max(axis=1, keepdims=True)
    return z[np.arange(len(z)), ids[1:]] - np.log(np.exp(z).sum(axis=1))


def check(model, ids):
    text = model.vocabulary.decode(ids)
    expected = stepwise(model, ids)
    np.testing.assert_allclose(model.score(text).log_probabilities, expected, atol=1e-4)
    loss = model.evaluate(text).loss
    assert loss == pytest.approx(-expected.mean(), abs=1e-5)
    assert loss == model.evaluate(text).loss  # bit for bit


def random_ids(n, V=6, seed=0):
    return np.random.default_rng(seed).integers(0, V, n).astype(np.uint8)


@pytest.mark.parametrize(
    ("layer", "num_layers"), [("lstm", 1), ("lstm", 2), ("gru", 2), ("rnn", 1), ("conv", 2)]
)
@pytest.mark.parametrize("n", [1999, 5001])
def test_every_kind_of_layer(layer, num_layers, n):
    model = Model(Vocabulary("abcdef"), layer=layer, hidden_size=8, num_layers=num_layers)
    randomised(model.network, seed=1)
    check(model, random_ids(n))


def test_a_convolution_with_a_receptive_field_of_512():
    model = Model(Vocabulary("abcdef"), layer="conv", hidden_size=8, num_layers=9, dtype="float64")
    randomised(model.network, seed=1, scale=0.8)
    assert model.network.receptive_field == 512
    check(model, random_ids(6000))


@pytest.mark.parametrize("layer", ["lstm", "gru"])
def test_a_network_that_remembers_the_whole_text(layer):
    """The state after a segment depends on all earlier symbols."""
    model = Model(Vocabulary("abcdef"), layer=layer, hidden_size=8)
    randomised(model.network, seed=2)
    # The forget gates of an LSTM and the update gates of a GRU keep almost the whole state.
    model.parameters[f"{layer}0.b"][1] = 9
    check(model, random_ids(3001))


def test_a_chaotic_network():
    """The smallest difference between two states grows, so the text is read as one sequence."""
    model = Model(Vocabulary("abcdef"), layer="rnn", hidden_size=16, dtype="float64")
    randomised(model.network, seed=3, scale=3)
    check(model, random_ids(5001))


def test_the_shipped_models_on_text_that_must_be_remembered():
    rng = np.random.default_rng(0)
    words = ["a", "an", "and", "as", "at", "can"]
    quotes = "".join('"' + "-".join(rng.choice(words, 60)) + '" ' for _ in range(40))
    model = Model.pretrained("structure")
    check(model, model.vocabulary.encode(quotes, "skip"))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["nietzsche", "nietzsche-128"])
def test_the_shipped_models_on_their_corpus(name, corpus):
    model = Model.pretrained(name)
    check(model, model.vocabulary.encode(corpus[-40_000:], "skip"))


@pytest.mark.parametrize("layer", ["lstm", "conv"])
def test_a_long_prompt(layer, monkeypatch):
    """A long prompt gives the same distribution as a pass from its first symbol."""
    model = Model(Vocabulary("abcdef"), layer=layer, hidden_size=8)
    randomised(model.network, seed=1)
    prompt = model.vocabulary.decode(random_ids(6_345))
    p = model.next_probabilities(prompt)
    text = model.generate(prompt, 30, seed=1)
    monkeypatch.setattr(npchar.generation.stream, "LONG_PROMPT", 10**9)
    np.testing.assert_allclose(p, model.next_probabilities(prompt), atol=1e-5)
    assert text == model.generate(prompt, 30, seed=1)
