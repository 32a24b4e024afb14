"""Checkpoints: a training that was interrupted goes on as if it had not been."""

import io
import itertools
import json
import os
import signal
import sys
import threading

import numpy as np
import pytest
from children import LIMIT, interrupts, python, run_python

import npchar
from npchar import CheckpointError, Model, RMSprop, Vocabulary
from npchar.training import checkpoint
from npchar.training.checkpoint import checkpoint_lock
from npchar.training.distributed import LocalCommunicator
from npchar.training.interrupts import Interrupts
from npchar.training.step import TrainingStep
from npchar.training.trainer import Trainer

TEXT = "the cat sat on the mat, and the rat sat on the cat. " * 12
SETTINGS = {
    "epochs": 3,
    "maxlen": 10,
    "batch_size": 8,
    "learning_rate": 0.02,
    "workers": 1,
    "verbose": False,
}


def make(**changes):
    sizes = {"hidden_size": 8, "num_layers": 2, "dropout": 0.2, "recurrent_dropout": 0.1, "seed": 1}
    sizes |= changes
    return Model(Vocabulary.from_text(TEXT), **sizes)


def outcome(model, history):
    """All of a training's result that must come out the same, to the bit."""
    return (
        model.parameters.flat.tobytes(),
        history.loss,
        history.val_loss,
        history.gradient_norm,
        history.events,
        model.generate("the ", 40, temperature=0.7, seed=2),
    )


def fit(model, path, text=TEXT, **changes):
    return model.fit(text, checkpoint=path, resume=True, **SETTINGS | changes)


