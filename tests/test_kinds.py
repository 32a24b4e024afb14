"""Models of every kind of layer support the same methods of `Model` as LSTMs."""

import math

import numpy as np
import pytest
from conftest import randomised

from npchar import Model, Vocabulary
from npchar.analysis.colouring import as_ansi
from npchar.cli import main
from npchar.network.network import Network, NetworkConfig
from npchar.network.registry import FAST

TEXT = "the cat sat on the mat, and the rat sat on the cat. " * 20
SETTINGS = {"epochs": 3, "maxlen": 12, "batch_size": 8, "learning_rate": 0.02, "verbose": False}
OTHERS = sorted(FAST.keys() - {"lstm"})  # all other tests use LSTMs


@pytest.fixture(params=OTHERS)
def kind(request):
    return request.param


def make(kind, **changes):
    sizes = {"hidden_size": 10, "num_layers": 2, "dropout": 0.2, "seed": 1} | changes
    return Model(Vocabulary.from_text(TEXT), layer=kind, **sizes)


def test_it_learns_and_writes(kind, tmp_path):
    model = make(kind, hidden_size=24, dropout=0.0)
    history = model.fit(TEXT, **SETTINGS | {"epochs": 12}, workers=1)
    assert history.val_loss[-1] < 0.3 * math.log(len(model.vocabulary))
    assert "sat on the " in model.generate("the rat ", 100, temperature=0.2, seed=1)
    loss = model.evaluate(TEXT).loss
    assert model.score(TEXT).loss == pytest.approx(loss, abs=1e-6)
    model.save(tmp_path / "model.npz")
    again = Model.load(tmp_path / "model.npz")
    assert again.network.config == model.network.config
    assert again.parameters.flat.tobytes() == model.parameters.flat.tobytes()
    assert repr(again) == repr(model)
    assert f"layer={kind!r}" in repr(model)
    assert again.evaluate(TEXT).loss == loss


@pytest.mark.parametrize("kind", sorted(FAST))
def test_prompts_side_by_side_are_each_alone(kind):
    """Prompts of different lengths give states of different ages."""
    model = make(kind, dropout=0.0)
    randomised(model.network)
    prompts = ["t", "the cat sat on the mat, and ", "the rat"]
    together = model.generate(prompts, 60, temperature=0.9, seed=3)
    alone = [model.generate(p, 60, temperature=0.9, seed=3 + k) for k, p in enumerate(prompts)]
    assert together == alone
    stream = model.stream(prompts[1], temperature=0.9, seed=4)
    assert "".join(next(stream) for _ in range(60)) == alone[1]
    written = model.generate(prompts[2], 30, temperature=0)  # depends on the logits only
    for k in range(30):
        p = model.next_probabilities(prompts[2] + written[:k])
        assert model.vocabulary.symbols[p.argmax()] == written[k]


def test_analysis_is_of_any(kind):
    model = make(kind, dropout=0.0, dtype="float64")
    text = TEXT[:30]
    seen = model.activations(text)
    assert list(seen.values) == {"gru": list("rznh"), "rnn": ["h"], "conv": list("vgh")}[kind]
    assert seen.h.shape == (30, 2, 10)
    outputs, _ = model.network.forward(model.vocabulary.encode(text).astype(int)[:, None])
    np.testing.assert_allclose(seen.h[:, 1], outputs[:, 0], atol=1e-12)
    assert seen.find(seen.unit(3, layer=1), 1)[0][:2] == (1, 3)
    values = seen.unit(3, layer=1)  # h; unbounded in a convolution, so the shades use tanh
    shades = np.tanh(values) if kind == "conv" else values
    assert seen.ansi(3, layer=1) == as_ansi(text, shades)
    with pytest.raises(ValueError, match="of is 'c'; expected one of"):
        seen.unit(0, of="c")
    assert model.saliency(text).shape == (29,)
    assert f"{kind}1" in model._repr_html_()


def test_a_convolution_sees_its_receptive_field(capsys):
    model = make("conv", num_layers=3, dtype="float64", dropout=0.0)
    assert model.network.receptive_field == 8
    ids = np.random.default_rng(0).integers(0, len(model.vocabulary), (20, 1))
    logits, _ = model.network.logits(ids)
    for k in range(20):
        changed = ids.copy()
        changed[k] = (ids[k] + 1) % len(model.vocabulary)
        differs = np.flatnonzero((model.network.logits(changed)[0] != logits).any(axis=(1, 2)))
        np.testing.assert_array_equal(differs, np.arange(k, min(20, k + 8)))
    model.summary()
    assert "receptive field: 8 characters" in capsys.readouterr().out
    assert make("gru").network.receptive_field is None
    assert Model(model.vocabulary, layer="conv").network.receptive_field == 64
    deep = Network(NetworkConfig(5, 2, 23, 0.0, "conv"))
    assert max(layer.reach for layer in deep.layers) == 512
    assert np.isfinite(deep.logits(np.zeros((700, 1), int))[0]).all()


def test_the_command_and_the_file(kind, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cats.txt").write_text(TEXT)
    options = ("--layer", kind, "--hidden-size", "9", "--epochs", "2", "--maxlen", "20")
    assert main(["train", "cats.txt", *options]) == 0
    out, err = capsys.readouterr()
    assert f"layer={kind!r}" in err
    assert main(["info", "--model", "cats.npz"]) == 0
    assert f"{kind}0" in capsys.readouterr().out
