"""Are the tests worth something? Small mistakes are planted, one at a time: who notices?

    python tests/mutants.py [WORD ...]      those whose file or description has the words; or all

Each mutant of `mutants_table.py` goes into a copy of this checkout. The tests near it run;
if they pass, the whole default suite does, and then the slow tests. What passes them all
survives, and is told. All of them take about half an hour on two cores.
"""

from __future__ import annotations

import argparse
import os
import queue
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from mutants_table import MUTANTS

ROOT = Path(__file__).parents[1]
PARTS = (
    *("npchar", "tests", "examples", "benchmarks", ".ci", "pyproject.toml", "LICENSE", "README.md"),
    *("README.zh.md", "CHANGELOG.md", "CITATION.cff", "CONTRIBUTING.md"),
)
OWN_TEST = "tests/test_public.py::test_each_mutant_can_be_planted"  # fails for all of them
LIMIT = 600  # seconds for a run of tests; an endless loop is noticed, too


def main() -> int:
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n\n")[0])
    parser.add_argument("words", nargs="*", metavar="WORD", help="of the mutants' descriptions")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, metavar="N")
    options = parser.parse_args()
    chosen = [m for m in MUTANTS if all(word in f"{m[0]} {m[1]}" for word in options.words)]
    for file, what, old, *_ in chosen:
        count = (ROOT / "npchar" / file).read_text(encoding="utf-8").count(old)
        if count != 1:
            raise SystemExit(f"{file}: {what}: stands {count} times in it, not once:\n{old}")
    with tempfile.TemporaryDirectory(prefix="npchar-mutants-") as folder:
        if by := caught_by(copied_to(Path(folder)), []):
            raise SystemExit(f"without any mutant the tests fail: {by}")
    waiting: queue.SimpleQueue = queue.SimpleQueue()
    for mutant in chosen:
        waiting.put(mutant)
    outcomes: list[tuple[str, str, str]] = []
    threads = [threading.Thread(target=work, args=(waiting, outcomes)) for _ in range(options.jobs)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(outcomes) == len(chosen), "not all were tried: see above"
    survivors = [(file, what) for file, what, by in outcomes if not by]
    print(f"\n{len(outcomes) - len(survivors)} of {len(outcomes)} mutants are caught")
    for file, what in survivors:
        print(f"  survives: {file}: {what}")
    return bool(survivors)


def copied_to(folder: Path) -> Path:
    """A copy of the checkout, with the corpora beside it."""
    copy = folder / "checkout"
    copy.mkdir()
    for part in PARTS:
        if (ROOT / part).is_dir():
            no_bytecode = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / part, copy / part, ignore=no_bytecode)
        else:
            shutil.copy(ROOT / part, copy / part)
    if (shared := ROOT.parent / "shared").exists():
        (folder / "shared").symlink_to(shared)
    return copy


def work(waiting: queue.SimpleQueue, outcomes: list[tuple[str, str, str]]) -> None:
    """Try mutants until none is waiting, in a copy of the checkout."""
    with tempfile.TemporaryDirectory(prefix="npchar-mutants-") as folder:
        copy = copied_to(Path(folder))
        while not waiting.empty():
            try:
                file, what, old, new, near = waiting.get_nowait()
            except queue.Empty:
                break
            path = copy / "npchar" / file
            right = path.read_text(encoding="utf-8")
            path.write_text(right.replace(old, new), encoding="utf-8")
            begun = time.monotonic()
            by = caught_by(copy, near.split())
            path.write_text(right, encoding="utf-8")
            outcomes.append((file, what, by))
            seconds = time.monotonic() - begun
            print(f"{seconds:4.0f} s  {file}: {what}: {by or 'SURVIVES'}", flush=True)


def caught_by(copy: Path, near: list[str]) -> str:
    """The first test that fails in a copy of the checkout; none if all pass."""
    files = [str(path) for name in near for path in (copy / "tests").rglob(f"test_{name}.py")]
    for arguments in ([files] if files else []) + [["tests"], ["tests", "-m", "slow"]]:
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider",
                   "-p", "no:randomly", "--deselect", OWN_TEST, *arguments]  # fmt: skip
        try:
            done = subprocess.run(
                command,
                cwd=copy,
                # No bytecode: a mutant of the same length, a moment later, would not be seen.
                env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"},
                capture_output=True,
                text=True,
                timeout=LIMIT,
            )
        except subprocess.TimeoutExpired:
            return "a run without end"
        if done.returncode == 4:  # pytest was asked for what it does not know
            raise RuntimeError(done.stderr)
        if done.returncode:
            lines = [line for line in done.stdout.splitlines() if line[:6] in ("FAILED", "ERROR ")]
            return lines[0].split(" - ")[0] if lines else f"exit status {done.returncode}"
    return ""


if __name__ == "__main__":
    sys.exit(main())
