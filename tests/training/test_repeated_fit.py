"""Repeated training: loops over `fit(epochs=1)`, fine-tuning, and divergence."""

import math
import signal

import numpy as np
import pytest
from children import interrupts

import npchar
from npchar import Model, Vocabulary

QUIET = {"maxlen": 20, "batch_size": 8, "verbose": False, "workers": 1}


def dna(n=8000):
    """A text of four letters that depend on the previous two: 1.1 nats per character."""
    rng = np.random.default_rng(0)
    cumulative = rng.dirichlet(np.full(4, 1.2), 16).cumsum(axis=1)
    ids = [0, 1]
    for u in rng.random(n):
        ids.append(int((cumulative[4 * ids[-2] + ids[-1]] < u).sum()))
    return "".join("ACGT"[min(k, 3)] for k in ids)


def test_a_loop_of_single_epochs_never_repeats_itself(text):
    """As in the book's loop, each call has other batches and changes the weights."""
    model = Model(Vocabulary.from_text(text), hidden_size=12)
    seen = []
    for _ in range(10):
        history = model.fit(text, epochs=1, learning_rate=0.05, schedule="constant", **QUIET)
        seen.append((history.loss[0], model.parameters.flat.tobytes()))
    assert len(set(seen)) == 10
    assert history.val_loss[-1] < 0.2


def test_a_saved_model_continues_as_one_in_memory(text, tmp_path):
    model = Model(Vocabulary.from_text(text), hidden_size=12)
    model.fit(text, epochs=2, **QUIET)
    model.save(tmp_path / "model.npz")
    loaded = Model.load(tmp_path / "model.npz")
    for one in (model, loaded):
        one.fit(text, epochs=1, **QUIET)
    np.testing.assert_array_equal(loaded.parameters.flat, model.parameters.flat)


def test_a_resumed_model_continues_as_one_that_was_not_interrupted(text, tmp_path):
    """The following calls of `fit` agree, too."""

    def interrupt(history):
        raise KeyboardInterrupt

    models = [Model(Vocabulary.from_text(text), hidden_size=12) for _ in range(3)]
    options = QUIET | {"resume": True, "epochs": 2}
    with pytest.raises(KeyboardInterrupt):
        models[2].fit(text, callbacks=[interrupt], checkpoint=tmp_path / "1.npz", **options)
    for k, model in enumerate(models[:2]):
        model.fit(text, checkpoint=tmp_path / f"{k}.npz", **options)
        model.fit(text, epochs=1, **QUIET)
    np.testing.assert_array_equal(models[0].parameters.flat, models[1].parameters.flat)


@pytest.mark.slow
@pytest.mark.parametrize("schedule", ["constant", "linear"])
def test_twenty_calls_of_one_epoch_are_as_good_as_one_of_twenty(corpus, schedule):
    text = corpus[:100_000]
    held_out = text[-10_000:]
    options = {"schedule": schedule, "verbose": False}
    one = Model(Vocabulary.from_text(text), hidden_size=64)
    one.fit(text, epochs=20, **options)
    many = Model(Vocabulary.from_text(text), hidden_size=64)
    for _ in range(20):
        many.fit(text, epochs=1, **options)
    assert many.evaluate(held_out).loss < one.evaluate(held_out).loss + 0.05


