"""npchar and its peers doing the same job, each in a process of its own.

``run.py`` starts ``python contenders.py NAME JOB`` for each contender and lets
them take turns: a contender prints a line of JSON when it is ready, and after
each line it is sent it works for one turn and prints what it measured. Between
turns it sleeps, so that no two work at once.

The recipe is npchar's: one LSTM layer or more on one-hot characters, softmax
cross-entropy, RMSprop at 0.01. Each peer is given the form that is quick for
it: PyTorch looks ids up in an identity matrix (a fixed embedding), Keras is
fed one-hot floats by ``model.fit``.
"""

from __future__ import annotations

import contextlib
import inspect
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

V, T = 57, 60
CHARACTERS = "".join(map(chr, range(33, 33 + V)))


def take_turns(work: Any) -> None:
    """Announce readiness; then one turn of `work` for each line on standard input."""
    print(json.dumps("ready"), flush=True)
    for _ in sys.stdin:
        print(json.dumps(work()), flush=True)


def random_ids(n: int) -> np.ndarray:
    """Any ids: the arithmetic of a step does not depend on them."""
    return np.random.default_rng(0).integers(0, V, n)


# Training steps: a turn gives the mean seconds of a step


def npchar_steps(
    B: int, targets: str, H: int, layers: int, turn: int, maxlen: int = T, layer: str = "lstm"
) -> None:
    """Plain ``Model.fit``, an epoch a turn."""
    import npchar

    step = maxlen if targets == "all" else 3
    n = B * turn
    text = "".join(CHARACTERS[i] for i in random_ids((n - 1) * step + maxlen + 1))
    vocabulary = npchar.Vocabulary(CHARACTERS)
    model = npchar.Model(vocabulary, layer=layer, hidden_size=H, num_layers=layers)

    def one_turn(history: npchar.History) -> bool:
        print(json.dumps(history.seconds[-1] / turn), flush=True)
        return not sys.stdin.readline()

    print(json.dumps("ready"), flush=True)
    if not sys.stdin.readline():
        return
    settings = {
        "epochs": 1_000_000, "targets": targets, "step": step, "batch_size": B, "maxlen": maxlen,
        "learning_rate": 0.01, "schedule": "constant", "warm_up": 0.0, "validation_split": 0.0,
        "callbacks": [one_turn], "verbose": False,
    }  # fmt: skip
    known = inspect.signature(npchar.Model.fit).parameters  # an earlier commit's may have fewer
    model.fit(text, **{name: value for name, value in settings.items() if name in known})


