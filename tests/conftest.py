"""What several test files need."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

import npchar

# The same examples every time, and no example fails for being slow on a busy machine.
settings.register_profile("npchar", derandomize=True, deadline=None)
settings.load_profile("npchar")

CORPUS = Path(__file__).parents[2] / "shared" / "data" / "nietzsche.txt"


@pytest.fixture(scope="session")
def corpus_path():
    """The real corpus, where it lies beside the project."""
    if not CORPUS.exists():
        pytest.skip("the real corpus is not beside this checkout (../shared/data)")
    return CORPUS


@pytest.fixture(scope="session")
def corpus(corpus_path):
    """Its text, lower-cased as in the book."""
    return npchar.load_corpus(corpus_path).lower()


@pytest.fixture
def text():
    """A short text with a pattern that a small model learns in a moment."""
    return "the cat sat on the mat, and the rat sat on the cat. " * 60


@pytest.fixture
def model(text):
    """A small untrained model of that text."""
    return npchar.Model(npchar.Vocabulary.from_text(text), hidden_size=12, seed=1)


def randomised(network, seed=0, scale=0.5):
    """The same network with distinct random weights: no symmetry hides a swapped gate."""
    flat = network.parameters.flat
    flat[:] = np.random.default_rng(seed).normal(0, scale, flat.shape)
    return network
