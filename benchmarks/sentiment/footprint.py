"""What serving takes: size of its environment, memory, time to be ready."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from pathlib import Path

from benchmarks.figures import Figure, figure
from benchmarks.sentiment.environments import SERVING_LOCK
from benchmarks.sentiment.services import Service, predictor
from benchmarks.servers import PROJECT

Progress = Callable[[str], None]

_STARTS = 5


def size_mb(folder: Path) -> float:
    """What the files below a folder take on a disk, in megabytes, hard links counted once."""
    seen = {(found.st_dev, found.st_ino): found.st_blocks * 512 for found in map(Path.lstat, folder.rglob("*"))}
    return sum(seen.values()) / 1e6


def environment_figures(folder: Path) -> dict[str, Figure]:
    """Size of the environment in a folder, the project's own code included."""
    code = sum(size_mb(PROJECT / part) for part in ("blueprints", "inference_services"))
    return {
        "image_mb": figure(
            size_mb(folder) + code,
            "MB",
            f"a virtual environment from {SERVING_LOCK} and the project's code, without base image and model",
        )
    }


def memory_figures(service: Service) -> dict[str, Figure]:
    """Memory of a server that has answered many requests."""
    how = "resident memory of the int8 teacher's predictor, REST and gRPC, after the runs at 32 clients"
    return {"rss_mb": figure(service.server.rss_mb(), "MB", how)}


def ready_figures(package: Path, log: Path, progress: Progress) -> dict[str, Figure]:
    """Time to be ready."""
    progress("starts")
    seconds = []
    for _ in range(_STARTS):
        with predictor("ready", package, log) as service:
            seconds.append(service.server.ready_s)
    return {
        "ready_s": figure(
            statistics.median(seconds),
            "s",
            "from the start of the process to /readyz 200, batching measured at the start, the model warmed up; median "
            f"of {_STARTS}, longest {max(seconds):.2f}",
        )
    }
