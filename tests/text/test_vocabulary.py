"""Vocabulary, windows and batches."""

import copy
import pickle

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from npchar.text import vocabulary as module
from npchar.text.batches import WindowBatches, shuffled, windows
from npchar.text.vocabulary import UnknownCharacterError, Vocabulary

texts = st.text(min_size=1, max_size=200)


def test_the_real_corpus(corpus):
    assert len(corpus) == 600_893
    vocabulary = Vocabulary.from_text(corpus)
    assert len(vocabulary) == 57
    ids = vocabulary.encode(corpus)
    assert ids.dtype == np.uint8
    view = windows(ids, maxlen=60, step=3)
    assert view.shape == (200_278, 61)
    assert np.shares_memory(view, ids)
    assert vocabulary.decode(view[1000]) == corpus[3000:3061]


@given(texts)
def test_encode_and_decode_are_inverse(text):
    vocabulary = Vocabulary.from_text(text)
    ids = vocabulary.encode(text)
    assert vocabulary.decode(ids) == text
    assert ids.dtype == np.min_scalar_type(len(vocabulary) - 1)


@given(texts, st.randoms())
def test_order_does_not_matter(text, random):
    shuffled = list(text)
    random.shuffle(shuffled)
    vocabulary, other = Vocabulary.from_text(text), Vocabulary(shuffled)
    assert vocabulary == other
    assert hash(vocabulary) == hash(other)
    assert list(vocabulary) == sorted(set(text))


@given(st.text(min_size=1, max_size=20), st.text(max_size=60), st.integers(1, 7))
@example("abc", "abcabx", 2)
def test_unknown_characters(known, text, chunk):
    vocabulary = Vocabulary.from_text(known)
    before, module.ENCODE_CHUNK = module.ENCODE_CHUNK, chunk
    try:
        kept = "".join(c for c in text if c in known)
        assert vocabulary.decode(vocabulary.encode(text, "skip")) == kept
        unknown_symbol = known[0]
        replaced = "".join(c if c in known else unknown_symbol for c in text)
        assert vocabulary.decode(vocabulary.encode(text, unknown_symbol)) == replaced
        unknown = [k for k, c in enumerate(text) if c not in known]
        if unknown:
            with pytest.raises(UnknownCharacterError) as error:
                vocabulary.encode(text)
            assert error.value.position == unknown[0]
            assert error.value.character == text[unknown[0]]
            assert repr(text[unknown[0]]) in str(error.value)
    finally:
        module.ENCODE_CHUNK = before


def test_large_vocabularies_get_larger_ids():
    wide = Vocabulary(map(chr, range(0x4E00, 0x4E00 + 300)))
    ids = wide.encode("".join(wide))
    assert ids.dtype == np.uint16
    assert ids.tolist() == list(range(300))
    assert Vocabulary(map(chr, range(256))).encode("ÿ").tolist() == [255]
    assert Vocabulary("a\U0010ffff").encode("\U0010ffffa").tolist() == [1, 0]


def test_what_is_in_a_vocabulary():
    vocabulary = Vocabulary("abc")
    assert [s in vocabulary for s in ("a", "ab", "", "d", 1, None)] == [True] + 5 * [False]
    tokens = Vocabulary(["ab", 1, ("a", 1)])
    assert [s in tokens for s in ("ab", 1, ("a", 1), "a")] == 3 * [True] + [False]


