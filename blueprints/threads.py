"""How many threads batch work may use."""

from __future__ import annotations

import os


def default_threads() -> int:
    """Threads for batch work: `OMP_NUM_THREADS`, else every core that this process may use."""
    limit = os.environ.get("OMP_NUM_THREADS", "")
    return int(limit) if limit.isdigit() and int(limit) > 0 else len(os.sched_getaffinity(0))