@pytest.fixture(scope="module")
def uninterrupted():
    model = make()
    return outcome(model, model.fit(TEXT, **SETTINGS))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The file that such a training leaves, its bytes."""
    path = tmp_path_factory.mktemp("finished") / "run.npz"
    fit(make(), path)
    return path.read_bytes()


class Crash(Exception):
    """What ends a training in these tests."""


def crash_after(monkeypatch, steps):
    """End the training by an exception in the middle of a later gradient."""
    count = itertools.count()
    original = npchar.network.network.Network.gradients

    def gradients(self, *arguments, **named):
        if next(count) == steps:
            raise Crash
        return original(self, *arguments, **named)

    monkeypatch.setattr(npchar.network.network.Network, "gradients", gradients)


@pytest.mark.parametrize(
    ("after", "every"),  # an epoch has 7 steps
    [(after, (3, "steps")) for after in (0, 1, 5, 7, 8, 13, 18, 20)]
    + [(9, (1, "epochs")), (9, (0.001, "seconds"))],
)
def test_a_crash_anywhere_changes_nothing(tmp_path, monkeypatch, uninterrupted, after, every):
    path = tmp_path / "run.npz"
    with monkeypatch.context() as patch:
        crash_after(patch, after)
        with pytest.raises(Crash):
            fit(make(), path, checkpoint_every=every)
    model = make(seed=5)  # what it starts from must not matter
    assert outcome(model, fit(model, path, checkpoint_every=every)) == uninterrupted
    assert list(tmp_path.iterdir()) == [path]


def test_the_last_saved_step_is_enough(tmp_path, monkeypatch, uninterrupted):
    """As after a SIGKILL: nothing is saved at the end."""
    path, copy = tmp_path / "run.npz", tmp_path / "copy.npz"
    original = checkpoint.write_model_file
    kept = []

    def write(*arguments):
        original(*arguments)
        kept.append(path.read_bytes())

    monkeypatch.setattr(checkpoint, "write_model_file", write)
    model = make()
    assert outcome(model, fit(model, path, checkpoint_every=(4, "steps"))) == uninterrupted
    assert len(kept) == 1 + 5 + 1  # at the start, at steps 4, 8, .. 20, and at the end
    for content in kept:
        copy.write_bytes(content)
        Model.load(copy)
        model = make()
        assert outcome(model, fit(model, copy)) == uninterrupted


def test_a_finished_training_is_not_done_again(tmp_path, monkeypatch, uninterrupted):
    path = tmp_path / "run.npz"
    fit(make(), path)
    model = make(seed=3)
    with monkeypatch.context() as patch:
        crash_after(patch, 0)  # a single gradient would be one too many
        assert outcome(model, fit(model, path)) == uninterrupted
    assert Model.load(path).parameters.flat.tobytes() == uninterrupted[0]


def test_a_training_that_a_callback_ended_is_finished(tmp_path):
    path = tmp_path / "run.npz"
    model = make()
    history = fit(model, path, callbacks=[lambda history: len(history.loss) == 2])
    ended = outcome(model, history)
    assert len(history.loss) == 2
    model = make(seed=3)
    assert outcome(model, fit(model, path)) == ended


def test_numbers_of_numpy_are_numbers(tmp_path, uninterrupted):
    path = tmp_path / "run.npz"
    sizes = {"hidden_size": np.int64(8), "num_layers": np.int32(2), "dropout": np.float64(0.2)}
    options = {"epochs": np.int64(3), "batch_size": np.uint8(8), "learning_rate": np.float64(0.02)}
    model = make(**sizes)
    assert outcome(model, fit(model, path, **options)) == uninterrupted
    assert outcome(model, fit(make(), path)) == uninterrupted


@pytest.mark.parametrize(
    "options",
    [
        {"targets": "last", "schedule": "constant", "validation_split": 0.0, "step": 7},
        {"optimizer": "adam", "schedule": "cosine"},
        {"optimizer": "sgd", "learning_rate": 0.5},
    ],
)
def test_other_settings_resume_too(tmp_path, monkeypatch, options):
    model = make()
    expected = outcome(model, model.fit(TEXT, **SETTINGS | options))
    with monkeypatch.context() as patch:
        crash_after(patch, 14)
        with pytest.raises(Crash):
            fit(make(), tmp_path / "run.npz", **options)
    model = make()
    assert outcome(model, fit(model, tmp_path / "run.npz", **options)) == expected


def test_what_is_not_given_is_as_it_was(tmp_path, monkeypatch, uninterrupted):
    path = tmp_path / "run.npz"
    with monkeypatch.context() as patch:
        crash_after(patch, 9)
        with pytest.raises(Crash):
            fit(make(), path)
    model = make()
    history = model.fit(TEXT, maxlen=10, workers=1, verbose=False, checkpoint=path, resume=True)
    assert outcome(model, history) == uninterrupted


def test_a_training_by_version_1_is_refused_but_its_model_loads(tmp_path, finished):
    path = tmp_path / "run.npz"
    with np.load(io.BytesIO(finished)) as file:
        members = {name: file[name] for name in file.files}
    configuration = json.loads(members["configuration"].tobytes())
    training = configuration["training"]
    del training["settings"]["optimizer_arguments"]
    training["settings"]["epsilon"] = 1e-12
    training["windows"], members["training.order"] = 3, np.array([2, 0, 1], np.uint8)
    members["configuration"] = np.frombuffer(json.dumps(configuration).encode(), np.uint8)
    np.savez(path, **members)
    with pytest.raises(CheckpointError, match="an earlier npchar.*cannot resume.*Model.load"):
        fit(make(), path)
    np.testing.assert_array_equal(Model.load(path).parameters["dense.W"], members["dense.W"])


def test_optimizers_and_schedules_resume(tmp_path, monkeypatch):
    """A function as a schedule, which the file does not hold, must come again."""
    options = {"learning_rate": None, "schedule": lambda progress: (1 - progress) ** 2}

    def optimizer():
        return npchar.RMSprop(learning_rate=0.03, rho=0.8)

    model = make()
    settings = SETTINGS | options | {"optimizer": optimizer()}
    expected = outcome(model, model.fit(TEXT, **settings))
    path = tmp_path / "run.npz"
    with monkeypatch.context() as patch:
        crash_after(patch, 9)
        with pytest.raises(Crash):
            fit(make(), path, optimizer=optimizer(), **options)
    with pytest.raises(ValueError, match="pass the same function as schedule="):
        fit(make(), path, learning_rate=None)
    with pytest.raises(CheckpointError, match="optimizer_arguments was"):
        fit(make(), path, optimizer=npchar.RMSprop(learning_rate=0.03), **options)
    model = make()  # the name takes the arguments of the checkpoint
    assert outcome(model, fit(model, path, **options)) == expected


def test_validation_data_is_part_of_the_text(tmp_path):
    path, other = tmp_path / "run.npz", TEXT[7:200]

    def stop(history):
        raise Crash

    with pytest.raises(Crash):
        fit(make(), path, validation_data=other, callbacks=[stop])
    with pytest.raises(CheckpointError, match="another text"):
        fit(make(), path, validation_data=other[1:])
    with pytest.raises(CheckpointError, match="validation_split was 0.0"):
        fit(make(), path)
    assert len(fit(make(), path, validation_data=other).loss) == 3


def test_the_best_weights_outlive_an_interruption(tmp_path):
    """The best epoch is before it, and all after it are worse."""

    def worsen(model):
        def after(history):
            if len(history.loss) >= 2:
                model.parameters.flat[:] = 0

        return after

    options = {"epochs": 5}
    model = make()
    whole = model.fit(TEXT, callbacks=[worsen(model)], **SETTINGS | options)
    assert np.argmin(whole.val_loss) == 1
    expected = outcome(model, whole)

    def crash(history):
        if len(history.loss) == 3:
            raise Crash

    path = tmp_path / "run.npz"
    model = make()
    with pytest.raises(Crash):
        fit(model, path, callbacks=[worsen(model), crash], **options)
    model = make(seed=7)
    assert outcome(model, fit(model, path, callbacks=[worsen(model)], **options)) == expected


def test_the_best_loss_is_not_that_where_it_goes_on(tmp_path, monkeypatch):
    """After an interruption it gets better, but not better than it was before."""
    path, kept = tmp_path / "run.npz", []
    model = make()

    def keep(history):
        kept.append(model.parameters.flat.copy())
        if len(kept) == 3:
            raise Crash

    losses = [9.0, 2.0, 1.0, 1.5, 1.2, 1.3]  # before the first epoch, and after each
    validation_loss = lambda *_: losses.pop(0) if losses[1:] else losses[0]  # noqa: E731
    monkeypatch.setattr(npchar.training.trainer, "validation_loss", validation_loss)
    with pytest.raises(Crash):
        fit(model, path, epochs=5, callbacks=[keep])
    model = make()
    assert fit(model, path, epochs=5, callbacks=[keep]).val_loss == [2.0, 1.0, 1.5, 1.2, 1.3]
    assert len(kept) == 5
    np.testing.assert_array_equal(model.parameters.flat, kept[1])


def test_an_epochs_seconds_are_those_of_all_its_parts(tmp_path, monkeypatch):
    now, original = [0.0], npchar.network.network.Network.gradients

    def gradients(self, *arguments, **named):
        now[0] += 0.5
        return original(self, *arguments, **named)

    monkeypatch.setattr("time.perf_counter", lambda: now[0])
    monkeypatch.setattr(npchar.network.network.Network, "gradients", gradients)
    with monkeypatch.context() as patch:
        crash_after(patch, 10)  # three steps of the second epoch are done
        with pytest.raises(Crash):
            fit(make(), tmp_path / "run.npz")
    now[0] += 1000
    history = fit(make(), tmp_path / "run.npz")
    assert history.seconds == pytest.approx([3.5] * 3)


def test_a_guard_goes_on_where_it_was(tmp_path, monkeypatch):
    """A roll-back after an interruption, to weights and at a rate from before it."""
    original = npchar.network.network.Network.gradients
    spoilt = (9, 13)  # of all steps, both in the second epoch: back to what the first left

    def train(path, until):
        count = itertools.count(0 if until else 12)

        def gradients(self, *arguments, **named):
            k = next(count)
            if until and k == until:
                raise Crash
            found = original(self, *arguments, **named)
            return found._replace(loss=np.float32(np.nan)) if k in spoilt else found

        model = make()
        with monkeypatch.context() as patch:
            patch.setattr(npchar.network.network.Network, "gradients", gradients)
            return outcome(model, fit(model, path))

    expected = train(tmp_path / "whole.npz", 10**9)
    assert len([event for event in expected[4] if "Back to the best" in event]) == 2
    with pytest.raises(Crash):
        train(tmp_path / "run.npz", 12)
    assert train(tmp_path / "run.npz", None) == expected


def in_the_middle_of_an_update(monkeypatch, k, happens):
    """Let something happen in the k-th step, when some of the weights are changed."""
    count = itertools.count(1)
    update = npchar.RMSprop.update

    def interrupted(self, weights, gradient, learning_rate):
        before = weights.copy()
        update(self, weights, gradient, learning_rate)
        if next(count) == k:
            after = weights.copy()
            weights[::2] = before[::2]
            happens()
            weights[...] = after

    monkeypatch.setattr(npchar.RMSprop, "update", interrupted)


def test_a_step_that_is_half_done_is_not_kept(tmp_path, monkeypatch, uninterrupted):
    path = tmp_path / "run.npz"

    def crash():
        raise Crash

    with monkeypatch.context() as patch:
        in_the_middle_of_an_update(patch, 11, crash)
        with pytest.raises(Crash):
            fit(make(), path, checkpoint_every=(4, "steps"))
    assert position(path)["steps"] == 8
    model = make()
    assert outcome(model, fit(model, path)) == uninterrupted


def test_ctrl_c_in_a_step_waits_for_its_end(tmp_path, monkeypatch, uninterrupted):
    path = tmp_path / "run.npz"
    with monkeypatch.context() as patch, interrupts():
        in_the_middle_of_an_update(patch, 11, lambda: signal.raise_signal(signal.SIGINT))
        with pytest.raises(KeyboardInterrupt):
            fit(make(), path)
    assert position(path)["steps"] == 11
    model = make()
    assert outcome(model, fit(model, path)) == uninterrupted


def test_ctrl_c_waits_for_the_step_that_workers_make(tmp_path, monkeypatch):
    path, calls = tmp_path / "run.npz", itertools.count(1)
    all_reduce = LocalCommunicator.all_reduce

    def interrupted(communicator, vector):
        if next(calls) == 3:
            signal.raise_signal(signal.SIGINT)
        return all_reduce(communicator, vector)

    model = make()
    expected = outcome(model, fit(model, tmp_path / "whole.npz", workers=2))
    with monkeypatch.context() as patch, interrupts():
        patch.setattr(LocalCommunicator, "all_reduce", interrupted)
        with pytest.raises(KeyboardInterrupt):
            fit(make(), path, workers=2)
    assert position(path)["steps"] == 3
    model = make()
    assert outcome(model, fit(model, path, workers=2)) == expected


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_a_ctrl_c_that_does_not_wait_may_come_at_any_line(tmp_path, workers):
    """In the code that makes steps and counts them: what is saved resumes to the bit."""
    made = [Trainer._train_batch, TrainingStep.__call__, TrainingStep.update, TrainingStep._send,
            LocalCommunicator.all_reduce, LocalCommunicator.broadcast]  # fmt: skip
    codes = {function.__code__ for function in made}

    def at_line(n, path):
        """Train, with a Ctrl-C at the n-th line; return how many there were."""
        lines = 0

        def trace(frame, event, _):
            nonlocal lines
            if frame.f_code not in codes:
                return None
            lines += event in ("line", "return")
            if lines == n and event in ("line", "return"):
                raise KeyboardInterrupt
            return trace

        sys.settrace(trace)
        try:
            fit(make(), path, workers=workers, epochs=1)
        finally:
            sys.settrace(None)
        return lines

    model = make()
    expected = outcome(model, fit(model, tmp_path / "whole.npz", workers=workers, epochs=1))
    lines = at_line(0, tmp_path / "traced.npz")
    found = []
    for n in range(lines // 2, lines, 1 if workers == 1 else 3)[:40]:
        path = tmp_path / f"{n}.npz"
        with pytest.raises(KeyboardInterrupt):
            at_line(n, path)
        found.append(position(path)["steps"])
        model = make()
        assert outcome(model, fit(model, path, workers=workers, epochs=1)) == expected, n
    assert 0 in found  # some are in the middle of an update,
    assert max(found) > 0  # and some are not


def position(path):
    with np.load(path) as file:
        return json.loads(file["configuration"].tobytes())["training"]["position"]


@pytest.mark.slow
def test_workers_resume_with_as_many(tmp_path, monkeypatch):
    options = {"workers": 2, "batch_size": 16}
    model = make()
    expected = outcome(model, model.fit(TEXT, **SETTINGS | options))

    def stop(history):
        raise Crash

    with pytest.raises(Crash):
        fit(make(), tmp_path / "run.npz", callbacks=[stop], **options)
    model = make()
    found = fit(model, tmp_path / "run.npz", **options | {"workers": None})
    assert outcome(model, found) == expected
    with pytest.raises(Crash):
        fit(make(), tmp_path / "other.npz", callbacks=[stop], **options)
    with pytest.warns(UserWarning, match="processes was 2 and is 1"):
        fit(make(), tmp_path / "other.npz", **options | {"workers": 1})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"learning_rate": 0.5}, "learning_rate was 0.02 and is 0.5"),
        ({"epochs": 2}, "epochs was 3 and is 2"),
        ({"seed": 1}, "seed was 0 and is 1"),
        ({"text": TEXT.replace("rat", "cat")}, "another text"),
        ({"text": TEXT[:-9] + TEXT[-9:][::-1]}, "another text"),
        ({"model": {"hidden_size": 9}}, "another model: hidden_size was 8 and is 9"),
        ({"model": {"dropout": 0.1}}, "dropout was 0.2 and is 0.1"),
        ({"model": {"recurrent_dropout": 0.0}}, "recurrent_dropout was 0.1 and is None"),
        ({"schedule": npchar.Schedule(warm_up=0.5)}, "warm_up was 0.1 and is 0.5"),
    ],
)
def test_nothing_is_mixed(tmp_path, finished, changes, message):
    path = tmp_path / "run.npz"
    path.write_bytes(finished)
    model = make(**changes.pop("model", {}))
    weights = model.parameters.flat.copy()
    with pytest.raises(CheckpointError, match=message) as error:
        fit(model, path, **changes)
    assert "another checkpoint" in str(error.value)
    assert path.read_bytes() == finished
    np.testing.assert_array_equal(model.parameters.flat, weights)


@pytest.mark.parametrize(
    ("table", "changes"),
    [
        ("position", {"steps": -1}),
        ("position", {"batches": 1.5}),
        ("position", {"surprise": 1}),
        ("history", {"loss": 7}),
        ("history", {"events": [None]}),
        ("history", {"baselines": {"uniform": "x"}}),
        ("guard", {"rollbacks": 10**400}),
        ("guard", {"best_loss": None}),
        ("generator", {"state": {"state": -1, "inc": "x"}}),
        ("made_by", {"processes": "two"}),
        ("made_by", {"processes": 0}),
        ("memory", 3),
        ("settings", None),
    ],
)
def test_a_training_that_makes_no_sense(tmp_path, finished, table, changes):
    path = tmp_path / "run.npz"
    with np.load(io.BytesIO(finished)) as file:
        members = {name: file[name] for name in file.files}
    configuration = json.loads(members["configuration"].tobytes())
    if table == "memory":
        configuration["training"][table] = changes
        members |= dict.fromkeys(("training.v", "training.best_v"), np.ones(changes, np.float32))
    elif changes is None:
        del configuration["training"][table]
    else:
        configuration["training"][table] |= changes
    members["configuration"] = np.frombuffer(json.dumps(configuration).encode(), np.uint8)
    np.savez(path, **members)
    model = make(seed=9)
    before = model.parameters.flat.copy()
    with pytest.raises(CheckpointError, match="makes no sense|not a saved model"):
        fit(model, path)
    np.testing.assert_array_equal(model.parameters.flat, before)


def test_another_numpy_is_told(tmp_path, monkeypatch):
    path = tmp_path / "run.npz"
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint.np, "__version__", "1.0.0")
        fit(make(), path)
    with pytest.warns(UserWarning, match=r"numpy was '1\.0\.0' and is .*not to the bit"):
        fit(make(), path)


def test_other_workers_are_told(tmp_path, finished):
    """Another number of processes rounds differently."""
    path = tmp_path / "run.npz"
    path.write_bytes(finished)
    with pytest.warns(UserWarning, match="processes was 1 and is 2"):
        fit(make(), path, workers=2)


def test_an_earlier_run_is_not_overwritten(tmp_path):
    path = tmp_path / "run.npz"
    fit(make(), path)
    with pytest.raises(FileExistsError, match="resume=True"):
        make().fit(TEXT, checkpoint=path, **SETTINGS)
    make().save(path)
    before = path.read_bytes()
    for model, changes in ((make(seed=2), {}), (make(), {"epochs": None})):
        with pytest.raises(CheckpointError, match="no training to go on with.*how many epochs"):
            fit(model, path, **changes)
    assert path.read_bytes() == before


def test_a_finished_model_is_trained_on(tmp_path, uninterrupted):
    path = tmp_path / "run.npz"
    make().save(path)
    model = Model.load(path)
    assert outcome(model, fit(model, path)) == uninterrupted


def without_its_text(path):
    """Write a finished model's file as version 1.0 did, which kept no digest of the text."""
    with np.load(path) as file:
        members = {name: file[name] for name in file.files}
    configuration = json.loads(members["configuration"].tobytes())
    del configuration["trained_on"]
    members["configuration"] = np.frombuffer(json.dumps(configuration).encode(), np.uint8)
    np.savez(path, **members)


