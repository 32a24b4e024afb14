"""Chooses the number of epochs for a given time, for ``fit(minutes=...)``.

``training/fit.py`` calls `fill_time` before the first step of a new run. The command line also
chooses the model, by `model_for_time`. The constants were chosen by trials on three texts, which
``benchmarks/minutes.py`` compares.
"""

from __future__ import annotations

import copy
import itertools
import math
import time
from dataclasses import replace

import numpy as np

from npchar.arguments import require_number
from npchar.files import Table
from npchar.network.network import NetworkConfig
from npchar.text.batches import shuffled
from npchar.text.documents import Ids
from npchar.training.config import TrainingConfig, default_epochs
from npchar.training.distributed import Batch
from npchar.training.interrupts import Interrupts
from npchar.training.step import TrainingStep
from npchar.training.trainer import TrainingData, make_batches, validation_loss

MEASURED_SHARE = 0.04  # of the time, for steps that are measured and undone
WARM_UP, FEWEST, MOST = 3, 11, 300  # steps that are not counted, and the limits of all steps
VALIDATED = 64_000  # symbols at most whose validation is measured
SIZES = 64, 96, 128, 192, 256, 384, 512
USEFUL = 3  # times the default number of epochs
USUAL = 2e6  # characters, a usual number that an LSTM of 128 units trains on in a minute
COST = 1.3  # exponent: the time of a character is proportional to hidden_size ** COST
DECAY = 0.43  # exponent: the part of the loss that training removes, by the time


def require_minutes(minutes: float | None, epochs: int | None) -> None:
    """Raise a ValueError unless `minutes` is None, or above 0 and without `epochs`."""
    if minutes is not None:
        require_number("minutes", minutes)
        if epochs is not None:
            raise ValueError("expected minutes or epochs, got both; leave one of them out")


def fill_time(
    step: TrainingStep, data: TrainingData, end: float, keeps_step: bool
) -> TrainingConfig:
    """Choose `epochs` and `step`, the distance between windows, so that training ends in time.

    Parameters
    ----------
    step
        The step to measure. Its weights and optimizer are the same afterwards.
    data
        The training and validation sets.
    end
        The time of `time.perf_counter` at which the run is to end.
    keeps_step
        Whether `step` must not change. Otherwise it grows until the epochs fill the time exactly,
        or until one epoch of a long text fits in the time. Windows start at other positions in
        each epoch, so that all parts of the text are used over several epochs.

    Returns
    -------
    TrainingConfig
        The configuration of `step` with the chosen `epochs` and `step`.
    """
    config, whole = step.config, data.validation
    count = make_batches(data.training, config).batch_count
    training, validation = seconds_per_step(step, data, end) * count, 0.0
    if len(whole.ids) > 1:
        part = whole if whole.ends is not None else Ids(whole.ids[:VALIDATED])
        start = time.perf_counter()
        with step.threads():
            validation_loss(step.network, part, config)
        validation = (time.perf_counter() - start) * len(whole.ids) / len(part.ids)
    seconds = max(0.0, end - time.perf_counter())
    useful = useful_epochs(len(data.training.ids), step.network.config)
    epochs = min(seconds / (training + validation), useful)
    if keeps_step:
        return replace(config, epochs=max(1, round(epochs)))
    rounded = max(1, math.ceil(epochs))
    share = max((seconds / rounded - validation) / training, 1 / count)  # of all windows
    longest = len(data.training.ids) - config.maxlen
    return replace(config, epochs=rounded, step=min(round(config.step / min(1.0, share)), longest))


def useful_epochs(n: int, network_config: NetworkConfig) -> float:
    """The epochs of a text of n symbols after which a model without recurrent dropout overfits."""
    if network_config.recurrent_dropout:
        return math.inf
    return USEFUL * default_epochs(n, network_config)


def seconds_per_step(step: TrainingStep, data: TrainingData, end: float) -> float:
    """The typical time of training steps on real batches. The steps are undone."""
    batches, rng = make_batches(data.training, step.config), np.random.default_rng(0)
    weights, optimizer = step.network.parameters.flat, step.optimizer
    saved, step.optimizer = weights.copy(), copy.deepcopy(optimizer)
    interrupts, times = Interrupts(terminate=False), [time.perf_counter()]
    stop = times[0] + MEASURED_SHARE * (end - times[0])
    try:
        with step.threads(), interrupts, interrupts.uninterrupted():
            for ids in itertools.cycle(batches.batches(shuffled(len(batches), rng))):
                step(Batch(ids, 0), step.config.learning_rate)
                times.append(time.perf_counter())
                is_enough = len(times) > FEWEST and (times[-1] > stop or len(times) > MOST)
                if is_enough or interrupts.delayed is not None:
                    break
    finally:
        weights[...], step.optimizer, step.count = saved, optimizer, 0
    # The mean of a part of them includes the time that other programs take. The median of all
    # parts does not include a single long pause.
    parts = np.array_split(np.diff(times)[WARM_UP:], FEWEST - WARM_UP)
    return float(np.median([part.mean() for part in parts]))


def describe_time(
    config: TrainingConfig, n: int, network_config: NetworkConfig, minutes: float
) -> str:
    """A sentence about the chosen epochs and the benefit of more time.

    It assumes that the loss above its limit falls with a power of the time.
    """
    if config.epochs >= useful_epochs(n, network_config):
        return (f"{config.epochs} epochs are enough: in more epochs, this model would overfit this "
                "text; use a recurrent_dropout of 0.3 to benefit from more time")  # fmt: skip
    share = min(1.0, config.maxlen / config.step)
    characters = config.epochs * share * n * (network_config.hidden_size / 128) ** COST
    above = 0.11 * (USUAL / characters) ** DECAY
    double, five = (above * (1 - factor**-DECAY) for factor in (2, 5))
    part = f" of {share:.0%} of the text" if share < 0.95 else ""
    ending, verb = ("", "takes") if config.epochs == 1 else ("s", "take")
    return (
        f"{config.epochs} epoch{ending}{part} {verb} about {minutes:.2g} minutes; twice the time "
        f"would lower the loss by roughly {double:.2f}, five times by {five:.2f}"
    )


def model_for_time(n: int, characters: float, hidden_size: int | None = None) -> Table:
    """The arguments of `Model` for a text of n symbols and the time of a run.

    A longer run gets a larger model, and more dropout if it reads the text more often.

    Parameters
    ----------
    n
        The length of the text.
    characters
        The number of characters that an LSTM of 128 units would train on in this time.
    hidden_size
        The hidden size, for which only dropout is chosen. Default: also chosen.
    """
    best = min(180 * (characters / USUAL) ** 0.35, 128 * (n / 20_000) ** 0.4)
    H = hidden_size or min(SIZES, key=lambda size: abs(math.log(size / best)))
    passes = characters / n * (128 / H) ** COST
    rates = (0.0, 0.0), (0.2, 0.0), (0.3, 0.1), (0.5, 0.3)
    dropout, recurrent_dropout = rates[np.searchsorted((2.5, 8, 30), passes)]
    return {"hidden_size": H, "dropout": dropout, "recurrent_dropout": recurrent_dropout}
