"""Figures of the notebooks and their alternative texts."""

import base64
import html
import re
import sys
import xml.etree.ElementTree as ElementTree
from types import SimpleNamespace

import pytest

matplotlib = pytest.importorskip("matplotlib", reason="matplotlib is not installed")
matplotlib.use("Agg")
import drawing  # noqa: E402  it imports matplotlib
import matplotlib.pyplot as plt  # noqa: E402
import numpy as np  # noqa: E402

import npchar  # noqa: E402
from npchar.analysis.page import PageModel  # noqa: E402
from npchar.analysis.page import page as create_page  # noqa: E402


@pytest.fixture
def shown(monkeypatch):
    """The data and metadata of each output that was displayed."""
    outputs = []

    def display(data, metadata, raw):
        assert raw
        outputs.append((data, metadata))

    ipython = SimpleNamespace(version_info=(9, 0), get_ipython=lambda: None)  # for matplotlib
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", SimpleNamespace(display=display))
    return outputs


def test_a_picture_comes_with_a_text_in_its_place(shown):
    plt.close("all")  # figures of other tests
    drawing.chain("abc")
    ((data, metadata),) = shown
    assert base64.b64decode(data["image/png"]).startswith(b"\x89PNG")
    assert data["text/plain"] == metadata["image/png"]["alt"]
    assert data["text/plain"].startswith("2 boxes in a row, one for each character of 'ab'")
    assert plt.get_fignums() == []  # otherwise the figure would be shown twice


def test_an_unrolled_network_can_be_stepped_through(shown):
    probabilities = np.array([[0.1, 0.9], [0.2, 0.8]])
    drawing.unrolled("a<b", "<b", probabilities, np.zeros((2, 3)), norms=[0.5, 1.0])
    ((data, _),) = shown
    page = ElementTree.fromstring(data["text/html"])
    assert [len(page.findall(tag)) for tag in ("input", "svg/g", "p")] == [4, 4, 4]
    assert "reads <; the most probable next characters: b 0.80, < 0.20" in page.findall("p")[1].text
    assert data["text/plain"].endswith("sent back by step 2 has the norm 0.5.")


def test_a_page_is_shown_but_not_stored(shown, monkeypatch):
    model = npchar.Model(npchar.Vocabulary('"&<ab'), hidden_size=3)
    monkeypatch.delenv("NPCHAR_STATIC", raising=False)
    drawing.page({"one": model, "two": model}, 'a"b')
    monkeypatch.setenv("NPCHAR_STATIC", "1")
    drawing.page({"one": model, "two": model}, 'a"b')
    (live, _), (stored, _) = shown
    frame = re.fullmatch('<iframe [^>]* srcdoc="([^"]*)"></iframe>', live["text/html"])
    models = [PageModel(name, model.network, model.vocabulary, 'a"b') for name in ("one", "two")]
    assert html.unescape(frame[1]) == create_page(models)
    assert list(stored) == ["text/plain"]


@pytest.fixture
def drawn(monkeypatch):
    """The figures passed to `show`, with their alternative texts."""
    figures = []
    monkeypatch.setattr(drawing, "show", lambda figure, alt: figures.append((figure, alt)))
    yield figures
    plt.close("all")


def test_each_character_has_the_colour_of_its_number(drawn):
    rows = drawing.broken("abcdefg\nhij", 5)
    assert rows == ["abcde", "fg\nhi", "j"]
    drawing.coloured(rows, {"one": range(11)}, "numbers", "a text", limits=(0, 10))
    ((figure, alt),) = drawn
    ax, bar = figure.axes
    (image,) = ax.images
    grid = image.get_array()
    assert grid[:2].tolist() == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]]
    assert grid[2, 0] == 10
    assert grid.mask[2, 1:].all()  # empty fields
    assert {t.get_text(): t.get_position() for t in ax.texts}["¶"] == (2, 1)
    assert image.get_clim() == (0, 10)
    assert bar.get_ylabel() == "numbers"
    assert alt == "a text"
