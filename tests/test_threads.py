"""Threads: the processors available to a container, and the threads of the BLAS."""

import math

import numpy as np
import pytest
from children import run_python

from npchar.threads import available_cores, can_limit_blas, cpu_quota

V1 = {"cpu.cfs_quota_us": "{}", "cpu.cfs_period_us": "100000"}


@pytest.mark.parametrize(
    ("groups", "files", "expected"),
    [
        ("0::/", {"": {"cpu.max": "50000 100000"}}, 0.5),
        ("0::/", {"": {"cpu.max": "max 100000"}}, math.inf),
        ("0::/a/b", {"a/b": {"cpu.max": "max 100000"}, "a": {"cpu.max": "150000 100000"}}, 1.5),
        ("0::/gone", {"": {"cpu.max": "200000 100000"}}, 2.0),  # a path outside of the container
        ("7:cpu,cpuacct:/a\n3:memory:/x", {"cpu/a": V1 | {"cpu.cfs_quota_us": "250000"}}, 2.5),
        ("7:cpu,cpuacct:/host", {"cpu": V1 | {"cpu.cfs_quota_us": "-1"}}, math.inf),
        (None, {}, math.inf),
    ],
)
def test_the_quota_of_a_cgroup(tmp_path, groups, files, expected):
    if groups is not None:
        (tmp_path / "proc/self").mkdir(parents=True)
        (tmp_path / "proc/self/cgroup").write_text(groups + "\n")
    for folder, contents in files.items():
        place = tmp_path / "sys/fs/cgroup" / folder
        place.mkdir(parents=True, exist_ok=True)
        for name, content in contents.items():
            (place / name).write_text(content + "\n")
    assert cpu_quota(str(tmp_path)) == expected


@pytest.mark.parametrize(("quota", "cores"), [(0.5, 1), (1.4, 1), (1.6, 2), (math.inf, 4)])
def test_a_quota_limits_the_cores(monkeypatch, quota, cores):
    monkeypatch.setattr("npchar.threads.cpu_quota", lambda: quota)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: range(4), raising=False)
    assert available_cores() == cores


THREADS = """
import os, sys, npchar
from npchar.threads import _openblas
get_threads, set_threads = _openblas()
set_threads(2)
text = "the cat sat on the mat. " * 100
model = npchar.Model(npchar.Vocabulary.from_text(text), hidden_size=8)
seen, gradients = [], type(model.network).gradients

def noted(*arguments, **named):
    seen.append(get_threads())
    return gradients(*arguments, **named)

type(model.network).gradients = noted
callback = lambda history: seen.append(-get_threads())
workers = int(sys.argv[1])
model.fit(text, epochs=1, maxlen=20, batch_size=16, workers=workers, verbose=False,
          callbacks=[callback])
print(set(seen), get_threads())
"""


@pytest.mark.parametrize("workers", [1, 2])
def test_steps_use_one_thread_of_the_blas_and_callbacks_their_own(workers):
    if (
        not can_limit_blas()
        or "openblas" not in np.show_config("dicts")["Build Dependencies"]["blas"]["name"]
    ):
        pytest.skip("NumPy has another BLAS")
    done = run_python("-c", THREADS, workers, env={"OPENBLAS_NUM_THREADS": "2"})
    assert done.stdout == "{1, -2} 2\n", done.stderr
