"""The examples of images, drawn row by row, and of a dialogue of two speakers."""

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
    """Run an example in an empty folder without matplotlib, and return its output."""

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
    drawn = out.partition("held-out images:")[2].splitlines()[1:11]
    assert {len(line) for line in drawn} == {10 * 2 * images["COLUMNS"] + 9 * 2}


def test_an_animation_draws_pixel_by_pixel(images, tmp_path):
    image = pytest.importorskip("PIL.Image")
    drawn = [images["drawn"](digit, np.random.default_rng(0)) for digit in "07"]
    images["animation"](str(tmp_path / "digits.gif"), drawn)
    with image.open(tmp_path / "digits.gif") as file:
        assert file.size == (6 * 2 * (images["COLUMNS"] + 2), 6 * (images["ROWS"] + 2))
        assert file.n_frames > images["ROWS"]
        ink = []
        for frame in range(file.n_frames):
            file.seek(frame)
            ink.append((255 - np.asarray(file.convert("L"), int)).sum())
    assert ink[0] == 0 < ink[-1]
    assert ink == sorted(ink)


def test_a_dialogue_is_learned(dialogue, run):
    out = run(dialogue, "--dialogues", "60", "--epochs", "1")
    assert "never stated" in out
    transcript = out.partition("the model's:\n\n")[2].splitlines()
    assert [line[:2] for line in transcript if line] == 12 * ["A:", "B:"]
