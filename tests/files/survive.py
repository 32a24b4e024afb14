"""Trainings that are killed at random moments or run on failing disks must lose no data.

A child process trains with a checkpoint. In the first part it is killed (SIGKILL) at random
moments and resumed from the file until it ends. In the second part the k-th write, fsync or
replace of the checkpoint fails or kills the process, for k = 1, 2, ... until the training has
fewer than k of them. After each failure the file must load. The final result (weights, losses,
text) must equal that of an uninterrupted training, bit for bit.
"""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import npchar

CHILD = """
import hashlib, io, json, os, signal, sys, warnings
import npchar.files

path, k, mode = sys.argv[1], int(sys.argv[2]), sys.argv[3]
done = 0

def tick():
    global done
    done += 1
    if done == k:
        if mode == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        raise OSError(28, "No space left on device")

class Faulty(io.FileIO):
    def write(self, data):
        tick()
        return super().write(data)

if k:
    fsync, replace = os.fsync, os.replace
    os.fsync = lambda *a: (tick(), fsync(*a))[1]
    os.replace = lambda *a: (tick(), replace(*a))[1]
    npchar.files.open = lambda path, how, **opener: (
        io.BufferedWriter(Faulty(path, how, **opener)) if opener else open(path, how))
    warnings.simplefilter("ignore")

text = "the cat sat on the mat, and the rat sat on the cat. " * 60
model = npchar.Model(npchar.Vocabulary.from_text(text), hidden_size=24, num_layers=2,
                     dropout=0.2, seed=1)
every = (1, "epochs") if k else (3, "steps")
try:
    history = model.fit(text, epochs=3 if k else 8, maxlen=20, batch_size=8, workers=1, seed=2,
                        verbose=False, checkpoint=path, checkpoint_every=every, resume=True)
except OSError as error:
    assert "cannot write" in str(error), error
    sys.exit(3)
print(json.dumps([
    hashlib.sha256(model.parameters.flat.tobytes()).hexdigest(), history.loss,
    history.val_loss, history.gradient_norm, model.generate("the ", 80, seed=3),
    history.events, done,
]))
"""


def child(path: Path, k: int = 0, mode: str = "none") -> subprocess.Popen[str]:
    """Start a training."""
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, str(path), str(k), mode],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def result(process: subprocess.Popen[str]) -> list[object]:
    """The result of a training that ended; the last number counts its writes."""
    out, errors = process.communicate()
    if process.returncode:
        raise SystemExit(f"a training failed: {errors}")
    found: list[object] = json.loads(out)
    return found


def must_load(path: Path) -> None:
    """Check that the file, if it exists, is a model, and that only leftovers lie beside it."""
    if path.exists():
        npchar.Model.load(path)
    assert all(p == path or p.name.startswith(".npchar-") for p in path.parent.iterdir())


def kills(folder: Path, wanted: int, rng: random.Random) -> dict[str, int]:
    """Send SIGKILL at random moments until `wanted` of them have interrupted a training."""
    start = time.monotonic()
    expected = result(child(folder / "reference.npz"))[:-1]
    length = time.monotonic() - start
    (folder / "reference.npz").unlink()
    hit = trainings = before = 0
    while hit < wanted:
        path = folder / f"run{trainings}.npz"
        while True:
            process = child(path)
            time.sleep(rng.uniform(0.2, 0.6 * length))
            process.kill()
            out, _ = process.communicate()
            must_load(path)
            if process.returncode == 0:
                assert json.loads(out)[:-1] == expected, "the result differs"
                break
            assert process.returncode == -signal.SIGKILL
            hit += 1
            before += not path.exists()
        trainings += 1
        path.unlink()
        for leftover in folder.glob(".npchar-*"):
            leftover.unlink()
    return {"kills": hit, "of them before the first save": before, "trainings ended": trainings}


def faults(folder: Path, mode: str, each: int = 1) -> dict[str, int]:
    """Let the k-th write, fsync or replace fail or kill, for every `each`-th k."""
    reference = result(child(folder / "reference.npz", 10**9, mode))
    (folder / "reference.npz").unlink()
    expected, count = reference[:-1], int(str(reference[-1]))
    refused = 0
    for k in range(1, count + 1, each):
        path = folder / "run.npz"
        process = child(path, k, mode)
        out, errors = process.communicate()
        must_load(path)
        if mode == "kill":
            assert process.returncode == -signal.SIGKILL, errors
        elif process.returncode == 3:
            refused += 1
        else:
            assert process.returncode == 0, errors
            assert json.loads(out)[:-1] == expected, f"k = {k}: the result differs"
        assert result(child(path, 10**9, mode))[:-1] == expected, f"k = {k}: it resumes otherwise"
        path.unlink()
        for leftover in folder.glob(".npchar-*"):
            assert mode == "kill", "a failed write left a file behind"
            leftover.unlink()
    return {"moments": count, "ended by an error": refused}
