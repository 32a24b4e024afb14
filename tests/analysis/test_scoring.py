"""Scores of a text, and their display in colours."""

import re
import tracemalloc

import numpy as np
import pytest

import npchar
from npchar.analysis.colouring import as_ansi, as_html


def one_reading(model, text):
    """log p of each character, computed from all logits in one float64 pass."""
    ids = model.vocabulary.encode(text).astype(int)
    logits, _ = model.network.astype("float64").logits(ids[:-1, None])
    p = np.exp(logits[:, 0])
    return np.log(p[np.arange(len(p)), ids[1:]] / p.sum(axis=1))


@pytest.fixture(scope="module")
def pretrained():
    return npchar.Model.pretrained()


@pytest.fixture(scope="module")
def of_the_first_release():
    """The model of the first release, which is smaller and stored in 32-bit floats."""
    return npchar.Model.pretrained("nietzsche-128")


@pytest.mark.parametrize("n", [2, 2001, 4001])
def test_pieces_come_out_as_one_reading(of_the_first_release, n):
    model = of_the_first_release
    rng = np.random.default_rng(n)
    text = model.vocabulary.decode(rng.integers(0, 57, n))  # random text is a hard case
    score = model.score(text)
    assert score.log_probabilities.shape == (n - 1,)
    exact = one_reading(model, text)
    difference = np.abs(score.log_probabilities - exact)
    assert difference.max() < 0.02  # of values from 4 to 20; without warm-up it is 6
    assert difference[:1000].max() < 1e-4
    assert model.evaluate(text).loss == pytest.approx(score.loss, rel=1e-12)


@pytest.mark.slow
def test_the_shipped_models_on_held_out_text(pretrained, of_the_first_release, corpus):
    held_out = corpus[len(corpus) - len(corpus) // 10 :]
    assert pretrained.evaluate(held_out).loss < 1.29
    assert of_the_first_release.evaluate(held_out).loss == pytest.approx(1.3675, abs=1e-3)


def test_what_surprised_it(pretrained):
    text = "the will to power is the qqqq of the soul"
    score = pretrained.score(text)
    first = score.most_surprising(3)
    assert [one.bits for one in first] == sorted((one.bits for one in first), reverse=True)
    assert "q" in {one.character for one in first}
    for one in first:
        assert text[one.position] == one.character
        assert text[: one.position].endswith(one.before)
        assert len(one.before) == 20
        assert one.bits == pytest.approx(score.bits[one.position - 1])
    assert "'q' at" in str(score)


@pytest.mark.slow
def test_a_long_text_in_bounded_memory(pretrained):
    """The memory per character is bounded, apart from the text itself."""

    def peak(n):
        text = "the soul of man. " * (n // 17)
        tracemalloc.start()
        pretrained.score(text)
        used = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return used

    short, long = peak(70_000), peak(170_000)
    assert long - short < 100_000 * 12  # 4 for the result and 1 for an id; other memory is released


def test_colours_in_html():
    page = as_html("a<b\n", [0, 1, -0.5, 2], ["", "<x>", "", ""])
    assert page.count("<span") == 4
    assert "&lt;" in page
    assert 'title="&lt;x&gt;"' in page
    assert "rgba(220,50,30,0.75)" in page  # red; values above 1 count as 1
    assert "rgba(40,100,220,0.38)" in page
    assert re.sub(r"<[^>]*>", "", page) == "a&lt;b⏎\n"
    assert re.sub(r"<[^>]*>", "", as_html(["to", "be"], [0, 1])) == "to be "


def test_colours_of_a_terminal():
    shown = as_ansi("ab\nc\x1b[31m", [0, 1, 1, -0.01, 0, 0, 0, 0, 0])
    assert "\x1b[31m" not in shown  # characters of a text must not control the terminal
    assert shown.startswith("a\x1b[30;48;5;196mb\x1b[0m")
    assert as_ansi(["a", "\n", "b"], [0, 1, 0]).endswith("\x1b[0m\nb ")
    assert "\x1b[0m\nc" in shown  # a colour ends before the end of its line
    assert re.sub(r"\x1b\[[\d;]*m", "", shown) == "ab⏎\nc\\u001b[31m"


def test_a_notebook_shows_the_beginning_of_a_long_text(pretrained):
    page = pretrained.score("the soul. " * 1000)._repr_html_()
    assert page.count("<span") == 5000
    assert "and 5,000 more" in page
    assert "bits" in pretrained.score("ab")._repr_html_()


def test_entropy_rises_with_temperature(pretrained):
    prompt = "the will to "
    temperatures = [0, 0.2, 0.5, 1, 2, np.inf]
    entropies = [
        float(npchar.entropy(pretrained.next_probabilities(prompt, temperature=t)))
        for t in temperatures
    ]
    assert entropies == sorted(entropies)
    assert entropies[0] == 0
    assert entropies[-1] == pytest.approx(np.log(57))
    p = pretrained.next_probabilities(prompt)
    assert p.argmax() == pretrained.vocabulary.encode(pretrained.generate(prompt, 1, temperature=0))
    score = pretrained.score(prompt + "b")
    b = pretrained.vocabulary.encode("b")[0]
    assert np.log(p[b]) == pytest.approx(score.log_probabilities[-1], abs=1e-5)


def test_progress_is_told_to_the_end(model, text):
    documents = npchar.Model(npchar.Vocabulary.from_documents(["ab", "b"]), hidden_size=3)
    for read, what in ((model, text * 5), (documents, ["ab", "b" * 90] * 1000)):
        for method in (read.evaluate, read.score):
            seen = []
            method(what, progress=seen.append)
            assert len(seen) > 2
            assert seen == sorted(seen)
            assert seen[-1] == 1
