"""The trainer, compared with a plain loop written from its docstring: `plain.train`."""

import math

import numpy as np
import plain
import pytest

import npchar
from npchar import Model, Vocabulary
from npchar.network.network import Network
from npchar.training.optimizers import RMSprop

WORDS = "abcdef"
SETTINGS = {
    "epochs": 3, "maxlen": 6, "step": 6, "targets": "all", "batch_size": 4,
    "learning_rate": 0.01, "schedule": "linear", "warm_up": 0.0, "epsilon": 1e-6, "clip_norm": 0.15,
    "validation_split": 0.1, "seed": 0, "restore_best": True,
}  # fmt: skip


def some_text(n=170):
    """Letters that depend strongly on the previous letter."""
    rng = np.random.default_rng(1)
    ids = np.cumsum(rng.choice(3, n, p=[0.1, 0.7, 0.2])) % len(WORDS)
    return "".join(WORDS[k] for k in ids)


def fit(model, text, **settings):
    """Train with the settings of `plain.train`."""
    kind = {"rmsprop": npchar.RMSprop, "adam": npchar.Adam, "sgd": npchar.SGD}
    name = settings.pop("optimizer", "rmsprop")
    arguments = {"learning_rate": settings.pop("learning_rate")}
    epsilon = settings.pop("epsilon")
    if name != "sgd":
        arguments["epsilon"] = epsilon
    schedule = npchar.Schedule(settings.pop("schedule"), settings.pop("warm_up"))
    optimizer = kind[name](**arguments)
    return model.fit(text, optimizer=optimizer, schedule=schedule, verbose=False, **settings)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"seed": 5, "num_layers": 2},
        {"clip_norm": None},
        {"schedule": "cosine"},
        {"optimizer": "adam"},
        {"optimizer": "sgd", "learning_rate": 0.1, "clip_norm": 1.0},
        {"step": 4, "batch_size": 7},
        {"validation_split": 0.0},
        {"restore_best": False, "learning_rate": 0.2, "schedule": "constant", "clip_norm": 0.3},
        {"dropout": 0.4, "num_layers": 3},
        {"recurrent_dropout": 0.3, "num_layers": 2},
        {"recurrent_dropout": 0.3, "dropout": 0.2, "targets": "last", "step": 5},
        {"warm_up": 0.3},
        {"targets": "last", "step": 5, "dropout": 0.3, "num_layers": 2, "batch_size": 5},
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
    assert steps >= 15
    history = fit(model, text, workers=1, **settings)
    for name, values in expected.items():
        np.testing.assert_allclose(getattr(history, name), values, rtol=1e-9, err_msg=name)
    for name, array in weights.items():
        np.testing.assert_allclose(model.parameters[name], array, rtol=1e-8, atol=1e-10)
    if settings["learning_rate"] == 0.2:  # the best weights differ from the last
        assert np.argmin(history.val_loss) < len(history.val_loss) - 1


@pytest.mark.parametrize("documents", [False, True])
def test_a_training_begins_with_the_frequencies_of_the_symbols(documents):
    text = some_text()
    rows = text.split(" ") if documents else text
    vocabulary = Vocabulary.from_documents(rows) if documents else Vocabulary.from_text(rows)
    model = Model(vocabulary, hidden_size=5)
    model.parameters["dense.W"] = 0  # only the biases predict
    fit(model, rows, **SETTINGS | {"epochs": 1, "learning_rate": 1e-9, "validation_split": 0.0})
    symbols = "".join(rows)
    for symbol in set(symbols):
        count = symbols.count(symbol) + 1
        bias = model.parameters["dense.b"][vocabulary.encode(symbol)[0]]
        total = len(symbols) + len(vocabulary) + documents * (len(rows) + 1)
        assert math.exp(bias) == pytest.approx(count / total, rel=1e-5)
    again = model.parameters["dense.b"].copy()
    fit(model, "a" * len(text), **SETTINGS | {"epochs": 1, "learning_rate": 1e-9})
    np.testing.assert_allclose(model.parameters["dense.b"], again, atol=1e-6)


