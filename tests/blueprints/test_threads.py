import os

import pytest

from blueprints import threads


@pytest.mark.parametrize(
    ("limit", "cores"),
    [
        ("max 100000", 8),
        ("300000 100000", 3),
        ("250000 100000", 2),
        ("50000 100000", 1),
        ("1600000 100000", 8),
        ("", 8),
        (None, 8),
    ],
)
def test_a_container_s_cpu_limit_counts_in_whole_cores(monkeypatch, tmp_path, limit, cores):
    file = tmp_path / "cpu.max"
    if limit is not None:
        file.write_text(limit + "\n")
    monkeypatch.setattr(threads, "_CPU_MAX", file)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(8))
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert threads.available_cores() == threads.default_threads() == cores


@pytest.mark.parametrize(("given", "number"), [("3", 3), ("0", 8), ("many", 8), ("-2", 8), ("", 8)])
def test_batch_work_takes_the_threads_that_it_is_given(monkeypatch, given, number):
    monkeypatch.setattr(threads, "available_cores", lambda: 8)
    monkeypatch.setenv("OMP_NUM_THREADS", given)
    assert threads.default_threads() == number
