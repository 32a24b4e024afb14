"""The attention examples: gradients, weights, and short runs in child processes."""

import re

import attention
import numpy as np
import pytest
from causal_attention import CausalAttention
from children import run_python
from conftest import ROOT

import npchar


def test_the_gradient_of_the_rewriter_and_a_wrong_one(monkeypatch):
    assert attention.check() < 1e-13
    backward = attention.attend_backward
    wrong = lambda *arguments: [1.001 * gradient for gradient in backward(*arguments)]  # noqa: E731
    monkeypatch.setattr(attention, "attend_backward", wrong)
    assert attention.check() > 1e-6


def test_the_gradient_of_the_layer_and_a_wrong_one(monkeypatch):
    layer = CausalAttention.create(3, 4, dtype="float64")
    assert npchar.check_gradients(layer, verbose=False).passed
    monkeypatch.setattr("causal_attention.attend_backward", lambda q, k, v, a, dy: (q, k, dy))
    wrong = npchar.check_gradients(layer, verbose=False)
    assert {row.name for row in wrong.rows if not row.passed} == {"Wx", "P", "Wa", "x"}


def test_the_weights_sum_to_1_and_are_causal():
    rng = np.random.default_rng(0)
    q, k, v = rng.normal(size=(3, 5, 2, 4))  # (T, B, H)
    y, a = attention.attend(q, k, v, mask=np.tri(5, dtype=bool))
    np.testing.assert_allclose(a.sum(axis=2), 1)
    assert not np.triu(a, 1).any()
    np.testing.assert_allclose(y[0], v[0])  # the first position attends only to itself
    layer, ids = CausalAttention.create(6, 4), rng.integers(0, 6, (8, 2))
    other = np.concatenate([ids[:5], (ids[5:] + 1) % 6])
    h, changed = layer.forward(ids).outputs, layer.forward(other).outputs
    np.testing.assert_array_equal(h[:5], changed[:5])
    assert (h[5:] != changed[5:]).any(axis=2).all()


def test_attention_recalls_over_30_symbols():
    assert attention.recall(True, 30, seed=0, steps=250) > 0.9


@pytest.mark.slow
def test_short_runs_print_the_same_tables_twice(tmp_path):
    picture = tmp_path / "a.png"
    command = ROOT / "examples" / "attention.py", "--scale", 0.02, "--seeds", 1, "--figure", picture
    runs = [run_python(*command) for _ in range(2)]
    assert runs[0].returncode == 0, runs[0].stderr
    first, second = (re.sub(r"\d+$", "", run.stdout, flags=re.MULTILINE) for run in runs)
    assert first == second  # equal except for the seconds
    assert len(re.findall(r"^(last state|attention)  .* \d\.\d\d ", first, re.MULTILINE)) == 4
    assert picture.stat().st_size < 40_000
