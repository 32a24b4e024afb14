"""Defaults that depend on the text and the model."""

import pytest

from npchar.network.network import NetworkConfig
from npchar.training import config


def epochs(n, **changes):
    return config.default_epochs(n, NetworkConfig(57, 128, 1, 0.0)._replace(**changes))


def test_a_short_text_is_passed_over_more_often_but_in_fewer_steps():
    lengths = [1, 3_000, 10_000, 100_000, 600_893, 1_115_394, 10**7, 10**9]
    passes = [epochs(n) for n in lengths]
    assert passes == sorted(passes, reverse=True)
    assert passes[0] == 40
    assert passes[-1] == 2
    assert epochs(1_115_394, dropout=0.2) == 4
    symbols = [n * e for n, e in zip(lengths, passes)]
    assert symbols == sorted(symbols)


def test_the_numbers_of_the_docstring():
    assert (epochs(600_893), epochs(600_893, dropout=0.2)) == (3, 5)
    assert (epochs(10_000), epochs(10_000, recurrent_dropout=0.2)) == (11, 18)


@pytest.mark.parametrize("layer", ["lstm", "gru", "rnn", "conv"])
def test_a_long_text_gets_a_larger_model(layer):
    small, large = (
        config.default_model_arguments(50_000, layer),
        config.default_model_arguments(10**6, layer),
    )
    assert small == {"hidden_size": 128, "dropout": 0.3}
    assert large == {"hidden_size": 256 if layer in ("lstm", "gru") else 128, "dropout": 0.2}


def test_a_short_text_has_several_steps_an_epoch():
    assert [config.default_batch_size(n, 60) for n in (1, 3_000, 10_000, 100_000)] == [4, 4, 8, 32]