OTHERS = {
    "another text": lambda model, path: model.save(path),
    "not say which text": lambda model, path: (model.save(path), without_its_text(path)),
    "not say which": lambda model, path: (
        npchar.from_torch(npchar.to_torch(model), model.vocabulary).save(path)
    ),
}


@pytest.mark.parametrize("what", OTHERS)
def test_a_finished_model_is_not_replaced_by_one_of_another_text(tmp_path, what):
    path = tmp_path / "run.npz"
    model = make()
    model.fit(TEXT, **SETTINGS)
    OTHERS[what](model, path)
    before = path.read_bytes()
    model = Model.load(path)
    with pytest.raises(CheckpointError, match=rf"{what}.*another checkpoint.*npchar train --from"):
        fit(model, path, text=TEXT[::-1])
    assert path.read_bytes() == before
    np.testing.assert_array_equal(model.parameters.flat, Model.load(path).parameters.flat)
    fit(model, tmp_path / "other.npz", text=TEXT[::-1])
    assert path.read_bytes() == before


@pytest.mark.parametrize("way", ["saved", "saved again", "of a checkpoint", "interrupted"])
def test_a_finished_model_goes_on_with_its_own_text(tmp_path, way):
    path, model = tmp_path / "run.npz", make()
    if way == "of a checkpoint":
        fit(model, tmp_path / "checkpoint.npz")
        model = Model.load(tmp_path / "checkpoint.npz")
    elif way == "interrupted":

        def interrupt(_):
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            model.fit(TEXT, **SETTINGS | {"callbacks": [interrupt]})
    else:
        model.fit(TEXT, **SETTINGS)
    model.save(path)
    if way == "saved again":
        Model.load(path).save(path)
    expected = Model.load(path)
    expected = outcome(expected, expected.fit(TEXT, **SETTINGS))
    model = Model.load(path)
    assert outcome(model, fit(model, path)) == expected


