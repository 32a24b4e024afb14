"""Compare the speed of npchar with other libraries; write ``results.json`` and ``results.png``.

    pip install ".[bench]"
    python benchmarks/run.py --corpus nietzsche.txt

Each contender runs in its own process. The contenders take turns, so that a slow minute of the
machine affects all of them. Results are medians and quartiles over the turns. Libraries that are
not installed are listed and skipped. A run with all libraries takes about half an hour. ``--only``
selects sections.

    python benchmarks/run.py --compare HEAD~1
    python benchmarks/run.py --compare HEAD~1 --case B=32 layer=gru --case streams=64

compares this tree with another commit. The two take turns of a few tenths of a second, and the
ratios of their times are printed for 16 cases or for the given cases.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import importlib.util
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tables import tables

HERE = Path(__file__).parent
ONE_THREAD = dict.fromkeys(("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS"), "1")
BATCHES = (16, 32, 64, 128, 256)
SOME = (32, 128)  # subset of BATCHES for larger networks
V = 57  # symbols
USUAL = {"targets": "all", "H": 128, "layers": 1, "symbols": V}
COMPARED: list[dict[str, Any]] = [
    *({"B": B} for B in (16, 32, 64, 128)),
    *({"B": B, "targets": "last"} for B in SOME),
    {"B": 32, "workers": 1},
    *({"B": 32, "H": H} for H in (256, 512)),
    *({"B": 32, "symbols": n} for n in (1000, 4000)),
    *({"B": B, "layer": "gru"} for B in SOME),
    {"streams": 1},
    {"streams": 64},
    {"streams": 1, "symbols": 4000},
]
PAUSE = 0.25  # seconds between two turns, so that threads of the last turn are asleep

# Peer: (job for training steps, required module, environment)
PEERS: dict[str, tuple[str, str, dict[str, str]]] = {
    "PyTorch": ("torch_steps", "torch", {}),
    "PyTorch, two processes": ("torch_pair_steps", "torch", {}),
    "JAX": ("jax_steps", "jax", {"JAX_PLATFORMS": "cpu"}),
    "Keras TensorFlow": ("keras_steps", "tensorflow", {"KERAS_BACKEND": "tensorflow"}),
    "Keras JAX": ("keras_steps", "jax", {"KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"}),
}


def installed(peer: str) -> bool:
    """Whether the modules of a peer are installed."""
    modules = [PEERS[peer][1]] + ["keras"] * peer.startswith("Keras")
    return all(importlib.util.find_spec(module) for module in modules)


class Contender:
    """A process that works in turns."""

    def __init__(
        self, name: str, job: str, environment: dict[str, str] | None = None, **arguments: Any
    ) -> None:
        self.name = name
        self.log = tempfile.TemporaryFile("w+")  # noqa: SIM115
        quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}
        self.process = subprocess.Popen(
            [sys.executable, HERE / "contenders.py", job, json.dumps(arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
            env=os.environ | quiet | (environment or {}),
        )

    def answer(self) -> Any:
        """The next line of JSON from the process; other lines are skipped."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with contextlib.suppress(json.JSONDecodeError):
                return json.loads(line)
        self.log.seek(0)
        said = self.log.read().strip().splitlines() or ["nothing"]
        raise RuntimeError(f"{self.name} ended; its last output was: {said[-1]}")

    def turn(self) -> Any:
        """Start one turn and return its measurement."""
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return self.answer()

    def end(self) -> None:
        """End the process; its children end when their pipes close."""
        assert self.process.stdin is not None
        with contextlib.suppress(OSError):
            self.process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(timeout=5)
        self.process.kill()
        self.process.wait()
        self.log.close()


@contextlib.contextmanager
def ready(contenders: list[Contender]) -> Iterator[list[Contender]]:
    """The contenders that start; all are ended on exit."""
    able = []
    try:
        for contender in contenders:
            try:
                contender.answer()
                able.append(contender)
            except RuntimeError as error:
                print(f"  skipped: {error}")
        yield able
    finally:
        for contender in contenders:
            contender.end()


def interleaved(contenders: list[Contender], rounds: int) -> dict[str, dict[str, float]]:
    """Median and quartiles of each contender, measured in turns."""
    taken: dict[str, list[float]] = {}
    with ready(contenders) as able:
        for number in range(rounds + 2):
            for contender in able:
                value = contender.turn()
                if number >= 2:  # the first two turns are a warm-up
                    taken.setdefault(contender.name, []).append(value)
                time.sleep(PAUSE)
    return {name: summary(values) for name, values in taken.items()}


