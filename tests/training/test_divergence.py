"""The divergence guard: spikes, best weights, patience, and the reported events."""

import math

import numpy as np
import pytest

from npchar import Model, TrainingDiverged, Vocabulary
from npchar.training.divergence import DivergenceGuard
from npchar.training.optimizers import RMSprop

QUIET = {"maxlen": 20, "batch_size": 8, "verbose": False, "workers": 1}


def guard(weights=None):
    weights = np.zeros(3, np.float32) if weights is None else weights
    return DivergenceGuard(weights, RMSprop(), math.log(50))


def feed(watch, loss):
    """Feed the guard a block of 50 steps with 200 targets each."""
    return watch.update(loss, 50 * 200)


def test_a_falling_loss_is_right():
    watch = guard()
    for loss in (9.0, 3.5, 2.5, 2.0, 1.9, 2.0, 1.5):  # the first block may vary
        assert feed(watch, loss) is None


def test_a_slow_rise_is_a_spike_too():
    """Each block is compared with the best block, not with the previous one."""
    watch = guard()
    for loss in (2.0, 1.5, 1.7, 1.9):
        assert feed(watch, loss) is None
    assert "from 1.5 at its best" in feed(watch, 2.2)


@pytest.mark.parametrize(("before", "after"), [(1.3, 2.0), (3.9, 4.9), (0.01, 0.7)])
def test_a_spike_is_seen(before, after):
    watch = guard()
    assert feed(watch, before) is None
    assert f"rose to {after:.3g}, from {before:.3g}" in feed(watch, after)


def test_chance_is_no_spike():
    rng = np.random.default_rng(0)
    for targets in (5000, 6400):
        watch = guard()
        for _ in range(400):  # the standard deviation of a target's loss is about 1.5
            assert watch.update(1.5 + rng.normal(0, 1.5 / math.sqrt(targets)), targets) is None


@pytest.mark.parametrize(("rate", "clip"), [(1, 1.0), (1, math.inf), (100, 1.0), (100, math.inf)])
def test_wild_learning_rates_end_well(text, tmp_path, rate, clip):
    model = Model(Vocabulary.from_text(text), hidden_size=24)
    path = tmp_path / "run.npz"
    options = {"learning_rate": rate, "clip_norm": clip, "epochs": 9, "schedule": "constant"}
    events = []
    try:
        history = model.fit(text * 2, checkpoint=path, **QUIET | {"batch_size": 16}, **options)
        events = history.events
        assert history.val_loss[-1] < math.log(len(model.vocabulary))
    except TrainingDiverged as error:
        events = [str(error)]
    # At a rate of 1 the training may succeed, depending on rounding errors.
    assert rate == 1 or any("learning rate" in event for event in events)
    assert all("best weights" in event for event in events
               if "learning rate" in event)  # fmt: skip
    for found in (model, Model.load(path)):
        assert np.isfinite(found.parameters.flat).all()
        found.save(tmp_path / "model.npz")
        assert len(found.generate("the ", 20)) == 20


def test_a_line_repeated_for_ever():
    text = "all work and no play makes jack a dull boy\n" * 200
    model = Model(Vocabulary.from_text(text), hidden_size=16)
    history = model.fit(text, epochs=6, learning_rate=0.05, schedule="constant", **QUIET)
    assert min(history.val_loss) < 0.1
    assert model.evaluate(text).loss < 0.1
    assert np.isfinite(model.parameters.flat).all()


def test_the_best_weights_are_restored(text):
    kept = []
    model = Model(Vocabulary.from_text(text), hidden_size=12)

    def keep(history):
        kept.append(model.parameters.flat.copy())
        if len(kept) == 2:
            model.parameters["dense.b"] *= 0.3  # makes the model worse

    history = model.fit(text, epochs=4, learning_rate=1e-4, callbacks=[keep], **QUIET)
    best = int(np.argmin(history.val_loss))
    assert best == 1
    np.testing.assert_array_equal(model.parameters.flat, kept[1])
    assert "restored the weights of epoch 2" in history.events[-1]
    held_out = text[len(text) - len(text) // 10 :]
    assert model.evaluate(held_out).loss == pytest.approx(min(history.val_loss), rel=1e-12)

    kept.clear()
    model = Model(Vocabulary.from_text(text), hidden_size=12)
    model.fit(text, epochs=4, learning_rate=1e-4, callbacks=[keep], restore_best=False, **QUIET)
    np.testing.assert_array_equal(model.parameters.flat, kept[3])


def test_patience(text):
    model = Model(Vocabulary.from_text(text), hidden_size=12)
    worse = [lambda history: model.parameters.flat.__imul__(3)]
    history = model.fit(text, epochs=40, learning_rate=1e-4, patience=3, callbacks=worse, **QUIET)
    best = int(np.argmin(history.val_loss))
    assert len(history.loss) == best + 1 + 3
    assert "stopped after epoch" in history.events[-2]


def test_patience_without_a_held_out_part(text):
    """Without a validation set, the training loss is used."""
    options = QUIET | {"validation_split": 0.0, "learning_rate": 1e-3}
    model = Model(Vocabulary.from_text(text), hidden_size=12)
    history = model.fit(text, epochs=6, patience=2, **options)
    assert len(history.loss) == 6
    assert history.loss == sorted(history.loss, reverse=True)
    assert history.events == []
    model = Model(Vocabulary.from_text(text), hidden_size=12)
    worse = [lambda history: model.parameters.flat.__imul__(2)]
    history = model.fit(text, epochs=40, patience=2, callbacks=worse, **options)
    assert len(history.loss) == int(np.argmin(history.loss)) + 1 + 2
