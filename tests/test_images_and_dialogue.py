"""The examples of sequences beyond text: images drawn row by row, a dialogue of two speakers."""

import runpy
import sys
from pathlib import Path

import numpy as np
import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.fixture(scope="module")
def images():
    return runpy.run_path(str(EXAMPLES / "images.py"))


@pytest.fixture(scope="module")
def dialogue():
    return runpy.run_path(str(EXAMPLES / "dialogue.py"))


@pytest.fixture
def run(monkeypatch, tmp_path, capsys):
    """Run an example in an empty folder, without matplotlib; what it prints."""

    def result(example, *arguments):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
        monkeypatch.setattr(sys, "argv", ["example.py", *arguments])
        assert example["main"]() == 0
        assert not list(tmp_path.iterdir())
        return capsys.readouterr().out

    return result


def test_images_are_drawn_and_learned(images, run):
    out = run(images, "--images", "30", "--epochs", "1")
    assert "200 new images; " in out
    drawn = out.partition("held-out ones")[2].splitlines()[1:11]
    assert {len(line) for line in drawn} == {10 * 2 * images["COLUMNS"] + 9 * 2}


def test_an_image_is_its_digit_and_its_rows(images):
    rng = np.random.default_rng(0)
    made = [images["drawn"](digit, rng) for digit in 12 * "0123456789"]
    assert len(set(made)) == len(made)
    for image in made:
        rows = image[1:].split("\n")
        assert rows.pop() == ""
        assert [len(row) for row in rows] == images["ROWS"] * [images["COLUMNS"]]
    # Upright, not mirrored: the bar of a 7 is above, the foot of a 2 below, the nose of a 1 left
    one, two, seven = (images["pixels_of"](made[k::10]).mean(0) for k in (1, 2, 7))
    assert seven.sum(1).argmax() < 3
    assert two.sum(1).argmax() > 6
    stem = one.sum(0).argmax()
    assert one[:4, :stem].sum() > 2 * one[:4, stem + 2 :].sum()


def test_a_dialogue_is_learned(dialogue, run):
    out = run(dialogue, "--dialogues", "60", "--epochs", "1")
    assert "never told" in out
    transcript = out.partition("the model's:\n\n")[2].splitlines()
    assert [line[:2] for line in transcript if line] == 12 * ["A:", "B:"]


def test_what_was_told_last_is_the_answer(dialogue):
    rng = np.random.default_rng(0)
    asked = [question for _ in range(100) for question in dialogue["composed"](9, rng)[1]]
    assert {question.ago for question in asked} >= {0, 2, 4, 8, 12}
    assert any(question.anew for question in asked)
    for question in asked:
        *before, last, begun = question.before.split("\n")
        assert begun == "B:"
        words, tell, _, _, answer = next(f for f in dialogue["FACTS"] if f"A: {f[3]}" == last)
        told = {f"A: {tell.format(word)}": word for word in words.split()}
        places = [k for k, line in enumerate(before) if line in told]
        assert question.anew == (len(places) > 1)
        if not places:
            assert (question.ago, question.answer) == (0, "i do not know")
            continue
        assert question.ago == len(before) - places[-1]
        assert question.answer == answer.format(told[before[places[-1]]])
