"""Cores that this process may use."""

from __future__ import annotations

import os
from pathlib import Path

_CPU_MAX = Path("/sys/fs/cgroup/cpu.max")


def available_cores() -> int:
    """Whole cores, at least one: those that the process may run on, at most what its container's CPU limit allows."""
    cores = len(os.sched_getaffinity(0))
    try:
        quota, period = _CPU_MAX.read_text().split()
        return max(1, min(cores, int(int(quota) / int(period))))
    except (OSError, ValueError):
        return cores