@pytest.mark.parametrize(
    "trained_on",
    [7, [], "x", {"sha256": 7, "validation_split": 0.1}, {"sha256": "x"},
     {"sha256": "x", "validation_split": 2}],
)  # fmt: skip
def test_a_text_that_makes_no_sense(tmp_path, trained_on):
    path = tmp_path / "run.npz"
    make().save(path)
    with np.load(path) as file:
        members = {name: file[name] for name in file.files}
    configuration = json.loads(members["configuration"].tobytes())
    assert configuration["trained_on"] == {}
    configuration["trained_on"] = trained_on
    members["configuration"] = np.frombuffer(json.dumps(configuration).encode(), np.uint8)
    np.savez(path, **members)
    with pytest.raises(CheckpointError, match="not a saved model"):
        Model.load(path)


def test_a_relative_path_is_of_the_folder_where_the_training_began(tmp_path, monkeypatch):
    there, elsewhere = tmp_path / "there", tmp_path / "elsewhere"
    there.mkdir()
    elsewhere.mkdir()
    monkeypatch.chdir(there)

    def go_elsewhere(history):
        os.chdir(elsewhere)
        assert not list(elsewhere.iterdir())
        with pytest.raises(CheckpointError, match="under way"), checkpoint_lock(there / "run.npz"):
            pass

    fit(make(), "run.npz", callbacks=[go_elsewhere], checkpoint_every=(1, "epochs"))
    assert list(elsewhere.iterdir()) == []
    assert list(there.iterdir()) == [there / "run.npz"]
    assert position(there / "run.npz")["finished"]