class TorchModel:
    """The network in PyTorch, and a training step of it."""

    def __init__(
        self,
        H: int,
        layers: int,
        compiled: bool = False,
        learning_rate: float = 0.01,
        layer: str = "lstm",
    ):
        import torch

        self.torch = torch
        torch.set_num_threads(len(os.sched_getaffinity(0)))
        torch.manual_seed(0)

        class Network(torch.nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.one_hot = torch.nn.Embedding.from_pretrained(torch.eye(V))
                if layer == "conv":
                    self.lstm = torch_convolutions(H, layers)
                else:
                    self.lstm = getattr(torch.nn, layer.upper())(V, H, layers)
                self.dense = torch.nn.Linear(H, V)
                for name, p in self.lstm.named_parameters():  # as Keras and npchar do
                    with torch.no_grad():
                        if "weight_ih" in name or p.ndim == 3:
                            torch.nn.init.xavier_uniform_(p)
                        elif "weight_hh" in name:
                            torch.nn.init.orthogonal_(p)
                        else:
                            p.zero_()
                            if "ih" in name and layer == "lstm":
                                p[H : 2 * H] = 1

            def forward(self, ids: Any, last: bool) -> Any:
                h, _ = self.lstm(self.one_hot(ids))
                return self.dense(h[-1] if last else h)

        self.network = Network()
        self.forward = torch.compile(self.network) if compiled else self.network
        self.weights = [p for p in self.network.parameters() if p.requires_grad]
        self.optimizer = torch.optim.RMSprop(self.weights, lr=learning_rate, alpha=0.9, eps=1e-7)

    def loss(self, x: Any, y: Any) -> Any:
        logits = self.forward(x, y.ndim == 1)
        return self.torch.nn.functional.cross_entropy(logits.reshape(-1, V), y.reshape(-1))

    def step(self, x: Any, y: Any) -> float:
        self.optimizer.zero_grad(set_to_none=True)
        loss = self.loss(x, y)
        loss.backward()
        self.torch.nn.utils.clip_grad_norm_(self.weights, 1.0)
        self.optimizer.step()
        return float(loss.item())


def torch_convolutions(H: int, layers: int) -> Any:
    """npchar's convolutions in PyTorch: gated, causal, dilated, with residual connections."""
    import torch

    class Convolutions(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.convolutions = torch.nn.ModuleList(
                torch.nn.Conv1d(V if k == 0 else H, 2 * H, 2, dilation=1 << k)
                for k in range(layers)
            )

        def forward(self, x: Any) -> Any:
            x = x.permute(1, 2, 0)  # (B, V, T)
            for k, convolution in enumerate(self.convolutions):
                padded = torch.nn.functional.pad(x, (1 << k, 0))
                y = torch.nn.functional.glu(convolution(padded), dim=1)
                x = x + y if k else y
            return x.permute(2, 0, 1), None

    return Convolutions()


def torch_steps(
    B: int, targets: str, H: int, layers: int, turn: int, compiled: bool, layer: str = "lstm"
) -> None:
    """The usual loop."""
    model = TorchModel(H, layers, compiled, layer=layer)
    ids = model.torch.tensor(random_ids((T + 1) * B).reshape(T + 1, B))
    x, y = ids[:-1], ids[1:] if targets == "all" else ids[-1]
    model.step(x, y)

    def work() -> float:
        start = time.perf_counter()
        for _ in range(turn):
            model.step(x, y)
        return (time.perf_counter() - start) / turn

    take_turns(work)


def keras_model(H: int, layers: int, targets: str) -> Any:
    """The network in Keras, compiled."""
    import keras

    network: list[Any] = [keras.Input((T, V))]
    for k in range(layers):
        sequences = targets == "all" or k < layers - 1
        network.append(keras.layers.LSTM(H, return_sequences=sequences))
    network.append(keras.layers.Dense(V))
    model = keras.Sequential(network)
    model.compile(
        optimizer=keras.optimizers.RMSprop(0.01, global_clipnorm=1.0),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    return model


def keras_steps(B: int, targets: str, H: int, layers: int, turn: int) -> None:
    """Plain ``model.fit``, an epoch a turn."""
    model = keras_model(H, layers, targets)
    ids = random_ids(B * turn * (T + 1)).reshape(-1, T + 1)
    x = np.eye(V, dtype=np.float32)[ids[:, :-1]]
    y = ids[:, 1:] if targets == "all" else ids[:, -1]
    model.fit(x, y, batch_size=B, epochs=1, verbose=0)

    def work() -> float:
        start = time.perf_counter()
        model.fit(x, y, batch_size=B, epochs=1, verbose=0)
        return (time.perf_counter() - start) / turn

    take_turns(work)


def floor_steps(B: int, targets: str, H: int, layers: int, turn: int) -> None:
    """The matrix products of a step alone, by npchar's BLAS.

    Of half the batch, in one process with one BLAS thread: two such processes
    side by side would take as long for the whole. Bulk products have their
    bulk size, the recurrent ones are one a time step.
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
        D = V if k == 0 else H
        products.append((1, array(D, T * b), array(T * b, 4 * H)))  # dWx
        if k > 0:
            products.append((1, array(T * b, H), array(H, 4 * H)))  # x Wx
            products.append((1, array(T * b, 4 * H), array(4 * H, H)))  # dx
    n = T * b if targets == "all" else b
    products += [(1, array(n, H), array(H, V)), (1, array(n, V), array(V, H)),
                 (1, array(H, n), array(n, V))]  # fmt: skip
    results = [np.empty((a.shape[0], c.shape[1]), np.float32) for _, a, c in products]

    def work() -> float:
        start = time.perf_counter()
        for _ in range(turn):
            for (times, a, c), out in zip(products, results):
                for _ in range(times):
                    np.matmul(a, c, out=out)
        return (time.perf_counter() - start) / turn

    take_turns(work)


# Generation: a turn gives characters per second


def npchar_generation(streams: int, n: int, layer: str = "lstm") -> None:
    """``Model.stream``, or as many streams in one batch by ``Model.generate``."""
    import itertools

    import npchar

    model = npchar.Model(npchar.Vocabulary(CHARACTERS), layer=layer)
    prompt = CHARACTERS + CHARACTERS[:3]

    def work() -> float:
        start = time.perf_counter()
        if streams == 1:
            "".join(itertools.islice(model.stream(prompt, temperature=0.5), n))
        else:
            model.generate([prompt] * streams, n, temperature=0.5)
        return n * streams / (time.perf_counter() - start)

    take_turns(work)


def torch_generation(n: int, layer: str = "lstm") -> None:
    """A step at a time, with the state carried."""
    model = TorchModel(128, 1, layer=layer)
    torch = model.torch
    network = model.network

    def work() -> float:
        start = time.perf_counter()
        with torch.inference_mode():
            h, state = network.lstm(network.one_hot(torch.arange(T)[:, None] % V))
            for _ in range(n):
                p = torch.softmax(network.dense(h[-1, 0]) / 0.5, 0)
                character = torch.multinomial(p, 1)
                h, state = network.lstm(network.one_hot(character[None]), state)
        return n / (time.perf_counter() - start)

    take_turns(work)


def keras_generation(n: int) -> None:
    """The book's loop: the window, one-hot, through ``predict`` for each character."""
    model = keras_model(128, 1, "last")
    rng = np.random.default_rng(0)

    def work() -> float:
        window = [*range(V), 0, 1, 2]
        start = time.perf_counter()
        for _ in range(n):
            x = np.zeros((1, T, V))
            for t, i in enumerate(window):
                x[0, t, i] = 1.0
            z = model.predict(x, verbose=0)[0].astype(np.float64) / 0.5
            p = np.exp(z - z.max())
            window = [*window[1:], int(np.argmax(rng.multinomial(1, p / p.sum())))]
        return n / (time.perf_counter() - start)

    work()
    take_turns(work)


# To a loss: one turn, which gives the seconds from nothing and the losses on the way


def split_corpus(path: str) -> tuple[np.ndarray, np.ndarray]:
    """The ids of the first nine tenths and of the last."""
    text = Path(path).read_text(encoding="utf-8").lower()
    characters = "".join(sorted(set(text)))
    table = {c: i for i, c in enumerate(characters)}
    ids = np.array([table[c] for c in text])
    split = len(ids) - len(ids) // 10
    return ids[:split], ids[split:]


def npchar_to_loss(path: str, goal: float, limit: float) -> None:
    """npchar's default, until the held-out loss is reached or the time is up."""

    def work() -> dict[str, Any]:
        start = time.perf_counter()
        import npchar

        text = npchar.load_corpus(path).lower()
        model = npchar.Model(npchar.Vocabulary.from_text(text))
        curve: list[tuple[float, float]] = []

        def watch(history: npchar.History) -> None:
            curve.append((time.perf_counter() - start, history.val_loss[-1]))

        model.fit(text, callbacks=[watch], verbose=False)
        return {"curve": curve}

    take_turns(work)


def torch_to_loss(path: str, goal: float, limit: float, book: bool) -> None:
    """The same recipe in PyTorch; or the book's listing."""

    def work() -> dict[str, Any]:
        start = time.perf_counter()
        train, held_out = split_corpus(path)
        model = TorchModel(128, 1)
        torch = model.torch
        epochs, B, step = (10_000, 128, 3) if book else (20, 32, T)
        train_windows = torch.tensor(train).unfold(0, T + 1, step)
        if book:
            held = torch.tensor(held_out).unfold(0, T + 1, 20).T
        else:  # as npchar reads what is held out: pieces of 1,000, memory carried within each
            pieces = (len(held_out) - 1) // 1000
            held = torch.tensor(held_out[: pieces * 1000 + 1]).unfold(0, 1001, 1000).T
        steps_an_epoch = -(-len(train_windows) // B)
        curve: list[tuple[float, float]] = []

        def look() -> None:
            with torch.inference_mode():
                loss = model.loss(held[:-1], held[-1] if book else held[1:]).item()
            curve.append((time.perf_counter() - start, loss))

        done = 0
        look_every = 100 if book else steps_an_epoch
        for _ in range(epochs):
            order = torch.randperm(len(train_windows))
            for k in range(0, len(order), B):
                batch = train_windows[order[k : k + B]].T
                if not book:
                    for group in model.optimizer.param_groups:
                        group["lr"] = 0.01 * (1 - done / (steps_an_epoch * epochs))
                model.step(batch[:-1], batch[-1] if book else batch[1:])
                done += 1
                if done % look_every == 0:
                    look()
                    if book and (curve[-1][0] > limit or curve[-1][1] <= goal):
                        return {"curve": curve}
        return {"curve": curve}

    take_turns(work)


def keras_to_loss(path: str, goal: float, limit: float) -> None:
    """The book's listing in Keras, on sparse targets; validated as it goes."""

    def work() -> dict[str, Any]:
        start = time.perf_counter()
        import keras

        train, held_out = split_corpus(path)
        view = np.lib.stride_tricks.sliding_window_view
        eye = np.eye(V, dtype=bool)
        model = keras_model(128, 1, "last")
        windows = view(train, T + 1)[::3]
        held = view(held_out, T + 1)[::20]
        x, y = eye[windows[:, :-1]], windows[:, -1]
        curve: list[tuple[float, float]] = []

        class Watch(keras.callbacks.Callback):
            def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
                if batch % 200 == 199:
                    z = np.asarray(model(eye[held[:, :-1]].astype(np.float32)), np.float64)
                    z -= z.max(axis=1, keepdims=True)
                    z -= np.log(np.exp(z).sum(axis=1, keepdims=True))
                    curve.append((time.perf_counter() - start, -z[np.arange(len(z)),
                                  held[:, -1]].mean()))  # fmt: skip
                    if curve[-1][0] > limit or curve[-1][1] <= goal:
                        self.model.stop_training = True
                        raise StopIteration

        with contextlib.suppress(StopIteration):
            model.fit(x, y, batch_size=128, epochs=59, verbose=0, callbacks=[Watch()])
        return {"curve": curve}

    take_turns(work)


# Memory: one turn, a whole training run cut short


def npchar_memory(path: str, seconds: float, lower: bool) -> None:
    """Train on a file until the time is up; every buffer there will be is there by then.

    With `lower` the text is lower-cased first, as in the book: on a text beyond
    ASCII Python's own ``str.lower`` takes four bytes a character in passing.
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
    """The interpreter and NumPy, to be taken off."""
    take_turns(lambda: True)


if __name__ == "__main__":
    job = sys.argv[1]
    arguments = json.loads(sys.argv[2])
    globals()[job](**arguments)
