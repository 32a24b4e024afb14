"""Fine-tuning: a model learns new characters and forgets little."""

import numpy as np
import pytest

import npchar
from npchar import Model, Vocabulary
from npchar.cli import main
from npchar.training.config import default_learning_rate

OLD = "the cat sat on the mat, and the rat sat on the cat. " * 40
NEW = "THE CAT SAT ON THE MAT; the dog did not. " * 40


@pytest.fixture(scope="module", params=["lstm", "gru", "rnn", "conv"])
def learned(request):
    """A model trained on the old text."""
    layer = request.param
    model = Model(Vocabulary.from_text(OLD), layer=layer, hidden_size=16, num_layers=2, seed=1)
    model.fit(OLD, epochs=6, maxlen=20, batch_size=8, workers=1, learning_rate=0.01, verbose=False)
    return model


def test_the_old_weights_are_as_they_were(learned):
    before = learned.parameters.flat.copy()
    model = learned.extend(NEW)
    np.testing.assert_array_equal(learned.parameters.flat, before)
    assert set(model.vocabulary) == set(OLD + NEW)
    assert model.network.config[1:] == learned.network.config[1:]
    places = model.vocabulary.encode(learned.vocabulary.characters)
    first = next(name for name in ("Wx", "W") if f"{learned.network.config.layer}0.{name}"
                 in learned.parameters)  # fmt: skip
    for name, old in learned.parameters.items():
        new = model.parameters[name]
        if name in (f"{learned.network.config.layer}0.{first}", "dense.W", "dense.b"):
            axis = -1 if name.startswith("dense") else -2
            np.testing.assert_array_equal(new.take(places, axis=axis), old)
        else:
            np.testing.assert_array_equal(new, old)
    # Predictions for old texts do not change, except for the probability of the new characters,
    # wherever these are in the alphabet.
    assert 0 <= model.evaluate(OLD).loss - learned.evaluate(OLD).loss < 0.02
    assert model.next_probabilities("the ")[model.vocabulary.encode("CM;")].max() < 0.01


def test_it_learns_the_new_text(learned, tmp_path):
    model = learned.extend(NEW)
    settings = {"maxlen": 20, "batch_size": 8, "workers": 1, "verbose": False,
                "learning_rate": 0.01}  # fmt: skip
    history = model.fit(NEW, epochs=6, **settings)
    assert history.val_loss[-1] < history.baselines["unigram"] - 0.3
    assert set(model.generate("THE", 300, temperature=0.5, seed=1)) & set("CMO")


def test_nothing_new_is_a_copy(learned):
    model = learned.extend("the cat")
    assert model.vocabulary == learned.vocabulary
    assert model.parameters.flat.tobytes() == learned.parameters.flat.tobytes()
    model.parameters.flat[:] = 0
    assert learned.parameters.flat.any()


def test_documents_and_tokens():
    model = Model(Vocabulary.from_text("anna ben"), hidden_size=4).extend(["anna", "carl"])
    assert model.vocabulary == Vocabulary.from_documents(["anna ben", "carl"])
    model.fit(["anna", "carl"] * 4, epochs=1, verbose=False, workers=1)
    words = Model(Vocabulary.from_text(["to", "be"]), hidden_size=4, dtype="float64")
    more = words.extend(["or", "not", "to", "be"])
    assert more.vocabulary.symbols == ("be", "not", "or", "to")
    assert more.parameters.flat.dtype == np.float64


def test_rare_new_symbols_become_one_unknown_symbol():
    model = Model(Vocabulary("abc"), hidden_size=4)
    more = model.extend("dddd" + "axyz", min_count=2)
    assert more.vocabulary == Vocabulary("abcd\ufffd", unknown_symbol="\ufffd")
    np.testing.assert_array_equal(more.parameters["lstm0.Wx"][:, :3], model.parameters["lstm0.Wx"])
    assert more.vocabulary.decode(more.vocabulary.encode("adz")) == "ad\ufffd"
    # Old symbols stay in the vocabulary even if they are rare in the new text.
    assert model.extend("add", min_count=2).vocabulary == Vocabulary("abcd")
    names = model.extend(["dad", "ax"], min_count=2).vocabulary
    assert names == Vocabulary("abcd\x03\ufffd", unknown_symbol="\ufffd", documents=True)
    # A vocabulary with an unknown symbol keeps it.
    own = Model(Vocabulary("ab?", unknown_symbol="?"), hidden_size=2)
    assert own.extend("ddx", min_count=2).vocabulary == Vocabulary("ab?d", unknown_symbol="?")


@pytest.mark.slow
def test_on_the_command_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    new = NEW[:800]
    (tmp_path / "new.txt").write_text(new)
    options = ("--maxlen", "20", "--epochs", "2", "--seed", "5")
    assert main(["train", "--from", "nietzsche", "new.txt", *options]) == 0
    added = len(set(new) - set(npchar.Model.pretrained().vocabulary))
    assert f"fine-tuning nietzsche: {added} new characters" in capsys.readouterr().err
    made = Model.load(tmp_path / "new.npz")
    model = npchar.Model.pretrained().extend(new)
    rate = default_learning_rate("rmsprop", model.network.config) / 4
    model.fit(new, epochs=2, maxlen=20, seed=5, learning_rate=rate, verbose=False)
    assert made.parameters.flat.tobytes() == model.parameters.flat.tobytes()
