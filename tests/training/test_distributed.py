"""Several processes: the steps of one, no hang, and none left behind."""

import os
import signal
import sys
import tempfile
import textwrap
import threading
from pathlib import Path

import numpy as np
import pytest
from children import LIMIT, python, run_python, wait_for_ends
from conftest import config_of, randomised, trained_by

import npchar
from npchar.network.network import Network, Sizes
from npchar.training.distributed import Leader, LocalCommunicator, default_workers
from npchar.training.step import TrainingStep

TEXT = "the cat sat on the mat, and the rat sat on the cat. " * 40
POSIX = pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs Linux's /proc")
QUIET = {"epochs": 2, "maxlen": 20, "batch_size": 16, "verbose": False}


def make(**changes):
    return npchar.Model(npchar.Vocabulary.from_text(TEXT), hidden_size=8, seed=1, **changes)


class Rank(LocalCommunicator):
    """A rank that is a thread of this process."""

    def _check(self, rank):
        """Threads do not end."""


@pytest.mark.parametrize("size", [2, 3])
def test_what_ranks_send_arrives(size):
    n, dtype = 1001, "<f8"
    memory = bytearray(Rank.memory_size(size, n, dtype))
    vectors = np.random.default_rng(0).normal(size=(5, size, n))
    messages = [{"a": 1}, "x" * (3 << 20), b"", np.arange(1 << 18), None]  # some in pieces
    found = {}

    def work(rank):
        communicator, received = Rank(rank, size, memory, n, dtype), []
        buffer = communicator.buffer(n, dtype)
        for message, vector in zip(messages, vectors):
            received.append(communicator.broadcast(None if rank else message))
            buffer[...] = vector[rank]
            received.append(communicator.all_reduce(buffer).copy())
        found[rank] = received

    threads = [threading.Thread(target=work, args=[rank]) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LIMIT)
    for rank in range(size):
        for message, came in zip(messages, found[rank][::2]):
            np.testing.assert_array_equal(came, message)
        for k, total in enumerate(found[rank][1::2]):
            np.testing.assert_allclose(total, vectors[k].sum(axis=0), rtol=1e-12, atol=1e-12)
            np.testing.assert_array_equal(total, found[0][1::2][k])  # the same bits


@pytest.mark.parametrize(
    ("sizes", "count", "changes"),
    [
        (Sizes(11, 6, 2, 0.25), 3, {"optimizer": "adam", "clip_norm": 0.3}),
        (Sizes(11, 6, 2, 0.25, "gru"), 2, {"optimizer": "rmsprop", "clip_norm": 0.3}),
        (Sizes(11, 6, 1, 0.0, "rnn", 0.5), 2, {"optimizer": "sgd", "clip_norm": 1e9}),
        (Sizes(57, 256, 1, 0.0), 2, {"optimizer": "adam", "clip_norm": 0.3}),  # in several parts
        (Sizes(11, 6, 2, 0.25), 2, {"targets": "last"}),
    ],
    ids=str,
)
def test_ranks_make_the_steps_that_one_process_makes(sizes, count, changes):
    rng = np.random.default_rng(1)
    V = sizes.vocabulary_size
    batches = [rng.integers(0, V, (rows, B)) for rows, B in [(8, 8), (3, 8), (8, 1), (8, 5)]]
    batches[0][5:, 6:] = -1  # padding
    made = []
    for size in (1, count):
        network = randomised(Network(sizes, dtype="float64"), scale=0.1)
        step = TrainingStep(*trained_by(network, config_of(**changes)))
        if size > 1:
            leader = Leader(size, network.parameters.flat.size + 1, "<f8")
            step = TrainingStep(step.network, step.optimizer, step.config, leader)
            step.share_weights()
        results = [step(*one) for one in zip(batches, [1, 2, 1 << 61, 4], [0.1, 0.0, 0.05, 0.01])]
        step.communicator.close()
        made.append((results, network.parameters.flat, step.optimizer.state))
    (expected, *arrays), (found, *others) = made
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    for came, array in zip(others, arrays):
        np.testing.assert_allclose(came, array, rtol=1e-9, atol=1e-13)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_step_without_a_finite_loss_leaves_the_weights_as_they_are(workers):
    model = make()
    model.parameters["dense.b"][:] = np.nan
    before = model.parameters.flat.copy()
    with pytest.raises(npchar.TrainingDiverged):
        model.fit(TEXT, workers=workers, **QUIET)
    np.testing.assert_array_equal(model.parameters.flat, before)


