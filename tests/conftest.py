"""Fixtures and helpers for several test files."""

import json
import os
import shutil
import socket
import tempfile
from pathlib import Path

# One BLAS thread here and in child processes. On a busy machine, BLAS threads wait actively for
# each other, and tests take ten times as long. NumPy reads the variable when it is imported.
for name in ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import children
import numpy as np
import pytest
from hypothesis import is_hypothesis_test, settings

import npchar

TESTS = Path(__file__).parent
ROOT = TESTS.parent
CORPUS = ROOT.parent / "shared" / "data" / "nietzsche.txt"
PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")

# Examples differ from run to run. A failing example is printed and can be kept as an @example.
# No database is written, so a run leaves no files and does not depend on earlier runs.
settings.register_profile("default", max_examples=25, deadline=None, database=None, print_blob=True)
settings.register_profile("thorough", settings.get_profile("default"), max_examples=2000)


def pytest_configure(config):
    """Set one environment for all tests and their child processes."""
    settings.load_profile("default" if config.option.markexpr == "not slow" else "thorough")
    # This process (by pyproject.toml) and all child processes test this checkout, even if another
    # copy of npchar is installed.
    path = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    os.environ["PYTHONPATH"] = os.pathsep.join(path)
    # Cache and configuration files of other programs are removed with the temporary folder.
    scratch = tempfile.mkdtemp(prefix="npchar-tests-")
    config.add_cleanup(lambda: shutil.rmtree(scratch, ignore_errors=True))
    os.environ |= {"MPLCONFIGDIR": scratch, "MPLBACKEND": "agg", "NPCHAR_CACHE": scratch}
    # Tests use no other machine.
    for name in PROXIES:
        os.environ.pop(name, None)
        os.environ.pop(name.upper(), None)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config, items):
    """Let `-m slow` also run the properties, with more examples than by default."""
    if config.option.markexpr != "not slow":
        for item in items:
            if is_hypothesis_test(getattr(item, "obj", None)):
                item.add_marker("slow")


@pytest.fixture(autouse=True)
def _no_process_is_left():
    yield
    children.end_all()


@pytest.fixture(scope="session")
def loopback():
    """The address of the loopback interface, if there is one."""
    with socket.socket() as listening, socket.socket() as asking:
        try:
            listening.bind(("127.0.0.1", 0))
            listening.listen()
            asking.connect(listening.getsockname())
        except OSError as error:
            pytest.skip(f"this machine has no loopback network: {error}")
    return "127.0.0.1"


@pytest.fixture(scope="session")
def corpus_path():
    """The Nietzsche corpus, if it is in a folder beside the project."""
    if not CORPUS.exists():
        pytest.skip("the real corpus is not beside this checkout (../shared/data)")
    return CORPUS


@pytest.fixture(scope="session")
def corpus(corpus_path):
    """The corpus in lower case, as in the book."""
    return npchar.load_corpus(corpus_path).lower()


@pytest.fixture
def text():
    """A short text with a pattern that a small model learns quickly."""
    return "the cat sat on the mat, and the rat sat on the cat. " * 60


@pytest.fixture
def model(text):
    """A small untrained model for `text`."""
    return npchar.Model(npchar.Vocabulary.from_text(text), hidden_size=12, seed=1)


def reconfigure(path, change=lambda configuration: None, without=None, **arrays):
    """Rewrite a model file with a changed configuration, other arrays, or one member removed."""
    with np.load(path) as file:
        members = {name: file[name] for name in file.files}
    configuration = json.loads(bytes(members["configuration"]))
    change(configuration)
    members["configuration"] = np.frombuffer(json.dumps(configuration).encode(), np.uint8)
    members |= arrays
    np.savez(path, **{name: array for name, array in members.items() if name != without})


def randomised(network, seed=0, scale=0.5):
    """The network with distinct random weights, so that no symmetry hides swapped gates."""
    flat = network.parameters.flat
    flat[:] = np.random.default_rng(seed).normal(0, scale, flat.shape)
    return network
