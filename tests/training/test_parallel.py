"""Worker processes: the same gradient, and none left behind."""

import errno
import io
import os
import queue
import signal
import sys
import tempfile
import textwrap
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from children import LIMIT, python, run_python, wait_for_ends
from conftest import randomised, settings_of, trained_by

import npchar
from npchar.layers.network import Network, Sizes
from npchar.training import parallel
from npchar.training.parallel import WorkerError, Workers, default_workers
from npchar.training.steps import Share, Steps
from npchar.training.worker import MOST, Meeting

TEXT = "the cat sat on the mat, and the rat sat on the cat. " * 40
POSIX = pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs Linux's /proc")


@pytest.fixture
def network():
    return randomised(Network(Sizes(11, 6, 2, 0.25, recurrent_dropout=0.2), dtype="float64"))


def some_workers(network, count=2, **settings):
    return Workers(*trained_by(network, settings_of(**settings)), 7, 8, count)


def one_step(workers, columns=4):
    """A step with a batch of zeros."""
    workers.steps([np.zeros((8, columns), int)], [0], [0.1])
    workers.whole = True


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("targets", ["all", "last"])
def test_workers_compute_what_one_process_does(network, count, targets):
    expected, here = network.parameters.zeros_like(), Share(network)
    rng = np.random.default_rng(1)
    with some_workers(network, count, targets=targets) as workers:
        for columns in (8, 5, 1):  # 1: too few for all
            batch = rng.integers(0, 11, (8, columns))
            loss = here.gradient(batch, targets, seed=9, out=expected)
            workers.optimizer.memory[...] = 0
            ((came, norm),) = workers.steps([batch], [9], [0.0])
            assert (came, norm) == pytest.approx((loss, np.linalg.norm(expected.flat)))
            found = workers.optimizer.memory  # of SGD, after a first step
            np.testing.assert_allclose(found, expected.flat, rtol=1e-12, atol=1e-15)
            network.parameters.flat[:] += 0.01  # each call takes the weights of its time


@pytest.mark.parametrize(
    ("sizes", "count", "changes"),
    [
        (Sizes(11, 6, 2, 0.25), 3, {"optimizer": "adam", "clip_norm": 0.3}),
        (Sizes(11, 6, 2, 0.25, "gru"), 2, {"optimizer": "rmsprop", "clip_norm": 0.3}),
        (Sizes(11, 6, 1, 0.0, "rnn", 0.5), 2, {"optimizer": "sgd", "clip_norm": 1e9}),
        (Sizes(57, 256, 1, 0.0), 2, {"optimizer": "adam", "clip_norm": 0.3}),  # in several parts
    ],
    ids=lambda one: one.layer if isinstance(one, Sizes) else "",
)
def test_workers_make_the_steps_that_one_process_does(sizes, count, changes):
    rng = np.random.default_rng(1)
    V = sizes.vocabulary_size
    batches = [rng.integers(0, V, (rows, B)) for rows, B in [(8, 8), (3, 8), (8, 1), (8, 5)]]
    seeds, rates = [1, 2, 1 << 61, 4], [0.1, 0.0, 0.05, 0.01]
    made = []
    for kind in (Steps, lambda *these: Workers(*these, 7, 8, count)):
        network = randomised(Network(sizes, dtype="float64"), scale=0.1)
        _, optimizer, settings = these = trained_by(network, settings_of(**changes))
        with kind(*these) as source:
            outcomes = source.steps(batches[:1], seeds[:1], rates[:1])
            outcomes += source.steps(batches[1:], seeds[1:], rates[1:])
        made.append((outcomes, network.parameters.flat, optimizer.memory))
    (outcomes, *arrays), (found, *others) = made
    assert settings.clip_norm > 1e8 or max(norm for _, norm in outcomes) > settings.clip_norm
    np.testing.assert_allclose(found, outcomes, rtol=1e-12)
    for came, expected in zip(others, arrays):
        np.testing.assert_allclose(came, expected, rtol=1e-9, atol=1e-13)


@pytest.mark.parametrize("kind", [Steps, lambda *these: Workers(*these, 7, 8, 2)])
def test_a_step_without_a_finite_loss_leaves_the_weights_as_they_are(network, kind):
    network.parameters["dense.b"][:] = np.nan
    before = network.parameters.flat.copy()
    with kind(*trained_by(network, settings_of())) as source:
        outcomes = source.steps([np.zeros((8, 4), int)] * 2, [0, 0], [0.1, 0.1])
    assert not np.isfinite(outcomes).any()
    np.testing.assert_array_equal(network.parameters.flat, before)