def test_ranks_follow_a_rollback_and_a_callback():
    """Rank 0 shares its weights when something else than a step has changed them."""

    def weights(workers):
        model = make(dtype="float64")

        def halve(history):
            model.parameters.flat[:] /= 2

        options = QUIET | {"learning_rate": 30.0, "optimizer": "sgd", "clip_norm": None, "step": 2}
        history = model.fit(TEXT, workers=workers, callbacks=[halve], **options)
        return model.parameters.flat, history.events

    (one, events), (two, others) = weights(1), weights(2)
    assert any("Back to the best" in event for event in events)
    assert events == others
    np.testing.assert_allclose(two, one, rtol=1e-6)


# Processes that end


def workers_of(pid):
    """The worker processes of a process, without other children such as a resource tracker."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(n) for n in children if b"npchar" in Path(f"/proc/{n}/cmdline").read_bytes()]


@POSIX
def test_a_killed_worker_costs_one_step():
    """With a warning; weights and history are those of a training alone from there on."""
    model, killed = make(), []

    def kill(history):
        if not killed:
            killed.extend(workers_of(os.getpid()))
            assert len(killed) == 2
            os.kill(killed[0], signal.SIGKILL)

    with pytest.warns(UserWarning, match=r"ended \(exit status -9\): this process continues alone"):
        history = model.fit(TEXT, workers=3, callbacks=[kill], **QUIET | {"epochs": 4})
    assert len(history.loss) == 4
    assert history.loss == sorted(history.loss, reverse=True)
    wait_for_ends(killed)


@POSIX
def test_a_worker_killed_in_a_step_costs_that_step(monkeypatch):
    all_reduce, calls = LocalCommunicator.all_reduce, []

    def kill(communicator, vector):
        calls.append(communicator)
        if len(calls) == 3:
            (worker,) = workers_of(os.getpid())
            os.kill(worker, signal.SIGKILL)
            wait_for_ends([worker])
        return all_reduce(communicator, vector)

    expected, model = make(dtype="float64"), make(dtype="float64")
    same = expected.fit(TEXT, workers=1, **QUIET)
    monkeypatch.setattr(LocalCommunicator, "all_reduce", kill)
    with pytest.warns(UserWarning, match="continues alone"):
        history = model.fit(TEXT, workers=2, **QUIET)
    np.testing.assert_allclose(history.loss, same.loss, rtol=1e-8)
    np.testing.assert_allclose(model.parameters.flat, expected.parameters.flat, rtol=1e-6)


WAYS_TO_END = [
    signal.SIGKILL,
    *(pytest.param(number, marks=pytest.mark.slow) for number in (signal.SIGINT, signal.SIGTERM)),
]
PROGRAM = """
import npchar
text = "the cat sat on the mat. " * 400
model = npchar.Model(npchar.Vocabulary.from_text(text), hidden_size=16)
model.fit(text, epochs=10_000, batch_size=16, workers=3{arguments})
"""


@POSIX
@pytest.mark.parametrize("how", WAYS_TO_END)
def test_no_process_and_no_file_survives_the_parent(tmp_path, how):
    parent = python("-c", PROGRAM.format(arguments=""), env={"TMPDIR": str(tmp_path)})
    parent.await_line(parent.stdout, lambda line: line.startswith("epoch"))
    workers = workers_of(parent.pid)
    assert len(workers) == 2
    parent.send_signal(how)
    _, errors = parent.communicate(timeout=LIMIT)
    assert parent.returncode != 0
    assert ("KeyboardInterrupt" in errors) == (how == signal.SIGINT)
    assert errors.count("Traceback") == (how == signal.SIGINT)
    wait_for_ends(workers)
    assert list(tmp_path.iterdir()) == []


@POSIX
@pytest.mark.parametrize("how", WAYS_TO_END)
def test_no_process_and_no_file_survives_a_parent_ended_while_workers_start(tmp_path, how):
    """They say who they are, and wait as long as the parent lives."""
    (tmp_path / "sitecustomize.py").write_text(
        "import os\n"
        "if 'NPCHAR_WORKER' in os.environ:\n"
        "    os.write(2, f'worker {os.getpid()}\\n'.encode())\n"  # in one piece
        "    os.read(0, 1)\n"
    )
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    path = os.pathsep.join([str(tmp_path), os.environ["PYTHONPATH"]])
    environment = {"PYTHONPATH": path, "TMPDIR": str(scratch)}
    parent = python("-c", PROGRAM.format(arguments=", verbose=False"), env=environment)
    seen = [parent.await_line(parent.stderr, lambda line: line.startswith("worker")) for _ in "ab"]
    assert list(scratch.iterdir()) == []
    parent.send_signal(how)
    _, errors = parent.communicate(timeout=LIMIT)
    wait_for_ends(int(line.split()[-1]) for line in seen)
    assert errors.count("\nKeyboardInterrupt: interrupted") == (how == signal.SIGINT), errors


FORKING = """
import multiprocessing, os, signal, sys, time
import npchar
text = "the cat sat on the mat. " * 300
model = npchar.Model(npchar.Vocabulary.from_text(text), hidden_size=8)

