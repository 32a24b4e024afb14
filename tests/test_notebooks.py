"""The notebooks: committed with outputs, and executable in any folder without a network.

The default suite executes the notebooks that read a text. The slow tests execute all of them.
"""

import hashlib
import json
import re
import shutil
import tempfile
from pathlib import Path

import make_listing
import pytest

from npchar.text.corpus import CORPORA

EXAMPLES = Path(__file__).parents[1] / "examples"
LISTING = list(make_listing.NOTEBOOKS.values())  # both have the same code
NOTEBOOKS = [*sorted(EXAMPLES.glob("[0-9]-*.ipynb")), *LISTING]
READERS = [path for path in NOTEBOOKS[:-1] if "load_text()" in path.read_text("utf-8")]
each = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def cells(path):
    return json.loads(path.read_text(encoding="utf-8"))["cells"]


@each
def test_it_was_executed_in_order_and_is_clean(path):
    code = [cell for cell in cells(path) if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    outputs = [output for cell in code for output in cell["outputs"]]
    assert all(output["output_type"] != "error" for output in outputs)
    assert all(output.get("name") != "stderr" for output in outputs)
    assert path.stat().st_size < 1_000_000
    text = path.read_text(encoding="utf-8")  # must not depend on this machine
    assert not any(str(folder) in text for folder in (EXAMPLES, Path.home(), tempfile.gettempdir()))
    assert "Traceback" not in text
    assert "srcdoc" not in text  # pages are large; NPCHAR_STATIC leaves them out


def source(cell):
    return "".join(cell["source"])


def code_of(path):
    return [source(cell) for cell in cells(path) if cell["cell_type"] == "code"]


@each
def test_its_pictures_have_a_text_in_their_place(path):
    outputs = [o for cell in cells(path) for o in cell.get("outputs", ()) if "data" in o]
    pictures = [output for output in outputs if "image/png" in output["data"]]
    assert pictures
    for picture in pictures:
        alt = picture["metadata"]["image/png"]["alt"]
        assert len(alt) > 40
        assert "".join(picture["data"]["text/plain"]) == alt
    # The output of a slider would be empty in the file, so notebooks run without ipywidgets.
    assert not any("widget" in kind for output in outputs for kind in output["data"])


def text_of(path):
    """The text of a file; for a notebook, its cells and outputs without pictures and tags."""
    if path.suffix != ".ipynb":
        return path.read_text(encoding="utf-8")
    parts = [source(cell) for cell in cells(path)]
    for output in (output for cell in cells(path) for output in cell.get("outputs", ())):
        parts.append("".join(output.get("text", ())))
        data = output.get("data", {}).items()
        parts += [re.sub("<[^>]*>", "", "".join(d)) for kind, d in data if kind != "image/png"]
    return "\n".join(parts)


def test_no_long_passage_of_the_corpus_is_committed(corpus):
    def letters(text):
        return re.sub("[^a-z]", "", text.lower())

    known, n = letters(corpus), 60
    blocks = {known[k : k + n] for k in range(0, len(known), n)}  # 2 n letters hold a block
    for path in EXAMPLES.rglob("*.*"):
        if path.suffix in {".ipynb", ".md", ".py", ".txt"}:
            text = letters(text_of(path))
            assert not any(text[k : k + n] in blocks for k in range(len(text))), path.name


def parts(notebook):
    return [(c["id"], c["cell_type"], c["metadata"], "".join(c["source"])) for c in notebook]


def test_both_notebooks_of_the_listing_are_made_from_one_source():
    for language, path in make_listing.NOTEBOOKS.items():
        assert parts(cells(path)) == parts(make_listing.make_notebook(language)["cells"])
    english, chinese = (
        [(c["outputs"], source(c)) if c["cell_type"] == "code" else "prose" for c in cells(path)]
        for path in LISTING
    )
    assert english == chinese


def execute(path, seed=0, characters=1_000_000):
    nbformat = pytest.importorskip("nbformat", reason='needs pip install ".[run-notebooks]"')
    nbclient = pytest.importorskip("nbclient", reason='needs pip install ".[run-notebooks]"')
    pytest.importorskip("ipykernel", reason='needs pip install ".[run-notebooks]"')
    text = path.read_text(encoding="utf-8")
    assert text.count("SEED = 0 ") == 1
    text = text.replace("SEED = 0 ", f"SEED = {seed} ")
    text = text.replace("CHARACTERS = 1_000_000 ", f"CHARACTERS = {characters} ")
    notebook = nbformat.reads(text, as_version=4)
    client = nbclient.NotebookClient(
        notebook, timeout=240, kernel_name="python3", resources={"metadata": {"path": EXAMPLES}}
    )
    client.execute()  # raises the first error
    return "".join(o.get("text", "") for c in notebook.cells for o in c.get("outputs", ()))


@pytest.fixture
def empty_cache(tmp_path, monkeypatch, loopback):
    """An empty folder for downloads, in an environment without a network."""
    for name in ("HTTPS_PROXY", "https_proxy"):
        monkeypatch.setenv(name, "http://localhost:1")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("NPCHAR_CACHE", str(tmp_path))
    monkeypatch.setenv("MPLBACKEND", "module://matplotlib_inline.backend_inline")
    return tmp_path


@pytest.mark.parametrize("path", READERS, ids=lambda path: path.stem)
def test_it_reads_another_text_without_a_network(path, empty_cache):
    assert "help texts" in execute(path, characters=120_000)


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS[:-1], ids=lambda path: path.stem)
def test_its_claims_hold_for_another_seed_and_the_corpus(path, empty_cache, request):
    if path in READERS:
        name = f"{hashlib.sha256(CORPORA['nietzsche'].url.encode()).hexdigest()[:12]}-nietzsche.txt"
        shutil.copy(request.getfixturevalue("corpus_path"), empty_cache / name)
    assert "help texts" not in execute(path, seed=1)
