"""Worker processes: the same gradient, and none left behind."""

import itertools
import os
import signal
import sys
import tempfile
import textwrap
from pathlib import Path

import numpy as np
import pytest
from children import LIMIT, python, run_python, wait_for_ends
from conftest import randomised

import npchar
from npchar.layers.network import Network, Sizes
from npchar.training import parallel
from npchar.training.parallel import Share, WorkerError, Workers, default_workers

POSIX = pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs Linux's /proc")


@pytest.fixture
def network():
    return randomised(Network(Sizes(11, 6, 2, 0.25), dtype="float64"))


@pytest.mark.parametrize("count", [2, 3])
def test_workers_compute_what_one_process_does(network, count):
    T, B = 7, 8
    expected, found = network.parameters.zeros_like(), network.parameters.zeros_like()
    here = Share(network)
    rng = np.random.default_rng(1)
    with Workers(network, T, B, count) as workers:
        for targets, columns in itertools.product(("all", "last"), (B, 5, 1)):  # 1: too few for all
            batch = rng.integers(0, 11, (T + 1, columns))
            loss = here.gradient(batch, targets, seed=9, out=expected)
            assert workers.gradient(batch, targets, seed=9, out=found) == pytest.approx(loss)
            np.testing.assert_allclose(found.flat, expected.flat, rtol=1e-12, atol=1e-15)
            network.parameters.flat[:] += 0.01  # each call takes the weights of its time


@POSIX
def test_a_worker_that_dies_is_an_error_not_a_hang(network):
    with Workers(network, 4, 4, 2) as workers:
        workers._processes[1].send_signal(signal.SIGKILL)
        out = network.parameters.zeros_like()
        with pytest.raises(WorkerError, match="exit status -9"):
            for _ in range(3):
                workers.gradient(np.zeros((5, 4), int), "all", 0, out)
    assert workers._processes == []


WAYS_TO_END = [
    signal.SIGKILL,
    *(pytest.param(number, marks=pytest.mark.slow) for number in (signal.SIGINT, signal.SIGTERM)),
]


@POSIX
@pytest.mark.parametrize("how", WAYS_TO_END)
def test_no_process_and_no_file_survives_the_parent(tmp_path, how):
    program = textwrap.dedent(
        """
        import npchar
        text = "the cat sat on the mat. " * 400
        model = npchar.Model(npchar.Vocabulary.from_text(text), hidden_size=16)
        model.fit(text, epochs=10_000, batch_size=16, workers=2)
        """
    )
    parent = python("-c", program, env={"TMPDIR": str(tmp_path)})
    parent.await_line(parent.stdout, lambda line: line.startswith("epoch"))
    workers = children_of(parent.pid)
    assert len(workers) == 2
    parent.send_signal(how)
    _, errors = parent.communicate(timeout=LIMIT)
    assert parent.returncode != 0
    assert ("KeyboardInterrupt" in errors) == (how == signal.SIGINT)
    assert "BrokenPipe" not in errors
    wait_for_ends(workers)
    assert list(tmp_path.iterdir()) == []


@POSIX
@pytest.mark.parametrize("how", WAYS_TO_END)
def test_no_process_and_no_file_survives_a_parent_ended_while_workers_start(tmp_path, how):
    """They say who they are, and wait as long as the parent lives."""
    (tmp_path / "sitecustomize.py").write_text(
        "import os\n"
        "if 'MALLOC_TRIM_THRESHOLD_' in os.environ:\n"
        "    os.write(2, f'worker {os.getpid()}\\n'.encode())\n"  # in one piece
        "    os.read(0, 1)\n"
    )
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    program = (
        "import npchar; text = 'hello world, ' * 200\n"
        "npchar.Model(npchar.Vocabulary.from_text(text)).fit(text, workers=2)"
    )
    path = os.pathsep.join([str(tmp_path), os.environ["PYTHONPATH"]])
    parent = python("-c", program, env={"PYTHONPATH": path, "TMPDIR": str(scratch)})
    seen = [parent.await_line(parent.stderr, lambda line: line.startswith("worker")) for _ in "ab"]
    assert len(list(scratch.iterdir())) == 1
    parent.send_signal(how)
    _, errors = parent.communicate(timeout=LIMIT)  # the workers' too
    wait_for_ends(int(line.split()[-1]) for line in seen)
    assert list(scratch.iterdir()) == []
    assert errors.count("\nKeyboardInterrupt: interrupted") == (how == signal.SIGINT), errors
    assert ("Traceback" in errors) == (how == signal.SIGINT), errors


def test_a_worker_that_fails_to_start(network, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(sys, "executable", "false")
    with pytest.raises(WorkerError, match=r"exit status 1.*workers=1"):
        Workers(network, 4, 4, 2)
    assert list(tmp_path.iterdir()) == []


def test_a_python_that_prints_when_it_starts(network, tmp_path, monkeypatch):
    (tmp_path / "sitecustomize.py").write_text("print('welcome')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    with pytest.raises(WorkerError, match="printed b'w'.*workers=1"):
        Workers(network, 4, 4, 2)


@POSIX
def test_a_worker_that_does_not_end_is_killed(network, monkeypatch):
    monkeypatch.setattr(parallel, "SECONDS_TO_END", 0.1)
    with Workers(network, 4, 4, 2) as workers:
        stopped, other = workers._processes
        stopped.send_signal(signal.SIGSTOP)
    assert stopped.returncode == -signal.SIGKILL
    assert other.returncode is not None


def children_of(pid):
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(child) for child in children.split()]


def test_a_script_without_a_main_guard(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import npchar\n"
        "print('once')\n"
        "text = 'hello world, ' * 200\n"
        "model = npchar.Model(npchar.Vocabulary.from_text(text), hidden_size=8)\n"
        "model.fit(text, epochs=1, workers=2, verbose=False)\n"
    )
    done = run_python(script)
    assert (done.stdout, done.stderr, done.returncode) == ("once\n", "", 0)


def test_small_batches_take_no_workers():
    assert default_workers(1) == 1
    assert default_workers(10_000) >= 1


def test_interrupting_leaves_a_model_that_works(text):
    model = npchar.Model(npchar.Vocabulary.from_text(text), hidden_size=8)

    def interrupt(history):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        model.fit(text, epochs=3, workers=2, callbacks=[interrupt], verbose=False)
    assert len(model.generate("the ", 10)) == 10
