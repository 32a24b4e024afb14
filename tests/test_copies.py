"""Copied and pickled models, layers and optimizers behave like the originals."""

import copy
import pickle
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
import pytest

import npchar
from npchar import Model, Vocabulary

COPIES = {"deepcopy": copy.deepcopy, "pickle": lambda one: pickle.loads(pickle.dumps(one))}
TEXT = "the cat sat on the mat. " * 15


def trained(layer="lstm", num_layers=1):
    model = Model(
        Vocabulary.from_text(TEXT), layer=layer, hidden_size=8, num_layers=num_layers, seed=3
    )
    model.fit(TEXT, epochs=1, maxlen=20, workers=1, verbose=False)
    return model


@pytest.mark.parametrize("how", COPIES)
@pytest.mark.parametrize(
    ("layer", "num_layers"), [("lstm", 2), ("gru", 1), ("rnn", 1), ("conv", 3)]
)
def test_a_copied_model_trains_as_the_original_does(how, layer, num_layers):
    model = trained(layer, num_layers)
    other = COPIES[how](model)
    assert not np.shares_memory(other.parameters.flat, model.parameters.flat)
    before = model.evaluate(TEXT).loss
    assert other.evaluate(TEXT).loss == before
    histories = [
        one.fit(TEXT, epochs=2, maxlen=20, seed=5, workers=1, verbose=False)
        for one in (model, other)
    ]
    assert histories[0].val_loss == histories[1].val_loss
    np.testing.assert_array_equal(other.parameters.flat, model.parameters.flat)
    assert other.evaluate(TEXT).loss == model.evaluate(TEXT).loss < before
    assert other.generate("the ", 30, seed=1) == model.generate("the ", 30, seed=1)


def test_a_copied_model_trains_with_two_workers():
    other = copy.deepcopy(trained())
    before = other.evaluate(TEXT).loss
    other.fit(TEXT, epochs=2, maxlen=20, batch_size=16, workers=2, verbose=False)
    assert other.evaluate(TEXT).loss < before


def test_a_model_from_a_process_pool_trains():
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        model = pool.submit(trained).result(timeout=60)
    before = model.evaluate(TEXT).loss
    model.fit(TEXT, epochs=2, maxlen=20, workers=1, verbose=False)
    assert model.evaluate(TEXT).loss < before


@pytest.mark.parametrize("how", COPIES)
def test_views_of_copied_parameters_share_its_vector(how):
    parameters = npchar.Parameters({"W": (2, 3), "b": (3,)}, "float64")
    parameters.flat[...] = np.arange(9)
    other = COPIES[how](parameters)
    assert list(other) == ["W", "b"]
    np.testing.assert_array_equal(other["b"], [6, 7, 8])
    other.flat[...] = 1
    assert other["W"].sum() == 6
    other["b"][:] = 2
    assert other.flat[-1] == 2
    assert parameters.flat[-1] == 8


class Stack:
    """A custom network of layers on one vector, as in examples/own-network.py."""

    def __init__(self):
        self.parameters = npchar.Parameters.of(
            layer=npchar.FastGRU.shapes(3, 4), dense=npchar.Dense.shapes(4, 2)
        )
        self.layer = npchar.FastGRU(**self.parameters.part("layer"))
        self.dense = npchar.Dense(**self.parameters.part("dense"))


@pytest.mark.parametrize("how", COPIES)
def test_layers_copied_with_their_vector_stay_on_it(how):
    stack = COPIES[how](Stack())
    stack.parameters.flat[...] = 7
    for arrays in (stack.layer.arrays, {"W": stack.dense.W, "b": stack.dense.b}):
        assert all((array == 7).all() for array in arrays.values())


@pytest.mark.parametrize("how", COPIES)
def test_a_copied_layer_is_a_layer_of_its_own(how):
    layer = npchar.Conv.create(3, 3, seed=1)
    layer.depth = 2
    other = COPIES[how](layer)
    assert other.depth == 2
    ids = np.array([[0], [2], [1], [1], [0], [2]])
    np.testing.assert_array_equal(other.forward(ids).outputs, layer.forward(ids).outputs)
    other.W[...] = 0
    assert layer.W.any()


@pytest.mark.parametrize("how", COPIES)
@pytest.mark.parametrize("kind", [npchar.RMSprop, npchar.Muon, npchar.Adam, npchar.SGD])
def test_a_copied_optimizer_continues_as_the_original_does(how, kind):
    rng = np.random.default_rng(0)
    optimizer, weights = kind(), rng.normal(size=5)
    optimizer.shapes = {"rnn.Wh": (2, 2), "rnn.b": (1,)}
    for _ in range(3):
        optimizer.update(weights, rng.normal(size=5), 0.1)
    other, others = COPIES[how](optimizer), weights.copy()
    for _ in range(3):
        gradient = rng.normal(size=5)
        optimizer.update(weights, gradient, 0.1)
        other.update(others, gradient, 0.1)
        np.testing.assert_array_equal(others, weights)
    np.testing.assert_array_equal(other.state, optimizer.state)
