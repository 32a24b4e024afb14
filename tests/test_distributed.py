"""MPI: real ranks, where mpi4py and an MPI are installed (the extra ``mpi``)."""

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest

import npchar

EXAMPLE = Path(__file__).parents[1] / "examples" / "nietzsche.py"
MPIEXEC = shutil.which("mpiexec", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")

with_mpi = pytest.mark.skipif(
    not (importlib.util.find_spec("mpi4py") and MPIEXEC),
    reason='mpi4py and mpiexec are not installed: pip install ".[mpi]"',
)

TRAIN = """
import sys, numpy as np, npchar
text = "the cat sat on the mat, and the rat sat on the cat. " * 30
model = npchar.Model(npchar.Vocabulary.from_text(text), hidden_size=10, num_layers=2,
                     dropout=0.3, seed=npchar.rank(), dtype="float64")
if not npchar.rank():
    print("rank 0 speaks")
options = dict(epochs=3, maxlen=20, batch_size=7)
"""


def mpirun(n, program, *arguments, module=True, **options):
    command = [MPIEXEC, "-n", str(n), sys.executable, *(["-m", "mpi4py"] if module else [])]
    return subprocess.Popen(
        [*command, program, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},
        **options,
    )


@pytest.fixture
def script(tmp_path):
    def write(program):
        path = tmp_path / "program.py"
        path.write_text(TRAIN + textwrap.dedent(program))
        return path

    return write


@with_mpi
@pytest.mark.parametrize("n", [2, 3])
def test_ranks_train_what_one_process_does(script, tmp_path, n):
    program = script(
        """
        history = model.fit(text, **options)
        np.savez(f"{sys.argv[1]}/{npchar.rank()}.npz", weights=model.parameters.flat,
                 loss=history.loss, val_loss=history.val_loss)
        """
    )
    process = mpirun(n, program, tmp_path)
    out, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert out.count("rank 0 speaks") == 1
    assert out.count("epoch 3/3") == 1
    found = [np.load(tmp_path / f"{rank}.npz") for rank in range(n)]
    assert len({f["weights"].tobytes() for f in found}) == 1
    assert len({f["val_loss"].tobytes() for f in found}) == 1

    text = "the cat sat on the mat, and the rat sat on the cat. " * 30
    model = npchar.Model(
        npchar.Vocabulary.from_text(text), hidden_size=10, num_layers=2, dropout=0.3,
        dtype="float64",
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
        import npchar.parallel
        gradient = npchar.parallel.Share.gradient
        calls = []
        def fails(self, *arguments):
            calls.append(1)
            if self.rank == 1 and len(calls) == 5:
                raise RuntimeError("the disk of rank 1 is on fire")
            return gradient(self, *arguments)
        npchar.parallel.Share.gradient = fails
        model.fit(text, **options)
        """
    )
    process = mpirun(2, program, module=module)
    _, errors = process.communicate(timeout=30)
    assert process.returncode != 0
    assert "the disk of rank 1 is on fire" in errors


@with_mpi
def test_killing_a_rank_ends_the_job_with_the_last_model_intact(tmp_path):
    saved, corpus = tmp_path / "best.npz", tmp_path / "corpus.txt"
    corpus.write_text("the cat sat on the mat, and the rat sat on the cat. " * 60)
    process = mpirun(2, EXAMPLE, "--corpus", corpus, "--save", saved, "--epochs", "100000",
                     "--hidden-size", "12")  # fmt: skip
    deadline = time.monotonic() + 30
    while not saved.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    children = subprocess.run(
        ["pgrep", "-f", f"mpi4py .*{corpus}"], capture_output=True, text=True
    ).stdout.split()
    ranks = [int(pid) for pid in children if int(pid) != process.pid and is_python(int(pid))]
    assert len(ranks) == 2
    os.kill(ranks[-1], signal.SIGKILL)
    start = time.monotonic()
    process.communicate(timeout=20)
    assert time.monotonic() - start < 10
    assert process.returncode != 0
    assert len(npchar.Model.load(saved).generate("the ", 10)) == 10


def is_python(pid):
    try:
        return "python" in os.readlink(f"/proc/{pid}/exe")
    except OSError:
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
            _, errors = process.communicate(timeout=60)
            assert (process.returncode == 0) == (how == "end"), errors
        return [np.load(f"{path}.{rank}.npy").tobytes() for rank in (0, 1)]

    whole = results("whole.npz")
    assert results("resumed.npz", "crash") == whole
    assert whole[0] == whole[1]


@with_mpi
def test_interrupted_ranks_save_and_end(script, tmp_path):
    program = script("""
        options["epochs"] = 100_000
        model.fit(text, checkpoint=sys.argv[1], checkpoint_every=(1e9, "steps"), **options)
    """)
    path = tmp_path / "run.npz"
    process = mpirun(2, program, path, start_new_session=True)
    for line in process.stdout:
        if line.startswith("epoch"):
            break
    os.killpg(process.pid, signal.SIGINT)
    process.communicate(timeout=30)
    with np.load(path) as file:  # what was there at the beginning, or what was done since
        assert b'"training"' in file["configuration"].tobytes()
    npchar.Model.load(path)


def test_without_mpi4py_there_is_a_hint(tmp_path):
    hidden = tmp_path / "mpi4py"
    hidden.mkdir()
    (hidden / "__init__.py").write_text("raise ImportError('hidden by the test')")
    done = subprocess.run(
        [sys.executable, EXAMPLE, "--epochs", "1"],
        capture_output=True,
        text=True,
        env=os.environ | {"PMI_SIZE": "2", "PYTHONPATH": str(tmp_path)},
        timeout=30,
    )
    assert done.returncode == 2
    assert 'pip install "npchar[mpi]"' in done.stderr
    assert "Traceback" not in done.stderr


def test_outside_mpi_this_is_rank_0():
    assert npchar.rank() == 0
