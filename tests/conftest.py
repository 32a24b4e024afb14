"""What several test files need."""

import json
import os
import shutil
import socket
import tempfile
from pathlib import Path

# One BLAS thread, here and in processes started: on a busy machine its threads wait for each
# other, busily, and tests take ten times as long. NumPy reads it when it is loaded.
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

# Other examples each time: a failing one is printed, to be kept as an @example. None is kept
# in a database, so that a run leaves nothing behind and depends on no run before.
settings.register_profile("default", max_examples=25, deadline=None, database=None, print_blob=True)
settings.register_profile("thorough", settings.get_profile("default"), max_examples=2000)


def pytest_configure(config):
    """Make one environment for all tests, and for the processes that they start."""
    settings.load_profile("default" if config.option.markexpr == "not slow" else "thorough")
    # One copy of npchar is tested, in this process (pyproject.toml) and in all others: this
    # checkout's, whatever may be installed.
    path = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    os.environ["PYTHONPATH"] = os.pathsep.join(path)
    # What programs write for themselves goes with the tests.
    scratch = tempfile.mkdtemp(prefix="npchar-tests-")
    config.add_cleanup(lambda: shutil.rmtree(scratch, ignore_errors=True))
    os.environ |= {"MPLCONFIGDIR": scratch, "MPLBACKEND": "agg", "NPCHAR_CACHE": scratch}
    # Nothing here asks for more than this machine has.
    for name in PROXIES:
        os.environ.pop(name, None)
        os.environ.pop(name.upper(), None)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config, items):
    """Let `-m slow` run the properties too, on more examples than by default."""
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
    """The address of this machine for itself, where there is one."""
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
    """The real corpus, where it lies beside the project."""
    if not CORPUS.exists():
        pytest.skip("the real corpus is not beside this checkout (../shared/data)")
    return CORPUS


@pytest.fixture(scope="session")
def corpus(corpus_path):
    """Its text, lower-cased as in the book."""
    return npchar.load_corpus(corpus_path).lower()


@pytest.fixture
def text():
    """A short text with a pattern that a small model learns in a moment."""
    return "the cat sat on the mat, and the rat sat on the cat. " * 60


@pytest.fixture
def model(text):
    """A small untrained model of that text."""
    return npchar.Model(npchar.Vocabulary.from_text(text), hidden_size=12, seed=1)


def reconfigure(path, change=lambda configuration: None, without=None, **arrays):
    """Write a model's file again: its configuration changed, with other arrays, without one."""
    with np.load(path) as file:
        members = {name: file[name] for name in file.files}
    configuration = json.loads(bytes(members["configuration"]))
    change(configuration)
    members["configuration"] = np.frombuffer(json.dumps(configuration).encode(), np.uint8)
    members |= arrays
    np.savez(path, **{name: array for name, array in members.items() if name != without})


def randomised(network, seed=0, scale=0.5):
    """The same network with distinct random weights: no symmetry hides a swapped gate."""
    flat = network.parameters.flat
    flat[:] = np.random.default_rng(seed).normal(0, scale, flat.shape)
    return network
