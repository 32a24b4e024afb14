"""The configuration of a run: the arguments of `Model.fit` with all defaults resolved.

Defaults depend on the text length and the model size. They were found by
``benchmarks/recipes.py`` on two corpora and on short parts of them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from npchar.arguments import require_number, require_positive, require_seed
from npchar.files import Table
from npchar.network.network import NetworkConfig
from npchar.training.optimizers import OPTIMIZERS, Optimizer
from npchar.training.schedule import FUNCTION, Schedule

RATES = {  # up to 128 units
    "rmsprop": {"lstm": 0.04, "gru": 0.03, "rnn": 0.01, "conv": 0.02},
    "muon": {"lstm": 0.06, "gru": 0.05, "rnn": 0.03, "conv": 0.02},
    "adam": {"lstm": 0.04, "gru": 0.04, "rnn": 0.04, "conv": 0.04},
    "sgd": {"lstm": 1.0, "gru": 1.0, "rnn": 1.0, "conv": 1.0},
}
INPUT_SCALES = {"lstm": 3.0, "gru": 2.0, "rnn": 8.0, "conv": 1.0}  # for RMSprop
LONG = 300_000  # characters, from which a larger model is better
USUAL = 540_000  # characters, on which the rates were compared


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """How to train. `Model.fit` describes the arguments of the same names.

    Raises
    ------
    ValueError
        If a value is out of its range.
    """

    epochs: int
    maxlen: int
    step: int
    targets: str
    batch_size: int
    optimizer: str  # the lower-case name of its class
    optimizer_arguments: dict[str, float]  # except the learning rate
    learning_rate: float
    schedule: str
    warm_up: float
    clip_norm: float | None
    validation_split: float
    patience: int | None
    restore_best: bool
    seed: int

    def __post_init__(self) -> None:
        if self.targets not in ("all", "last"):
            raise ValueError(f"targets is {self.targets!r}; expected 'all' or 'last'")
        require_positive(epochs=self.epochs, maxlen=self.maxlen, step=self.step,
                         batch_size=self.batch_size)  # fmt: skip
        if self.patience is not None:
            require_positive(patience=self.patience)
        require_seed(self.seed)
        require_number("learning_rate", self.learning_rate)
        if self.clip_norm not in (None, math.inf):
            require_number("clip_norm", self.clip_norm)
        require_number("validation_split", self.validation_split, zero=True, below=1)


def resolve_config(
    arguments: Mapping[str, Any], n: int, network_config: NetworkConfig, saved: Table | None = None
) -> TrainingConfig:
    """Replace each argument that is None by its default.

    Parameters
    ----------
    arguments
        The arguments of `Model.fit` that have a field in `TrainingConfig`. `optimizer` and
        `schedule` may be names or instances, `schedule` also a function.
    n
        The length of the text.
    network_config
        The configuration of the network.
    saved
        The configuration of the run to resume, which replaces the defaults.

    Raises
    ------
    ValueError
        If a value is out of its range, or two arguments cannot be combined.
    """
    require_positive(maxlen=arguments["maxlen"])
    saved, values = saved or {}, dict(arguments)
    last = arguments["targets"] == "last"
    optimizer, schedule = arguments["optimizer"], arguments["schedule"]
    defaults: Table = {
        "epochs": 20 if last else default_epochs(n, network_config),
        "batch_size": 32 if last else default_batch_size(n, arguments["maxlen"]),
        "step": 3 if last else arguments["maxlen"],
        "warm_up": 0.0 if last else 0.05,
        "seed": int(np.random.default_rng().integers(1 << 31)),
    }
    if isinstance(optimizer, Optimizer):
        if arguments["learning_rate"] is not None:
            raise ValueError(
                f"learning_rate is {arguments['learning_rate']!r}; expected None, because the "
                f"optimizer has its own rate: optimizer={optimizer!r}"
            )
        values["optimizer"] = type(optimizer).__name__.lower()
        values["learning_rate"] = optimizer.learning_rate
        values["optimizer_arguments"] = optimizer.arguments
    elif optimizer in tuple(OPTIMIZERS):
        defaults["optimizer_arguments"] = OPTIMIZERS[optimizer]().arguments
        defaults["learning_rate"] = (
            0.01 if last else default_learning_rate(optimizer, network_config)
        )
        if optimizer == "rmsprop" and not last:
            defaults["optimizer_arguments"] |= {
                "epsilon": 1e-12,  # gradients of 1e-4 are usual
                "input_scale": INPUT_SCALES[network_config.layer],
            }
    else:
        raise ValueError(
            f"optimizer is {optimizer!r}; expected one of {', '.join(OPTIMIZERS)}, or an instance "
            "such as npchar.Adam(learning_rate=0.01)"
        )
    if callable(schedule):
        values |= {"schedule": FUNCTION, "warm_up": 0.0}
    elif saved.get("schedule") == FUNCTION:
        raise ValueError(
            "expected a function as schedule, as in the interrupted run; checkpoints do not "
            "store functions, so pass the same one again"
        )
    else:
        schedule = schedule if isinstance(schedule, Schedule) else Schedule(schedule)
        values |= {"schedule": schedule.decay, "warm_up": schedule.warm_up}
    for name, value in defaults.items():
        if values.get(name) is None:
            values[name] = saved.get(name, value)
    # Files have Python's numbers only.
    numbers = {name: v.item() for name, v in values.items() if isinstance(v, np.generic)}
    return TrainingConfig(**values | numbers)


def resolve_optimizer(optimizer: str | Optimizer, config: TrainingConfig) -> Optimizer:
    """The optimizer of a run: the given instance, or a new optimizer for a name."""
    if isinstance(optimizer, Optimizer):
        return optimizer
    return OPTIMIZERS[optimizer](learning_rate=config.learning_rate, **config.optimizer_arguments)


def default_model_arguments(n: int, layer: str = "lstm") -> Table:
    """The arguments of `Model` for a text of n symbols: a larger model for a longer text.

    Dropout prevents a model from memorizing a short text.
    """
    hidden_size = 256 if n >= LONG and layer in ("lstm", "gru") else 128
    return {"hidden_size": hidden_size, "dropout": 0.2 if n >= LONG else 0.3}


def default_epochs(n: int, network_config: NetworkConfig) -> int:
    """The number of passes over a text of n symbols: more for a shorter text.

    With dropout, the number is larger, because the model learns more slowly and overfits later.
    """
    passes: float = 3 * (USUAL / max(n, 1)) ** (1 / 3 if n < USUAL else 1 / 6)
    if network_config.dropout or network_config.recurrent_dropout:
        passes *= 1.6
    return round(min(40, max(2, passes)))


def default_batch_size(n: int, maxlen: int) -> int:
    """Windows in a step: fewer for a short text, so that an epoch has twenty steps."""
    return min(32, max(4, n // max(1, maxlen) // 20))


def default_learning_rate(optimizer: str, network_config: NetworkConfig) -> float:
    """The initial rate: lower for more units, because a step changes more weights."""
    rate = RATES[optimizer][network_config.layer]
    share: float = min(1.0, 128 / network_config.hidden_size) ** 0.75
    return rate * share
