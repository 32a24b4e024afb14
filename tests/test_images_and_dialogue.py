"""The examples of sequences beyond text: images drawn row by row, a dialogue of two speakers."""

import runpy
import sys
from pathlib import Path

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


def test_a_dialogue_is_learned(dialogue, run):
    out = run(dialogue, "--dialogues", "60", "--epochs", "1")
    assert "never told" in out
    transcript = out.partition("the model's:\n\n")[2].splitlines()
    assert [line[:2] for line in transcript if line] == 12 * ["A:", "B:"]
