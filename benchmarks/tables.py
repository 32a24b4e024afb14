"""The tables of ``results.json`` for ``README.md``: ``python benchmarks/run.py --show``."""

from __future__ import annotations

from typing import Any


def tables(results: dict[str, Any]) -> str:
    """The tables of ``README.md`` on training and generation speed, in Markdown."""
    usual, larger = [], []
    for case in results["steps"]:
        (usual if case["H"] == 128 and case["symbols"] == 57 else larger).append(case)
    names = list(dict.fromkeys(name for case in usual for name in case["seconds"]))
    parts = [
        "Milliseconds per training step, 128 units and 57 symbols:",
        steps(usual, names),
        "Milliseconds per training step, larger networks (H units, V symbols; 1,000 and more\n"
        "symbols use an embedding in PyTorch):",
        steps(larger, [n for n in names if not n.startswith("Keras")]),
        "Characters generated per second, 128 units:",
        table(
            ["", "characters per second"],
            [[n, f"{s['median']:,.0f}"] for n, s in results["generation"].items()],
        ),
    ]
    return "\n\n".join(parts) + "\n"


def steps(cases: list[dict[str, Any]], names: list[str]) -> str:
    """Milliseconds, and in brackets the time divided by npchar's time."""
    rows = []
    for case in cases:
        what = f"{case['B']}, {case['targets']}"
        what += "" if case["H"] == 128 else f"; H {case['H']}"
        what += "" if case["layers"] == 1 else f", {case['layers']} layers"
        what += "" if case["symbols"] == 57 else f"; V {case['symbols']:,}"
        ours = case["seconds"]["npchar"]["median"]
        cells = []
        for name in names:
            seconds = case["seconds"].get(name, {}).get("median")
            ratio = "" if name == "npchar" or seconds is None else f" ({seconds / ours:.2f})"
            cells.append("" if seconds is None else f"{1e3 * seconds:.1f}{ratio}")
        rows.append([what, *cells])
    return table(["batch, targets", *names], rows)


def table(head: list[str], rows: list[list[str]]) -> str:
    """A table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
