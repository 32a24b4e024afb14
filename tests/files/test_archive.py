"""Saved models: exact, whole or not at all, and read with suspicion."""

import hashlib
import io
import json
import os
import random
import stat
import sys
import zipfile

import fuzz
import numpy as np
import pytest
import survive
from conftest import TESTS

import npchar
from npchar import CheckpointError, Model, Vocabulary
from npchar.files import archive


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
    assert loaded.network.sizes == model.network.sizes
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
        # What the first release refuses by this number, asking for a newer one
        assert json.loads(file["configuration"].tobytes())["format"] == 2
    loaded.save(path)  # in full again
    with np.load(path) as file:
        assert file["dense.W"].dtype == dtype
        assert json.loads(file["configuration"].tobytes())["format"] == 1


def test_a_weight_too_large_for_16_bits(model, tmp_path):
    path = tmp_path / "half.npz"
    model.parameters["dense.b"][1] = -70_000
    with pytest.raises(ValueError, match=r"dense\.b has a weight too large for float16"):
        model.save(path, dtype="float16")
    assert not path.exists()
    with pytest.raises(ValueError, match="dtype is 'int8'; expected one of float16, float32"):
        model.save(path, dtype="int8")


def test_numpy_reads_the_file_too(model, saved):
    with np.load(saved, allow_pickle=False) as file:
        np.testing.assert_array_equal(file["lstm0.Wh"], model.parameters["lstm0.Wh"])
        configuration = json.loads(file["configuration"].tobytes())
    assert configuration["model"]["hidden_size"] == 12
    assert configuration["format"] == 1
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
def test_a_failed_save_leaves_the_old_file(model, saved, monkeypatch, call):
    before = saved.read_bytes()
    model.parameters.flat[:] += 1

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(archive.os, call, fail)
    with pytest.raises(OSError, match="No space"):
        model.save(saved)
    assert saved.read_bytes() == before
    assert list(saved.parent.iterdir()) == [saved]


def test_a_folder_that_is_not_there_is_named(model, tmp_path):
    with pytest.raises(OSError, match=r"cannot write .*model\.npz"):
        model.save(tmp_path / "nowhere" / "model.npz")


def test_every_damaged_byte_is_noticed_or_harmless(model, saved):
    content = saved.read_bytes()
    rng = np.random.default_rng(0)
    harmless = 0
    for position in rng.integers(0, len(content), 300):
        damaged = bytearray(content)
        damaged[position] ^= 1 << int(rng.integers(8))
        saved.write_bytes(damaged)
        try:
            loaded = Model.load(saved)
        except CheckpointError:
            continue
        harmless += 1
        assert loaded.parameters.flat.tobytes() == model.parameters.flat.tobytes()
    assert harmless < 60  # dates and the like in the zip's headers


@pytest.mark.parametrize("keep", [0, 1, 100, 5000])
def test_a_truncated_file(saved, keep):
    saved.write_bytes(saved.read_bytes()[:keep])
    with pytest.raises(CheckpointError):
        Model.load(saved)


def rewritten(path, change, compression=zipfile.ZIP_STORED):
    """Write the file again with `change` applied to its arrays."""
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    arrays = change(arrays)
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, array in arrays.items():
            buffer = io.BytesIO()
            np.lib.format.write_array(buffer, array, allow_pickle=True)
            archive.writestr(f"{name}.npy", buffer.getvalue())


def reconfigured(**changes):
    def change(arrays):
        configuration = json.loads(arrays["configuration"].tobytes())
        configuration["model"] |= changes
        text = json.dumps(configuration).encode()
        return arrays | {"configuration": np.frombuffer(text, np.uint8)}

    return change


