"""A training that fills a given time: the same as with the epochs that were chosen."""

import time
from pathlib import Path

import numpy as np
import pytest

import npchar
from npchar import Model, Vocabulary
from npchar.training import fit as fit_module
from npchar.training.time_budget import model_for_time

TEXT = Path(npchar.__file__).with_name("model.py").read_text()[:20_000]
NAMES = ["anna", "ben", "carolina", "benedikt", "nina", "caba", "dennis", "bea"] * 40


def make(text):
    kind = Vocabulary.from_text if isinstance(text, str) else Vocabulary.from_documents
    return Model(kind(text), hidden_size=8, dropout=0.2, recurrent_dropout=0.1, seed=1)


@pytest.mark.parametrize(
    ("text", "settings"),
    [(TEXT, {"workers": 2}), (TEXT, {"step": 40, "optimizer": "adam"}), (NAMES, {"workers": 1})],
)
def test_it_is_the_training_of_the_chosen_epochs(text, settings):
    """Measuring changes nothing: neither weights nor the optimizer, nor what is drawn."""
    model, other = make(text), make(text)
    start = time.perf_counter()
    config = model.fit(text, minutes=0.02, verbose=False, **settings).config
    assert time.perf_counter() - start < 60  # the time is 1.2 s; for a busy machine
    chosen = {name: config[name] for name in ("epochs", "step")}
    assert other.fit(text, verbose=False, **settings | chosen).config == config
    np.testing.assert_array_equal(model.parameters.flat, other.parameters.flat)


@pytest.mark.parametrize(
    ("n", "characters", "expected"),
    [
        (5_000_000, 10_000_000, (0.0, 0.0)),  # less than one pass
        (600_000, 11_000_000, (0.2, 0.0)),  # 4 passes
        (600_000, 55_000_000, (0.3, 0.1)),  # 15
        (100_000, 11_000_000, (0.5, 0.3)),  # 45
        (20_000, 11_000_000, (0.5, 0.3)),  # 550
    ],
)
def test_the_model_for_a_time(n, characters, expected):
    """The dropout that was best in trials with texts and times like these."""
    model = model_for_time(n, characters)
    assert (model["dropout"], model["recurrent_dropout"]) == expected
    sizes = [model_for_time(n, characters * k)["hidden_size"] for k in (1, 4, 16)]
    assert sizes == sorted(sizes)


def test_an_epoch_of_a_long_text_is_a_part_of_it():
    history = make(TEXT).fit(TEXT, minutes=1e-6, workers=1, verbose=False)
    assert history.config["epochs"] == 1 < history.config["step"] / 60


def test_it_resumes_without_measuring(tmp_path, monkeypatch):
    def press(history):
        raise KeyboardInterrupt

    settings = {"checkpoint": tmp_path / "a.npz", "workers": 1, "verbose": False}
    with pytest.raises(KeyboardInterrupt):
        make(TEXT).fit(TEXT, minutes=0.02, callbacks=[press], **settings)
    chosen = npchar.training_settings(tmp_path / "a.npz")
    monkeypatch.delattr(fit_module, "fill_time")
    history = Model.load(tmp_path / "a.npz").fit(TEXT, minutes=9, resume=True, **settings)
    assert len(history.loss) == history.config["epochs"] == chosen["epochs"]