def summary(values: list[float]) -> dict[str, float]:
    """The median, the quartiles and the number of turns."""
    low, middle, high = statistics.quantiles(values, n=4)
    return {"median": middle, "low": low, "high": high, "turns": len(values)}


def peer_steps(peer: str, **arguments: Any) -> Contender:
    """A contender for the training steps of a peer."""
    job, _, environment = PEERS[peer]
    return Contender(peer, job, environment, **arguments)


def measure_steps(rounds: int, batches: Sequence[int]) -> list[dict[str, Any]]:
    """Seconds per training step: the usual network at every batch size, and larger networks."""
    usual = {key: USUAL[key] for key in ("H", "layers", "symbols")}
    cases = [usual | {"B": B, "targets": t} for t in ("last", "all") for B in batches]
    larger = [{"H": 256}, {"H": 512, "layers": 2}, {"symbols": 1000}, {"symbols": 4000}]
    cases += [
        usual | {"B": B, "targets": "all"} | size for size in larger for B in batches if B in SOME
    ]
    found = []
    for case in cases:
        is_usual = usual.items() <= case.items()
        turn = max(4, 640 // case["B"] // (1 if is_usual else 6))  # steps
        peers = [p for p in PEERS if installed(p) and (is_usual or not p.startswith("Keras"))]
        arguments = case | {"turn": turn}
        contenders = [
            Contender("npchar", "npchar_steps", **arguments),
            Contender("floor", "floor_steps", ONE_THREAD, **arguments),
            *(peer_steps(p, **arguments) for p in peers),
        ]
        if case["symbols"] > V and installed("PyTorch"):
            name = "PyTorch, same weights"
            contenders.append(Contender(name, "torch_steps", direct=True, **arguments))
        result = case | {"seconds": interleaved(contenders, rounds)}
        found.append(result)
        show_steps(result)
    return found


def show_steps(result: dict[str, Any]) -> None:
    """Print a line for each contender."""
    print(f"  B {result['B']}, H {result['H']}, {result['layers']} layer(s), "
          f"V {result['symbols']}, targets {result['targets']}")  # fmt: skip
    ours = result["seconds"]["npchar"]["median"]
    for name, s in result["seconds"].items():
        low, high = 1e3 * s["low"], 1e3 * s["high"]
        ratio = f"{s['median'] / ours:.2f} times npchar" if name != "npchar" else ""
        print(f"    {name:<24}{1e3 * s['median']:8.1f} ms  ({low:.1f} to {high:.1f})  {ratio}",
              flush=True)  # fmt: skip


def measure_layer(rounds: int) -> dict[str, Any]:
    """Seconds of a forward and a backward pass of one LSTM layer, on one core."""
    arguments = {"B": 32, "H": 128, "turn": 4}
    contenders = [
        Contender("npchar, fast", "npchar_layer", ONE_THREAD, kind="FastLSTM", **arguments),
        Contender("npchar, plain", "npchar_layer", ONE_THREAD, kind="LSTM", **arguments),
    ]
    if importlib.util.find_spec("thinc"):
        contenders.append(Contender("thinc", "thinc_layer", ONE_THREAD, **arguments))
    found = interleaved(contenders, rounds)
    for name, s in found.items():
        print(f"    {name:<18}{1e3 * s['median']:8.1f} ms  ({1e3 * s['low']:.1f} to "
              f"{1e3 * s['high']:.1f})")  # fmt: skip
    return found


def measure_generation(rounds: int) -> dict[str, Any]:
    """Characters generated per second."""
    contenders = [
        Contender("npchar", "npchar_generation", streams=1, n=4000),
        Contender("npchar, 64 streams", "npchar_generation", streams=64, n=200),
        Contender("npchar, V 4,000", "npchar_generation", streams=1, n=2000, symbols=4000),
    ]
    if installed("PyTorch"):
        contenders.append(Contender("PyTorch", "torch_generation", n=1000))
    if importlib.util.find_spec("onnxruntime") and importlib.util.find_spec("onnx"):
        contenders.append(Contender("ONNX Runtime", "onnx_generation", n=2000))
    if installed("Keras TensorFlow"):
        environment = PEERS["Keras TensorFlow"][2]
        contenders.append(Contender("Keras, its step", "keras_step_generation", environment, n=300))
        contenders.append(Contender("Keras predict", "keras_generation", environment, n=15))
    found = interleaved(contenders, rounds)
    for name, s in found.items():
        print(f"    {name:<18}{s['median']:10,.0f} chars/s  ({s['low']:,.0f} to {s['high']:,.0f})")
    return found


def tree(pid: int) -> list[int]:
    """A process and its descendants."""
    found = [pid]
    for parent in found:
        with contextlib.suppress(OSError):
            children = Path(f"/proc/{parent}/task/{parent}/children").read_text()
            found += map(int, children.split())
    return found


def proportional_memory(pid: int) -> int:
    """Bytes of a process and its descendants; shared pages are counted once."""
    total = 0
    for member in tree(pid):
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{member}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += 1024 * int(line.split()[1])
    return total


def peak_memory(contender: Contender) -> int:
    """Peak bytes of a contender and its workers, sampled 100 times per second."""
    peak = 0
    over = threading.Event()

    def watch() -> None:
        nonlocal peak
        while not over.wait(0.01):
            peak = max(peak, proportional_memory(contender.process.pid))

    with ready([contender]) as able:
        watcher = threading.Thread(target=watch)
        watcher.start()
        for one in able:
            one.turn()
            time.sleep(0.1)
        over.set()
        watcher.join()
    return peak


def measure_memory(corpus: str) -> dict[str, Any]:
    """Peak memory of training and generation with workers, and of training in PyTorch."""
    base = peak_memory(Contender("NumPy", "only_numpy"))
    found: dict[str, Any] = {"interpreter and NumPy": base}
    print(f"    interpreter and NumPy      {base / 1e6:7.1f} MB")
    text = Path(corpus).read_text(encoding="utf-8")
    for name, size, lower in (
        ("the corpus", len(text), True),
        ("10 MB", 10**7, False),
        ("100 MB", 10**8, False),
        ("100 MB, then str.lower", 10**8, True),
    ):
        with tempfile.NamedTemporaryFile("w", suffix=".txt", encoding="utf-8") as file:
            file.write((text * (size // len(text) + 1))[:size])
            file.flush()
            seconds = 10 + size / 2e7
            arguments = {"path": file.name, "seconds": seconds, "lower": lower}
            peak = peak_memory(Contender(name, "npchar_memory", **arguments))
        found[name] = peak
        print(f"    {name:<26} {peak / 1e6:7.1f} MB, {(peak - base) / size:.2f} bytes per "
              "character in addition")  # fmt: skip
    case = {"B": 32, "targets": "all", "H": 128, "layers": 1, "turn": 4}
    for symbols in (V, 1000, 4000):
        arguments = case | {"symbols": symbols}
        contenders = [Contender("npchar", "npchar_steps", **arguments)]
        contenders += [peer_steps(p, **arguments) for p in PEERS if "PyTorch" in p and installed(p)]
        peaks = {contender.name: peak_memory(contender) for contender in contenders}
        found[f"training, V {symbols:,}"] = peaks
        told = ", ".join(f"{name} {peak / 1e6:.0f} MB" for name, peak in peaks.items())
        print(f"    {f'training, V {symbols:,}':<26} {told}")
    return found


def measure_import(rounds: int) -> dict[str, float]:
    """Seconds of ``import npchar`` after ``import numpy``."""
    code = (
        "import numpy, time; t = time.perf_counter(); import npchar; print(time.perf_counter() - t)"
    )
    # With cached bytecode, as in an installed package.
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    command = [sys.executable, "-c", code]
    values = [float(subprocess.check_output(command, env=environment)) for _ in range(rounds + 1)]
    found = summary(values[1:])
    print(f"    import npchar: {1e3 * found['median']:.0f} ms in addition to NumPy")
    return found


def measure_growth(rounds: int) -> dict[str, Any]:
    """Growth of the seconds of a step or an epoch with each size."""
    usual = {"B": 32, "targets": "all", "H": 128, "layers": 1, "turn": 6}
    series: dict[str, tuple[str, list[int]]] = {
        "T": ("maxlen", [15, 30, 60, 120, 240]),
        "B": ("B", [16, 32, 64, 128, 256]),
        "H": ("H", [32, 64, 128, 256, 512]),
        "layers": ("layers", [1, 2, 3, 4]),
        "characters": ("turn", [6, 12, 24, 48]),
    }
    found: dict[str, Any] = {}
    for name, (argument, sizes) in series.items():
        contenders = [
            Contender(str(size), "npchar_steps", **(usual | {argument: size})) for size in sizes
        ]
        medians = [s["median"] for s in interleaved(contenders, rounds).values()]
        if name == "characters":  # seconds of an epoch
            medians = [m * turns for m, turns in zip(medians, sizes)]
            sizes = [32 * 60 * turns for turns in sizes]
        slope = float(np.polyfit(np.log(sizes), np.log(medians), 1)[0])
        found[name] = {"sizes": sizes, "seconds": medians, "slope": slope}
        print(f"    {name:<12}" + "  ".join(f"{n}: {1e3 * s:.1f} ms" for n, s in
              zip(sizes, medians)) + f"  (slope {slope:.2f})")  # fmt: skip
    return found


def compare(revision: str, rounds: int, cases: list[dict[str, Any]]) -> None:
    """Print the ratio of the times of this tree and another commit."""
    medians = []
    with tempfile.TemporaryDirectory() as folder:
        archive = subprocess.run(
            ["git", "-C", HERE.parent, "archive", revision, "npchar"],
            check=True, stdout=subprocess.PIPE,
        )  # fmt: skip
        subprocess.run(["tar", "-x", "-C", folder], check=True, input=archive.stdout)
        for case in cases:
            if "streams" in case:
                job, arguments = "npchar_generation", {"n": 8000 // case["streams"]} | case
            else:
                job, arguments = "npchar_steps", USUAL | {"turn": 640 // case["B"]} | case
                if case.keys() & {"H", "symbols"}:
                    arguments["turn"] = max(2, arguments["turn"] // 4)
            pair = [
                Contender(path, job, {"PYTHONPATH": path}, **arguments)
                for path in (str(HERE.parent), folder)
            ]
            with ready(pair) as able:
                ratios = []
                for k in range(rounds + 2 if len(able) == 2 else 0):
                    order = 1 - 2 * (k % 2)  # alternate which version is first
                    ours, theirs = [one.turn() for one in pair[::order]][::order]
                    ratios.append(ours / theirs if job == "npchar_steps" else theirs / ours)
            if ratios:
                s = summary(ratios[2:])
                medians.append(s["median"])
                name = ", ".join(f"{key} {value}" for key, value in case.items())
                print(f"  {name:<32} {s['median']:.3f}  ({s['low']:.2f} to {s['high']:.2f})",
                      flush=True)  # fmt: skip
    if medians:
        print(f"time relative to {revision}: median {statistics.median(medians):.3f}, largest "
              f"{max(medians):.3f}, in {len(medians)} cases of {rounds} turns")  # fmt: skip


def machine() -> dict[str, Any]:
    """Processor, cores and versions."""
    cpu = platform.processor()
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        cpu = next(line.split(": ")[1] for line in lines if line.startswith("model name"))
    versions = {}
    for package in ("npchar", "numpy", "torch", "keras", "tensorflow-cpu", "tensorflow", "jax"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[package] = importlib.metadata.version(package)
    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]  # type: ignore[index]
    return {
        "cpu": cpu,
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "blas": f"{blas['name']} {blas.get('version', '')}, one thread in each npchar worker",
        "peers' threads": "PyTorch one per core; TensorFlow and JAX their defaults",
        "versions": versions,
    }


def plot(results: dict[str, Any], path: Path) -> None:
    """Plot the time of a step by batch size, and the growth of the cost."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 3, figsize=(19, 5), layout="constrained")
    colours: dict[str, str] = {}

    def colour(name: str) -> str:
        return colours.setdefault(name, f"C{len(colours)}" if name != "floor" else "0.6")

    for axis, targets, title in (
        (axes[0], "last", "Training step, one target per window (as in the book)"),
        (axes[1], "all", "Training step, a target at every character"),
    ):
        cases = [
            r
            for r in results.get("steps", [])
            if (r["targets"], r["H"], r["symbols"]) == (targets, 128, V)
        ]
        for name in dict.fromkeys(n for r in cases for n in r["seconds"]):
            own = [(r["B"], r["seconds"][name]) for r in cases if name in r["seconds"]]
            sizes = [B for B, _ in own]
            middle = np.array([1e3 * s["median"] for _, s in own])
            spread = np.abs([[1e3 * s[k] for _, s in own] for k in ("low", "high")] - middle)
            axis.errorbar(sizes, middle, spread, marker="o", capsize=3, color=colour(name),
                          ls=":" if name == "floor" else "-",
                          label=name)  # fmt: skip
        axis.set(xscale="log", yscale="log", xlabel="batch size", ylabel="ms per step", title=title)
        axis.set_xticks(BATCHES, [str(B) for B in BATCHES])
        axis.minorticks_off()
        if cases:
            axis.legend()

    axis = axes[2]
    for number, (name, run) in enumerate(results.get("growth", {}).items()):
        sizes, seconds = np.array(run["sizes"]), np.array(run["seconds"])
        grown, cost = sizes / sizes[0], seconds / seconds[0]
        axis.plot(grown, cost, "o-", color=f"C{number}",
                  label=f"{name} from {sizes[0]:,} (slope {run['slope']:.2f})")  # fmt: skip
    axis.plot([1, 16], [1, 16], ":", color="0.6", label="proportional")
    axis.plot([1, 16], [1, 256], "--", color="0.6", label="square (expected for H)")
    axis.set(xscale="log", yscale="log", xlabel="size, relative to the smallest",
             ylabel="cost, relative to the smallest", title="Growth of the cost")  # fmt: skip
    axis.legend()
    versions = ", ".join(f"{k} {v}" for k, v in results["machine"]["versions"].items())
    figure.suptitle(f"{results['machine']['cpu']}, {results['machine']['cores']} cores; {versions}",
                    fontsize=9)  # fmt: skip
    figure.savefig(path, dpi=110)


def parse_setting(word: str) -> tuple[str, Any]:
    """Parse a setting of a case, such as B=32."""
    name, _, value = word.partition("=")
    return name, int(value) if value.isdecimal() else value


def main() -> None:
    """Measure, print and write the results."""
    sections = ("steps", "layer", "generation", "memory", "import", "growth")
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n\n")[0])
    parser.add_argument("--corpus", metavar="PATH", help="Nietzsche corpus")
    parser.add_argument("--compare", metavar="REV", help="only compare this tree with a commit")
    parser.add_argument("--case", action="append", nargs="+", metavar="NAME=VALUE",
                        help="case for --compare: B, targets, H, layers, layer, symbols, "
                        "workers, streams; may be repeated (default: 16 cases)")  # fmt: skip
    parser.add_argument("--show", action="store_true", help="only print the tables")
    parser.add_argument(
        "--only",
        nargs="+",
        choices=sections,
        default=sections,
        help="sections to measure (default: all)",
    )
    parser.add_argument(
        "--batches",
        nargs="+",
        type=int,
        default=BATCHES,
        metavar="N",
        help="batch sizes of the section steps (default: 16 to 256)",
    )
    parser.add_argument(
        "--rounds", type=int, default=9, help="turns of each contender (default: 9)"
    )
    parser.add_argument(
        "--write",
        type=Path,
        default=HERE / "results.json",
        metavar="PATH",
        help="file of results (default: results.json); the plot has the same name",
    )
    options = parser.parse_args()
    if options.compare:
        cases = [dict(map(parse_setting, settings)) for settings in options.case or ()]
        return compare(options.compare, options.rounds, cases or COMPARED)
    if options.show:
        return print(tables(json.loads(options.write.read_text())))
    if not options.corpus:
        parser.error("expected --corpus PATH, --compare REV or --show")
    missing = [p for p in PEERS if not installed(p)]
    if missing:
        print(f"not installed, skipped: {', '.join(missing)}")
    jobs: dict[str, Callable[[], Any]] = {
        "steps": lambda: measure_steps(options.rounds, options.batches),
        "layer": lambda: measure_layer(options.rounds),
        "generation": lambda: measure_generation(options.rounds),
        "memory": lambda: measure_memory(options.corpus),
        "import": lambda: measure_import(options.rounds),
        "growth": lambda: measure_growth(min(options.rounds, 5)),
    }
    results = json.loads(options.write.read_text()) if options.write.exists() else {}
    results["machine"] = machine()
    for section in options.only:
        print(section)
        results[section] = jobs[section]()
        # Write after each section, so that no result is lost.
        options.write.write_text(json.dumps(results, indent=1) + "\n")
    with contextlib.suppress(ImportError):
        plot(results, options.write.with_suffix(".png"))


if __name__ == "__main__":
    main()