@pytest.mark.parametrize(
    "change",
    [
        lambda a: a | {"extra": np.zeros(3, np.float32)},
        lambda a: {n: x for n, x in a.items() if n != "dense.b"},
        lambda a: {n: x for n, x in a.items() if n != "configuration"},
        lambda a: a | {"dense.b": a["dense.b"][:-1]},
        lambda a: a | {"dense.b": a["dense.b"].astype(object)},
        lambda a: a | {"dense.b": a["dense.b"].astype(complex)},
        lambda a: a | {"configuration": np.frombuffer(b"[]", np.uint8)},
        lambda a: a | {"configuration": np.frombuffer(b"{", np.uint8)},
        lambda a: a | {"configuration": np.frombuffer(b"\xff", np.uint8)},
        reconfigured(hidden_size=10**9),
        reconfigured(num_layers=10**9),
        reconfigured(num_layers="many"),
        reconfigured(hidden_size=None),
        reconfigured(characters="zyx"),
        reconfigured(characters=[1, 2]),
        reconfigured(dtype="object"),
        reconfigured(dropout=7),
        reconfigured(stored="float64"),
        reconfigured(stored="int8"),
        reconfigured(stored=["float16"]),
        reconfigured(surprise=1),
    ],
)
def test_files_that_are_not_models(saved, change):
    rewritten(saved, change)
    with pytest.raises(CheckpointError) as error:
        Model.load(saved)
    assert str(saved) in str(error.value)


def test_compressed_members_are_refused(saved):
    rewritten(saved, lambda a: a, zipfile.ZIP_DEFLATED)
    with pytest.raises(CheckpointError, match="compressed"):
        Model.load(saved)


def test_members_that_share_their_bytes(saved):
    """A small file could unfold to a large one so."""
    rewritten(saved, lambda a: a)
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
    """JSON would join two that stand side by side to one character."""
    model = Model(Vocabulary(characters + "xy"), hidden_size=2)
    model.save(tmp_path / "model.npz")
    assert Model.load(tmp_path / "model.npz").vocabulary == model.vocabulary


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_an_array_that_is_there_twice(saved):
    """Which of the two would count?"""
    with zipfile.ZipFile(saved, "a") as archive:
        archive.writestr("dense.b.npy", archive.read("dense.b.npy"))
    with pytest.raises(CheckpointError, match=r"'dense.b.npy' has no place in it"):
        Model.load(saved)


def test_a_false_shape_takes_no_memory(saved):
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "<f4", "fortran_order": False, "shape": (10**12,)}
    )
    with zipfile.ZipFile(saved, "a") as archive:
        archive.writestr("huge.npy", header.getvalue() + b"1234")
    with pytest.raises(CheckpointError, match="of the arrays|not of the size"):
        Model.load(saved)


@pytest.mark.slow
def test_hostile_files_do_no_harm(tmp_path):
    """A short run of what fuzz.py does at length."""
    found = fuzz.fuzz(200, seed=1, folder=tmp_path)
    assert found["refused"] > 100


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL there")
def test_killed_trainings_lose_nothing(tmp_path):
    """A short run of what survive.py does at length."""
    found = survive.kills(tmp_path, wanted=4, rng=random.Random(1))
    assert found["kills"] >= 4


VERSION_1 = TESTS / "model_v1.npz"
VERSION_1_SHA256 = "7eb8e01d5d8a29b29dcffc68be9b41e47d5043d6363cad0726f1ea177cb23f52"
VERSION_1_LOSS = 2.076414


def test_the_first_version_is_read_for_good():
    """Written once, by 0.1.0, and never again.

    Model(Vocabulary("abcdeé☃\\n"), hidden_size=5, num_layers=2, dropout=0.25, seed=3)
    """
    model = Model.load(VERSION_1)
    assert model.vocabulary.characters == "\nabcdeé☃"
    assert model.network.sizes[:4] == (8, 5, 2, 0.25)
    assert hashlib.sha256(model.parameters.flat.tobytes()).hexdigest() == VERSION_1_SHA256
    assert model.evaluate("abcde\né☃" * 5).loss == pytest.approx(VERSION_1_LOSS, rel=1e-5)


def test_a_later_version_is_refused(saved):
    def change(arrays):
        configuration = json.loads(arrays["configuration"].tobytes()) | {"format": 3}
        text = json.dumps(configuration).encode()
        return arrays | {"configuration": np.frombuffer(text, np.uint8)}

    rewritten(saved, change)
    with pytest.raises(CheckpointError, match="format version 3; this npchar reads 1 and 2"):
        Model.load(saved)


def test_something_else_entirely(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("dear diary")
    with pytest.raises(CheckpointError, match="not a saved model"):
        Model.load(path)
    with pytest.raises(FileNotFoundError):
        Model.load(tmp_path / "none.npz")
    assert issubclass(npchar.CheckpointError, ValueError)
