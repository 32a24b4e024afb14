"""The training loop against a plain one, written from its docstring: `plain.train`."""

import numpy as np
import plain
import pytest

from npchar import Model, Vocabulary
from npchar.layers.network import Network
from npchar.training.optimizers import RMSprop

WORDS = "abcdef"
SETTINGS = {
    "epochs": 5, "maxlen": 6, "step": 6, "targets": "all", "batch_size": 4,
    "learning_rate": 0.01, "schedule": "linear", "warm_up": 0.0, "epsilon": 1e-6, "clip_norm": 0.15,
    "validation_split": 0.1, "seed": 0, "restore_best": True,
}  # fmt: skip


def some_text(n=170):
    """Letters in which each has much to do with the one before."""
    rng = np.random.default_rng(1)
    ids = np.cumsum(rng.choice(3, n, p=[0.1, 0.7, 0.2])) % len(WORDS)
    return "".join(WORDS[k] for k in ids)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"seed": 5, "num_layers": 2},
        {"clip_norm": None},
        {"schedule": "constant"},
        {"schedule": "cosine"},
        {"optimizer": "adam"},
        {"optimizer": "sgd", "learning_rate": 0.1, "clip_norm": 1.0},
        {"learning_rate": 0.05, "epsilon": 1e-3},
        {"step": 4, "batch_size": 7},
        {"validation_split": 0.0},
        {"validation_split": 0.3, "epochs": 7},
        {"restore_best": False, "learning_rate": 0.2, "schedule": "constant", "clip_norm": 0.3},
        {"restore_best": True, "learning_rate": 0.2, "schedule": "constant", "clip_norm": 0.3},
        {"dropout": 0.4},
        {"dropout": 0.4, "num_layers": 3},
        {"recurrent_dropout": 0.3, "num_layers": 2},
        {"recurrent_dropout": 0.3, "dropout": 0.2, "targets": "last", "step": 5},
        {"warm_up": 0.3},
        {"warm_up": 0.1, "schedule": "constant"},
        {"targets": "last", "step": 5},
        {
            "targets": "last",
            "step": 5,
            "dropout": 0.3,
            "num_layers": 2,
            "schedule": "constant",
            "batch_size": 5,
        },
        {"targets": "last", "step": 7, "validation_split": 0.25, "batch_size": 3},
    ],
    ids=str,
)
def test_it_is_the_plain_loop(changes):
    changes = dict(changes)
    dropped = {name: changes.pop(name, 0.0) for name in ("dropout", "recurrent_dropout")}
    layers = changes.pop("num_layers", 1)
    text = some_text()
    model = Model(
        Vocabulary.from_text(text), hidden_size=5, num_layers=layers, dtype="float64", seed=3,
        **dropped,
    )  # fmt: skip
    settings = SETTINGS | changes
    begun = {name: array.copy() for name, array in model.parameters.items()}
    ids = model.vocabulary.encode(text).astype(int)
    weights, expected, steps = plain.train(begun, ids, **dropped, **settings)
    assert steps >= 30
    history = model.fit(text, workers=1, verbose=False, **settings)
    for name, values in expected.items():
        np.testing.assert_allclose(getattr(history, name), values, rtol=1e-9, err_msg=name)
    for name, array in weights.items():
        np.testing.assert_allclose(model.parameters[name], array, rtol=1e-8, atol=1e-10)
    if settings["learning_rate"] == 0.2:  # restoring the best was of some use
        assert np.argmin(history.val_loss) < len(history.val_loss) - 1


