"""MPI: real ranks, where mpi4py and an MPI are installed (the extra ``mpi``)."""

import contextlib
import fcntl
import importlib.util
import os
import shutil
import signal
import sys
import tempfile
import textwrap
from pathlib import Path

import numpy as np
import pytest
from children import LIMIT, end_all, run_python, start, wait_for_ends
from conftest import ROOT

import npchar

EXAMPLE = ROOT / "examples" / "nietzsche.py"
MPIEXEC = shutil.which("mpiexec", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")

with_mpi = pytest.mark.skipif(
    not (importlib.util.find_spec("mpi4py") and MPIEXEC),
    reason='mpi4py and mpiexec are not installed: pip install ".[mpi]"',
)

TRAIN = """
import os, sys, numpy as np, npchar
text = "the cat sat on the mat, and the rat sat on the cat. " * 30
layer = os.environ.get("LAYER", "lstm")
model = npchar.Model(npchar.Vocabulary.from_text(text), layer=layer, hidden_size=10, num_layers=2,
                     dropout=0.3, recurrent_dropout=0.0 if layer == "conv" else 0.2,
                     seed=npchar.rank(), dtype="float64")
if not npchar.rank():
    print("rank 0 speaks")
options = dict(epochs=3, maxlen=20, batch_size=7)
"""


def mpirun(n, program, *arguments, module=True, **options):
    command = [MPIEXEC, "-n", n, sys.executable, "-u", *(["-m", "mpi4py"] if module else [])]
    return start(
        *command,
        program,
        *arguments,
        env={"OPENBLAS_NUM_THREADS": "1", "TMPDIR": str(Path(program).parent)},
        **options,
    )


@pytest.fixture(autouse=True)
def _no_rank_is_left():
    """Wait for ranks to end after their test, and remove what killed ones could not.

    MPICH's files have names by chance: so one such test at a time, where several pytests run.
    """
    with open(__file__) as own:
        fcntl.flock(own, fcntl.LOCK_EX)
        before = files_of_mpi()
        yield
        end_all()
        for path in files_of_mpi() - before:
            wait_for_ends(processes_that_map(path))
            path.unlink(missing_ok=True)


def files_of_mpi():
    places = {"/dev/shm": "mpich_shm_*", tempfile.gettempdir(): "hydra_hwloc_xmlfile_*"}
    return {path for place, name in places.items() for path in Path(place).glob(name)}


def processes_that_map(path):
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended
            if str(path) in (process / "maps").read_text():
                yield int(process.name)


@pytest.fixture
def script(tmp_path, loopback):
    def write(program):
        path = tmp_path / "program.py"
        path.write_text(TRAIN + textwrap.dedent(program))
        return path

    return write


@with_mpi
@pytest.mark.parametrize(
    ("n", "layer"), [(2, "lstm"), (3, "lstm"), (2, "gru"), (2, "rnn"), (2, "conv")]
)
def test_ranks_train_what_one_process_does(script, tmp_path, monkeypatch, n, layer):
    monkeypatch.setenv("LAYER", layer)
    program = script(
        """
        history = model.fit(text, **options)
        np.savez(f"{sys.argv[1]}/{npchar.rank()}.npz", weights=model.parameters.flat,
                 loss=history.loss, val_loss=history.val_loss)
        """
    )
    process = mpirun(n, program, tmp_path)
    out, errors = process.communicate(timeout=LIMIT)
    assert process.returncode == 0, errors
    assert out.count("rank 0 speaks") == 1
    assert out.count("epoch 3/3") == 1
    found = [np.load(tmp_path / f"{rank}.npz") for rank in range(n)]
    assert len({f["weights"].tobytes() for f in found}) == 1
    assert len({f["val_loss"].tobytes() for f in found}) == 1

    text = "the cat sat on the mat, and the rat sat on the cat. " * 30
    model = npchar.Model(
        npchar.Vocabulary.from_text(text), layer=layer, hidden_size=10, num_layers=2, dropout=0.3,
        recurrent_dropout=0.0 if layer == "conv" else 0.2, dtype="float64",
    )  # fmt: skip
    history = model.fit(text, epochs=3, maxlen=20, batch_size=7, workers=1, verbose=False)
    np.testing.assert_allclose(found[0]["loss"], history.loss, rtol=1e-10)
    np.testing.assert_allclose(found[0]["val_loss"], history.val_loss, rtol=1e-10)
    np.testing.assert_allclose(found[0]["weights"], model.parameters.flat, atol=1e-9)


@with_mpi
@pytest.mark.parametrize("module", [True, False])
def test_a_rank_that_fails_ends_the_job_with_its_message(script, module):
    program = script(
        """
        import npchar.training.steps
        gradient = npchar.training.steps.Share.gradient
        calls = []
        def fails(self, *arguments):
            calls.append(1)
            if self.rank == 1 and len(calls) == 5:
                raise RuntimeError("the disk of rank 1 is on fire")
            return gradient(self, *arguments)
        npchar.training.steps.Share.gradient = fails
        model.fit(text, **options)
        """
    )
    process = mpirun(2, program, module=module)
    _, errors = process.communicate(timeout=LIMIT)
    assert process.returncode != 0
    assert "the disk of rank 1 is on fire" in errors


@with_mpi
def test_killing_a_rank_ends_the_job_with_the_last_model_intact(tmp_path, loopback):
    saved, corpus = tmp_path / "best.npz", tmp_path / "corpus.txt"
    corpus.write_text("the cat sat on the mat, and the rat sat on the cat. " * 60)
    process = mpirun(2, EXAMPLE, "--corpus", corpus, "--save", saved, "--epochs", "100000",
                     "--hidden-size", "12")  # fmt: skip
    # An epoch's text is written once its model is saved.
    process.await_line(process.stdout, lambda line: line.startswith("------ temperature"))
    ranks = [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc")))
             if is_rank(pid, corpus)]  # fmt: skip
    assert len(ranks) == 2
    os.kill(ranks[-1], signal.SIGKILL)
    process.communicate(timeout=LIMIT)
    assert process.returncode != 0
    assert len(npchar.Model.load(saved).generate("the ", 10)) == 10


def is_rank(pid, argument):
    """Whether a process is Python itself, not its launcher, with this argument."""
    try:
        python = Path(f"/proc/{pid}/exe").samefile(sys.executable)
        return python and str(argument) in Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    except OSError:  # it has ended, or is not ours to look at
        return False


@with_mpi
def test_ranks_resume_to_the_bit(script, tmp_path):
    program = script("""
        def crash(history):
            if sys.argv[2] == "crash" and len(history.loss) == 2:
                raise RuntimeError("on purpose")

        history = model.fit(text, verbose=False, callbacks=[crash], checkpoint=sys.argv[1],
                            resume=True, **options)
        np.save(f"{sys.argv[1]}.{npchar.rank()}.npy",
                np.append(model.parameters.flat, history.loss + history.val_loss))
    """)

    def results(name, *crashes):
        path = tmp_path / name
        for how in (*crashes, "end"):
            process = mpirun(2, program, path, how)
            _, errors = process.communicate(timeout=LIMIT)
            assert (process.returncode == 0) == (how == "end"), errors
        return [np.load(f"{path}.{rank}.npy").tobytes() for rank in (0, 1)]

    whole = results("whole.npz")
    assert results("resumed.npz", "crash") == whole
    assert whole[0] == whole[1]


@with_mpi
def test_an_error_of_rank_0_is_one_of_all_ranks(script, tmp_path):
    program = script("""
        try:
            model.fit(text, checkpoint=sys.argv[1], **options)
        except FileExistsError as error:
            open(f"{sys.argv[1]}.{npchar.rank()}", "w").write(str(error))
    """)
    path = tmp_path / "run.npz"
    path.write_text("in the way")
    process = mpirun(2, program, path, module=False)  # nobody ends the other rank
    _, errors = process.communicate(timeout=LIMIT)
    assert process.returncode == 0, errors
    said = [Path(f"{path}.{rank}").read_text() for rank in (0, 1)]
    assert said[0] == said[1]
    assert "already" in said[0]


@with_mpi
def test_interrupted_ranks_save_and_end(script, tmp_path):
    program = script("""
        options["epochs"] = 100_000
        model.fit(text, checkpoint=sys.argv[1], checkpoint_every=(1e9, "steps"), **options)
    """)
    path = tmp_path / "run.npz"
    process = mpirun(2, program, path)
    process.await_line(process.stdout, lambda line: line.startswith("epoch"))
    os.killpg(process.pid, signal.SIGINT)
    process.communicate(timeout=LIMIT)
    with np.load(path) as file:  # what was there at the beginning, or what was done since
        assert b'"training"' in file["configuration"].tobytes()
    npchar.Model.load(path)


def test_without_mpi4py_there_is_a_hint(tmp_path):
    hidden = tmp_path / "mpi4py"
    hidden.mkdir()
    (hidden / "__init__.py").write_text("raise ImportError('hidden by the test')")
    path = os.pathsep.join([str(tmp_path), os.environ["PYTHONPATH"]])
    done = run_python(EXAMPLE, "--epochs", 1, env={"PMI_SIZE": "2", "PYTHONPATH": path})
    assert done.returncode == 2
    assert 'pip install "npchar[mpi]"' in done.stderr
    assert "Traceback" not in done.stderr


def test_outside_mpi_this_is_rank_0():
    assert npchar.rank() == 0
