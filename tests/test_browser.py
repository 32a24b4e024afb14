"""npchar without processes, signals and a disk, as in a browser: everything works, but slower."""

import os
import signal
import subprocess
import sys

import pytest
from children import run_python

import npchar
from npchar.text.download import DownloadError, download

SETTINGS = {"epochs": 3, "maxlen": 20, "batch_size": 32, "seed": 4, "verbose": False}


class Enough(Exception):
    """An exception that ends a training early."""


@pytest.fixture
def forbidden(monkeypatch):
    """Make it impossible to start processes and to set signal handlers."""

    def refuse(*_, **__):
        raise OSError(138, "not supported")

    monkeypatch.setattr(subprocess, "Popen", refuse)
    monkeypatch.setattr(signal, "signal", refuse)
    monkeypatch.setattr("npchar.training.distributed.available_cores", lambda: 4)


@pytest.fixture
def browser(forbidden, monkeypatch):
    """Set the platform to Pyodide's."""
    monkeypatch.setattr(sys, "platform", "emscripten")
    monkeypatch.setattr("npchar.training.distributed.available_cores", lambda: 1)
    monkeypatch.delattr(os, "fsync")
    for name in ("fcntl", "msvcrt"):
        monkeypatch.setitem(sys.modules, name, None)


def fresh(text, seed=1):
    return npchar.Model(npchar.Vocabulary.from_text(text), hidden_size=12, seed=seed)


def expected(text):
    model = fresh(text)
    model.fit(text, workers=1, **SETTINGS)
    return model


def interrupted_and_resumed(text, path, **options):
    """A model whose training failed in its second epoch and was resumed."""

    def end(history):
        if len(history.loss) == 2:
            raise Enough

    with pytest.raises(Enough):
        fresh(text).fit(text, checkpoint=path, callbacks=[end], **options, **SETTINGS)
    model = npchar.Model.load(path)
    model.fit(text, checkpoint=path, resume=True, **options, **SETTINGS)
    return model


def test_in_a_browser_it_trains_resumes_and_generates(text, tmp_path, browser):
    model = interrupted_and_resumed(text, tmp_path / "run.npz")
    same = expected(text)
    assert model.parameters.flat.tobytes() == same.parameters.flat.tobytes()
    assert model.generate("the ", 40, seed=1) == same.generate("the ", 40, seed=1)
    model.to_html(tmp_path / "page.html")
    model.save(tmp_path / "model.npz")
    assert {path.name for path in tmp_path.iterdir()} == {"run.npz", "page.html", "model.npz"}


def test_where_processes_and_signals_are_forbidden(text, tmp_path, forbidden):
    with pytest.warns(UserWarning, match=r"cannot start 3 worker processes \(.*not supported\)"):
        model = interrupted_and_resumed(text, tmp_path / "run.npz")
    assert model.parameters.flat.tobytes() == expected(text).parameters.flat.tobytes()
    model = interrupted_and_resumed(text, tmp_path / "other.npz", workers=1)  # no warning
    assert model.parameters.flat.tobytes() == expected(text).parameters.flat.tobytes()


def test_a_download_says_what_a_browser_can(tmp_path, browser, monkeypatch):
    monkeypatch.setitem(sys.modules, "requests", None)
    with pytest.raises(DownloadError, match="next to the notebook and pass its path"):
        download("https://example.org/corpus.txt", tmp_path / "corpus", False)


def test_the_import_needs_none_of_it(tmp_path):
    """The import works without the modules that Pyodide lacks."""
    program = """
import sys, numpy, numpy.random, signal, os
def refuse(*_, **__):
    raise OSError(138, "not supported")
sys.platform, signal.signal, os.fork = "emscripten", refuse, refuse
del os.fsync
for name in ("subprocess", "multiprocessing", "fcntl", "msvcrt", "requests", "termios"):
    sys.modules[name] = None
import npchar
text = "the cat sat on the mat. " * 40
model = npchar.Model(npchar.Vocabulary.from_text(text), hidden_size=8)
history = model.fit(text, epochs=1, maxlen=20, checkpoint="run.npz")
again = npchar.Model.load("run.npz")
print(again.generate("the ", 10, seed=1) == model.generate("the ", 10, seed=1))
"""
    done = run_python("-W", "error", "-c", program, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("True\n")
