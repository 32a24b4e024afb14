"""MPI with real ranks, if mpi4py and an MPI library are installed (the extra ``mpi``)."""

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
from children import LIMIT, end_all, start, wait_for_ends

import npchar

MPIEXEC = shutil.which("mpiexec", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")

with_mpi = pytest.mark.skipif(
    not (importlib.util.find_spec("mpi4py") and MPIEXEC),
    reason='mpi4py and mpiexec are not installed: pip install ".[mpi]"',
)

TEXT = "the cat sat on the mat, and the rat sat on the cat. " * 30
TRAIN = """
import os, sys, numpy as np, npchar
text = "the cat sat on the mat, and the rat sat on the cat. " * 30
rank, options = npchar.training.rank(), dict(epochs=3, maxlen=20, batch_size=7, workers="mpi")
def make(layer="lstm", **changes):
    sizes = dict(hidden_size=10, num_layers=2, dropout=0.3, seed=rank, dtype="float64") | changes
    return npchar.Model(npchar.Vocabulary.from_text(text), layer=layer, **sizes)
def save(*results):
    np.save(f"{rank}.npy", np.concatenate([np.ravel(result) for result in results]))
model = make()
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
    """Wait until the ranks of a test have ended, and remove the files of killed ranks.

    The names of MPICH's files are random, so only one such test runs at a time on a machine.
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
        with contextlib.suppress(OSError):  # it has already ended
            if str(path) in (process / "maps").read_text():
                yield int(process.name)


@pytest.fixture
def script(tmp_path, loopback):
    def write(program):
        path = tmp_path / "program.py"
        path.write_text(TRAIN + textwrap.dedent(program))
        return path

    return write


@pytest.fixture
def saved_by_ranks(script, tmp_path):
    """Run a program on several ranks; return its output and the file of each rank."""

    def run(program, n=2, **options):
        process = mpirun(n, script(program), cwd=tmp_path, **options)
        out, errors = process.communicate(timeout=LIMIT)
        assert process.returncode == 0, errors
        return out, [np.load(tmp_path / f"{rank}.npy") for rank in range(n)]

    return run


@with_mpi
@pytest.mark.parametrize(("n", "layer", "kind"), [(3, "lstm", "Muon"), (2, "conv", "Adam")])
def test_ranks_train_what_one_process_does(saved_by_ranks, n, layer, kind):
    """Train twice, with an optimizer that keeps its state."""
    out, found = saved_by_ranks(f"""
        model, optimizer = make("{layer}"), npchar.{kind}(learning_rate=0.01)
        for _ in range(2):
            history = model.fit(text, optimizer=optimizer, **options)
        save(model.parameters.flat, optimizer.state, history.loss, history.val_loss)
    """, n)  # fmt: skip
    assert out.count("epoch 3/3") == 2
    for one in found[1:]:
        np.testing.assert_array_equal(one, found[0])
    model = npchar.Model(npchar.Vocabulary.from_text(TEXT), layer=layer, hidden_size=10,
                         num_layers=2, dropout=0.3, dtype="float64")  # fmt: skip
    optimizer, options = getattr(npchar, kind)(learning_rate=0.01), {"epochs": 3, "maxlen": 20}
    for _ in range(2):
        history = model.fit(
            TEXT, optimizer=optimizer, batch_size=7, workers=1, verbose=False, **options
        )
    expected = [model.parameters.flat, optimizer.state, history.loss, history.val_loss]
    np.testing.assert_allclose(found[0], np.concatenate(expected), rtol=1e-8, atol=1e-9)


@with_mpi
@pytest.mark.parametrize("failing", [1, 0])
def test_a_rank_that_fails_in_a_step_ends_the_job_with_its_message(script, failing):
    program = script(f"""
        network = type(model.network)
        gradients, calls = network.gradients, []
        def fails(self, *arguments, **named):
            calls.append(1)
            if rank == {failing} and len(calls) == 5:
                raise RuntimeError("the disk of a rank is on fire")
            return gradients(self, *arguments, **named)
        network.gradients = fails
        model.fit(text, **options)
    """)
    process = mpirun(2, program, module=False)
    _, errors = process.communicate(timeout=LIMIT)
    assert process.returncode != 0
    assert "the disk of a rank is on fire" in errors


@with_mpi
def test_ranks_resume_to_the_bit_and_share_errors(saved_by_ranks):
    """Errors of callbacks and of the file system on rank 0 are raised on all ranks."""
    _, found = saved_by_ranks("""
        def crash(history):
            if len(history.loss) == 2:
                raise RuntimeError("on purpose")

        whole = model.fit(text, verbose=False, **options)
        expected, said = model.parameters.flat, []
        for changes in (dict(callbacks=[crash]), {}, dict(resume=True)):
            model = make()
            try:
                history = model.fit(text, verbose=False, checkpoint="run.npz", **changes, **options)
            except (RuntimeError, FileExistsError) as error:
                said.append(str(error))
        assert said[0] == "on purpose" and "exists; resume" in said[1] and len(said) == 2, said
        assert (history.loss, history.val_loss) == (whole.loss, whole.val_loss)
        assert (model.parameters.flat == expected).all()
        save(model.parameters.flat)
    """, module=False)  # fmt: skip
    np.testing.assert_array_equal(*found)


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
    with np.load(path) as file:  # either the initial file or the result
        assert b'"training"' in file["configuration"].tobytes()
    npchar.Model.load(path)


@with_mpi
def test_ranks_that_differ_are_an_error_on_all(saved_by_ranks):
    _, found = saved_by_ranks("""
        said = []
        for text_of_rank, one, changes in [
            (text, model, dict(learning_rate=[0.05, 0.5][rank])),
            (text, model, dict(epochs=3 + rank)),
            (text, model, dict(optimizer=npchar.RMSprop(learning_rate=0.01 + rank))),
            (text[rank * 50 :], model, {}),
            (text + "X" * rank, model, {}),
            (text, make(hidden_size=8 + rank), {}),
        ]:
            try:
                one.fit(text_of_rank, verbose=False, **options | changes)
            except ValueError as error:
                said += [word for word in ("arguments", "texts", "models") if word in str(error)]
        save(said)
    """, module=False)  # fmt: skip
    for said in found:
        assert said.tolist() == ["arguments"] * 3 + ["texts"] * 2 + ["models"]


@with_mpi
def test_a_sweep_under_mpi_trains_a_model_on_each_rank(saved_by_ranks):
    """Each rank has its own learning rate, as without MPI."""
    options = {"epochs": 2, "maxlen": 20, "batch_size": 16, "verbose": False}
    _, found = saved_by_ranks(f"""
        losses, rate = [], [0.05, 0.01][rank]
        for workers in (1, 2, None):
            model = make(hidden_size=8 + rank, seed=0)
            losses += model.fit(text, learning_rate=rate, workers=workers, **{options}).val_loss
        save(losses)
    """)  # fmt: skip
    for rank, rate in enumerate((0.05, 0.01)):
        model = npchar.Model(npchar.Vocabulary.from_text(TEXT), hidden_size=8 + rank, num_layers=2,
                             dropout=0.3, dtype="float64")  # fmt: skip
        history = model.fit(TEXT, learning_rate=rate, workers=1, **options)
        np.testing.assert_allclose(found[rank], history.val_loss * 3, rtol=1e-6)


@with_mpi
def test_the_command_trains_on_all_ranks(tmp_path, loopback):
    corpus, saved = tmp_path / "cats.txt", tmp_path / "cats.npz"
    corpus.write_text("the cat sat on the mat, and the rat sat on the cat. " * 60)
    command = ("train", corpus, "--save", saved, "--hidden-size", "8", "--epochs", "1")
    (tmp_path / "npchar_main.py").write_text(
        "from npchar.cli import main\nraise SystemExit(main())"
    )
    process = mpirun(2, tmp_path / "npchar_main.py", *command, "--workers", "mpi")
    out, errors = process.communicate(timeout=LIMIT)
    assert process.returncode == 0, errors
    assert out.count("nats per character") == 1
    assert errors.count("epoch 1/1") == 1
    assert npchar.training_settings(saved) is None
    assert len(npchar.Model.load(saved).generate("the ", 10)) == 10


def test_without_mpi4py_there_is_a_hint(model, text, monkeypatch):
    monkeypatch.setitem(sys.modules, "mpi4py", None)
    with pytest.raises(npchar.MissingMPIError, match="pip install mpi4py"):
        model.fit(text, workers="mpi")


@pytest.mark.parametrize("size", ["4", "x"])
def test_a_stray_variable_of_mpi_changes_nothing(monkeypatch, size):
    """Processes that MPI launchers or srun start beside the ranks have such variables."""
    for name in ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE"):
        monkeypatch.setenv(name, size)
    monkeypatch.setitem(sys.modules, "mpi4py", None)
    text = "the cat sat on the mat. " * 40
    model = npchar.Model(npchar.Vocabulary.from_text(text), hidden_size=4)
    model.fit(text, epochs=1, maxlen=20, workers=1, verbose=False)
    assert npchar.training.rank() == 0
