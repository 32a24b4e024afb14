"""Saved models: exact, written atomically, and checked when they are read."""

import hashlib
import json
import os
import random
import signal
import stat
import subprocess
import sys
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor

import fuzz
import numpy as np
import pytest
import survive
from children import LIMIT, python, run_python
from conftest import ROOT, TESTS, reconfigure

import npchar
from npchar import CheckpointError, Model, Vocabulary, files


@pytest.fixture
def saved(model, tmp_path):
    path = tmp_path / "model.npz"
    model.save(path)
    return path


def test_what_is_loaded_is_what_was_saved(tmp_path):
    model = Model(
        Vocabulary("aé\n☃"), hidden_size=6, num_layers=2, dropout=0.25, seed=3, dtype="float64"
    )
    path = tmp_path / "model.npz"
    model.save(path)
    loaded = Model.load(path)
    assert loaded.vocabulary == model.vocabulary
    assert loaded.network.config == model.network.config
    assert loaded.parameters.flat.dtype == np.float64
    assert loaded.parameters.flat.tobytes() == model.parameters.flat.tobytes()
    assert loaded.generate("a", 30, seed=1) == model.generate("a", 30, seed=1)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_file_of_16_bits(tmp_path, dtype):
    model = Model(Vocabulary("abc"), hidden_size=40, seed=3, dtype=dtype)
    path = tmp_path / "half.npz"
    model.save(path, dtype="float16")
    loaded = Model.load(path)
    assert loaded.parameters.flat.dtype == dtype
    half = model.parameters.flat.astype("float16")
    np.testing.assert_array_equal(loaded.parameters.flat, half.astype(dtype))
    with np.load(path) as file:
        assert file["dense.W"].dtype == np.float16
    loaded.save(path)  # a complete file again
    with np.load(path) as file:
        assert file["dense.W"].dtype == dtype


def test_a_weight_too_large_for_16_bits(model, tmp_path):
    path = tmp_path / "half.npz"
    model.parameters["dense.b"][1] = -70_000
    with pytest.raises(ValueError, match="expected weights within the range of float16"):
        model.save(path, dtype="float16")
    assert not path.exists()
    with pytest.raises(ValueError, match="dtype is 'int8'; expected one of float16, float32"):
        model.save(path, dtype="int8")


def test_numpy_reads_the_file_too(model, saved):
    with np.load(saved, allow_pickle=False) as file:
        np.testing.assert_array_equal(file["lstm0.Wh"], model.parameters["lstm0.Wh"])
        configuration = json.loads(file["configuration"].tobytes())
    assert configuration["model"]["hidden_size"] == 12
    assert configuration["format"] == 2
    assert configuration["npchar"] == npchar.__version__


def test_permissions_follow_the_umask(model, tmp_path):
    before = os.umask(0o027)
    try:
        model.save(tmp_path / "model.npz")
    finally:
        after = os.umask(before)
    assert after == 0o027
    assert stat.S_IMODE((tmp_path / "model.npz").stat().st_mode) == 0o640


@pytest.mark.parametrize("call", ["fsync", "replace"])
@pytest.mark.parametrize("write", [Model.save, Model.to_html])
def test_a_failed_save_leaves_the_old_file(model, saved, monkeypatch, call, write):
    before = saved.read_bytes()
    model.parameters.flat[:] += 1

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(OSError, match="No space"):
        write(model, saved)
    assert saved.read_bytes() == before
    assert list(saved.parent.iterdir()) == [saved]


def test_a_folder_that_is_not_there_is_named(model, tmp_path):
    with pytest.raises(OSError, match=r"cannot write .*model\.npz"):
        model.save(tmp_path / "nowhere" / "model.npz")


def of_model(**changes):
    return {"change": lambda configuration: configuration["model"].update(changes)}


