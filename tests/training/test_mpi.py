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
                     seed=npchar.training.rank(), dtype="float64")
if not npchar.training.rank():
    print("rank 0 speaks")
options = dict(epochs=3, maxlen=20, batch_size=7, workers="mpi")
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
        np.savez(f"{sys.argv[1]}/{npchar.training.rank()}.npz", weights=model.parameters.flat,
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
@pytest.mark.parametrize(("failing", "module"), [(1, True), (1, False), (0, False)])
def test_a_rank_that_fails_in_a_step_ends_the_job_with_its_message(script, failing, module):
    program = script(
        """
        from npchar.network.network import Network
        gradients = Network.gradients
        calls = []
        def fails(self, *arguments, **named):
            calls.append(1)
            if npchar.training.rank() == FAILING and len(calls) == 5:
                raise RuntimeError("the disk of a rank is on fire")
            return gradients(self, *arguments, **named)
        Network.gradients = fails
        model.fit(text, **options)
        """.replace("FAILING", str(failing))
    )
    process = mpirun(2, program, module=module)
    _, errors = process.communicate(timeout=LIMIT)
    assert process.returncode != 0
    assert "the disk of a rank is on fire" in errors


@with_mpi
def test_killing_a_rank_ends_the_job_with_the_last_model_intact(tmp_path, loopback):
    saved, corpus = tmp_path / "best.npz", tmp_path / "corpus.txt"
    corpus.write_text("the cat sat on the mat, and the rat sat on the cat. " * 60)
    process = mpirun(2, EXAMPLE, "--corpus", corpus, "--save", saved, "--epochs", "100000",
                     "--hidden-size", "12", "--workers", "mpi")  # fmt: skip
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
        np.save(f"{sys.argv[1]}.{npchar.training.rank()}.npy",
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
            open(f"{sys.argv[1]}.{npchar.training.rank()}", "w").write(str(error))
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


@with_mpi
def test_an_error_in_a_callback_is_one_of_all_ranks(script, tmp_path):
    """Rank 0 calls the callbacks; the others raise the same, and nobody hangs."""
    program = script("""
        def fails(history):
            raise RuntimeError("in the callback")
        try:
            model.fit(text, verbose=False, callbacks=[fails], **options)
        except RuntimeError as error:
            open(f"{sys.argv[1]}.{npchar.training.rank()}", "w").write(str(error))
    """)
    process = mpirun(2, program, tmp_path / "said", module=False)
    _, errors = process.communicate(timeout=LIMIT)
    assert process.returncode == 0, errors
    assert [(tmp_path / f"said.{rank}").read_text() for rank in (0, 1)] == ["in the callback"] * 2


@with_mpi
@pytest.mark.parametrize(
    ("change", "named"),
    [
        ("options['learning_rate'] = [0.05, 0.5][rank]", "arguments"),
        ("options['epochs'] = 3 + rank", "arguments"),
        ("options['optimizer'] = npchar.RMSprop(learning_rate=0.01 + rank)", "arguments"),
        ("text = text[rank * 50:]", "texts"),
        ("text = text + 'X' * rank", "texts"),
        ("model = npchar.Model(model.vocabulary, hidden_size=8 + rank)", "models"),
    ],
)
def test_ranks_that_differ_are_an_error_on_all(script, tmp_path, change, named):
    program = script(f"""
        rank = npchar.training.rank()
        {change}
        try:
            model.fit(text, verbose=False, **options)
        except ValueError as error:
            open(f"{{sys.argv[1]}}.{{rank}}", "w").write(str(error))
    """)
    process = mpirun(2, program, tmp_path / "said", module=False)
    _, errors = process.communicate(timeout=LIMIT)
    assert process.returncode == 0, errors
    for rank in (0, 1):
        assert f"have different {named};" in (tmp_path / f"said.{rank}").read_text()


@with_mpi
@pytest.mark.parametrize("workers", [1, 2, None])
def test_a_sweep_under_mpi_trains_a_model_on_each_rank(script, tmp_path, workers):
    """Each with a learning rate of its own, as it would outside of MPI."""
    options = {"epochs": 2, "maxlen": 20, "batch_size": 16, "verbose": False}
    program = script(f"""
        rank = npchar.training.rank()
        model = npchar.Model(model.vocabulary, hidden_size=8 + rank, dtype="float64")
        history = model.fit(text, learning_rate=[0.05, 0.01][rank], workers={workers}, **{options})
        np.savetxt(f"{{sys.argv[1]}}.{{rank}}", history.val_loss)
    """)
    process = mpirun(2, program, tmp_path / "loss")
    _, errors = process.communicate(timeout=LIMIT)
    assert process.returncode == 0, errors
    text = "the cat sat on the mat, and the rat sat on the cat. " * 30
    for rank, rate in enumerate((0.05, 0.01)):
        model = npchar.Model(
            npchar.Vocabulary.from_text(text), hidden_size=8 + rank, dtype="float64"
        )
        history = model.fit(text, learning_rate=rate, workers=1, **options)
        found = np.loadtxt(tmp_path / f"loss.{rank}")
        np.testing.assert_allclose(found, history.val_loss, rtol=1e-6)


@with_mpi
def test_an_optimizer_keeps_its_state_on_all_ranks(script, tmp_path):
    program = script("""
        optimizer = npchar.Adam(learning_rate=0.01)
        for _ in range(2):
            model.fit(text, optimizer=optimizer, verbose=False, **options)
        rank = npchar.training.rank()
        state = [model.parameters.flat, optimizer.state, [model.network.epochs_trained]]
        np.save(f"{sys.argv[1]}.{rank}.npy", np.concatenate(state))
    """)
    process = mpirun(2, program, tmp_path / "state")
    _, errors = process.communicate(timeout=LIMIT)
    assert process.returncode == 0, errors
    found = [np.load(tmp_path / f"state.{rank}.npy") for rank in (0, 1)]
    np.testing.assert_array_equal(*found)
    assert found[0][-1] == 6


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


def test_without_mpi4py_there_is_a_hint(tmp_path):
    hidden = tmp_path / "mpi4py"
    hidden.mkdir()
    (hidden / "__init__.py").write_text("raise ImportError('hidden by the test')")
    corpus = tmp_path / "cats.txt"
    corpus.write_text("the cat sat on the mat, and the rat sat on the cat. " * 60)
    path = os.pathsep.join([str(tmp_path), os.environ["PYTHONPATH"]])
    arguments = EXAMPLE, "--epochs", 1, "--corpus", corpus, "--workers", "mpi"
    done = run_python(*arguments, env={"PMI_SIZE": "2", "PYTHONPATH": path})
    assert done.returncode == 2
    assert 'pip install "npchar[mpi]"' in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("size", ["", "1", "4", "x"])
@pytest.mark.parametrize("name", ["PMI_SIZE", "OMPI_COMM_WORLD_SIZE"])
def test_a_stray_variable_of_mpi_changes_nothing(monkeypatch, name, size):
    """As in what a launcher of MPI, or srun, starts beside the ranks."""
    monkeypatch.setenv(name, size)
    monkeypatch.setitem(sys.modules, "mpi4py", None)
    text = "the cat sat on the mat. " * 40
    model = npchar.Model(npchar.Vocabulary.from_text(text), hidden_size=4)
    model.fit(text, epochs=1, maxlen=20, workers=1, verbose=False)
    assert npchar.training.rank() == 0


def test_outside_mpi_this_is_rank_0():
    assert npchar.training.rank() == 0
