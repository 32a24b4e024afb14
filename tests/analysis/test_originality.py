"""Passages copied from a corpus, compared with a plain search."""

import random
import tracemalloc

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from npchar.analysis.originality import originality


def plainly(text, corpus, least):
    """The maximal common runs, found by comparing every pair of positions."""
    runs = {}
    for i in range(len(text)):
        best = 0
        for j in range(len(corpus)):
            n = 0
            while i + n < len(text) and j + n < len(corpus) and text[i + n] == corpus[j + n]:
                n += 1
            best = max(best, n)
        if best >= least:
            runs[i] = best
    # Runs inside a longer run that begins earlier are omitted.
    return {
        (i, n) for i, n in runs.items() if not any(k < i and k + runs[k] >= i + n for k in runs)
    }


@given(st.text("ab", max_size=30), st.text("abc", max_size=40), st.integers(1, 6))
@example("babbbbbbaabaaba", "aabbabbbabbb", 1)  # shorter runs once hid longer ones
def test_against_the_plain_search(text, corpus, least):
    found = originality(text, corpus, least=least)
    assert {(p.position, len(p.text)) for p in found.passages} == plainly(text, corpus, least)
    for passage in found.passages:
        assert text[passage.position :].startswith(passage.text)
        assert corpus[passage.source :].startswith(passage.text)
    lengths = [len(p.text) for p in found.passages]
    assert lengths == sorted(lengths, reverse=True)
    assert found.longest == max(lengths, default=0)
    covered = {k for i, n in plainly(text, corpus, least) for k in range(i, i + n)}
    assert found.copied == pytest.approx(len(covered) / max(1, len(text)))


@pytest.mark.slow
def test_many_short_texts():
    """Runs overlap in texts of two letters, which is rare in the examples of Hypothesis."""
    rng = random.Random(0)
    for _ in range(100_000):
        text, corpus = ("".join(rng.choices("ab", k=rng.randint(3, 25))) for _ in range(2))
        least = rng.randint(1, 3)
        found = originality(text, corpus, least=least)
        assert {(p.position, len(p.text)) for p in found.passages} == quickly(text, corpus, least)


def quickly(text, corpus, least):
    """The same result as `plainly`, computed by Python's string search."""
    passages, reach = set(), 0
    for i in range(len(text)):
        n = 0
        while i + n < len(text) and text[i : i + n + 1] in corpus:
            n += 1
        if n >= least and i + n > reach:
            passages.add((i, n))
            reach = i + n
    return passages


@given(st.text("ab", max_size=20), st.text("ab", max_size=20), st.integers(1, 4))
def test_the_plain_searches_agree(text, corpus, least):
    assert quickly(text, corpus, least) == plainly(text, corpus, least)


def test_tokens():
    found = originality(
        ["x", "to", "be", "or", "y"], ["not", "to", "be", "or", "not", "to", "be"], least=2
    )
    assert found.passages[0].text == ["to", "be", "or"]
    assert (found.passages[0].position, found.passages[0].source) == (1, 1)


@pytest.mark.slow
def test_megabytes(corpus):
    text = corpus[100_000:100_300] + "§" + corpus[5000:5100].upper()
    found = originality(text, corpus * 4)
    assert found.longest == 300
    assert found.passages[0].source == 100_000
    assert "300  at 0, corpus 100,000" in str(found)
    assert "copied" in repr(found)
    assert found._repr_html_().count("<span") == len(text)


def test_two_rules_of_dashes_take_no_quadratic_time():
    """Every position of one text begins a run at every position of the other: 600 million pairs."""
    found = originality("-" * 3000, "-" * 200_000)
    assert [(p.position, len(p.text)) for p in found.passages] == [(0, 3000)]


@pytest.mark.slow
def test_ruled_lines_take_no_gigabytes():
    tracemalloc.start()
    found = originality("-" * 400, ("-" * 78 + "\n") * 300)
    used = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.longest == 78
    assert used < 60e6


def test_what_it_asks_for():
    with pytest.raises(TypeError, match="both strings"):
        originality("ab", ["a", "b"])
    with pytest.raises(ValueError, match="least is 0"):
        originality("ab", "ab", least=0)
    assert originality("", "abc").copied == 0
