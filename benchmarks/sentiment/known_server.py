"""A known model server, LitServe, set as well as a small grid can set it."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.sentiment.environments import SERVING_LOCK, environment_with
from benchmarks.sentiment.services import Service
from benchmarks.servers import running
from localcluster.ports import free_ports

Progress = Callable[[str], None]

NAME = "litserve"
REQUIREMENT = "litserve==0.2.19"
_BATCHES = ((1, 0.0), (8, 0.002), (8, 0.01), (16, 0.002), (16, 0.01))
_SCREENED_S, _CLIENTS = 2.0, 32


@dataclass(frozen=True)
class Setting:
    """How LitServe is set.

    Attributes:
        workers: Worker processes (`workers_per_device`).
        threads: Threads of the model in each.
        max_batch_size: Requests in a batch at the most.
        batch_timeout: Seconds that a batch waits for more.
    """

    workers: int
    threads: int
    max_batch_size: int
    batch_timeout: float

    def words(self) -> str:
        """The setting, for people."""
        return (
            f"workers {self.workers}, threads {self.threads}, max_batch_size {self.max_batch_size}, "
            f"batch_timeout {self.batch_timeout:g} s"
        )


def grid(cores: int) -> list[Setting]:
    """What is tried: one worker for all cores or one a core, without batching and with batches of two sizes."""
    layouts = sorted({(1, cores), (cores, 1)})
    return [Setting(*layout, *batch) for layout, batch in itertools.product(layouts, _BATCHES)]


def environment(folder: Path) -> Path:
    """The interpreter of an environment of its own: what is under test stays as its lock says.

    Raises:
        RuntimeError: LitServe cannot be had.
    """
    return environment_with(folder, SERVING_LOCK, REQUIREMENT)


@contextlib.contextmanager
def known_server(python: Path, package: Path, log: Path, setting: Setting) -> Iterator[Service]:
    """LitServe with the blueprint's own model."""
    (port,) = free_ports(1)
    settings = (setting.workers, setting.threads, setting.max_batch_size, setting.batch_timeout)
    command = [
        *(str(python), "-m", "benchmarks.sentiment.litserve_service", str(package), str(port)),
        *map(str, settings),
    ]
    with running(command, port=port, ready_path="/health", log=log, timeout=120) as server:
        yield Service(NAME, server, setting.words())


def best_setting(python: Path, package: Path, texts: Path, log: Path, progress: Progress) -> Setting:
    """The setting of the grid that answers most requests of 32 clients."""
    rates: dict[Setting, float] = {}
    for setting in grid(len(os.sched_getaffinity(0))):
        with known_server(python, package, log, setting) as service:
            load = service.load(texts, _SCREENED_S, clients=_CLIENTS)
        rates[setting] = 0.0 if load.failures() else load.rate
        progress(f"{NAME} with {setting.words()}: {rates[setting]:.0f}/s")
    return max(rates, key=rates.__getitem__)
