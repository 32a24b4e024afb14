"""Checkpoints: a resumed training gives the same result as an uninterrupted one."""

import itertools
import json
import math
import os
import signal
import sys
import threading

import numpy as np
import pytest
from children import LIMIT, interrupts, python, run_python
from conftest import reconfigure

import npchar
from npchar import CheckpointError, Model, Vocabulary
from npchar.training.distributed import Leader

TEXT = "the cat sat on the mat, and the rat sat on the cat. " * 12
NAMES = ["anna", "ben", "carolina", "benedikt", "nina", "caba", "dennis", "bea"] * 8
VOCABULARIES = {str: Vocabulary.from_text, list: Vocabulary.from_documents}
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
    """All results of a training that must agree bit for bit."""
    return (
        model.parameters.flat.tobytes(),
        history.loss,
        history.val_loss,
        history.gradient_norm,
        history.events,
        model.generate(model.vocabulary.symbols[1], 40, temperature=0.7, seed=2),
    )


def fit(model, path, text=TEXT, **changes):
    return model.fit(text, checkpoint=path, resume=True, **SETTINGS | changes)


@pytest.fixture(scope="module")
def uninterrupted():
    model = make()
    return outcome(model, model.fit(TEXT, **SETTINGS))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The bytes of the checkpoint of a finished training."""
    path = tmp_path_factory.mktemp("finished") / "run.npz"
    fit(make(), path)
    return path.read_bytes()


class Crash(Exception):
    """The exception that ends a training in these tests."""


def crash_after(monkeypatch, steps):
    """End the training by an exception during a later gradient."""
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
    model = make(seed=5)  # the initial weights must not matter
    assert outcome(model, fit(model, path, checkpoint_every=every)) == uninterrupted
    assert list(tmp_path.iterdir()) == [path]


@pytest.fixture
def on_replace(monkeypatch):
    """Call a function before and after each replacement of a file, with the file's number."""

    def install(before=None, after=None):
        replace, count = os.replace, itertools.count()

        def noted(source, target):
            k = next(count)
            for happens in (before, lambda _: replace(source, target), after):
                if happens is not None:
                    happens(k)

        monkeypatch.setattr(os, "replace", noted)
        return count

    return install


def test_the_last_saved_step_is_enough(tmp_path, on_replace, uninterrupted):
    """Nothing is saved at the end, as after a SIGKILL."""
    path, copy, kept = tmp_path / "run.npz", tmp_path / "copy.npz", []
    on_replace(after=lambda _: kept.append(path.read_bytes()))
    model = make()
    assert outcome(model, fit(model, path, checkpoint_every=(4, "steps"))) == uninterrupted
    assert len(kept) == 1 + 5 + 1  # at the start, at steps 4, 8, ..., 20, and at the end
    for content in kept[:-1]:
        copy.write_bytes(content)
        Model.load(copy)
        model = make()
        assert outcome(model, fit(model, copy)) == uninterrupted


def test_a_finished_training_is_not_done_again(tmp_path, monkeypatch, uninterrupted):
    path = tmp_path / "run.npz"
    fit(make(), path)
    model = make(seed=3)
    with monkeypatch.context() as patch:
        crash_after(patch, 0)  # no gradient may be computed
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
        {"optimizer": "muon"},
        {"layer": "gru"},
        {"layer": "rnn"},
        {"layer": "conv", "targets": "last", "step": 7},
        {"text": NAMES, "maxlen": 6},
    ],
)
def test_other_settings_resume_too(tmp_path, monkeypatch, options):
    layer, text = options.pop("layer", "lstm"), options.pop("text", TEXT)

    def fresh():
        vocabulary = VOCABULARIES[type(text)](text)
        return Model(vocabulary, layer=layer, hidden_size=8, num_layers=2, dropout=0.2)

    path, model = tmp_path / "run.npz", fresh()
    expected = outcome(model, model.fit(text, **SETTINGS | options))
    with monkeypatch.context() as patch:
        crash_after(patch, 14)
        with pytest.raises(Crash):
            fit(fresh(), path, text, **options)
    model = fresh()
    assert outcome(model, fit(model, path, text, **options)) == expected


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
    path.write_bytes(finished)
    expected = Model.load(path).parameters.flat

    def older(configuration):
        training = configuration["training"]
        del training["settings"]["optimizer_arguments"]
        training["settings"]["epsilon"] = 1e-12
        training["windows"] = 3

    reconfigure(path, older, **{"training.order": np.array([2, 0, 1], np.uint8)})
    with pytest.raises(CheckpointError, match="an earlier npchar.*another checkpoint"):
        fit(make(), path)
    np.testing.assert_array_equal(Model.load(path).parameters.flat, expected)


