"""The public interface: names, docstring examples, and imports without cycles."""

import ast
import doctest
import importlib
import pkgutil
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from children import interrupts, run_python
from conftest import ROOT

import npchar
from npchar.training.distributed import WORKER_ENVIRONMENT

MODULES = sorted(
    m.name.removeprefix("npchar.")
    for m in pkgutil.walk_packages(npchar.__path__, "npchar.")
    if m.name != "npchar.__main__"
)


PUBLIC = """
    Activations Adam CheckpointError Conv CorpusError Dense DownloadError Evaluation FastGRU
    FastLSTM FastRNN GRU History LSTM MissingMPIError Model NewDocuments Originality Parameters
    RMSprop Muon RNN SGD Schedule Score TrainingDiverged UnknownCharacterError
    Vocabulary check_gradients clip_by_global_norm entropy examine from_keras from_torch
    gradient_flow load_corpus mean_squared_error originality plot_entropies reweight_distribution
    sample softmax_cross_entropy to_keras to_onnx to_torch training_settings windows

"""


def test_the_public_names():
    assert set(npchar.__all__) == set(PUBLIC.split())
    assert all(getattr(npchar, name).__doc__ for name in npchar.__all__)


def test_one_copy_is_tested(tmp_path):
    """Child processes in any folder import this checkout."""
    assert Path(npchar.__file__).parent == ROOT / "npchar"
    program = "import npchar; print(npchar.__file__)"
    for folder, environment in ((tmp_path, {}), (ROOT / "examples", WORKER_ENVIRONMENT)):
        done = run_python("-c", program, cwd=folder, env=environment)
        assert Path(done.stdout.strip()).parent == ROOT / "npchar", done.stderr


STATE = """
import os, signal, sys, threading, warnings
import numpy as np
def state():
    handlers = [signal.getsignal(number) for number in sorted(signal.valid_signals())]
    os.umask(umask := os.umask(0o22))
    return (handlers, umask, warnings.filters[:], np.geterr(), dict(os.environ), sys.path[:],
            os.getcwd(), threading.active_count(), sys.excepthook, sys.getrecursionlimit())
before = state()
import npchar
assert state() == before
"""


@pytest.mark.parametrize("name", ["script.py", "npchar", "npchar.experiment.py"])
def test_importing_npchar_changes_nothing_in_the_process(name, tmp_path):
    """Also in a program whose name begins with the name of the command."""
    (tmp_path / name).write_text(STATE)
    with interrupts():
        done = run_python(tmp_path / name, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("name", ["", *MODULES])
def test_docstring_examples(name, tmp_path, monkeypatch):
    """The examples run after `import npchar` and `import numpy as np`."""
    module = importlib.import_module(f"npchar.{name}".rstrip("."))
    if name == "analysis.plots" or name == "training.history":
        pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "mpi4py", None)  # it would keep files open in this process
    assert doctest.testmod(module, globs={"npchar": npchar, "np": np}).failed == 0


# Each package may import only packages of earlier sets.
ORDER = (
    {"version", "errors"},
    {"arrays", "arguments", "threads"},
    {"text", "layers"},
    {"fast"},
    {"network"},
    {"files", "generation", "analysis"},
    {"training"},
    {"model"},
    {"exchange", "options"},
    {"command", "cli"},
)
PLACES = {package: place for place, packages in enumerate(ORDER) for package in packages}


def imports_of(name):
    """The modules of npchar that a module imports, including imports inside functions."""
    file = Path(importlib.import_module(f"npchar.{name}").__file__)
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "npchar":
            module = node.module.removeprefix("npchar").removeprefix(".")
            for alias in node.names:
                inner = f"{module}.{alias.name}".removeprefix(".")
                yield inner if inner in MODULES else module
        elif isinstance(node, ast.Import):
            yield from (a.name.removeprefix("npchar.") for a in node.names if "npchar." in a.name)


def test_packages_import_one_way():
    for name in MODULES:
        package = name.split(".")[0]
        for other in {module.split(".")[0] for module in imports_of(name)} - {package}:
            assert PLACES[other] < PLACES[package], f"{name} must not import {other}"


def test_the_citation_is_of_the_latest_release_in_the_changelog():
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    version, day = re.search(r"\n## (\d[\d.]*) - (\d{4}-\d\d-\d\d)\n", changelog).groups()
    assert f"version: {version}\n" in citation
    assert f"date-released: {day}\n" in citation
    assert npchar.__version__ == version or ".dev" in npchar.__version__
