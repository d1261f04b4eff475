"""What serving takes: size of its environment, memory, time to be ready."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from pathlib import Path

from benchmarks.figures import Figure, figure
from benchmarks.sentiment.environments import EDGE_LOCK, locked_environment
from benchmarks.sentiment.services import Service, edge_server, predictor
from benchmarks.servers import PROJECT

Progress = Callable[[str], None]

_STARTS = 5
_EDGE_SECONDS = 5.0


def size_mb(folder: Path) -> float:
    """What the files below a folder take on a disk, in megabytes, hard links counted once."""
    seen = {(found.st_dev, found.st_ino): found.st_blocks * 512 for found in map(Path.lstat, folder.rglob("*"))}
    return sum(seen.values()) / 1e6


def image_figure(folder: Path, lock: str) -> Figure:
    """Size of an environment and of the project's code."""
    code = sum(size_mb(PROJECT / part) for part in ("blueprints", "inference_services"))
    how = f"a virtual environment from {lock} and the project's code, without base image and model"
    return figure(size_mb(folder) + code, "MB", how)


def memory_figures(service: Service) -> dict[str, Figure]:
    """Memory of a server that has answered many requests."""
    how = "resident memory of the int8 teacher's predictor, REST and gRPC, after the runs at 32 clients"
    return {"rss_mb": figure(service.server.rss_mb(), "MB", how)}


def ready_figures(python: Path, package: Path, log: Path, progress: Progress) -> dict[str, Figure]:
    """Time to be ready."""
    progress("starts")
    seconds = []
    for _ in range(_STARTS):
        with predictor("ready", python, package, log) as service:
            seconds.append(service.server.ready_s)
    return {
        "ready_s": figure(
            statistics.median(seconds),
            "s",
            "from the start of the process to /readyz 200, batching measured at the start, the model warmed up; median "
            f"of {_STARTS}, longest {max(seconds):.2f}",
        )
    }


def edge_figures(package: Path, texts: Path, scratch: Path, progress: Progress) -> dict[str, Figure]:
    """The server for small machines, in its own environment, on one thread."""
    progress("the edge server")
    folder = scratch / "edge"
    python = locked_environment(folder, EDGE_LOCK)
    with edge_server("edge", python, package, scratch / "edge.log") as service:
        load = service.load(texts, _EDGE_SECONDS, clients=1)
        rss = service.server.rss_mb()
        ready = service.server.ready_s
    how = "the int8 student behind the edge server, one thread, one client, closed loop, natural mix of lengths"
    return {
        "edge_image_mb": image_figure(folder, EDGE_LOCK),
        "edge_rss_mb": figure(rss, "MB", f"resident memory: {how}"),
        "edge_p50_s": figure(load.percentile(0.5), "s", f"median latency: {how}"),
        "edge_p99_s": figure(load.percentile(0.99), "s", f"99th percentile: {how}"),
        "edge_ready_s": figure(ready, "s", "from the start of the process to /readyz 200"),
    }
