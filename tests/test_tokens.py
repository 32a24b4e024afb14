"""Texts as lists of tokens: fit, generate and score work as for characters."""

import copy
import itertools
import pickle

import numpy as np
import pytest
from conftest import reconfigure
from hypothesis import given
from hypothesis import strategies as st

import npchar
from npchar import Model, UnknownCharacterError, Vocabulary
from npchar.files import CheckpointError

LINE = "the cat sat on the mat , and the rat sat on the cat ."
WORDS = LINE.split() * 60
QUIET = {"maxlen": 10, "batch_size": 8, "verbose": False, "workers": 1}

symbols = st.recursive(
    st.one_of(st.text(max_size=4), st.integers(-(10**30), 10**30)),
    lambda inner: st.lists(inner, max_size=3).map(tuple),
    max_leaves=4,
)


@pytest.fixture(scope="module")
def trained():
    model = Model(Vocabulary.from_text(WORDS), hidden_size=16)
    model.fit(WORDS, epochs=12, **QUIET)
    return model


@given(st.lists(symbols, min_size=2, max_size=12), st.randoms())
def test_any_tokens_there_and_back(tokens, random):
    vocabulary = Vocabulary.from_text(tokens)
    ids = vocabulary.encode(tokens)
    assert vocabulary.decode(ids) == tokens
    assert ids.dtype == vocabulary.id_dtype
    mixed = tokens[:]
    random.shuffle(mixed)
    again = Vocabulary.from_text(mixed)
    assert again == vocabulary
    assert again.symbols == vocabulary.symbols
    assert pickle.loads(pickle.dumps(vocabulary)) == copy.deepcopy(vocabulary) == vocabulary


@given(st.lists(symbols, min_size=2, max_size=8, unique=True))
def test_files_keep_any_tokens(tmp_path_factory, tokens):
    path = tmp_path_factory.mktemp("models") / "model.npz"
    model = Model(Vocabulary.from_text(tokens), hidden_size=2)
    model.save(path)
    again = Model.load(path)
    assert again.vocabulary == model.vocabulary
    assert again.vocabulary.tokens
    assert [type(s) for s in again.vocabulary] == [type(s) for s in model.vocabulary]


def test_an_unknown_token_beside_256_known_ones():
    """The known ids use all values of a byte, so no value is left for unknown tokens."""
    tokens = [f"token {k}" for k in range(256)]
    vocabulary = Vocabulary.from_text(tokens)
    assert vocabulary.id_dtype == np.uint8
    assert vocabulary.decode(vocabulary.encode([*tokens, "?"], "skip")) == tokens
    with pytest.raises(UnknownCharacterError, match="token '\\?' at position 256"):
        vocabulary.encode([*tokens, "?"])
    assert vocabulary.decode(vocabulary.encode(["?", "token 7"], "token 7")) == 2 * ["token 7"]


def test_single_letters_may_be_tokens_too():
    text = list("abcab")
    for copied in (copy.deepcopy, lambda v: pickle.loads(pickle.dumps(v))):
        assert copied(Vocabulary.from_text(text)).tokens
        assert not copied(Vocabulary("abc")).tokens
    assert Vocabulary.from_text(text).tokens
    assert not Vocabulary(text).tokens
    assert Vocabulary.from_text(text) == eval(repr(Vocabulary.from_text(text)))
    assert Vocabulary.from_text(text).decode([0, 1]) == ["a", "b"]
    model = Model(Vocabulary.from_text(text), hidden_size=2)
    assert len(model.generate(["a", "b"], 3)) == 3  # one prompt of two tokens


def test_it_learns_and_writes(trained):
    assert trained.generate(["the", "cat", "sat", "on"], 2, temperature=0) in (
        ["the", "mat"],
        ["the", "cat"],
    )
    one = trained.generate(["the"], 20, seed=3)
    assert set(one) <= set(trained.vocabulary)
    assert one == trained.generate([["the"], ["on", "the"]], 20, seed=3)[0]
    assert list(itertools.islice(trained.stream(["the"], seed=3), 20)) == one
    cut = trained.generate(["the"], 20, seed=3, stop=one[4:6])
    assert cut == one[: next(k for k in range(20) if one[k : k + 2] == one[4:6])]
    assert trained.generate(["the"], 20, seed=3, stop=[one[4:6], [one[0]]]) == []


def test_it_scores(trained):
    score = trained.score(["the", "cat", "rat", "rat", "sat"])
    assert score.most_surprising(1)[0].character == "rat"
    assert trained.evaluate(WORDS).loss == pytest.approx(trained.score(WORDS).loss)
    assert trained.evaluate(WORDS, train_text=WORDS).baselines["unigram"] > 1
    assert trained.activations(WORDS[:9]).c.shape == (9, 1, 16)
    assert "2 of" not in str(npchar.examine(WORDS * 30))


def test_training_goes_on_from_a_file(tmp_path):
    tokens = [("note", len(word)) for word in WORDS]

    def begun():
        return Model(Vocabulary.from_text(tokens), hidden_size=8)

    whole, path = begun(), tmp_path / "run.npz"
    whole.fit(tokens, epochs=3, **QUIET)
    with pytest.raises(KeyboardInterrupt):
        begun().fit(tokens, epochs=3, checkpoint=path, callbacks=[interrupt], **QUIET)
    model = begun()
    model.fit(tokens, epochs=3, checkpoint=path, resume=True, **QUIET)
    assert np.array_equal(model.parameters.flat, whole.parameters.flat)


def interrupt(history):
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda m: m.vocabulary.encode("the cat"),
            TypeError,
            "list of tokens .*, got str",
        ),
        (lambda m: m.generate("the"), TypeError, r"such as \[','\]"),
        (lambda m: m.generate(["the", "dog"]), UnknownCharacterError, "token 'dog' at position 1"),
        (lambda m: m.score(["the", ["cat"]]), TypeError, "unhashable"),
        (lambda m: Vocabulary.from_text(b"the"), TypeError, "got bytes"),
        (lambda m: m.generate([]), ValueError, r"at least 1 token.*got \[\]"),
        (lambda m: m.generate(["the"], stop=[[]]), ValueError, "stop is"),
        (lambda m: m.vocabulary.characters, TypeError, "of tokens"),
        (lambda m: Vocabulary([["a"], "b"]), ValueError, r"got \['a'\]"),
        (
            lambda m: Model(Vocabulary(["one"])),
            ValueError,
            r"at least two tokens, got only \('one',\)",
        ),
    ],
)
def test_errors_say_what_is_wrong(trained, call, error, message):
    with pytest.raises(error, match=message):
        call(trained)


@pytest.mark.parametrize("tokens", [5, "ab", ["b", "a"], ["a"], [["a"]], ["a", {}], ["a", None]])
def test_a_file_with_odd_tokens_is_refused(tmp_path, tokens):
    path = tmp_path / "model.npz"
    Model(Vocabulary(["do", "re"]), hidden_size=2).save(path)
    reconfigure(path, lambda file: file["model"].update(tokens=tokens))
    with pytest.raises(CheckpointError):
        Model.load(path)