def test_the_weights_are_whole_while_some_are_dropped_and_after_an_error(monkeypatch):
    text = some_text()
    model = Model(Vocabulary.from_text(text), hidden_size=5, recurrent_dropout=0.5)
    before = model.parameters.flat.copy()

    def fails(network, *_, **__):
        assert (network.parameters.flat == 0).sum() > (before == 0).sum()
        np.testing.assert_array_equal(model.parameters.flat, before)
        raise MemoryError

    monkeypatch.setattr(Network, "gradients", fails)
    with pytest.raises(MemoryError):
        model.fit(text, workers=1, verbose=False, **SETTINGS)
    np.testing.assert_array_equal(model.parameters.flat, before)


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        ({}, {"step": 6, "epsilon": 1e-12, "learning_rate": 0.05, "warm_up": 0.1, "epochs": 40}),
        (
            {"targets": "last"},
            {"step": 3, "epsilon": 1e-7, "learning_rate": 0.01, "warm_up": 0.0, "epochs": 20},
        ),
        ({"layer": "gru"}, {"learning_rate": 0.01, "epsilon": 1e-12}),
        ({"layer": "rnn", "dropout": 0.1}, {"learning_rate": 0.005}),
        ({"layer": "conv"}, {"learning_rate": 0.02}),
        ({"hidden_size": 256, "epochs": 1}, {"learning_rate": 0.05 * 0.5**0.75}),
        ({"optimizer": "adam"}, {"learning_rate": 0.04, "epsilon": 1e-8}),
    ],
)
def test_what_is_not_given_is_as_the_docstring_says(chosen, expected):
    text = some_text(80)
    of_model = {name: chosen.pop(name) for name in ("layer", "dropout") if name in chosen}
    of_model |= {"hidden_size": chosen.pop("hidden_size", 4), "dtype": "float64"}

    def fitted(**settings):
        model = Model(Vocabulary.from_text(text), **of_model)
        model.fit(text, maxlen=6, workers=1, verbose=False, **chosen, **settings)
        return model.parameters.flat

    given = {
        "batch_size": 32 if chosen.get("targets") else 4, "schedule": "linear", "clip_norm": 1.0,
        "validation_split": 0.1,
        "seed": 0, "restore_best": True, "patience": None,
    }  # fmt: skip
    np.testing.assert_array_equal(fitted(), fitted(**given, **expected))


@pytest.mark.parametrize("schedule", ["linear", "constant"])
def test_each_step_has_its_rate(monkeypatch, schedule):
    """By the schedule, and a quarter of that after each roll-back."""
    rates, losses = [], []
    update, gradients = RMSprop.update, Network.gradients

    def noted(self, weights, gradient, learning_rate):
        rates.append(learning_rate)
        update(self, weights, gradient, learning_rate)

    def spoilt(self, *arguments, **named):
        losses.append(np.nan if len(losses) in (5, 6, 20) else 1.0)
        return gradients(self, *arguments, **named)._replace(loss=losses[-1])

    monkeypatch.setattr(RMSprop, "update", noted)
    monkeypatch.setattr(Network, "gradients", spoilt)
    text = some_text()
    model = Model(Vocabulary.from_text(text), hidden_size=3)
    settings = SETTINGS | {"schedule": schedule, "learning_rate": 0.02}
    model.fit(text, workers=1, verbose=False, **settings)
    expected, factor = [], 1.0
    for step, loss in enumerate(losses):
        if np.isnan(loss):  # no update
            factor /= 4
        else:
            left = 1 - step / 35 if schedule == "linear" else 1  # 7 steps in each of 5 epochs
            expected.append(0.02 * factor * left)
    assert rates == pytest.approx(expected)


def test_workers_and_dropout_are_the_plain_loop_too():
    text = some_text()
    model = Model(Vocabulary.from_text(text), hidden_size=5, num_layers=3, dropout=0.4,
                  dtype="float64")  # fmt: skip
    begun = {name: array.copy() for name, array in model.parameters.items()}
    ids = model.vocabulary.encode(text).astype(int)
    settings = SETTINGS | {"batch_size": 5, "epochs": 2}  # shares of two and three, and a rest
    weights, expected, _ = plain.train(begun, ids, dropout=0.4, **settings)
    history = model.fit(text, workers=2, verbose=False, **settings)
    np.testing.assert_allclose(history.loss, expected["loss"], rtol=1e-9)
    for name, array in weights.items():
        np.testing.assert_allclose(model.parameters[name], array, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("targets", ["all", "last"])
@pytest.mark.parametrize("layers", [1, 2])
def test_a_batch_is_the_plain_one(targets, layers):
    """Loss and gradient of the network in one place, apart from the loop."""
    rng = np.random.default_rng(2)
    model = Model(Vocabulary(WORDS), hidden_size=4, num_layers=layers, dropout=0.5, dtype="float64")
    model.parameters.flat[:] = rng.normal(0, 0.7, model.parameters.flat.shape)
    network: Network = model.network
    ids = rng.integers(0, len(WORDS), (8, 3))
    y = ids[1:] if targets == "all" else ids[-1]
    masks = network.dropout_masks(3, seed=4)
    loss, gradient = plain.loss_and_gradient(dict(model.parameters), ids[:-1], y, masks)
    found = network.gradients(ids[:-1], y, masks=masks)
    assert float(found.loss) == pytest.approx(loss, rel=1e-12)
    for name, array in gradient.items():
        np.testing.assert_allclose(found.parameters[name], array, rtol=0, atol=1e-12)
