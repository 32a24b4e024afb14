"""What suits a text and a network: the arguments of `Model.fit` that are not given.

Found by ``benchmarks/recipes.py``, on two corpora and on short pieces of them; ``Model.fit``
fills them in here and makes ``training/settings.py`` check them all.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from npchar.layers.network import Sizes
from npchar.training.settings import Settings

RATES = {"lstm": 0.05, "gru": 0.01, "rnn": 0.005, "conv": 0.02}  # RMSprop's, up to 128 units
OTHER_RATES = {"adam": 0.04, "sgd": 1.0}
LONG = 300_000  # characters, from which a larger model pays
USUAL = 540_000  # characters, on which the rates were compared
LAST = {"epochs": 20, "learning_rate": 0.01, "warm_up": 0.0, "step": 3, "epsilon": 1e-7}


def suited(
    given: dict[str, Any], n: int, sizes: Sizes, before: dict[str, Any] | None = None
) -> Settings:
    """The settings of a training; for what is None in `given`, those that suit.

    Parameters
    ----------
    given
        The arguments of `Model.fit` that `Settings` has.
    n
        The text's length.
    sizes
        The network's.
    before
        The settings of the training that is to go on; what is not given is as it was.
    """
    if before is None:
        before = LAST | {"batch_size": 32} if given["targets"] == "last" else {}
    filled = {
        "epochs": epochs(n, sizes),
        "batch_size": batch_size(n, given["maxlen"]),
        "learning_rate": learning_rate(given["optimizer"], sizes),
        "warm_up": 0.1,
        "step": given["maxlen"],
        "epsilon": 1e-12,
        "seed": int(np.random.default_rng().integers(1 << 31)),
    }
    if given["optimizer"] != "rmsprop":
        filled["epsilon"] = 1e-8
    for name, value in filled.items():
        if given[name] is None:
            given = given | {name: before.get(name, value)}
    return Settings(**given)


def model_for(n: int, layer: str = "lstm") -> dict[str, Any]:
    """The arguments of `Model` for a text of n symbols: a larger model for a longer text.

    Short texts are learned by heart: dropout holds that off.
    """
    hidden_size = 256 if n >= LONG and layer in ("lstm", "gru") else 128
    return {"hidden_size": hidden_size, "dropout": 0.2 if n >= LONG else 0.3}


def epochs(n: int, sizes: Sizes) -> int:
    """Passes over a text of n symbols: more over a short one, though fewer symbols in all.

    And more with dropout, which learns more slowly, and overfits later.
    """
    passes: float = 5 * (USUAL / max(n, 1)) ** (1 / 3 if n < USUAL else 1 / 6)
    if sizes.dropout or sizes.recurrent_dropout:
        passes *= 1.6
    return round(min(40, max(2, passes)))


def batch_size(n: int, maxlen: int) -> int:
    """Windows in a step: fewer for a short text, so that an epoch has ten steps."""
    return min(32, max(4, n // max(1, maxlen) // 10))


def learning_rate(optimizer: str, sizes: Sizes) -> float:
    """The rate at the beginning. The more units, the more weights a step of each adds up."""
    rate = OTHER_RATES.get(optimizer, RATES[sizes.layer])
    share: float = min(1.0, 128 / sizes.hidden_size) ** 0.75
    return rate * share