def test_only_the_epochs_of_a_call_compete(text):
    """A second training is kept even if it makes the model slightly worse."""
    model = Model(Vocabulary.from_text(text), hidden_size=24)
    model.fit(text, epochs=8, **QUIET)
    held_out = text[-len(text) // 10 :]
    before, weights = model.evaluate(held_out).loss, model.parameters.flat.copy()
    history = model.fit(text, epochs=1, learning_rate=0.1, schedule=lambda progress: 1.0, **QUIET)
    assert before < history.val_loss[0] < before + 0.5
    assert not np.array_equal(model.parameters.flat, weights)


def test_an_epoch_of_fine_tuning_that_diverges_is_taken_back():
    """This includes small alphabets, whose losses are all near the uniform baseline."""
    text = dna()
    model = Model(Vocabulary.from_text(text), hidden_size=16)
    model.fit(text, epochs=4, **QUIET)
    before, weights = model.evaluate(text[-800:]).loss, model.parameters.flat.copy()
    assert math.log(4) - 0.5 < before < math.log(4) - 0.1
    history = model.fit(
        text, epochs=1, learning_rate=3.0, schedule=lambda progress: 1.0, clip_norm=None, **QUIET
    )
    assert min(history.val_loss) > before + 0.5
    np.testing.assert_array_equal(model.parameters.flat, weights)
    assert "before this run" in history.events[-1]


def test_a_new_model_keeps_what_it_learned_even_if_the_text_ends_differently():
    """The weights of an epoch are kept, because there are no better ones to restore."""
    text = "ab" * 1200 + "aaabbb" * 45
    model = Model(Vocabulary.from_text(text), hidden_size=8)
    weights = model.parameters.flat.copy()
    history = model.fit(text, epochs=2, learning_rate=0.2, **QUIET)
    assert min(history.val_loss) > math.log(2) + 0.5
    assert not np.array_equal(model.parameters.flat, weights)


def test_without_a_seed_two_trainings_differ_and_documents_train(text):
    names = ["anna", "nina", "ian"] * 20
    model = Model(Vocabulary.from_documents(names), hidden_size=4)
    model.fit(names, epochs=1, seed=None, verbose=False, workers=1)
    weights = []
    for _ in range(2):
        model = Model(Vocabulary.from_text(text), hidden_size=4)
        model.fit(text, epochs=1, seed=None, **QUIET)
        weights.append(model.parameters.flat)
    assert not np.array_equal(*weights)


def test_a_training_without_a_seed_resumes(text, tmp_path):
    def stop(history):
        raise KeyboardInterrupt

    path = tmp_path / "run.npz"
    options = QUIET | {"seed": None, "epochs": 2, "checkpoint": path, "resume": True}
    with pytest.raises(KeyboardInterrupt):
        Model(Vocabulary.from_text(text), hidden_size=4).fit(text, callbacks=[stop], **options)
    history = Model(Vocabulary.from_text(text), hidden_size=4).fit(text, **options)
    assert len(history.loss) == 2


# Callbacks


@pytest.mark.parametrize(
    ("stop", "epochs"),
    [(True, 1), (np.True_, 1), (np.False_, 3), (None, 3), ("a string", 3)],
)
def test_a_callback_ends_the_training_by_any_kind_of_true(text, stop, epochs):
    """All callbacks are called first; they may come from a generator."""
    model, seen = Model(Vocabulary.from_text(text), hidden_size=4), []
    callbacks = [lambda _: stop, lambda history: seen.append(len(history.loss))]
    assert len(model.fit(text, epochs=3, callbacks=iter(callbacks), **QUIET).loss) == epochs
    assert seen == [1, 2, 3][:epochs]


@pytest.mark.parametrize("callbacks", [print, [print, "save"], 3, None])
def test_wrong_callbacks_are_an_error_before_the_first_step(text, callbacks):
    model = Model(Vocabulary.from_text(text), hidden_size=4)
    weights = model.parameters.flat.copy()
    with pytest.raises(TypeError, match="callbacks .*expected"):
        model.fit(text, epochs=1, callbacks=callbacks, **QUIET)
    np.testing.assert_array_equal(model.parameters.flat, weights)


# Ctrl-C


def test_ctrl_c_in_a_step_that_fails_is_not_lost(text, monkeypatch):
    """A loop over settings that skips failed trainings must still be interruptible."""
    original = npchar.RMSprop.update

    def failing(self, *arguments):
        original(self, *arguments)
        signal.raise_signal(signal.SIGINT)
        raise MemoryError("in this step")

    monkeypatch.setattr(npchar.RMSprop, "update", failing)
    model = Model(Vocabulary.from_text(text), hidden_size=4)
    with interrupts(), pytest.raises(KeyboardInterrupt):
        model.fit(text, epochs=1, **QUIET)


def test_a_handler_that_a_callback_sets_stays_set(text):
    def handler(number, frame):
        """Do nothing."""

    model = Model(Vocabulary.from_text(text), hidden_size=4)
    with interrupts():
        model.fit(
            text, epochs=1, callbacks=[lambda _: signal.signal(signal.SIGINT, handler)], **QUIET
        )
        assert signal.getsignal(signal.SIGINT) is handler