@pytest.mark.skipif(sys.platform == "win32", reason="links need a right there")
def test_all_links_to_a_file_have_one_lock(tmp_path):
    (tmp_path / "run").mkdir()
    path, link = tmp_path / "run" / "run.npz", tmp_path / "latest.npz"
    link.symlink_to(path)
    with checkpoint_lock(path), pytest.raises(CheckpointError, match="under way"):
        fit(make(), link)
    with checkpoint_lock(link), pytest.raises(CheckpointError, match="under way"):
        fit(make(), path)


@pytest.mark.parametrize("finished", [True, False])
def test_more_epochs(tmp_path, monkeypatch, finished):
    """It goes on from where it stands, as if it had been to be so long from then on."""
    path = tmp_path / "run.npz"
    first = make()
    if finished:
        history = fit(first, path)
    else:
        history = fit(first, path, callbacks=[lambda history: len(history.loss) == 2])
    rates = []
    update = RMSprop.update

    def noted(self, weights, gradient, learning_rate):
        rates.append(learning_rate)
        update(self, weights, gradient, learning_rate)

    monkeypatch.setattr(RMSprop, "update", noted)
    more = fit(make(), path, epochs=5)
    done = 3 if finished else 2
    assert more.loss[:done] == history.loss
    assert len(more.loss) == 5
    per_epoch = len(rates) // (5 - done)
    left = 1 - np.arange(done * per_epoch, 5 * per_epoch) / (5 * per_epoch)
    assert rates == pytest.approx(list(0.02 * left))
    with pytest.raises(CheckpointError, match="epochs was 5 and is 3"):
        fit(make(), path)
    assert fit(make(), path, epochs=5).loss == more.loss  # it is finished


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"resume": True}, "no checkpoint is named"),
        ({"checkpoint": "x.npz", "checkpoint_every": 5}, "checkpoint_every is 5"),
        ({"checkpoint": "x.npz", "checkpoint_every": (5, "days")}, "'days'"),
        ({"checkpoint": "x.npz", "checkpoint_every": (0, "steps")}, r"\(0, 'steps'\)"),
        ({"patience": 0}, "patience is 0"),
    ],
)
def test_errors_say_what_is_wrong(options, message):
    with pytest.raises(ValueError, match=message):
        make().fit(TEXT, **SETTINGS | options)


