"""The API reference built by pdoc: complete, without warnings and dead links."""

import html.parser
import os
import sys
from pathlib import Path
from urllib.parse import unquote, urldefrag

import pytest
from children import run
from conftest import ROOT

import npchar
from npchar import guide

pytestmark = pytest.mark.slow

CHAPTERS = ("text", "layers", "network", "files", "generation", "analysis", "training")


class Page(html.parser.HTMLParser):
    """The links of a page and the anchors in it."""

    def __init__(self, path):
        super().__init__()
        self.links, self.places = [], set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        named = dict(attributes)
        self.links += [named["href"]] if named.get("href") else []
        self.places |= {named["id"]} if named.get("id") else set()


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The folder of the site, built as by `nox -s docs`."""
    pytest.importorskip("pdoc", reason="needs pdoc")
    folder = tmp_path_factory.mktemp("site")
    modules = ["npchar", "npchar.guide", *(f"npchar.{chapter}" for chapter in CHAPTERS)]
    command = ("-m", "pdoc", "-d", "numpy", "-o", folder, *modules)
    done = run(sys.executable, *command, cwd=ROOT, env={"PYTHONWARNINGS": "error"})
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    return folder


@pytest.fixture(scope="module")
def pages(site):
    return {path: Page(path) for path in site.rglob("*.html")}


def test_no_link_is_dead(site, pages):
    count = 0
    for path, page in pages.items():
        for link in page.links:
            address, place = urldefrag(unquote(link))
            if address.startswith(("https://", "data:")):
                continue
            target = Path(os.path.normpath(path.parent / address)) if address else path
            assert target in pages, f"{path.relative_to(site)}: {link}"
            assert not place or place in pages[target].places, f"{path.relative_to(site)}: {link}"
            count += 1
    assert count > 1000


def test_every_public_name_and_every_chapter_is_there(site, pages):
    whole = pages[site / "npchar.html"]
    assert set(npchar.__all__) <= whole.places
    for chapter in CHAPTERS:
        assert f"npchar/{chapter}.html" in whole.links
        page = pages[site / "npchar" / f"{chapter}.html"]
        for name in getattr(npchar, chapter).__all__:
            assert f"{chapter}/{name}.html" in page.links or name in page.places


def test_each_page_of_the_guide_is_two_clicks_away(site, pages):
    """The start page leads to ``npchar.html``, which leads to the index of the guide."""
    assert "npchar.html" in (site / "index.html").read_text(encoding="utf-8")
    assert "npchar/guide.html" in pages[site / "npchar.html"].links
    for name in guide.__all__:
        assert f"guide/{name}.html" in pages[site / "npchar" / "guide.html"].links
