"""Progress output, some of it with a simulated clock."""

import io
import math
import re
from contextlib import redirect_stdout
from datetime import timedelta

import numpy as np
import pytest

import npchar
from npchar.network.network import Network
from npchar.training import trainer

LIVE = re.compile(r"epoch +(\d+)/(\d+)  loss [\d.]+  ([\d,]+) characters/s  ([\d:]+) left")


class Terminal(io.StringIO):
    """A terminal whose lines may overwrite each other."""

    def isatty(self):
        return True

    @property
    def shown(self):
        return re.split(r"[\r\n]+", self.getvalue())


class Clock:
    """A clock that advances only when it is moved."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def moved(monkeypatch):
    clock = Clock()
    monkeypatch.setattr("time.perf_counter", clock)
    return clock


def seconds(text):
    total = 0
    for part in text.split(":"):
        total = 60 * total + int(part)
    return total


def test_rate_and_time_left_are_true_in_every_epoch(moved, text, monkeypatch):
    """In a real training whose steps take 0.1 s each and whose validation takes 3 s."""
    model = npchar.Model(npchar.Vocabulary.from_text(text), hidden_size=4)
    epochs, maxlen, batch_size = 6, 20, 4
    gradients, validation_loss = Network.gradients, trainer.validation_loss

    def slow_gradients(*arguments, **named):
        moved.now += 0.1
        return gradients(*arguments, **named)

    def slow_validation(*arguments):
        moved.now += 3
        return validation_loss(*arguments)

    monkeypatch.setattr(Network, "gradients", slow_gradients)
    monkeypatch.setattr(trainer, "validation_loss", slow_validation)
    begun = moved.now
    with redirect_stdout(Terminal()) as terminal:
        history = model.fit(text, epochs=epochs, maxlen=maxlen, batch_size=batch_size, workers=1)
    took = moved.now - begun

    rate = maxlen * batch_size / 0.1  # characters per second
    live = [LIVE.fullmatch(line.rstrip()) for line in terminal.shown]
    live = [found for found in live if found]
    seen = {int(found[1]) for found in live}
    assert seen == set(range(1, epochs + 1))
    for found in live:
        assert int(found[3].replace(",", "")) == pytest.approx(rate, rel=0.2), found[0]
        assert seconds(found[4]) <= took
    last = [found for found in live if found[1] == str(epochs)]
    assert seconds(last[-1][4]) <= 1
    # The final line of an epoch includes the validation.
    for epoch, line in enumerate(line for line in terminal.shown if "val_loss" in line):
        assert f"loss {history.loss[epoch]:.4f}  val_loss {history.val_loss[epoch]:.4f}" in line
        train = len(text) - len(text) // 10
        assert f"{train / history.seconds[epoch]:,.0f} characters/s" in line
        left = history.seconds[epoch] * (epochs - epoch - 1)
        assert line.rstrip().endswith(f"{timedelta(seconds=round(left))} left")


def test_an_epoch_is_compared_with_the_best_baseline(capsys):
    """For random letters, long n-grams are worse than short ones."""
    text = "".join(np.random.default_rng(0).choice(list("abcd"), 2000))
    model = npchar.Model(npchar.Vocabulary("abcd"), hidden_size=2)
    history = model.fit(text, epochs=1, workers=1)
    name, best = min(history.baselines.items(), key=lambda baseline: baseline[1])
    assert name != "5-gram"
    assert f"({name} {best / math.log(2):.2f})" in capsys.readouterr().out


def test_a_training_goes_on_where_its_findings_cannot_be_encoded(text):
    """The findings name a rare character and contain ×, which ASCII lacks."""
    text = text * 7 + "中"
    model = npchar.Model(npchar.Vocabulary.from_text(text), hidden_size=4)
    with redirect_stdout(io.TextIOWrapper(io.BytesIO(), "ascii", "strict")) as shown:
        history = model.fit(text, epochs=1, workers=1)
        print(history, model.history)
        model.summary()
        shown.flush()
        lines = shown.buffer.getvalue().decode("ascii").splitlines()
    assert len(history.loss) == 1
    assert any("'?' U+4E2D" in line for line in lines)
    assert any(line.startswith("epoch 1/1") for line in lines)


class Broken(io.TextIOBase):
    """A pipe whose reader has ended, or a full disk."""

    def write(self, _):
        raise BrokenPipeError


def closed():
    stream = io.StringIO()
    stream.close()
    return stream


@pytest.mark.parametrize("make", [Broken, closed, lambda: None])
def test_a_training_goes_on_where_nothing_can_be_printed(text, model, make):
    with redirect_stdout(make()):
        history = model.fit(text, epochs=2, maxlen=20, workers=1)
    assert len(history.loss) == 2
