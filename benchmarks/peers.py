"""The jobs of ``contenders.py`` in other libraries, each in its fastest known form.

PyTorch looks up ids in an identity matrix, or in a trained embedding if there are many symbols. The
embedding has H numbers, or with ``direct`` the 4 H inputs of the gates, as in npchar. PyTorch runs
in one process with all cores as threads, and in two processes with one thread each, as npchar does.
JAX runs a hand-written loop with ``lax.scan``, one ``jit`` for the whole step and donated buffers.
Keras trains with ``model.fit`` on one-hot floats. PyTorch, a compiled Keras step and ONNX Runtime
generate one step at a time and carry the state.
"""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from contenders import T, V, characters, random_ids, take_turns

MANY = 256  # symbols; above, PyTorch uses an embedding


# Training steps: a turn measures the mean seconds of a step


class TorchModel:
    """The network in PyTorch, with a training step."""

    def __init__(
        self,
        H: int,
        layers: int,
        learning_rate: float = 0.01,
        layer: str = "lstm",
        symbols: int = V,
        threads: int | None = None,
        seed: int = 0,
        direct: bool = False,
    ):
        import torch

        self.torch, self.symbols = torch, symbols
        torch.set_num_threads(threads or len(os.sched_getaffinity(0)))
        torch.set_flush_denormal(True)
        torch.manual_seed(seed)

        class Network(torch.nn.Module):
            def __init__(self) -> None:
                super().__init__()
                if symbols > MANY:
                    self.one_hot = torch.nn.Embedding(symbols, 4 * H if direct else H)
                else:
                    self.one_hot = torch.nn.Embedding.from_pretrained(torch.eye(symbols))
                D = self.one_hot.embedding_dim
                if layer == "conv":
                    self.lstm = torch_convolutions(D, H, layers)
                else:
                    self.lstm = getattr(torch.nn, layer.upper())(D, H, layers)
                self.dense = torch.nn.Linear(H, symbols)
                for name, p in self.lstm.named_parameters():  # initialize as Keras and npchar do
                    with torch.no_grad():
                        if "weight_ih" in name or p.ndim == 3:
                            torch.nn.init.xavier_uniform_(p)
                        elif "weight_hh" in name:
                            torch.nn.init.orthogonal_(p)
                        else:
                            p.zero_()
                            if "ih" in name and layer == "lstm":
                                p[H : 2 * H] = 1
                if direct:  # the gates add the embedding without a product
                    torch.nn.init.xavier_uniform_(self.one_hot.weight)
                    torch.nn.init.eye_(self.lstm.weight_ih_l0.requires_grad_(False))

            def forward(self, ids: Any, last: bool) -> Any:
                h, _ = self.lstm(self.one_hot(ids))
                return self.dense(h[-1] if last else h)

        self.network = Network()
        self.weights = [p for p in self.network.parameters() if p.requires_grad]
        self.optimizer = torch.optim.RMSprop(self.weights, lr=learning_rate, alpha=0.9, eps=1e-7)

    def loss(self, x: Any, y: Any) -> Any:
        logits = self.network(x, y.ndim == 1).reshape(-1, self.symbols)
        return self.torch.nn.functional.cross_entropy(logits, y.reshape(-1))

    def step(self, x: Any, y: Any) -> float:
        self.optimizer.zero_grad(set_to_none=True)
        loss = self.loss(x, y)
        loss.backward()
        self.torch.nn.utils.clip_grad_norm_(self.weights, 1.0)
        self.optimizer.step()
        return float(loss.item())


