"""The benchmark jobs of npchar. The jobs of other libraries are in ``peers.py``.

``run.py`` starts a process ``python contenders.py JOB ARGUMENTS`` for each contender. The process
prints a line of JSON when it is ready. For each line on standard input it works for one turn and
prints its measurement as JSON. It sleeps between turns, so that only one contender works at a time.

All contenders train the same model: one or more LSTM layers on one-hot characters, softmax
cross-entropy and RMSprop with a learning rate of 0.01.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import json
import sys
import time
from typing import Any

import numpy as np

V, T = 57, 60


def characters(symbols: int) -> str:
    """A string of distinct characters, one for each symbol."""
    first = 33 if symbols == V else 0x4E00
    return "".join(map(chr, range(first, first + symbols)))


def take_turns(work: Any) -> None:
    """Print "ready", then call `work` for each line on standard input."""
    print(json.dumps("ready"), flush=True)
    for _ in sys.stdin:
        print(json.dumps(work()), flush=True)


def random_ids(n: int, symbols: int = V) -> np.ndarray:
    """Random ids. The time of a step does not depend on them."""
    return np.random.default_rng(0).integers(0, symbols, n)


# Training steps: a turn measures the mean seconds of a step


def npchar_steps(
    B: int,
    targets: str,
    H: int,
    layers: int,
    turn: int,
    maxlen: int = T,
    layer: str = "lstm",
    symbols: int = V,
    workers: int | None = None,
) -> None:
    """``Model.fit``, one epoch per turn."""
    import npchar

    step = maxlen if targets == "all" else 3
    n = B * turn
    known = characters(symbols)
    text = "".join(known[i] for i in random_ids((n - 1) * step + maxlen + 1, symbols))
    vocabulary = npchar.Vocabulary(known)
    model = npchar.Model(vocabulary, layer=layer, hidden_size=H, num_layers=layers)

    def one_turn(history: npchar.History) -> bool:
        print(json.dumps(history.seconds[-1] / turn), flush=True)
        return not sys.stdin.readline()

    print(json.dumps("ready"), flush=True)
    if not sys.stdin.readline():
        return
    constant = npchar.Schedule("constant", 0) if hasattr(npchar, "Schedule") else "constant"
    settings = {
        "epochs": 1_000_000, "targets": targets, "step": step, "batch_size": B, "maxlen": maxlen,
        "learning_rate": 0.01, "schedule": constant, "warm_up": 0.0, "validation_split": 0.0,
        "callbacks": [one_turn], "verbose": False, "workers": workers,
    }  # fmt: skip
    taken = inspect.signature(npchar.Model.fit).parameters  # an earlier commit may have fewer
    model.fit(text, **{name: value for name, value in settings.items() if name in taken})


def floor_steps(B: int, targets: str, H: int, layers: int, turn: int, symbols: int = V) -> None:
    """The matrix products of a step without the other operations, as a lower bound.

    This process computes half of the batch with one BLAS thread. Two such processes compute the
    whole batch in the same time. Recurrent products are one call of BLAS per time step; all other
    products are one call per batch.
    """
    b = B // 2
    rng = np.random.default_rng(0)

    def array(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape, np.float32)

    products = []  # (times, left, right, result)
    for k in range(layers):
        products.append((T, array(b, H), array(H, 4 * H)))  # h Wh
        products.append((T, array(b, 4 * H), array(4 * H, H)))  # dz Whᵀ
        products.append((1, array(H, T * b), array(T * b, 4 * H)))  # dWh
        if k == 0 and symbols == V:
            products.append((1, array(V, T * b), array(T * b, 4 * H)))  # dWx, by one-hot rows
        if k > 0:
            products.append((1, array(H, T * b), array(T * b, 4 * H)))  # dWx
            products.append((1, array(T * b, H), array(H, 4 * H)))  # x Wx
            products.append((1, array(T * b, 4 * H), array(4 * H, H)))  # dx
    n = T * b if targets == "all" else b
    products += [(1, array(n, H), array(H, symbols)), (1, array(n, symbols), array(symbols, H)),
                 (1, array(H, n), array(n, symbols))]  # fmt: skip
    results = [np.empty((a.shape[0], c.shape[1]), np.float32) for _, a, c in products]

    def work() -> float:
        start = time.perf_counter()
        for _ in range(turn):
            for (times, a, c), out in zip(products, results):
                for _ in range(times):
                    np.matmul(a, c, out=out)
        return (time.perf_counter() - start) / turn

    take_turns(work)


# One LSTM layer: a turn measures the mean seconds of a forward and a backward pass


def npchar_layer(kind: str, B: int, H: int, turn: int) -> None:
    """``npchar.LSTM`` or ``npchar.FastLSTM`` with H inputs and H units."""
    import npchar

    layer = getattr(npchar, kind).create(input_size=H, hidden_size=H)
    gradient, tape = layer.zeros_like(), layer.tape(T, B) if kind == "FastLSTM" else None
    x, dh = np.random.default_rng(0).standard_normal((2, T, B, H), np.float32)

    def work() -> float:
        start = time.perf_counter()
        for _ in range(turn):
            layer.backward(layer.forward(x, tape=tape), dh, None, gradient)
        return (time.perf_counter() - start) / turn

    take_turns(work)


# Generation: a turn measures characters per second


def npchar_generation(
    streams: int, n: int, layer: str = "lstm", H: int = 128, symbols: int = V
) -> None:
    """``Model.stream`` for one text, ``Model.generate`` for a batch of texts."""
    import itertools

    import npchar

    known = characters(symbols)
    model = npchar.Model(npchar.Vocabulary(known), layer=layer, hidden_size=H)
    prompt = (known + known)[:T]

    def work() -> float:
        start = time.perf_counter()
        if streams == 1:
            "".join(itertools.islice(model.stream(prompt, temperature=0.5), n))
        else:
            model.generate([prompt] * streams, n, temperature=0.5)
        return n * streams / (time.perf_counter() - start)

    take_turns(work)


# Memory: one turn, an interrupted training run


def npchar_memory(path: str, seconds: float, lower: bool) -> None:
    """Train on a file for some seconds, which is enough to allocate all buffers, and generate.

    With `lower` the text is lower-cased first, as in the book. For a text with characters outside
    ASCII, ``str.lower`` temporarily needs four bytes per character.
    """
    import signal

    import npchar

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    def work() -> bool:
        text = npchar.load_corpus(path)
        if lower:
            text = text.lower()
        model = npchar.Model(npchar.Vocabulary.from_text(text))
        signal.signal(signal.SIGALRM, stop)
        signal.setitimer(signal.ITIMER_REAL, seconds)
        with contextlib.suppress(KeyboardInterrupt):
            model.fit(text, verbose=False)
        model.generate(text[:60], 400)
        return True

    take_turns(work)


def only_numpy() -> None:
    """The interpreter and NumPy, whose memory is subtracted."""
    take_turns(lambda: True)


if __name__ == "__main__":
    job, arguments = sys.argv[1], json.loads(sys.argv[2])
    work = globals().get(job) or getattr(importlib.import_module("peers"), job)
    work(**arguments)