def test_how_many_steps_are_asked_for_at_a_time_changes_nothing(monkeypatch, tmp_path):
    """Weights and history, to the bit: of a training that is rolled back, with dropout."""

    def outcome(seconds, path=None):
        monkeypatch.setattr(parallel, "SECONDS_AT_ONCE", seconds)
        at_once = []
        steps = Workers.steps

        def noted(self, batches, seeds, rates):
            at_once.append(len(batches))
            return steps(self, batches, seeds, rates)

        model = npchar.Model(
            npchar.Vocabulary.from_text(TEXT), hidden_size=8, dropout=0.2, recurrent_dropout=0.1
        )
        named = {} if path is None else {"checkpoint": path, "checkpoint_every": (5, "steps")}
        with monkeypatch.context() as patch:
            patch.setattr(Workers, "steps", noted)
            history = model.fit(
                TEXT, epochs=1, maxlen=20, step=2, batch_size=8, optimizer="sgd", workers=2,
                learning_rate=30.0, clip_norm=None, verbose=False, **named,
            )  # fmt: skip
        kept = (history.loss, history.val_loss, history.gradient_norm, history.events)
        return at_once, (model.parameters.flat.tobytes(), kept)

    alone, expected = outcome(0)
    assert set(alone) == {1}
    events = expected[1][3]
    assert "after 99 steps" in events[0]  # of the 97th to the 104th, at once, the third
    together, found = outcome(1e9)
    assert max(together) == MOST
    assert found == expected
    saving, found = outcome(1e9, tmp_path / "run.npz")
    assert max(saving) == 5
    assert found == expected


@POSIX
@pytest.mark.parametrize("which", [0, 1])
def test_a_worker_that_dies_is_an_error_not_a_hang(network, which):
    with some_workers(network) as workers:
        one_step(workers)
        before = network.parameters.flat.copy(), workers.optimizer.memory.copy()
        workers._processes[which].send_signal(signal.SIGKILL)
        with pytest.raises(WorkerError, match="exit status -9"):
            for _ in range(3):  # it may take a moment to die
                one_step(workers)
                before = network.parameters.flat.copy(), workers.optimizer.memory.copy()
        np.testing.assert_array_equal(network.parameters.flat, before[0])
        np.testing.assert_array_equal(workers.optimizer.memory, before[1])
        assert workers.whole
    assert workers._processes == []


def test_what_went_wrong_in_a_worker_is_said(network, capfd):
    batch = np.full((8, 4), 11)  # there is no such symbol
    with some_workers(network) as workers, pytest.raises(WorkerError, match="exit status 1"):
        workers.steps([batch], [0], [0.1])
    assert "expected ids from 0 to 10" in capfd.readouterr().err


def test_a_meeting_waits_for_all(monkeypatch):
    """Also for one that comes late, when the others no longer look all the time."""
    pausing = threading.Event()
    pause = time.sleep

    def pauses(seconds):
        pausing.set()
        pause(seconds)

    monkeypatch.setattr(time, "sleep", pauses)
    arrived, written = np.zeros((3, 8), np.int64), [0, 0, 0]
    seen = queue.SimpleQueue()

    def work(rank):
        meeting = Meeting(arrived, rank)
        for turn in range(1, 101):
            if rank == 2 and turn in (1, 50):
                assert pausing.wait(LIMIT)
                pausing.clear()
            written[rank] = turn
            meeting.wait()
            seen.put(list(written))
            meeting.wait()

    threads = [threading.Thread(target=work, args=[rank]) for rank in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [seen.get() for _ in range(300)] == [[k, k, k] for k in range(1, 101) for _ in "abc"]


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
        some_workers(network)
    assert list(tmp_path.iterdir()) == []


def test_a_disk_without_room_for_what_workers_share(tmp_path, monkeypatch):
    class Full(io.FileIO):
        def write(self, data):
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(os, "fdopen", Full)
    model = npchar.Model(npchar.Vocabulary.from_text(TEXT), hidden_size=8)
    with pytest.warns(UserWarning, match="cannot start 2 worker processes.*No space left"):
        history = model.fit(TEXT, epochs=1, maxlen=20, workers=2, verbose=False)
    assert len(history.loss) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_python_that_prints_when_it_starts(network, tmp_path, monkeypatch):
    (tmp_path / "sitecustomize.py").write_text("print('welcome')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    with pytest.raises(WorkerError, match="printed b'w'.*workers=1"):
        some_workers(network)


@POSIX
def test_a_worker_that_does_not_end_is_killed(network, monkeypatch):
    monkeypatch.setattr(parallel, "SECONDS_TO_END", 0.1)
    with some_workers(network) as workers:
        stopped, other = workers._processes
        stopped.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, stopped.pid, os.WSTOPPED | os.WNOWAIT)
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