def torch_convolutions(D: int, H: int, layers: int) -> Any:
    """The convolutions of npchar in PyTorch: gated, causal, dilated, with residual connections."""
    import torch

    class Convolutions(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.convolutions = torch.nn.ModuleList(
                torch.nn.Conv1d(D if k == 0 else H, 2 * H, 2, dilation=1 << k)
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


def batch_of(B: int, targets: str, symbols: int = V) -> tuple[np.ndarray, np.ndarray]:
    """Ids (T, B) and targets, (T, B) or (B,)."""
    ids = random_ids((T + 1) * B, symbols).reshape(T + 1, B)
    return ids[:-1], ids[1:] if targets == "all" else ids[-1]


def torch_steps(
    B: int,
    targets: str,
    H: int,
    layers: int,
    turn: int,
    layer: str = "lstm",
    symbols: int = V,
    direct: bool = False,
) -> None:
    """The usual training loop."""
    model = TorchModel(H, layers, layer=layer, symbols=symbols, direct=direct)
    x, y = map(model.torch.tensor, batch_of(B, targets, symbols))
    model.step(x, y)

    def work() -> float:
        start = time.perf_counter()
        for _ in range(turn):
            model.step(x, y)
        return (time.perf_counter() - start) / turn

    take_turns(work)


def torch_pair_steps(
    B: int, targets: str, H: int, layers: int, turn: int, symbols: int = V
) -> None:
    """Two processes with one thread and half of the batch each, as in npchar.

    They average their gradients in shared memory. Two buffers alternate between steps, so that the
    processes wait for each other only once per step.
    """
    model = TorchModel(H, layers, symbols=symbols, threads=1)
    torch, weights = model.torch, model.weights
    size = sum(p.numel() for p in weights)
    gradients = torch.zeros(2, 2, size).share_memory_()
    mean = torch.zeros(size)
    views = [v.view_as(p) for v, p in zip(mean.split([p.numel() for p in weights]), weights)]
    from_child, to_parent = os.pipe()
    from_parent, to_child = os.pipe()
    rank = int(os.fork() == 0)
    read, write = (from_parent, to_parent) if rank else (from_child, to_child)
    os.close(from_child if rank else from_parent)
    # Close both unused ends, so that a child reads end of file when its parent ends.
    os.close(to_child if rank else to_parent)
    half = slice(B // 2, B) if rank else slice(B // 2)
    x, y = (torch.tensor(a[..., half].copy()) for a in batch_of(B, targets, symbols))

    def step(number: int) -> None:
        model.optimizer.zero_grad(set_to_none=True)
        model.loss(x, y).backward()
        both = gradients[number % 2]
        torch.cat([p.grad.reshape(-1) for p in weights], out=both[rank])
        os.write(write, b".")
        if not os.read(read, 1):
            os._exit(0)
        torch.add(both[0], both[1], out=mean)
        mean.mul_(0.5)
        norm = float(mean.norm())
        if norm > 1:
            mean.mul_(1 / norm)
        for p, gradient in zip(weights, views):
            p.grad = gradient
        model.optimizer.step()

    number = 0
    if rank:
        while os.read(read, 1):  # wait for the parent's turn
            for _ in range(turn):
                step(number)
                number += 1
        os._exit(0)

    def work() -> float:
        nonlocal number
        start = time.perf_counter()
        os.write(write, b"g")
        for _ in range(turn):
            step(number)
            number += 1
        return (time.perf_counter() - start) / turn

    work()
    take_turns(work)


def jax_steps(B: int, targets: str, H: int, layers: int, turn: int, symbols: int = V) -> None:
    """A hand-written training loop, without Keras."""
    import jax
    import jax.numpy as jnp

    rng = np.random.default_rng(0)

    def glorot(*shape: int) -> Any:
        limit = np.sqrt(6 / (shape[0] + shape[1]))
        return jnp.asarray(rng.uniform(-limit, limit, shape).astype(np.float32))

    weights: dict[str, Any] = {"W": glorot(H, symbols), "b": jnp.zeros(symbols)}
    for k in range(layers):
        D = symbols if k == 0 else H
        weights |= {f"Wx{k}": glorot(D, 4 * H), f"Wh{k}": glorot(H, 4 * H)}
        weights[f"b{k}"] = jnp.zeros(4 * H).at[H : 2 * H].set(1)

    def loss(weights: Any, x: Any, y: Any) -> Any:
        for k in range(layers):
            sums = weights["Wx0"][x] if k == 0 else x @ weights[f"Wx{k}"]
            sums = sums + weights[f"b{k}"]  # (T, B, 4H)

            def cell(state: Any, at: Any, Wh: Any = weights[f"Wh{k}"]) -> Any:
                h, c = state
                i, f, o, g = jnp.split(at + h @ Wh, 4, axis=1)
                c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
                h = jax.nn.sigmoid(o) * jnp.tanh(c)
                return (h, c), h

            zeros = jnp.zeros((x.shape[1], H))
            x = jax.lax.scan(cell, (zeros, zeros), sums)[1]
        if targets == "last":
            x = x[-1]
        log_p = jax.nn.log_softmax(x @ weights["W"] + weights["b"])
        return -jnp.take_along_axis(log_p, y[..., None], axis=-1).mean()

    def step(weights: Any, v: Any, x: Any, y: Any) -> Any:
        value, gradient = jax.value_and_grad(loss)(weights, x, y)
        norm = jnp.sqrt(sum((g * g).sum() for g in gradient.values()))
        scale = jnp.where(norm > 1, 1 / norm, 1)
        gradient = {n: g * scale for n, g in gradient.items()}
        v = {n: 0.9 * v[n] + 0.1 * g * g for n, g in gradient.items()}
        moved = {n: weights[n] - 0.01 * g / jnp.sqrt(v[n] + 1e-7) for n, g in gradient.items()}
        return moved, v, value

    compiled = jax.jit(step, donate_argnums=(0, 1))
    v = {name: jnp.zeros_like(array) for name, array in weights.items()}
    x, y = map(jnp.asarray, batch_of(B, targets, symbols))

    def work() -> float:
        nonlocal weights, v
        start = time.perf_counter()
        for _ in range(turn):
            weights, v, value = compiled(weights, v, x, y)
            float(value)
        return (time.perf_counter() - start) / turn

    work()
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


def keras_steps(B: int, targets: str, H: int, layers: int, turn: int, symbols: int = V) -> None:
    """``model.fit``, one epoch per turn; V symbols only."""
    assert symbols == V
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


# One LSTM layer: a turn measures the mean seconds of a forward and a backward pass


def thinc_layer(B: int, H: int, turn: int) -> None:
    """The LSTM of thinc, which is also written in NumPy."""
    from thinc.api import LSTM, NumpyOps
    from thinc.types import Padded

    ops = NumpyOps()
    layer = LSTM(H, H)
    layer.ops = ops
    layer.initialize()
    arrays = np.random.default_rng(0).standard_normal((2, T, B, H), np.float32)
    sizes, lengths, order = ops.asarray1i([B] * T), ops.asarray1i([T] * B), ops.asarray1i(range(B))
    x, dh = (Padded(array, sizes, lengths, order) for array in arrays)

    def work() -> float:
        start = time.perf_counter()
        for _ in range(turn):
            _, backprop = layer(x, is_train=True)
            backprop(dh)
        return (time.perf_counter() - start) / turn

    take_turns(work)


# Generation: a turn measures characters per second


def torch_generation(n: int, layer: str = "lstm") -> None:
    """One step per character; the state is carried."""
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


def picked(logits: np.ndarray, rng: np.random.Generator) -> int:
    """An id drawn from softmax(logits / 0.5)."""
    p = np.exp((logits - logits.max()) / 0.5)
    return int(p.cumsum().searchsorted(rng.random() * p.sum()))


def onnx_generation(n: int) -> None:
    """ONNX Runtime on a file from ``npchar.to_onnx``: one thread, one step per character."""
    import onnxruntime

    import npchar

    model = npchar.Model(npchar.Vocabulary(characters(V)))
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "model.onnx")
        npchar.to_onnx(model, path)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    zeros = np.zeros((1, 1, 128), np.float32)
    rng = np.random.default_rng(0)
    names = ["logits", "h0_next", "c0_next"]

    def work() -> float:
        start = time.perf_counter()
        prompt = np.arange(T)[:, None] % V
        logits, h, c = session.run(names, {"ids": prompt, "h0": zeros, "c0": zeros})
        for _ in range(n):
            ids = np.array([[picked(logits[-1, 0], rng)]])
            logits, h, c = session.run(names, {"ids": ids, "h0": h, "c0": c})
        return n / (time.perf_counter() - start)

    take_turns(work)


def keras_step_generation(n: int) -> None:
    """A stateful Keras model, with the step compiled as one function."""
    import keras
    import tensorflow as tf

    model = keras.Sequential(
        [
            keras.Input(batch_shape=(1, 1, V)),
            keras.layers.LSTM(128, stateful=True),
            keras.layers.Dense(V),
        ]
    )
    step = tf.function(lambda x: model(x, training=False), jit_compile=False)
    eye = tf.constant(np.eye(V, dtype=np.float32)[:, None, None])  # (V, 1, 1, V)
    rng = np.random.default_rng(0)

    def work() -> float:
        start = time.perf_counter()
        for t in range(T):
            logits = step(eye[t % V])
        for _ in range(n):
            logits = step(eye[picked(logits.numpy()[0], rng)])
        return n / (time.perf_counter() - start)

    work()
    take_turns(work)


def keras_generation(n: int) -> None:
    """The book's loop: ``predict`` on the one-hot window for each character."""
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
