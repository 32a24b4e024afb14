"""The examples in single files, compared with the library's plain layers."""

import runpy
from pathlib import Path

import numpy as np
import pytest

from npchar.layers.layer import HiddenState
from npchar.network.network import Network, NetworkConfig

EXAMPLES = Path(__file__).parents[1] / "examples"
PLAIN = runpy.run_path(str(EXAMPLES / "minimal-rnn.py"))


@pytest.fixture(scope="module")
def minimal():
    return runpy.run_path(str(EXAMPLES / "minimal.py"))


def test_its_loss_and_gradient_are_the_plain_layers(minimal):
    V, H = 9, minimal["H"]
    network = Network(NetworkConfig(V, H, 1, 0.0), dtype="float64").plain()
    network.initialise(1)
    names = {"Wx": "lstm0.Wx", "Wh": "lstm0.Wh", "b": "lstm0.b", "W": "dense.W", "d": "dense.b"}
    p = {name: network.parameters[own] for name, own in names.items()}
    ids, targets = np.random.default_rng(2).integers(0, V, (2, 7, 3))
    loss, gradient = minimal["loss_and_gradient"](p, ids, targets)
    expected = network.gradients(ids, targets)
    assert loss == pytest.approx(float(expected.loss), rel=1e-12)
    for name, own in names.items():
        np.testing.assert_allclose(gradient[name], expected.parameters[own], rtol=0, atol=1e-13)


def test_it_learns_and_writes(minimal, monkeypatch, capsys, tmp_path):
    text = "the cat sat on the mat, and the rat sat on the cat.\n" * 60
    (tmp_path / "text").write_text(text)
    main = minimal["main"]
    monkeypatch.setattr("sys.argv", ["minimal.py", str(tmp_path / "text")])
    for name, value in {"STEPS": 200, "H": 48, "B": 8, "T": 25}.items():
        monkeypatch.setitem(main.__globals__, name, value)
    main()
    out = capsys.readouterr().out
    assert "3,120 characters, 15 different" in out
    written = out.split("per character\n")[1]
    known = set(text.split())
    words = written.split()[1:-1]  # the first and last words may be cut
    assert sum(word in known for word in words) > 0.8 * len(words)


def test_the_gradient_of_the_plain_rnn_is_the_plain_layers():
    V, H = 9, PLAIN["H"]
    network = Network(NetworkConfig(V, H, 1, 0.0, "rnn"), dtype="float64").plain()
    network.initialise(1)
    names = {"Wx": "rnn0.Wx", "Wh": "rnn0.Wh", "b": "rnn0.b", "Wy": "dense.W", "by": "dense.b"}
    p = {name: network.parameters[own] for name, own in names.items()}
    rng = np.random.default_rng(2)
    (ids, targets), h = rng.integers(0, V, (2, 7)), rng.normal(size=H)
    loss, gradient, last = PLAIN["loss_and_gradient"](p, ids, targets, h)
    expected = network.gradients(ids[:, None], targets[:, None], [HiddenState(h[None])])
    assert loss == pytest.approx(float(expected.loss), rel=1e-12)
    for name, own in names.items():
        np.testing.assert_allclose(gradient[name], expected.parameters[own], rtol=0, atol=1e-13)
    assert PLAIN["check"](p, ids, targets, h, rng) < 1e-12


def test_the_plain_rnn_learns_its_sentence(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["minimal-rnn.py"])
    monkeypatch.setitem(PLAIN["main"].__globals__, "STEPS", 400)
    PLAIN["main"]()
    losses = [float(line.split()[3][:-1]) for line in capsys.readouterr().out.splitlines()[1:]]
    assert losses[0] > 2.5 > 0.5 > losses[-1]