@pytest.mark.parametrize(
    "changes",
    [
        {"extra": np.zeros(3, np.float32)},
        {"without": "dense.b"},
        {"without": "configuration"},
        {"dense.b": np.zeros(3, np.float32)},
        {"dense.b": np.zeros(14, object)},
        {"dense.b": np.zeros(14, complex)},
        {"configuration": np.frombuffer(b"[]", np.uint8)},
        {"configuration": np.frombuffer(b"{", np.uint8)},
        of_model(hidden_size=10**9),
        of_model(num_layers="many"),
        of_model(characters="zyx"),
        of_model(dtype="object"),
        of_model(dropout=7),
        of_model(stored="int8"),
        of_model(stored=["float16"]),
        of_model(surprise=1),
        {"change": lambda configuration: configuration.update(format=3)},  # a later version
    ],
)
def test_files_that_are_not_models(saved, changes):
    reconfigure(saved, **changes)
    with pytest.raises(CheckpointError) as error:
        Model.load(saved)
    assert str(saved) in str(error.value)


def test_compressed_members_are_refused(saved):
    with np.load(saved) as file:
        np.savez_compressed(saved, **file)
    with pytest.raises(CheckpointError, match="is compressed"):
        Model.load(saved)


def test_members_that_share_their_bytes(saved):
    """A small file could otherwise expand to a large one."""
    with zipfile.ZipFile(saved, "a") as archive:
        for name in ("lstm0.Wx.npy", "lstm0.Wh.npy", "lstm0.b.npy"):
            for k in range(8):
                twin = zipfile.ZipInfo(f"{name.removesuffix('.npy')}{k}.npy")
                there = archive.getinfo(name)
                for field in ("header_offset", "CRC", "compress_size", "file_size"):
                    setattr(twin, field, getattr(there, field))
                archive.filelist.append(twin)
                archive.NameToInfo[twin.filename] = twin
                archive._didModify = True
    with pytest.raises(CheckpointError, match="its members are larger than the file"):
        Model.load(saved)


@pytest.mark.parametrize("characters", ["\ud83d\ude00", "\ud83d", "a\ude00\ud83d"])
def test_surrogates_are_kept_apart(tmp_path, characters):
    """JSON would join two adjacent surrogates into one character."""
    model = Model(Vocabulary(characters + "xy"), hidden_size=2)
    model.save(tmp_path / "model.npz")
    assert Model.load(tmp_path / "model.npz").vocabulary == model.vocabulary


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_an_array_that_is_there_twice(saved):
    """A duplicate member would be ambiguous."""
    with zipfile.ZipFile(saved, "a") as archive:
        archive.writestr("dense.b.npy", archive.read("dense.b.npy"))
    with pytest.raises(CheckpointError, match="a member occurs twice"):
        Model.load(saved)


def test_hostile_files_do_no_harm(tmp_path):
    """Each file is refused or loads as the original model."""
    assert fuzz.fuzz(80, seed=1, folder=tmp_path)["refused"] > 40


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_trainings_that_are_killed_or_cannot_write_lose_nothing(tmp_path):
    assert survive.kills(tmp_path, wanted=4, rng=random.Random(1))["kills"] >= 4
    assert survive.faults(tmp_path, "fail", each=4)["ended by an error"] >= 2
    survive.faults(tmp_path, "kill", each=4)


VERSION_1 = TESTS / "model_v1.npz"
VERSION_1_SHA256 = "7eb8e01d5d8a29b29dcffc68be9b41e47d5043d6363cad0726f1ea177cb23f52"
VERSION_1_LOSS = 2.076414


def test_the_first_version_is_read_for_good():
    """The file was written by version 0.1.0 and is never regenerated.

    Model(Vocabulary("abcdeé☃\\n"), hidden_size=5, num_layers=2, dropout=0.25, seed=3)
    """
    model = Model.load(VERSION_1)
    assert model.vocabulary.characters == "\nabcdeé☃"
    assert model.network.config[:4] == (8, 5, 2, 0.25)
    assert hashlib.sha256(model.parameters.flat.tobytes()).hexdigest() == VERSION_1_SHA256
    assert model.evaluate("abcde\né☃" * 5).loss == pytest.approx(VERSION_1_LOSS, rel=1e-5)