def fork(history):
    if len(history.loss) == 1:
        with open(f"/proc/{os.getpid()}/task/{os.getpid()}/children") as file:
            print("workers", file.read(), flush=True)
        child = multiprocessing.get_context("fork").Process(target=time.sleep, args=[600])
        child.start()
        print("child", child.pid, flush=True)
        if sys.argv[1] == "kill":
            os.kill(os.getpid(), signal.SIGKILL)

model.fit(text, epochs=2, maxlen=20, verbose=False, workers=2, callbacks=[fork])
print("trained", flush=True)
os._exit(0)
"""


@POSIX
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded")
@pytest.mark.parametrize("how", ["train", "kill"])
def test_a_forked_child_keeps_no_worker_and_no_training(how):
    """It holds the pipes of the workers for ten minutes."""
    parent = python("-W", "ignore", "-c", FORKING, how)
    said = parent.await_line(parent.stdout, lambda line: line.startswith("child"))
    if how == "train":
        parent.await_line(parent.stdout, lambda line: line.startswith("trained"))
    parent.wait(LIMIT)
    wait_for_ends([int(said.splitlines()[0].split()[1])])
    os.kill(int(said.splitlines()[-1].split()[1]), signal.SIGKILL)


# Processes that start


def test_a_worker_that_fails_to_start(monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(sys, "executable", "false")
    with pytest.warns(UserWarning, match=r"exit status 1\): this process continues alone"):
        history = make().fit(TEXT, workers=2, **QUIET)
    assert len(history.loss) == 2
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("executable", [None, "", "/there/is/no/such/program"])
def test_without_an_executable_it_trains_alone(monkeypatch, executable):
    monkeypatch.setattr(sys, "executable", executable)
    with pytest.warns(UserWarning, match="cannot start 1 worker processes .*workers=1"):
        history = make().fit(TEXT, workers=2, **QUIET)
    assert len(history.loss) == 2


@pytest.mark.skipif(sys.platform == "win32", reason="files have no such limit there")
def test_a_disk_without_room_for_what_workers_share(tmp_path):
    program = """
    import resource, signal, warnings, npchar
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
    text = "the cat sat on the mat. " * 40
    model = npchar.Model(npchar.Vocabulary.from_text(text), hidden_size=8)
    print(len(model.fit(text, epochs=1, maxlen=20, workers=2, verbose=False).loss))
    """
    done = run_python("-c", textwrap.dedent(program), env={"TMPDIR": str(tmp_path)})
    assert (done.returncode, done.stdout) == (0, "1\n"), done.stderr
    assert "cannot start 1 worker processes" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_python_that_prints_when_it_starts(tmp_path, monkeypatch, capfd):
    (tmp_path / "sitecustomize.py").write_text("print('welcome')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    make().fit(TEXT, workers=2, **QUIET)
    assert capfd.readouterr().out == ""


@POSIX
def test_a_stopped_worker_is_killed():
    model = make()

    def stop(history):
        (worker,) = workers_of(os.getpid())
        os.kill(worker, signal.SIGSTOP)
        os.waitid(os.P_PID, worker, os.WSTOPPED | os.WNOWAIT)
        return True

    model.fit(TEXT, workers=2, callbacks=[stop], **QUIET)
    assert workers_of(os.getpid()) == []


SCRIPT = """
import npchar
print("once")
text = "hello world, " * 200
model = npchar.Model(npchar.Vocabulary.from_text(text), hidden_size=8)
model.fit(text, epochs=1, workers=2, verbose=False)
"""


@pytest.mark.parametrize("how", ["file", "standard input"])
def test_a_script_without_a_main_guard(tmp_path, how):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    arguments, given = ([script], None) if how == "file" else (["-"], SCRIPT)
    done = run_python(*arguments, given=given)
    assert (done.stdout, done.stderr, done.returncode) == ("once\n", "", 0)


@pytest.mark.skipif(sys.platform == "win32", reason="needs a script as a program")
@pytest.mark.parametrize("frozen", [True, False])
def test_a_frozen_program_does_not_run_itself_again(tmp_path, frozen):
    """Its executable is the program itself, which runs once more where nothing marks it."""
    program = tmp_path / "program"
    program.write_text(
        f"#!{sys.executable}\nimport os, sys\n"
        f"open({str(tmp_path / 'starts')!r}, 'a').write('x')\n"
        f"sys.executable = {str(program)!r}\n" + ("sys.frozen = True\n" if frozen else "") + SCRIPT
    )
    program.chmod(0o755)
    done = run_python(program)
    assert (done.returncode, done.stdout) == (0, "once\n"), done.stderr
    assert len((tmp_path / "starts").read_text()) == (1 if frozen else 2)


def test_an_optimizer_of_a_users_module_trains_in_workers(tmp_path, monkeypatch):
    """The module imports npchar, of which a worker has loaded only parts."""
    (tmp_path / "decaying.py").write_text(
        "import npchar\n"
        "class Decaying(npchar.RMSprop):\n"
        "    def update(self, weights, gradient, learning_rate=None):\n"
        "        weights *= 0.999\n"
        "        super().update(weights, gradient, learning_rate)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    import decaying

    found = []
    for workers in (1, 2):
        model = make(dtype="float64")
        model.fit(TEXT, workers=workers, optimizer=decaying.Decaying(), **QUIET)
        found.append(model.parameters.flat)
    np.testing.assert_allclose(found[1], found[0], rtol=1e-6)


def test_small_batches_take_no_workers():
    assert default_workers(1) == 1
    assert default_workers(10_000) >= 1


def test_interrupting_leaves_a_model_that_works():
    model = make()

    def interrupt(history):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        model.fit(TEXT, workers=2, callbacks=[interrupt], **QUIET)
    assert len(model.generate("the ", 10)) == 10


def test_the_names_of_workers():
    with pytest.raises(ValueError, match="workers is 'many'; expected a number .* or 'mpi'"):
        make().fit(TEXT, workers="many", **QUIET)
