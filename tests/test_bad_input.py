"""Arguments that are not documents, folders or models: each error is one sentence."""

import copy

import numpy as np
import pytest

import npchar
from npchar import load_corpus

NAMES = ["anna", "nina"]


@pytest.fixture(scope="module")
def namer():
    """A model that no test trains."""
    return npchar.Model(npchar.Vocabulary.from_documents(NAMES), hidden_size=2)


@pytest.fixture(scope="module")
def reader():
    return npchar.Model(npchar.Vocabulary("ain"), hidden_size=2)


def with_reading(model, reading):
    model = copy.copy(model)
    model.reading = reading
    return model


BAD = [
    ("no texts", lambda m, r: npchar.Vocabulary.from_documents([]), "one document, got none"),
    ("no documents", lambda m, r: m.fit([]), "at least one document, got none"),
    ("an empty one", lambda m, r: m.fit(["anna", ""]), "document 1 is empty; remove"),
    ("a boundary in one", lambda m, r: m.fit(["an\x03na"]), "document 0 contains U\\+0003.*remove"),
    ("a boundary to score", lambda m, r: m.score(["a\x03n"]), "document 0 contains U\\+0003"),
    ("a number among them", lambda m, r: m.fit(["anna", 3]), "document 1, got int"),
    ("the last target alone", lambda m, r: m.fit(NAMES * 9, targets="last"), "'all' for documents"),
    ("a model without an end", lambda m, r: r.fit(NAMES), "no symbol for their end.*from_d"),
    ("one without, to write", lambda m, r: r.generate_documents(), "no symbol for their end"),
    ("none to write", lambda m, r: m.generate_documents(0), "n is 0; expected a whole number, 1"),
    ("a word as a seed", lambda m, r: m.generate_documents(seed="a"), "seed is 'a'; expected a"),
    ("seeds in a list", lambda m, r: m.generate_documents(seed=["a"]), "expected a whole number"),
    ("an unknown letter", lambda m, r: m.fit(["anna", "xyz"]), "in document 1, the character 'x'"),
    ("a boundary to begin by", lambda m, r: m.generate_documents(beginning="a\x03"), "U\\+0003"),
    ("a number to begin by", lambda m, r: m.generate_documents(beginning=3), "str, got int"),
    ("a text as documents", lambda m, r: m.vocabulary.from_documents("anna"), "single text"),
    ("NaN in a column", lambda m, r: m.vocabulary.from_documents(["a", float("nan")]), "float"),
    ("a list in a list", lambda m, r: m.vocabulary.from_documents(["a", ["b"]]), "1, got list"),
    ("nothing to extend by", lambda m, r: m.extend(""), "got an empty text"),
    ("no window", lambda m, r: m.fit(NAMES, maxlen=None), "maxlen is None; expected a whole"),
    ("a word as a split", lambda m, r: m.fit(NAMES, validation_split="x"), "validation_split is"),
    ("an odd reading", lambda m, r: with_reading(m, {"x": 1}).save("x.npz"), "expected a reading"),
    ("an old argument", lambda m, r: m.fit(NAMES, warm_up=0.1), "warm_up.*npchar.Schedule"),
    ("an old optimizer's", lambda m, r: m.fit(NAMES, epsilon=1), "epsilon.*npchar.RMSprop"),
    ("no time", lambda m, r: m.fit(NAMES, minutes=0), "minutes is 0; expected a number above 0"),
    ("epochs and a time", lambda m, r: m.fit(NAMES, minutes=1, epochs=2), "got both"),
    ("no argument", lambda m, r: m.fit(NAMES, epoch=1), "unexpected keyword argument 'epoch'"),
    ("an old size", lambda m, r: npchar.RMSprop(1000), "keyword"),
    ("a rare count of 0", lambda m, r: m.vocabulary.from_text("a", min_count=0), "min_count is 0"),
    ("a folder without texts", lambda m, r: load_corpus("empty"), "text files in the folder"),
]  # fmt: skip


@pytest.mark.parametrize(("give", "message"), [pytest.param(g, m, id=what) for what, g, m in BAD])
def test_it_is_told_and_nothing_changes(give, message, namer, reader, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "names.txt").write_text("anna\nnina\n")
    before = namer.parameters.flat.copy()
    with pytest.raises((ValueError, TypeError, OSError), match=message):
        give(namer, reader)
    np.testing.assert_array_equal(namer.parameters.flat, before)


@pytest.mark.parametrize("documents", [["anna"], ["a", "n", "i"] * 4, ["a"]])
def test_odd_but_right(documents):
    """A single document, and documents of one character, can be trained on."""
    model = npchar.Model(npchar.Vocabulary.from_documents(documents), hidden_size=2)
    history = model.fit(documents, epochs=1, verbose=False)
    assert np.isfinite(history.loss).all()
    assert bool(history.val_loss) == (len(documents) > 1)