def test_something_else_entirely(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("dear diary")
    with pytest.raises(CheckpointError, match="not a saved model"):
        Model.load(path)
    with pytest.raises(FileNotFoundError):
        Model.load(tmp_path / "none.npz")
    assert issubclass(npchar.CheckpointError, ValueError)


# Links, special files, modes and temporary files


WRITERS = {
    "save": lambda model, path: model.save(path),
    "to_html": lambda model, path: model.to_html(path),
    "checkpoint": lambda model, path: model.fit(
        "the cat sat on the mat, and the rat sat on the cat. " * 12,
        epochs=1, maxlen=20, workers=1, verbose=False, checkpoint=path, resume=True,
    ),
}  # fmt: skip


@pytest.fixture(params=WRITERS)
def write(request):
    return WRITERS[request.param]


@pytest.fixture(params=["FIFO", "folder", "device"])
def special(request, tmp_path):
    """A file that is not a regular file, and its kind."""
    path = tmp_path / "special"
    if request.param == "folder":
        path.mkdir()
    elif request.param == "FIFO":
        os.mkfifo(path)
    else:
        try:
            os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 3))
        except PermissionError:
            pytest.skip("only root makes devices")
    return path, request.param


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such files")
@pytest.mark.parametrize("linked", [False, True])
def test_a_special_file_is_refused(model, tmp_path, special, linked, write):
    path, kind = special
    before = path.lstat()
    if linked:
        (tmp_path / "link").symlink_to(path)
    names = sorted(tmp_path.iterdir())
    with pytest.raises((OSError, CheckpointError)) as error:
        write(model, tmp_path / "link" if linked else path)
    assert "expected a regular file" in str(error.value)
    assert (path.lstat().st_mode, path.lstat().st_ino) == (before.st_mode, before.st_ino)
    assert sorted(tmp_path.iterdir()) == names
    if kind == "FIFO":
        with pytest.raises(
            CheckpointError, match="expected a regular file"
        ):  # it does not wait for a writer
            Model.load(path)


@pytest.mark.parametrize("is_there", [True, False])
def test_a_link_is_followed(model, tmp_path, is_there, write):
    (tmp_path / "run").mkdir()
    target, link, second = tmp_path / "run" / "model", tmp_path / "latest", tmp_path / "second"
    link.symlink_to(os.path.join("run", "model"))  # relative to the link
    second.symlink_to(link)
    if is_there:
        model.save(target)
        before = target.read_bytes()
    if write is not WRITERS["checkpoint"]:  # a checkpoint trains the model of the file
        model.parameters.flat[:] += 1
    write(model, second)
    assert not is_there or target.read_bytes() != before
    assert target.is_file()
    assert os.readlink(link) == os.path.join("run", "model")
    assert second.is_symlink()
    assert list((tmp_path / "run").iterdir()) == [target]


def test_links_that_lead_nowhere(model, tmp_path):
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    (tmp_path / "c").symlink_to(tmp_path / "none" / "model.npz")
    for name in "abc":
        with pytest.raises(OSError, match="cannot write"):
            model.save(tmp_path / name)
    assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has other permissions")
@pytest.mark.parametrize("mode", [0o600, 0o444])
def test_a_file_that_is_replaced_keeps_its_mode(saved, model, mode, write):
    saved.chmod(mode)
    write(model, saved)
    assert stat.S_IMODE(saved.stat().st_mode) == mode


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can change the owner"
)
def test_a_file_that_is_replaced_keeps_its_owner(saved, model):
    os.chown(saved, 12345, 12346)
    saved.chmod(0o640)
    model.save(saved)
    found = saved.stat()
    assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (12345, 12346, 0o640)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has other permissions")
def test_no_file_is_open_to_others_while_a_model_is_saved(model, tmp_path):
    """Other threads keep the umask, and the temporary file of a private file is private."""
    path, probe = tmp_path / "model.npz", tmp_path / "probe"
    modes = set()

    def look(frame, event, argument):
        if event == "c_return":  # simulates another thread
            os.close(os.open(probe, os.O_CREAT | os.O_WRONLY, 0o666))
            modes.update(stat.S_IMODE(entry.stat().st_mode) for entry in os.scandir(tmp_path))
            os.unlink(probe)

    before = os.umask(0o077)
    try:
        model.save(path)
        os.umask(0o027)
        modes.clear()
        sys.setprofile(look)
        try:
            model.save(path)
        finally:
            sys.setprofile(None)
        assert os.umask(0o027) == 0o027
    finally:
        os.umask(before)
    assert modes == {0o600, 0o640}  # the model and its temporary file; the probe


