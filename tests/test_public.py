"""The public face: names, docstrings that run, an acyclic house."""

import ast
import doctest
import importlib
import pkgutil
from pathlib import Path

import pytest
from children import run_python
from mutants_table import MUTANTS

import npchar
from npchar.parallel import WORKER_ENVIRONMENT

ROOT = Path(__file__).parents[1]
MODULES = [m.name for m in pkgutil.iter_modules(npchar.__path__) if m.name != "__main__"]


PUBLIC = """
    Activations CheckpointError CorpusError Dense DownloadError Evaluation History LSTM
    MissingMPIError Model Originality RMSprop RNN Score TrainingDiverged UnknownCharacterError
    Vocabulary WorkerError check_gradients entropy examine from_keras from_torch gradient_flow
    load_corpus originality rank reweight_distribution sample softmax_cross_entropy to_keras
    to_onnx to_torch windows
"""


def test_the_public_names():
    assert set(npchar.__all__) == set(PUBLIC.split())
    assert all(getattr(npchar, name).__doc__ for name in npchar.__all__)


def test_one_copy_is_tested(tmp_path):
    """This checkout's: here, and in what is started in any folder."""
    assert Path(npchar.__file__).parent == ROOT / "npchar"
    program = "import npchar; print(npchar.__file__)"
    for folder, environment in ((tmp_path, {}), (ROOT / "examples", WORKER_ENVIRONMENT)):
        done = run_python("-c", program, cwd=folder, env=environment)
        assert Path(done.stdout.strip()).parent == ROOT / "npchar", done.stderr


def test_each_mutant_can_be_planted():
    for file, what, old, new, near in MUTANTS:
        assert (ROOT / "npchar" / file).read_text(encoding="utf-8").count(old) == 1, what
        assert old != new
        assert all((ROOT / "tests" / f"test_{name}.py").exists() for name in near.split()), what


@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples(name):
    module = importlib.import_module(f"npchar.{name}")
    assert doctest.testmod(module).failed == 0


def imports_of(name):
    """The modules of npchar that one imports when it is loaded."""
    tree = ast.parse(Path(npchar.__path__[0], f"{name}.py").read_text(encoding="utf-8"))
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("npchar"):
            inner = node.module.removeprefix("npchar").removeprefix(".")
            found |= {inner} if inner else {alias.name for alias in node.names}
    return found & set(MODULES)


def test_imports_run_one_way():
    graph = {name: imports_of(name) for name in MODULES}
    while graph:
        leaves = [name for name, needs in graph.items() if not needs & set(graph)]
        assert leaves, f"these import each other in a circle: {sorted(graph)}"
        for name in leaves:
            del graph[name]


def test_rooms_keep_to_themselves():
    assert "model" not in imports_of("text") | imports_of("lstm") | imports_of("corpus")
    assert imports_of("lstm") <= {"parameters"}
    assert imports_of("optim") <= {"parameters"}
    assert imports_of("checkpoint") <= {"parameters"}
    assert imports_of("corpus") == {"download"}
    assert imports_of("download") == set()