def test_optimizers_and_schedules_resume(tmp_path, monkeypatch):
    """A schedule that is a function is not in the file and must be passed again."""
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
    with pytest.raises(ValueError, match="expected a function as schedule"):
        fit(make(), path, learning_rate=None)
    with pytest.raises(CheckpointError, match="optimizer_arguments was"):
        fit(make(), path, optimizer=npchar.RMSprop(learning_rate=0.03), **options)
    model = make()  # the name gets the arguments in the checkpoint
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
    """The best epoch comes before the interruption, and all later epochs are worse."""

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


def test_a_guard_goes_on_where_it_was(tmp_path, monkeypatch):
    """A roll-back after an interruption restores weights and a rate from before it."""
    original = npchar.network.network.Network.gradients
    spoilt = (9, 13)  # steps of the second epoch; both lead back to the end of the first epoch

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
    assert len([event for event in expected[4] if "best weights" in event]) == 2
    with pytest.raises(Crash):
        train(tmp_path / "run.npz", 12)
    assert train(tmp_path / "run.npz", None) == expected


def in_the_middle_of_an_update(monkeypatch, k, happens):
    """Call `happens` in the k-th step, when only some of the weights have been updated."""
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


@pytest.mark.parametrize("times", [1, 2])
def test_ctrl_c_waits_for_the_end_of_a_step_and_a_second_does_not(
    tmp_path, monkeypatch, uninterrupted, times
):
    path, raised = tmp_path / "run.npz", []

    def press():
        for _ in range(times):
            signal.raise_signal(signal.SIGINT)
            raised.append(0)

    with monkeypatch.context() as patch, interrupts():
        in_the_middle_of_an_update(patch, 11, press)
        with pytest.raises(KeyboardInterrupt):
            fit(make(), path, checkpoint_every=(4, "steps"))
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert len(raised) == 1
    assert position(path)["steps"] == (11 if times == 1 else 8)
    model = make()
    assert outcome(model, fit(model, path)) == uninterrupted


def test_ctrl_c_waits_for_the_step_that_workers_make(tmp_path, monkeypatch):
    path, calls = tmp_path / "run.npz", itertools.count(1)
    reduce = Leader.reduce

    def interrupted(communicator, vector):
        if next(calls) == 3:
            signal.raise_signal(signal.SIGINT)
        return reduce(communicator, vector)

    model = make()
    expected = outcome(model, fit(model, tmp_path / "whole.npz", workers=2))
    with monkeypatch.context() as patch, interrupts():
        patch.setattr(Leader, "reduce", interrupted)
        with pytest.raises(KeyboardInterrupt):
            fit(make(), path, workers=2)
    assert position(path)["steps"] == 3
    model = make()
    assert outcome(model, fit(model, path, workers=None)) == expected  # the same number of workers


def position(path):
    with np.load(path) as file:
        return json.loads(file["configuration"].tobytes())["training"]["position"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"clip_norm": 0.5}, "clip_norm was 1.0 and is 0.5"),
        ({"epochs": 2}, "epochs was 3 and is 2"),
        ({"text": TEXT.replace("rat", "cat")}, "another text"),
        ({"model": {"hidden_size": 9}}, "hidden_size was 8 and is 9"),
        ({"model": {"recurrent_dropout": 0.0}}, "recurrent_dropout was 0.1 and is 0.0"),
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


@pytest.mark.parametrize(("crash", "epochs"), [(2, 0), (9, 1)])  # an epoch has 7 steps
def test_another_rate_on_resume(tmp_path, monkeypatch, crash, epochs):
    """The result equals that of a schedule that changes at this step."""
    linear = {"schedule": npchar.Schedule("linear", warm_up=0)}
    model, path = make(), tmp_path / "run.npz"
    with monkeypatch.context() as patch, pytest.raises(Crash):
        crash_after(patch, crash)
        fit(model, path, **linear)
    resumed = make()
    history = fit(resumed, path, learning_rate=0.005, schedule=npchar.Schedule("cosine", warm_up=0))
    assert history.events == [
        f"resumed after epoch {epochs}: learning_rate was 0.02 and is 0.005",
        f"resumed after epoch {epochs}: schedule was 'linear' and is 'cosine'",
    ]
    assert npchar.training_settings(path)["learning_rate"] == 0.005

    def schedule(progress):
        is_before = progress * 21 < crash - 0.5
        return 1 - progress if is_before else (1 + math.cos(math.pi * progress)) / 2 / 4

    same = make()
    same.fit(TEXT, **SETTINGS | {"schedule": schedule})
    np.testing.assert_array_equal(resumed.parameters.flat, same.parameters.flat)


