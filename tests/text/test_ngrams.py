"""The losses of n-gram baselines, compared with a plain count."""

import math
from collections import Counter

import numpy as np
import pytest

from npchar import Model, Vocabulary
from npchar.text.ngrams import baselines


def witten_bell(train, held_out, V, order):
    """The same computation with dictionaries, one character at a time."""
    counts = [Counter() for _ in range(order + 1)]
    followers = [{} for _ in range(order + 1)]
    for n in range(1, order + 1):
        for k in range(len(train) - n + 1):
            before, c = tuple(train[k : k + n - 1]), train[k + n - 1]
            counts[n][before, c] += 1
            followers[n].setdefault(before, Counter())[c] += 1
    losses = []
    for k in range(1, len(held_out)):
        p = 1 / V
        for n in range(1, order + 1):
            before = tuple(held_out[max(0, k - n + 1) : k])
            if len(before) < n - 1 or before not in followers[n]:
                continue
            known = followers[n][before]
            D, N = len(known), sum(known.values())
            p = (known[held_out[k]] + D * p) / (N + D)
        losses.append(-math.log(p))
    return sum(losses) / len(losses)


def test_counting_by_hand():
    rng = np.random.default_rng(0)
    ids = rng.choice(6, 700, p=[0.4, 0.3, 0.1, 0.1, 0.05, 0.05]).astype(np.uint8)
    ids[1::2] = ids[::2]  # each second id repeats the id before
    train, held_out = ids[:500], ids[500:]
    found = baselines(train, held_out, 7)
    assert list(found) == ["uniform", "unigram", "2-gram", "3-gram", "4-gram", "5-gram"]
    assert found["uniform"] == pytest.approx(math.log(7))
    for n, name in enumerate(list(found)[1:], 1):
        assert found[name] == pytest.approx(witten_bell(train, held_out, 7, n), rel=1e-12)
    assert found["2-gram"] < found["unigram"] < found["uniform"]


def test_characters_never_seen_and_huge_vocabularies():
    found = baselines(np.array([0, 1, 0, 1]), np.array([5, 6, 5]), 100_000)
    assert list(found) == ["uniform", "unigram", "2-gram", "3-gram"]  # (10⁵)⁴ codes would overflow
    assert all(math.isfinite(loss) for loss in found.values())
    assert list(baselines(np.array([0]), np.array([0, 0]), 2)) == ["uniform", "unigram"]


def test_on_the_real_corpus(corpus):
    ids = Vocabulary.from_text(corpus).encode(corpus)
    split = len(ids) - len(ids) // 10
    found = baselines(ids[:split], ids[split:], 57)
    assert list(found.values()) == sorted(found.values(), reverse=True)
    assert found["unigram"] == pytest.approx(2.9, abs=0.1)
    assert found["5-gram"] == pytest.approx(1.434, abs=0.001)  # the result of `witten_bell`


def test_where_they_are_shown(text, capsys):
    model = Model(Vocabulary.from_text(text), hidden_size=8)
    history = model.fit(text, epochs=1, maxlen=20, workers=1)
    split = len(text) - len(text) // 10
    ids = model.vocabulary.encode(text)
    expected = baselines(ids[:split], ids[split:], len(model.vocabulary))
    assert history.baselines == expected
    found = model.evaluate(text[split:], train_text=text[:split])
    assert found.baselines == expected
    assert model.evaluate(text).baselines == {"uniform": math.log(len(model.vocabulary))}
    out = capsys.readouterr().out
    assert f"5-gram {expected['5-gram']:.3f}" in out
    bits = history.bits_per_character[0]
    assert f"= {bits:.2f} bits (5-gram {expected['5-gram'] / math.log(2):.2f})" in out
    history = model.fit(text, epochs=1, maxlen=20, workers=1, validation_split=0.0, verbose=False)
    assert list(history.baselines) == ["uniform", "unigram"]
