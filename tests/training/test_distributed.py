"""Training with several processes: same results as with one, no hangs, no orphaned processes."""

import os
import signal
import sys
import tempfile
import textwrap
from pathlib import Path

import numpy as np
import pytest
from children import LIMIT, python, run_python, wait_for_ends

import npchar
from npchar.training.distributed import Leader

TEXT = "the cat sat on the mat, and the rat sat on the cat. " * 40
POSIX = pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs Linux's /proc")
QUIET = {"epochs": 2, "maxlen": 20, "batch_size": 16, "verbose": False}


def make(**changes):
    return npchar.Model(npchar.Vocabulary.from_text(TEXT), hidden_size=8, seed=1, **changes)


@pytest.mark.parametrize(
    ("layer", "workers", "changes"),
    [
        ("lstm", 3, {"optimizer": "adam", "clip_norm": 0.3, "batch_size": 4}),  # 1 left over
        ("gru", 2, {"clip_norm": 0.3, "optimizer": "muon"}),
        ("rnn", 2, {"optimizer": "sgd", "learning_rate": 0.1}),
        ("conv", 2, {"optimizer": "adam"}),
        ("lstm", 2, {"targets": "last", "step": 7}),
        ("lstm", 2, {"hidden_size": 200, "epochs": 1}),  # the gradient is sent in parts
    ],
)
def test_workers_train_what_one_process_does(layer, workers, changes):
    found, options = [], QUIET | {"learning_rate": 0.01, "step": 20, "maxlen": 7} | changes
    hidden_size, text = options.pop("hidden_size", 8), TEXT[: 7 + 20 * 25]
    for count in (1, workers):
        model = npchar.Model(
            npchar.Vocabulary.from_text(TEXT), layer=layer, hidden_size=hidden_size, num_layers=2,
            dropout=0.3, recurrent_dropout=0.0 if layer == "conv" else 0.2, dtype="float64",
        )  # fmt: skip
        history = model.fit(text, workers=count, validation_split=0.0, **options)
        found.append((history.loss + history.gradient_norm, model.parameters.flat))
    np.testing.assert_allclose(found[1][0], found[0][0], rtol=1e-10)
    np.testing.assert_allclose(found[1][1], found[0][1], rtol=1e-7, atol=1e-11)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_step_without_a_finite_loss_leaves_the_weights_as_they_are(workers):
    model = make()
    model.parameters["dense.b"][:] = np.nan
    before = model.parameters.flat.copy()
    with pytest.raises(npchar.TrainingDiverged):
        model.fit(TEXT, workers=workers, **QUIET)
    np.testing.assert_array_equal(model.parameters.flat, before)


def test_ranks_follow_a_rollback_and_a_callback():
    """All ranks use the weights of rank 0 in each step."""

    def weights(workers):
        model = make(dtype="float64")

        def halve(history):
            model.parameters.flat[:] /= 2

        options = QUIET | {"learning_rate": 30.0, "optimizer": "sgd", "clip_norm": None, "step": 2}
        history = model.fit(TEXT, workers=workers, callbacks=[halve], **options)
        return model.parameters.flat, history.events

    (one, events), (two, others) = weights(1), weights(2)
    assert any("best weights" in event for event in events)
    assert events == others
    np.testing.assert_allclose(two, one, rtol=1e-6)


# Processes that end


def workers_of(pid):
    """The worker processes of a process, without other children such as a resource tracker."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(n) for n in children if b"npchar" in Path(f"/proc/{n}/cmdline").read_bytes()]


@POSIX
def test_a_worker_killed_in_a_step_costs_that_step(monkeypatch):
    reduce, calls = Leader.reduce, []

    def kill(communicator, vector):
        calls.append(communicator)
        if len(calls) == 3:
            (worker,) = workers_of(os.getpid())
            os.kill(worker, signal.SIGKILL)
            wait_for_ends([worker])
        return reduce(communicator, vector)

    expected, model = make(dtype="float64"), make(dtype="float64")
    same = expected.fit(TEXT, workers=1, **QUIET)
    monkeypatch.setattr(Leader, "reduce", kill)
    with pytest.warns(UserWarning, match="continues without workers"):
        history = model.fit(TEXT, workers=2, **QUIET)
    np.testing.assert_allclose(history.loss, same.loss, rtol=1e-8)
    np.testing.assert_allclose(model.parameters.flat, expected.parameters.flat, rtol=1e-6)


WAYS_TO_END = [signal.SIGKILL, pytest.param(signal.SIGINT, marks=pytest.mark.slow)]
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
    """The workers report their process ids and start slowly."""
    (tmp_path / "sitecustomize.py").write_text(
        "import os, time\n"
        "if 'NPCHAR_WORKER' in os.environ:\n"
        "    os.write(2, f'worker {os.getpid()}\\n'.encode())\n"  # in one write
        "    time.sleep(2)\n"
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
    """The child holds the pipes of the workers for ten minutes."""
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
    with pytest.warns(UserWarning, match="a worker process ended; .* without workers"):
        history = make().fit(TEXT, workers=2, **QUIET)
    assert len(history.loss) == 2
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("executable", [None, "", "/there/is/no/such/program"])
def test_without_an_executable_it_trains_alone(monkeypatch, executable):
    monkeypatch.setattr(sys, "executable", executable)
    with pytest.warns(UserWarning, match="cannot start 1 worker process .*workers=1"):
        history = make().fit(TEXT, workers=2, **QUIET)
    assert len(history.loss) == 2


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit on file sizes")
def test_a_disk_without_room_for_what_workers_share(tmp_path):
    program = """
    import resource, signal, sys, warnings, npchar
    sys.dont_write_bytecode = True  # it would be cut off, for all later processes
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
    text = "the cat sat on the mat. " * 40
    model = npchar.Model(npchar.Vocabulary.from_text(text), hidden_size=8)
    print(len(model.fit(text, epochs=1, maxlen=20, workers=2, verbose=False).loss))
    """
    done = run_python("-c", textwrap.dedent(program), env={"TMPDIR": str(tmp_path)})
    assert (done.returncode, done.stdout) == (0, "1\n"), done.stderr
    assert "cannot start 1 worker process" in done.stderr
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


@pytest.mark.skipif(sys.platform == "win32", reason="needs executable scripts")
@pytest.mark.parametrize("frozen", [True, False])
def test_a_frozen_program_does_not_run_itself_again(tmp_path, frozen):
    """Its executable is the program itself, which would run again without a marker."""
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


def test_an_optimizer_of_a_user_needs_no_import_in_workers():
    class Decaying(npchar.RMSprop):
        def update(self, weights, gradient, learning_rate=None):
            weights *= 0.999
            super().update(weights, gradient, learning_rate)

    found = []
    for workers in (1, 2):
        model = make(dtype="float64")
        model.fit(TEXT, workers=workers, optimizer=Decaying(), **QUIET)
        found.append(model.parameters.flat)
    np.testing.assert_allclose(found[1], found[0], rtol=1e-6)