@pytest.mark.parametrize("without", ["position", "generator", "settings", "training.v"])
def test_an_incomplete_training(tmp_path, finished, without):
    path = tmp_path / "run.npz"
    path.write_bytes(finished)
    reconfigure(path, lambda file: file["training"].pop(without, None), without=without)
    model = make(seed=9)
    before = model.parameters.flat.copy()
    with pytest.raises(CheckpointError, match="is damaged|earlier npchar"):
        fit(model, path)
    np.testing.assert_array_equal(model.parameters.flat, before)


def test_another_numpy_and_another_number_of_processes_are_told(tmp_path, finished):
    """Both may change the rounding."""
    path = tmp_path / "run.npz"
    path.write_bytes(finished)
    reconfigure(path, lambda file: file["training"]["made_by"].update(numpy="1.0.0"))
    with pytest.warns(UserWarning, match=r"numpy was .1\.0\.0.*processes was 1 and is 2"):
        fit(make(), path, workers=2)


def test_an_earlier_run_is_not_overwritten(tmp_path):
    path = tmp_path / "run.npz"
    fit(make(), path)
    with pytest.raises(FileExistsError, match="resume=True"):
        make().fit(TEXT, checkpoint=path, **SETTINGS)
    make().save(path)
    before = path.read_bytes()
    for model, changes in ((make(seed=2), {}), (make(), {"epochs": None})):
        with pytest.raises(CheckpointError, match="no run to resume.*set epochs"):
            fit(model, path, **changes)
    assert path.read_bytes() == before