def test_the_weights_are_whole_while_some_are_dropped_and_after_an_error(monkeypatch):
    text = some_text()
    model = Model(Vocabulary.from_text(text), hidden_size=5, recurrent_dropout=0.5)
    model.parameters["dense.b"] = 0.1  # biases of zero would be initialized
    before = model.parameters.flat.copy()

    def fails(network, *_, **__):
        assert (network.parameters.flat == 0).sum() > (before == 0).sum()
        np.testing.assert_array_equal(model.parameters.flat, before)
        raise MemoryError

    monkeypatch.setattr(Network, "gradients", fails)
    with pytest.raises(MemoryError):
        fit(model, text, workers=1, **SETTINGS)
    np.testing.assert_array_equal(model.parameters.flat, before)


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        ({}, {"learning_rate": 0.04, "input_scale": 3, "epochs": 40}),
        (
            {"targets": "last"},
            {"step": 3, "epsilon": 1e-7, "learning_rate": 0.01, "warm_up": 0.0, "epochs": 20},
        ),
        ({"layer": "rnn"}, {"learning_rate": 0.01, "input_scale": 8, "epochs": 40}),
        ({"layer": "conv"}, {"learning_rate": 0.02, "epochs": 40}),
        ({"hidden_size": 256, "epochs": 1}, {"learning_rate": 0.04 * 0.5**0.75}),
        ({"optimizer": "adam"}, {"learning_rate": 0.04, "epsilon": 1e-8, "epochs": 40}),
    ],
)
def test_what_is_not_given_is_as_the_docstring_says(chosen, expected):
    sizes = {name: chosen.pop(name) for name in ("layer", "hidden_size") if name in chosen}
    text = some_text(80)
    model = Model(Vocabulary.from_text(text), **{"hidden_size": 4} | sizes)
    history = model.fit(text, maxlen=6, workers=1, verbose=False, **chosen)
    given = {
        "batch_size": 32 if chosen.get("targets") else 4, "schedule": "linear", "clip_norm": 1.0,
        "validation_split": 0.1, "step": 6, "warm_up": 0.05, "epsilon": 1e-12,
        "seed": 0, "restore_best": True, "patience": None,
    }  # fmt: skip
    expected = given | expected
    config = history.config | history.config["optimizer_arguments"]
    assert {name: config[name] for name in expected} == expected


@pytest.mark.parametrize("schedule", ["linear", "constant"])
def test_each_step_has_its_rate(monkeypatch, schedule):
    """The rate follows the schedule, and each roll-back divides it by four."""
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
    fit(model, text, workers=1, **settings)
    expected, factor = [], 1.0
    for step, loss in enumerate(losses):
        if np.isnan(loss):  # no update
            factor /= 4
        else:
            left = 1 - step / 21 if schedule == "linear" else 1  # 7 steps in each of 3 epochs
            expected.append(0.02 * factor * left)
    assert rates == pytest.approx(expected)


# Optimizers, schedules, validation data

QUIET = {"maxlen": 6, "batch_size": 4, "workers": 1, "verbose": False}


def test_a_name_starts_afresh_and_an_instance_keeps_its_state():
    text, optimizer = some_text(), npchar.Adam(learning_rate=0.01)

    def trained(*optimizers):
        model = Model(Vocabulary.from_text(text), hidden_size=5)
        for one in optimizers:
            options = QUIET | ({"learning_rate": 0.01} if isinstance(one, str) else {})
            model.fit(text, epochs=2, optimizer=one, **options)
        return model.parameters.flat

    one = trained(optimizer, optimizer)
    assert 4 * 6 <= optimizer.state[-1] <= 4 * 7  # the number of steps
    fresh = trained(npchar.Adam(learning_rate=0.01), npchar.Adam(learning_rate=0.01))
    np.testing.assert_array_equal(trained("adam", "adam"), fresh)
    assert not np.array_equal(one, fresh)


