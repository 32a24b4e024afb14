"""Compare LSTM, GRU, plain RNN and causal convolution: ``layers.json`` and ``layers.png``.

    pip install ".[bench]"
    python benchmarks/layers.py --corpus nietzsche.txt

``--only`` selects sections:

``speed``
    Time of a training step and of generation, compared with the same layer in PyTorch.
``seconds``
    Time of an epoch. The number of epochs in the next two sections follows from it. Other programs
    should not run during this section.
``rates``
    The best learning rate of each layer at equal training time. Its seed is not used again.
``losses``
    Validation loss at equal training time and about equal size, for two sizes and five seeds.
``memory``
    Recall of the first symbol of a sequence at its end, over several distances. Two variants are
    included: ``rnn-random`` is a plain RNN whose initial recurrent weights are not orthogonal, and
    ``lstm-bias`` is an LSTM whose forget gates are initially almost open.
``plot``
    Print the losses and draw ``layers.png``.

Results that ``layers.json`` already contains are not measured again. Delete the file to start
again.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import run

import npchar

HERE = Path(__file__).parent
FILE = HERE / "layers.json"
KINDS = ("lstm", "gru", "rnn", "conv")
VARIANTS = ("rnn-random", "lstm-bias")  # other initial weights; only in `memory`
SIZES = (100_000, 350_000)  # approximate number of parameters
RATES = (0.01, 0.02, 0.04)
SMALL_RATES = {"rnn": (0.0025, 0.005)}  # in addition, because its gradients explode at larger rates
SECONDS = 30.0  # of training
SEEDS = (1, 2, 3, 4, 5)
DISTANCES = (10, 30, 100, 300)
MEMORY = {
    "symbols": 8,
    "batch": 32,
    "steps": 1500,
    "rates": (0.001, 0.003, 0.01),
    "seeds": (1, 2, 3),
}


def parameters_of(kind: str, V: int, H: int) -> int:
    """The number of parameters of a model."""
    model = npchar.Model(npchar.Vocabulary(map(chr, range(V))), layer=kind, hidden_size=H)
    return len(model.parameters.flat)


def hidden_size(kind: str, V: int, parameters: int) -> int:
    """The largest hidden size with at most this number of parameters."""
    low, high = 1, 2048
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (
            (middle, high) if parameters_of(kind, V, middle) <= parameters else (low, middle)
        )
    return low


def fitted(text: str, kind: str, H: int, epochs: int, rate: float, seed: int) -> npchar.History:
    """The history of a run with the defaults of `fit` except for the compared settings."""
    model = npchar.Model(npchar.Vocabulary.from_text(text), layer=kind, hidden_size=H, seed=seed)
    return model.fit(text, epochs=epochs, learning_rate=rate, seed=seed, verbose=False)


def measure_seconds(text: str, found: dict[str, Any]) -> None:
    """Measure the seconds of an epoch for each layer and size."""
    V = len(set(text))
    for parameters in SIZES:
        for kind in KINDS:
            key = f"{kind} {parameters}"
            if key in found:
                continue
            H = hidden_size(kind, V, parameters)
            seconds = statistics.median(fitted(text, kind, H, 3, 0.005, 0).seconds)
            found[key] = {"hidden_size": H, "parameters": parameters_of(kind, V, H),
                          "seconds": seconds}  # fmt: skip
            print(f"  {key}: H {H}, {found[key]['parameters']:,} parameters, {seconds:.2f} s")
            yield


def epochs_of(seconds: float) -> int:
    """The number of epochs that take about `SECONDS`."""
    return max(1, round(SECONDS / seconds))


def measure_rates(text: str, seconds: dict[str, Any], found: dict[str, Any]) -> Any:
    """Measure the validation loss for each learning rate; extend the range if its end is best."""
    for key, about in seconds.items():
        kind, tried = key.split()[0], found.setdefault(key, {})
        rates = [*SMALL_RATES.get(kind, ()), *RATES]
        while rates:
            rate = rates.pop(0)
            if str(rate) not in tried:
                H, epochs = about["hidden_size"], epochs_of(about["seconds"])
                try:
                    tried[str(rate)] = min(fitted(text, kind, H, epochs, rate, 0).val_loss)
                except npchar.TrainingDiverged:
                    tried[str(rate)] = math.inf
                print(f"  {key}, rate {rate:g}: {tried[str(rate)]:.4f}", flush=True)
                yield
            if not rates:
                best = best_rate(tried)
                if best == min(map(float, tried)) and best > 1e-4:
                    rates = [best / 2]
                elif best == max(map(float, tried)) and best < 1:
                    rates = [best * 2]


def best_rate(tried: dict[str, float]) -> float:
    """The learning rate with the lowest loss."""
    return float(min(tried, key=lambda rate: tried[rate]))


def measure_losses(
    text: str, seconds: dict[str, Any], rates: dict[str, Any], found: dict[str, Any]
) -> Any:
    """Measure the validation loss of each epoch for every seed."""
    for seed in SEEDS:
        for key, about in seconds.items():
            curves = found.setdefault(key, {})
            if str(seed) in curves:
                continue
            history = fitted(text, key.split()[0], about["hidden_size"],
                             epochs_of(about["seconds"]), best_rate(rates[key]), seed)  # fmt: skip
            curves[str(seed)] = history.val_loss
            print(f"  {key}, seed {seed}: {min(history.val_loss):.4f}", flush=True)
            yield


# The memory task


def recall_batch(rng: np.random.Generator, distance: int) -> tuple[np.ndarray, np.ndarray]:
    """Ids (T, B) of a symbol, `distance` other ids and the query; targets (B,) are the symbols."""
    A, B = MEMORY["symbols"], MEMORY["batch"]
    ids = rng.integers(A, 2 * A, (distance + 1, B))  # other symbols than those to recall
    ids[0] = rng.integers(0, A, B)
    ids[-1] = 2 * A
    return ids, ids[0].copy()


def recall(kind: str, distance: int, rate: float, seed: int) -> dict[str, Any]:
    """Train on the recall task; return the share of recalled symbols and the number of steps.

    Training ends when 99 % are recalled, which counts as 100 %, or after `MEMORY["steps"]`. In the
    second case the share is measured on 320 new sequences.
    """
    from npchar.network.network import Network, NetworkConfig

    V = 2 * MEMORY["symbols"] + 1
    layer = kind.split("-")[0]
    layers = max(1, math.ceil(math.log2(distance + 1))) if kind == "conv" else 1
    H = {"lstm": 64, "gru": 76, "rnn": 128, "conv": 24}[layer]
    network = Network(NetworkConfig(V, H, layers, 0.0, layer))
    network.initialise(seed)
    rng = np.random.default_rng(seed)
    if kind == "rnn-random":  # uniform within ±1 / √H, as in PyTorch
        network.parameters["rnn0.Wh"] = np.random.default_rng([seed, 1]).uniform(
            -1 / math.sqrt(H), 1 / math.sqrt(H), (H, H)
        )
    elif kind == "lstm-bias":  # a cell decays by half over the distance
        network.parameters["lstm0.b"][1] = -math.log(2 ** (1 / distance) - 1)
    flat = network.parameters.flat
    gradient = network.parameters.zeros_like()
    optimizer = npchar.RMSprop()
    tapes = network.tapes(distance + 1, MEMORY["batch"])
    recent: list[float] = []
    for step in range(MEMORY["steps"]):
        ids, targets = recall_batch(rng, distance)
        if step % 50 == 0:
            right = network.logits(ids)[0][-1].argmax(axis=1) == targets
            recent = [*recent[-3:], right.mean()]
            if len(recent) == 4 and np.mean(recent) >= 0.99:
                return {"share": 1.0, "steps": step}
        network.gradients(ids, targets, tapes=tapes, gradient=Network(network.config, gradient))
        npchar.clip_by_global_norm(gradient.flat, 1.0)
        optimizer.update(flat, gradient.flat, rate)
    shares = []
    for _ in range(10):
        ids, targets = recall_batch(rng, distance)
        shares.append((network.logits(ids)[0][-1].argmax(axis=1) == targets).mean())
    return {"share": float(np.mean(shares)), "steps": MEMORY["steps"]}


def measure_memory(found: dict[str, Any]) -> Any:
    """Measure recall over each distance, for every learning rate and seed."""
    for distance in DISTANCES:
        for kind in (*KINDS, *VARIANTS):
            for rate in MEMORY["rates"]:
                for seed in MEMORY["seeds"]:
                    key = f"{kind} {distance} {rate:g} {seed}"
                    if key not in found:
                        found[key] = recall(kind, distance, rate, seed)
                        print(f"  {key}: {found[key]}", flush=True)
                        yield


# Speed


def measure_speed(found: dict[str, Any], rounds: int = 15) -> Any:
    """Measure seconds per step and characters per second, in npchar and in PyTorch."""
    for kind in KINDS:
        layers = 6 if kind == "conv" else 1
        for B in (32, 128):
            key = f"{kind} step {B}"
            if key not in found:
                arguments = {"B": B, "targets": "all", "H": 128, "layers": layers,
                             "turn": max(3, 320 // B), "layer": kind}  # fmt: skip
                found[key] = run.interleaved(
                    [
                        run.Contender("npchar", "npchar_steps", **arguments),
                        run.Contender("PyTorch", "torch_steps", **arguments),
                    ],
                    rounds,
                )
                show(key, found[key], 1e3, "ms")
                yield
        key = f"{kind} generation"
        if key not in found:
            contenders = [run.Contender("npchar", "npchar_generation", streams=1, n=4000,
                                        layer=kind)]  # fmt: skip
            if kind != "conv":  # in PyTorch it has no state to carry
                contenders.append(run.Contender("PyTorch", "torch_generation", n=1000, layer=kind))
            found[key] = run.interleaved(contenders, rounds)
            show(key, found[key], 1, "characters per second")
            yield


def show(key: str, seconds: dict[str, dict[str, float]], factor: float, unit: str) -> None:
    """Print the medians and quartiles in one line."""
    print(f"  {key}: " + ", ".join(
        f"{name} {factor * s['median']:,.1f} ({factor * s['low']:,.1f} to "
        f"{factor * s['high']:,.1f})"
        for name, s in seconds.items()
    ) + f" {unit}", flush=True)  # fmt: skip


# Plot and table


def plot(results: dict[str, Any]) -> None:
    """Plot the loss against seconds at both sizes, and recall against distance."""
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 3, figsize=(13, 4), layout="constrained")
    colours = dict(zip(KINDS, ("tab:red", "tab:blue", "tab:gray", "tab:green")))
    for ax, parameters in zip(axes, SIZES):
        for kind in KINDS:
            key = f"{kind} {parameters}"
            curves = np.array(list(results["losses"][key].values()))  # (seeds, epochs)
            seconds = results["seconds"][key]["seconds"] * np.arange(1, curves.shape[1] + 1)
            mean, spread = curves.mean(axis=0), curves.std(axis=0, ddof=1)
            ax.plot(seconds, mean, "o-", markersize=3, color=colours[kind],
                    label=f"{kind}: {curves.min(axis=1).mean():.3f}")  # fmt: skip
            ax.fill_between(seconds, mean - spread, mean + spread, color=colours[kind], alpha=0.2)
        ax.set(title=f"about {parameters:,} parameters", xlabel="seconds of training",
               ylim=(1.3, 2.0))  # fmt: skip
        ax.legend(frameon=False, title="best epoch")
    axes[0].set_ylabel("held out, nats per character")
    for kind in KINDS:
        shares = recalled(results["memory"], kind)  # (distances, seeds)
        middle = shares.mean(axis=1)
        axes[2].errorbar(
            DISTANCES, middle, [middle - shares.min(axis=1), shares.max(axis=1) - middle],
            fmt="o-", markersize=4, capsize=3, color=colours[kind], label=kind,
        )  # fmt: skip
    axes[2].axhline(1 / MEMORY["symbols"], color="gray", linewidth=0.8, linestyle=":")
    axes[2].annotate("a guess", (DISTANCES[0], 1 / MEMORY["symbols"]), va="bottom", fontsize=8,
                     color="gray")  # fmt: skip
    axes[2].set(title="a symbol recalled over a distance", xlabel="characters", xscale="log",
                ylabel="share of new sequences", ylim=(0, 1.05))  # fmt: skip
    axes[2].set_xticks(DISTANCES, map(str, DISTANCES))
    axes[2].legend(frameon=False, loc="upper right", bbox_to_anchor=(1, 0.95))
    figure.savefig(FILE.with_suffix(".png"), dpi=110)


def recalled(found: dict[str, Any], kind: str) -> np.ndarray:
    """Shares (distances, seeds) at the learning rate with the best mean share."""
    best = []
    for distance in DISTANCES:
        by_rate = [
            [found[f"{kind} {distance} {rate:g} {seed}"]["share"] for seed in MEMORY["seeds"]]
            for rate in MEMORY["rates"]
        ]
        best.append(max(by_rate, key=np.mean))
    return np.array(best)


def table(results: dict[str, Any]) -> None:
    """Print the validation losses and their standard errors."""
    for key, curves in results["losses"].items():
        ends = np.array([min(curve) for curve in curves.values()])
        about = results["seconds"][key]
        error = ends.std(ddof=1) / math.sqrt(len(ends))
        seconds = about["seconds"] * len(next(iter(curves.values())))
        rate = best_rate(results["rates"][key])
        print(f"  {key:<14} H {about['hidden_size']:<4} rate {rate:<6g} "
              f"{seconds:4.0f} s  {ends.mean():.4f} ± {error:.4f}")  # fmt: skip


def main() -> None:
    """Measure the missing results, print the losses and draw the plot."""
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n\n")[0])
    parser.add_argument("--corpus", default="nietzsche", help="name, file or address")
    parser.add_argument("--only", nargs="+", choices=("speed", "seconds", "rates", "losses",
                        "memory", "plot"), help="sections (default: all)")  # fmt: skip
    options = parser.parse_args()
    text = npchar.load_corpus(options.corpus).lower()
    results = json.loads(FILE.read_text()) if FILE.exists() else {}
    part = {name: results.setdefault(name, {}) for name in
            ("speed", "seconds", "rates", "losses", "memory")}  # fmt: skip
    sections = {
        "speed": lambda: measure_speed(part["speed"]),
        "seconds": lambda: measure_seconds(text, part["seconds"]),
        "rates": lambda: measure_rates(text, part["seconds"], part["rates"]),
        "losses": lambda: measure_losses(text, part["seconds"], part["rates"], part["losses"]),
        "memory": lambda: measure_memory(part["memory"]),
    }
    for name, section in sections.items():
        if options.only is None or name in options.only:
            print(name, time.strftime("%H:%M"), flush=True)
            for _ in section():
                FILE.write_text(json.dumps(results, indent=1) + "\n")
    if options.only is None or "plot" in options.only:
        table(results)
        plot(results)


if __name__ == "__main__":
    main()