OTHERS = {
    "another text": lambda model, path: model.save(path),
    # Files of version 1.0 have no digest of the text.
    "not record its training text": lambda model, path: (
        model.save(path),
        reconfigure(path, lambda file: file.pop("trained_on")),
    ),
    "not record": lambda model, path: (
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
    with pytest.raises(
        CheckpointError, match=rf"(?i){what}.*another checkpoint.*npchar train --from"
    ):
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
    "trained_on", [7, {"sha256": 7, "validation_split": 0.1}, {"sha256": "x"},
                   {"sha256": "x", "validation_split": 2}],
)  # fmt: skip
def test_a_text_that_makes_no_sense(tmp_path, trained_on):
    path = tmp_path / "run.npz"
    make().save(path)
    reconfigure(path, lambda file: file.update(trained_on=trained_on))
    with pytest.raises(CheckpointError, match="damaged or not a saved model"):
        Model.load(path)


@pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege on Windows")
def test_a_file_has_one_lock_and_the_folder_where_the_training_began(tmp_path, monkeypatch):
    """The lock covers all links to the file, and the working directory may change."""
    there, elsewhere, link = (tmp_path / name for name in ("there", "elsewhere", "latest.npz"))
    there.mkdir()
    elsewhere.mkdir()
    link.symlink_to(there / "run.npz")
    monkeypatch.chdir(there)

    def go_elsewhere(history):
        os.chdir(elsewhere)
        for path in (there / "run.npz", link):
            with pytest.raises(CheckpointError, match="another run writes to"):
                fit(make(), path)

    fit(make(), "run.npz", callbacks=[go_elsewhere], checkpoint_every=(1, "epochs"))
    assert list(elsewhere.iterdir()) == []
    assert list(there.iterdir()) == [there / "run.npz"]
    assert position(there / "run.npz")["finished"]


@pytest.mark.parametrize("finished", [True, False])
def test_more_epochs(tmp_path, monkeypatch, finished):
    """The resumed training equals a training that is longer from this point on."""
    path = tmp_path / "run.npz"
    first = make()
    if finished:
        history = fit(first, path)
    else:
        history = fit(first, path, callbacks=[lambda history: len(history.loss) == 2])
    more = fit(make(), path, epochs=5)
    assert more.loss[: len(history.loss)] == history.loss
    assert len(more.loss) == 5
    with pytest.raises(CheckpointError, match="epochs was 5 and is 3"):
        fit(make(), path)
    assert fit(make(), path, epochs=5).loss == more.loss  # no epochs are left


@pytest.mark.parametrize(
    ("options", "message"),
    [
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


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
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
        if number == signal.SIGINT:  # a terminal sends it to the whole process group
            os.killpg(process.pid, number)
        else:
            process.send_signal(number)
        _, errors = process.communicate(timeout=LIMIT)
        assert process.returncode == status, errors
        # The training process reports the interruption at any point; the workers print nothing.
        interrupted = errors.count("\nKeyboardInterrupt: interrupted after ")
        assert interrupted == (number == signal.SIGINT), errors
        assert ("Traceback" in errors) == (number == signal.SIGINT), errors
        found = position(path)
        # The process may stop between the last step and the end of an epoch. The resumed training
        # then takes no further step, but ends the epoch.
        reached = found["steps"], found["epochs"]
        assert reached > before
        before = reached
    assert list(tmp_path.iterdir()) == [path]


def test_two_trainings_do_not_share_a_file(tmp_path):
    """The second training is refused; a killed training does not block later ones."""
    path = tmp_path / "run.npz"

    def begun():
        process = python("-c", SCRIPT, path, 1)
        return process, process.await_line(process.stdout, lambda line: line.startswith("epoch"))

    first, _ = begun()
    model = make()
    before = model.parameters.flat.copy()
    with pytest.raises(CheckpointError, match=f"another run writes to {path}"):
        fit(model, path)
    np.testing.assert_array_equal(model.parameters.flat, before)
    first.kill()
    first.wait()
    assert sorted(tmp_path.iterdir()) == [tmp_path / ".npchar-run.npz.lock", path]
    third, _ = begun()
    third.terminate()
    assert third.wait() == 143
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
def test_sigterm_is_taken_where_there_is_something_to_save(tmp_path):
    for path in (None, tmp_path / "run.npz"):
        handlers = []
        note = [lambda _, handlers=handlers: handlers.append(signal.getsignal(signal.SIGTERM))]
        make().fit(TEXT, checkpoint=path, callbacks=note, **SETTINGS)
        assert (handlers[0] is signal.SIG_DFL) == (path is None)
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


def full(k):
    raise OSError(28, "No space left on device")


def test_a_failure_in_between_is_told(tmp_path, on_replace, uninterrupted):
    path, model = tmp_path / "run.npz", make()
    count = on_replace(before=lambda k: full(k) if k == 2 else None)
    with pytest.warns(UserWarning, match="No space left on device.*continues"):
        history = fit(model, path, checkpoint_every=(2, "steps"))
    assert outcome(model, history) == uninterrupted
    # Writes at the start, at every second of 21 steps and at the end; failed ones are not repeated.
    assert next(count) == 1 + 10 + 1


def test_a_checkpoint_that_cannot_be_written_is_an_error_at_once(tmp_path, monkeypatch, on_replace):
    """The error must not come after hours of training."""
    on_replace(before=full)
    crash_after(monkeypatch, 0)
    with pytest.raises(OSError, match="No space left"):
        fit(make(), tmp_path / "run.npz")


def test_a_file_that_vanishes_is_made_again(tmp_path, uninterrupted):
    path = tmp_path / "run.npz"
    model = make()
    history = fit(model, path, callbacks=[lambda _: path.unlink(missing_ok=True)])
    assert outcome(model, history) == uninterrupted
    assert Model.load(path).parameters.flat.tobytes() == uninterrupted[0]


@pytest.mark.skipif(not hasattr(os, "seteuid"), reason="Windows has other permissions")
def test_a_folder_that_cannot_be_written(tmp_path):
    path = tmp_path / "run.npz"
    fit(make(), path)
    before = path.read_bytes()
    tmp_path.chmod(0o500)
    root = os.geteuid() == 0
    if root:  # root may write everywhere, so use another user id
        os.seteuid(65534)
    try:
        with pytest.raises(PermissionError, match=r"cannot write .*run\.npz: Permission denied"):
            make().save(path)
        with pytest.raises(PermissionError, match=r"other\.npz"):
            fit(make(), tmp_path / "other.npz")
    finally:
        if root:
            os.seteuid(0)
        tmp_path.chmod(0o700)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


LIMITED = """
import resource, sys, warnings, npchar
sys.dont_write_bytecode = True  # it would be cut off, for all later processes
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


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit on file sizes")
def test_a_disk_that_takes_no_more(tmp_path):
    """The limit is set by the operating system, not simulated."""
    path = tmp_path / "run.npz"
    done = run_python("-c", LIMITED, path)
    assert done.returncode == 0, done.stderr
    said, loss = done.stdout.splitlines()
    assert f"cannot write {path}: File too large" in said
    assert "tries again later" in done.stderr
    assert float(loss) < 3  # the result is in memory
    with np.load(path) as file:
        kept = json.loads(file["configuration"].tobytes())["training"]
    assert kept["position"]["epochs"] == 2
    Model.load(path)
    assert list(tmp_path.iterdir()) == [path]