def test_an_optimizer_has_the_learning_rate():
    text = some_text()
    model = Model(Vocabulary.from_text(text), hidden_size=5)
    with pytest.raises(ValueError, match=r"learning_rate is 0\.1; .*optimizer=Adam\("):
        model.fit(text, optimizer=npchar.Adam(), learning_rate=0.1, **QUIET)
    with pytest.raises(ValueError, match="optimizer is 'lion'; expected one of rmsprop, muon"):
        model.fit(text, optimizer="lion", **QUIET)
    optimizer = npchar.SGD()
    model.fit(text, epochs=1, optimizer=optimizer, **QUIET)
    other = Model(Vocabulary.from_text(text), hidden_size=6)
    with pytest.raises(ValueError, match="used for other weights.*new optimizer"):
        other.fit(text, epochs=1, optimizer=optimizer, **QUIET)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_schedule_is_a_function_of_progress(workers):
    """The function is called once per step, in this process, without a warm-up."""
    text, seen = some_text(), []
    options = QUIET | {"epochs": 2, "learning_rate": 0.01, "workers": workers}

    def schedule(progress):
        seen.append(progress)
        return 1 - progress

    model = Model(Vocabulary.from_text(text), hidden_size=5)
    history = model.fit(text, schedule=schedule, **options)
    assert seen == [k / 14 for k in range(len(seen))]  # an epoch has 6 or 7 steps
    assert 12 <= len(seen) <= 14
    assert (history.config["schedule"], history.config["warm_up"]) == ("function", 0.0)
    same = Model(Vocabulary.from_text(text), hidden_size=5)
    same.fit(text, schedule=npchar.Schedule("linear", warm_up=0), **options)
    np.testing.assert_array_equal(model.parameters.flat, same.parameters.flat)


@pytest.mark.parametrize("factor", [-1.0, np.nan, np.inf])
def test_a_wrong_factor_is_an_error_and_the_weights_stay(factor):
    text = some_text()
    model = Model(Vocabulary.from_text(text), hidden_size=5)
    before = model.parameters.flat.copy()
    with pytest.raises(ValueError, match="schedule returned .* 0 or more"):
        model.fit(text, epochs=1, schedule=lambda progress: factor, **QUIET)
    np.testing.assert_array_equal(model.parameters.flat, before)


@pytest.mark.parametrize("targets", ["all", "last"])
def test_validation_data_is_held_out(targets):
    """The validation loss is that of the other text; training uses the whole text."""
    text, other = some_text(), some_text()[::-1]
    model = Model(Vocabulary.from_text(text), hidden_size=5, dtype="float64")
    options = QUIET | {"epochs": 1, "targets": targets, "step": 1}
    history = model.fit(text, validation_data=other, **options)
    if targets == "all":
        assert history.val_loss == [pytest.approx(model.evaluate(other).loss, rel=1e-12)]
    same = Model(Vocabulary.from_text(text), hidden_size=5, dtype="float64")
    expected = same.fit(text, validation_split=0, **options)
    assert expected.val_loss == []
    assert len(history.val_loss) == 1
    np.testing.assert_array_equal(model.parameters.flat, same.parameters.flat)


def test_validation_documents():
    names, others = ["abc", "bcd", "cde"] * 9, ["abd", "bce"]
    model = Model(Vocabulary.from_documents([*names, *others]), hidden_size=5)
    history = model.fit(names, epochs=1, validation_data=others, **QUIET)
    assert history.val_loss == [pytest.approx(model.evaluate(others).loss, rel=1e-6)]
    with pytest.raises(ValueError, match="'last', which needs windows"):
        model.fit("abcd" * 20, validation_data=others, targets="last", **QUIET)