def test_a_vocabulary_cannot_be_changed():
    vocabulary = Vocabulary("abc")
    for name in ("symbols", "tokens", "anything"):
        with pytest.raises(AttributeError, match=f"cannot assign to field '{name}'"):
            setattr(vocabulary, name, "xyz")
    assert copy.deepcopy(vocabulary) == pickle.loads(pickle.dumps(vocabulary)) == vocabulary


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Vocabulary.from_text(""), "got an empty text"),
        (lambda: Vocabulary([]), "at least one"),
        (lambda: Vocabulary.from_text("ab", min_count=0), "min_count is 0"),
        (lambda: Vocabulary("ab", unknown_symbol="c"), "unknown_symbol is 'c'; expected one"),
        (lambda: Vocabulary(["ab"], tokens=False), "expected single characters"),
        (lambda: Vocabulary(["a", 0.5]), "got 0.5"),
        (lambda: Vocabulary([True]), "got True"),
        (lambda: Vocabulary("abc").encode("a", "?"), "unknown is '\\?'"),
        (lambda: Vocabulary("abc").decode([0, 3]), "0 to 2, got"),
        (lambda: Vocabulary("abc").decode([-1]), "0 to 2, got"),
        (lambda: Vocabulary("abc").decode([0.9, 1.9]), "0 to 2, got"),
        (lambda: Vocabulary("abc").decode("12"), "0 to 2, got"),
        (lambda: Vocabulary("abc").decode(np.zeros((2, 2), int)), "0 to 2, got"),
        (lambda: Vocabulary("abc", documents=True), "U.0003 .*documents is True"),
        (lambda: windows(np.arange(10), 0), "maxlen is 0"),
        (lambda: windows(np.arange(10), 5, 1.5), "step is 1.5"),
        (lambda: windows(np.arange(10), 10), "at least 11 symbols.*got 10"),
    ],
)
def test_errors_say_what_is_wrong(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@given(st.integers(2, 80), st.integers(1, 20), st.integers(1, 9))
def test_windows(n, maxlen, step):
    ids = np.arange(n, dtype=np.uint8)
    if n < maxlen + 1:
        with pytest.raises(ValueError, match="pass a longer text"):
            windows(ids, maxlen, step)
        return
    view = windows(ids, maxlen, step)
    assert view.tolist() == [list(range(k, k + maxlen + 1)) for k in range(0, n - maxlen, step)]
    assert np.shares_memory(view, ids)
    assert not view.flags.writeable


@given(st.integers(1, 50), st.integers(1, 12), st.integers(0, 5))
def test_batches_are_all_windows_once(n, batch_size, seed):
    view = windows(np.arange(n + 4), 4, 1)
    batches = WindowBatches(np.arange(n + 4), 4, 1, batch_size, "all")
    order = shuffled(len(batches), np.random.default_rng(seed))
    all_of_them = list(batches.batches(order))
    assert len(all_of_them) == batches.batch_count
    assert [b.shape[1] for b in all_of_them[:-1]] == [batch_size] * (len(all_of_them) - 1)
    seen = sorted(column.tolist() for batch in all_of_them for column in batch.T)
    assert seen == view.tolist()
    later = list(batches.batches(order, first=2))
    assert [b.tolist() for b in later] == [b.tolist() for b in all_of_them[2:]]


def test_batches_are_shuffled_by_the_seed():
    batches = WindowBatches(np.arange(500), 4, 1, 16, "all")

    def starts(seed):
        order = shuffled(len(batches), np.random.default_rng(seed))
        return [b[0].tolist() for b in batches.batches(order)]

    assert starts(1) == starts(1) != starts(2)
    assert starts(1)[0] != sorted(starts(1)[0])


def test_rare_symbols_have_one_unknown_symbol():
    vocabulary = Vocabulary.from_text("aaabbbccd" * 2 + "xyz", min_count=4)
    assert vocabulary.characters == "abc\ufffd"
    assert vocabulary.unknown_symbol == "\ufffd"
    assert vocabulary.decode(vocabulary.encode("abcdxyz!")) == "abc" + 5 * "\ufffd"
    assert vocabulary.decode(vocabulary.encode("adb", unknown="skip")) == "ab"
    assert vocabulary.decode(vocabulary.encode("adb", unknown="c")) == "acb"
    assert vocabulary != Vocabulary("abc\ufffd")
    assert repr(vocabulary) == "Vocabulary('abc\ufffd', unknown_symbol='\ufffd')"
    assert Vocabulary.from_text("aabb", min_count=2) == Vocabulary("ab")
    names = Vocabulary.from_documents(["anna", "ben", "nan"], min_count=2)
    assert (names.characters, names.unknown_symbol) == ("\x03an\ufffd", "\ufffd")
    words = Vocabulary.from_text(["to", "be", "or", "to", "be"], min_count=2)
    assert words.symbols == ("be", "to", "\ufffd")
    assert words.decode(words.encode(["or", "to"])) == ["\ufffd", "to"]


def test_an_unknown_symbol_is_kept_in_the_file_and_never_generated(tmp_path):
    from npchar import Model

    model = Model(Vocabulary.from_text("aaabbbc", min_count=2), hidden_size=4)
    model.parameters["dense.b"][2] = 50.0  # it would dominate the output
    for text in (*model.generate(["a", "c"], 50, seed=1), model.generate("a", 9, temperature=0.0)):
        assert set(text) <= {"a", "b"}
    model.save(tmp_path / "model.npz")
    loaded = Model.load(tmp_path / "model.npz")
    assert loaded.vocabulary == model.vocabulary
    assert loaded.score("abcd").loss == model.score("abxy").loss