# Interrupts

SCRIPT = """
import sys, npchar
text = "the cat sat on the mat, and the rat sat on the cat. " * 60
model = npchar.Model(npchar.Vocabulary.from_text(text), hidden_size=16)
print("begun", flush=True)
model.fit(text, epochs=5000, maxlen=20, workers=int(sys.argv[2]),
          checkpoint=sys.argv[1], resume=True)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="processes there get no such signals")
@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, -signal.SIGINT), (signal.SIGTERM, 143)]
)
def test_signals_save_and_end(tmp_path, number, status, workers):
    path = tmp_path / "run.npz"
    before = (0, 0)
    for _ in range(2):
        process = python("-c", SCRIPT, path, workers)
        process.await_line(process.stdout, lambda line: line.startswith("epoch"))
        if number == signal.SIGINT:  # a terminal sends it to all of a group
            os.killpg(process.pid, number)
        else:
            process.send_signal(number)
        _, errors = process.communicate(timeout=LIMIT)
        assert process.returncode == status, errors
        # One process is interrupted, in the midst of whatever it did; the workers say nothing.
        interrupted = errors.count("\nKeyboardInterrupt: interrupted after ")
        assert interrupted == (number == signal.SIGINT), errors
        assert ("Traceback" in errors) == (number == signal.SIGINT), errors
        found = position(path)
        # It may be stopped between an epoch's last step and its end: then the second time
        # does no further step, but ends the epoch.
        reached = found["steps"], found["epochs"]
        assert reached > before
        before = reached
    assert list(tmp_path.iterdir()) == [path]


def test_two_trainings_do_not_share_a_file(tmp_path):
    """The second is refused; one that was killed hinders no other."""
    path = tmp_path / "run.npz"

    def begun():
        process = python("-c", SCRIPT, path, 1)
        return process, process.await_line(process.stdout, lambda line: line.startswith("epoch"))

    first, _ = begun()
    model = make()
    before = model.parameters.flat.copy()
    with pytest.raises(CheckpointError, match=f"another training .* under way is kept in {path}"):
        fit(model, path)
    np.testing.assert_array_equal(model.parameters.flat, before)
    first.kill()
    first.wait()
    assert sorted(tmp_path.iterdir()) == [tmp_path / ".npchar-run.npz.lock", path]
    third, _ = begun()
    third.terminate()
    assert third.wait() == 143
    assert list(tmp_path.iterdir()) == [path]


def test_a_lock_that_is_removed_while_it_is_taken_is_none(tmp_path, monkeypatch):
    path, lock = tmp_path / "run.npz", tmp_path / ".npchar-run.npz.lock"
    original, count = checkpoint.lock_file, itertools.count()

    def lock_file(descriptor):
        if next(count) == 0:  # who had it before ends just now
            lock.unlink()
        return original(descriptor)

    monkeypatch.setattr(checkpoint, "lock_file", lock_file)
    with (
        checkpoint_lock(path),
        pytest.raises(CheckpointError, match="under way"),
        checkpoint_lock(path),
    ):
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="processes there get no such signals")
def test_started_with_interrupts_ignored_it_ignores_them(tmp_path):
    path = tmp_path / "run.npz"
    process = python("-c", SCRIPT, path, 1, ignore_interrupts=True)
    process.await_line(process.stdout, lambda line: line.startswith("epoch"))
    process.send_signal(signal.SIGINT)
    process.await_line(process.stdout, lambda line: line.startswith("epoch"))
    process.terminate()
    assert process.wait(LIMIT) == 143
    assert position(path)["epochs"] > 1


def test_a_held_interrupt_comes_after_the_step():
    seen = []
    with interrupts():
        with pytest.raises(KeyboardInterrupt), Interrupts(terminate=False) as held:
            with held.uninterrupted():
                signal.raise_signal(signal.SIGINT)
                seen.append("the step went on")
            seen.append("never reached")
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert seen == ["the step went on"]


def test_a_second_ctrl_c_does_not_wait():
    seen = []
    with interrupts():
        held = Interrupts(terminate=False)
        with pytest.raises(KeyboardInterrupt), held, held.uninterrupted():
            signal.raise_signal(signal.SIGINT)
            seen.append("the step went on")
            signal.raise_signal(signal.SIGINT)
            seen.append("never reached")
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert seen == ["the step went on"]


@pytest.mark.skipif(sys.platform == "win32", reason="processes there get no such signals")
def test_sigterm_is_taken_where_there_is_something_to_save():
    for terminate, handler in ((False, signal.SIG_DFL), (True, None)):
        with Interrupts(terminate) as held:
            assert (signal.getsignal(signal.SIGTERM) is handler) == (not terminate)
            if terminate:
                with pytest.raises(SystemExit) as ended, held.uninterrupted():
                    signal.raise_signal(signal.SIGTERM)
                assert ended.value.code == 143
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_training_in_another_thread_needs_no_signals(tmp_path, uninterrupted):
    found = []

    def work():
        model = make()
        found.append(outcome(model, fit(model, tmp_path / "run.npz")))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [uninterrupted]


# Disks that fail


class FaultyFile(io.FileIO):
    """A file whose writes count, and of which one fails."""

    fault = None

    def write(self, data):
        FaultyFile.fault()
        return super().write(data)


def count_down(monkeypatch, k):
    """Make the k-th write, fsync or replace of all that follow fail; returns the count."""
    done = [0]

    def tick(*_):
        done[0] += 1
        if done[0] == k:
            raise OSError(28, "No space left on device")

    FaultyFile.fault = tick
    for name in ("fsync", "replace"):
        original = getattr(os, name)

        def faulty(*arguments, original=original):
            tick()
            return original(*arguments)

        monkeypatch.setattr(npchar.files.os, name, faulty)
    monkeypatch.setattr(
        npchar.files.os, "fdopen", lambda fd, mode: io.BufferedWriter(FaultyFile(fd, mode))
    )
    return done


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*goes on and tries again")
def test_whatever_fails_on_the_disk_nothing_is_lost(tmp_path):
    options = {"checkpoint_every": (1, "epochs"), "epochs": 1}
    model = make()
    uninterrupted = outcome(model, model.fit(TEXT, **SETTINGS | {"epochs": 1}))
    for k in itertools.count(1):
        path = tmp_path / f"{k}.npz"
        model = make()
        with pytest.MonkeyPatch.context() as patch:
            done = count_down(patch, k)
            failure = None
            try:
                history = fit(model, path, **options)
            except OSError as error:  # of the first save, or the last
                failure = str(error)
        if failure is None:  # or none, or one in between: it costs nothing
            assert outcome(model, history) == uninterrupted
        else:
            assert f"cannot write {path}: No space left on device" in failure
            assert path.exists() == ("untouched" in failure)
            trained = model.parameters.flat.tobytes() == uninterrupted[0]
            assert trained == path.exists()  # after the last, the result is in memory
        if path.exists():
            Model.load(path)
        model = make()
        assert outcome(model, fit(model, path, **options)) == uninterrupted
        if done[0] < k:
            break
        path.unlink()
        assert list(tmp_path.iterdir()) == []
    assert k > 20  # so many writes, fsyncs and replaces there were


def test_a_failure_in_between_is_told(tmp_path, monkeypatch, uninterrupted):
    path = tmp_path / "run.npz"
    original, count = checkpoint.write_model_file, itertools.count()

    def write(*arguments):
        if next(count) == 2:
            raise OSError(28, "cannot write it")
        original(*arguments)

    monkeypatch.setattr(checkpoint, "write_model_file", write)
    model = make()
    with pytest.warns(UserWarning, match="cannot write it.*goes on"):
        history = fit(model, path, checkpoint_every=(2, "steps"))
    assert outcome(model, history) == uninterrupted
    # At the beginning, every second of 21 steps, at the end: not again after the one that failed
    assert next(count) == 1 + 10 + 1


def test_a_file_that_vanishes_is_made_again(tmp_path, uninterrupted):
    path = tmp_path / "run.npz"
    model = make()
    history = fit(model, path, callbacks=[lambda _: path.unlink(missing_ok=True)])
    assert outcome(model, history) == uninterrupted
    assert Model.load(path).parameters.flat.tobytes() == uninterrupted[0]


def test_a_checkpoint_that_cannot_be_written_is_an_error_at_once(tmp_path, monkeypatch):
    """Better than after hours."""

    def write(*_):
        raise OSError(28, "cannot write it")

    monkeypatch.setattr(checkpoint, "write_model_file", write)
    crash_after(monkeypatch, 0)
    with pytest.raises(OSError, match="cannot write it"):
        fit(make(), tmp_path / "run.npz")


@pytest.mark.skipif(not hasattr(os, "seteuid"), reason="Windows has other rights")
def test_a_folder_that_cannot_be_written(tmp_path):
    path = tmp_path / "run.npz"
    fit(make(), path)
    before = path.read_bytes()
    tmp_path.chmod(0o500)
    root = os.geteuid() == 0
    if root:  # who writes anywhere: be someone else for a moment
        os.seteuid(65534)
    try:
        with pytest.raises(PermissionError, match=r"cannot write .*run\.npz: Permission denied"):
            make().save(path)
        with pytest.raises(PermissionError, match="cannot write"):
            fit(make(), tmp_path / "other.npz")
    finally:
        if root:
            os.seteuid(0)
        tmp_path.chmod(0o700)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


LIMITED = """
import resource, sys, warnings, npchar
text = "the cat sat on the mat, and the rat sat on the cat. " * 12
model = npchar.Model(npchar.Vocabulary.from_text(text), hidden_size=8)

def fill_the_disk(history):
    if len(history.loss) == 2:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))

try:
    model.fit(text, epochs=4, maxlen=10, verbose=False, workers=1, checkpoint=sys.argv[1],
              checkpoint_every=(1, "epochs"), callbacks=[fill_the_disk])
except OSError as error:
    print(error)
print(model.evaluate(text).loss)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="files have no such limit there")
def test_a_disk_that_takes_no_more(tmp_path):
    """No fake: the system itself refuses to write on."""
    path = tmp_path / "run.npz"
    done = run_python("-c", LIMITED, path)
    assert done.returncode == 0, done.stderr
    said, loss = done.stdout.splitlines()
    assert f"cannot write {path}: File too large; the file that was there is untouched" in said
    assert "goes on and tries again later" in done.stderr
    assert float(loss) < 3  # the result is in memory
    with np.load(path) as file:
        kept = json.loads(file["configuration"].tobytes())["training"]
    assert kept["position"]["epochs"] == 2
    Model.load(path)
    assert list(tmp_path.iterdir()) == [path]