def test_threads_that_save_at_once(tmp_path):
    """Each thread writes its own temporary file."""
    path = tmp_path / "model.npz"

    def work(seed):
        model = Model(Vocabulary("abc"), hidden_size=4, seed=seed)
        for _ in range(20):
            model.save(path)
            Model.load(path)
        return model.parameters.flat.tobytes()

    with ThreadPoolExecutor(4) as pool:
        weights = list(pool.map(work, range(4)))
    assert list(tmp_path.iterdir()) == [path]
    assert Model.load(path).parameters.flat.tobytes() in weights


SAVE_AND = """
import os, signal, sys, npchar
fsync = os.fsync

def wait(descriptor):
    print("writing", flush=True)
    sys.stdin.readline()
    fsync(descriptor)

def die(_):
    os.kill(os.getpid(), signal.SIGKILL)

os.fsync = wait if sys.argv[2] == "wait" else die
model = npchar.Model(npchar.Vocabulary("abc"), hidden_size=4)
model.save(sys.argv[1])
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_a_later_save_removes_the_temporary_file_of_a_killed_one(model, saved):
    assert python("-c", SAVE_AND, saved, "die").wait(LIMIT) == -signal.SIGKILL
    (temporary,) = set(saved.parent.iterdir()) - {saved}
    model.save(saved)
    assert set(saved.parent.iterdir()) == {saved, temporary}  # may still be in use
    os.utime(temporary, (0, time.time() - 2 * files.STALE))
    model.save(saved.with_name("other.npz"))
    assert not temporary.exists()


def test_the_temporary_file_of_a_running_process_is_kept(model, saved):
    process = python("-c", SAVE_AND, saved, "wait", stdin=subprocess.PIPE)
    process.await_line(process.stdout, lambda line: line == "writing\n")
    model.save(saved)
    assert Model.load(saved).vocabulary == model.vocabulary
    _, errors = process.communicate("\n\n", timeout=LIMIT)
    assert process.returncode == 0, errors
    assert Model.load(saved).vocabulary == Vocabulary("abc")
    assert list(saved.parent.iterdir()) == [saved]


def test_a_name_as_long_as_a_folder_takes(model, tmp_path):
    path = tmp_path / ("m" * 251 + ".npz")
    model.save(path)
    model.save(path)
    assert Model.load(path).vocabulary == model.vocabulary


# NumPy's errors as exceptions, packages in zip files, time


def test_small_weights_where_numpy_raises(tmp_path):
    """Weights below the range of 16 or 32 bits become zero or subnormal."""
    model = Model(Vocabulary("abc"), hidden_size=2, dtype="float64")
    model.parameters["dense.b"][:] = 1e-7, 1e-12, 1e-50
    expected = model.parameters.flat.astype("float16").astype("float64")
    with np.errstate(all="raise"):
        model.save(tmp_path / "half.npz", dtype="float16")
        model.save(tmp_path / "single.npz", dtype="float32")
        model.to_html(tmp_path / "page.html")
        loaded = Model.load(tmp_path / "half.npz")
    np.testing.assert_array_equal(loaded.parameters.flat, expected)


@pytest.mark.slow
def test_a_package_in_a_zip_file(tmp_path):
    with zipfile.ZipFile(tmp_path / "packages.zip", "w") as archive:
        for path in sorted((ROOT / "npchar").rglob("*")):
            if "__pycache__" not in path.parts:
                archive.write(path, path.relative_to(ROOT))
    program = """
import npchar
assert "packages.zip" in npchar.__file__, npchar.__file__
model = npchar.Model.pretrained("structure")
model.to_html("page.html")
print(len(model.vocabulary))
"""
    env = {"PYTHONPATH": os.fspath(tmp_path / "packages.zip")}
    done = run_python("-c", program, cwd=tmp_path, env=env)
    model = Model.pretrained("structure")
    assert (done.stdout, done.stderr) == (f"{len(model.vocabulary)}\n", "")
    model.to_html(tmp_path / "here.html")
    assert (tmp_path / "page.html").read_bytes() == (tmp_path / "here.html").read_bytes()
