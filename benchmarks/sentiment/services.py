"""The services that are measured, each started on a free port of loopback."""

from __future__ import annotations

import contextlib
import json
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.load import Load, Plan, run
from benchmarks.sentiment import baseline
from benchmarks.servers import Server, running
from localcluster.ports import free_ports

PREDICT = "/predict"
LONGEST = 4_000
"""Characters of a text that the servers take where long texts are measured."""


@dataclass(frozen=True)
class Service:
    """A service that answers `POST /predict` with `{"text": …}`.

    Attributes:
        name: What it is called in the figures.
        server: The server.
        setting: How it was set, for people; empty if by its defaults.
    """

    name: str
    server: Server
    setting: str = ""

    def label(self, body: bytes) -> str:
        """The label that one request is answered with."""
        request = urllib.request.Request(self.server.url + PREDICT, body, {"content-type": "application/json"})  # noqa: S310
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
            return str(json.load(answer)["label"])

    def load(
        self,
        bodies: Path,
        seconds: float,
        *,
        clients: int = 0,
        rate: float = 0.0,
        warmup: float = 1.0,
        timeout: float = 15.0,
        obey_retry_after: bool = False,
        headers: Mapping[str, str] | None = None,
    ) -> Load:
        """One measurement, see `benchmarks.load.Plan`."""
        plan = Plan(
            self.server.url + PREDICT,
            bodies,
            seconds,
            warmup=warmup,
            clients=clients,
            rate=rate,
            timeout=timeout,
            obey_retry_after=obey_retry_after,
            headers=dict(headers or {}),
        )
        return run(plan)


@contextlib.contextmanager
def predictor(
    name: str, python: Path, package: Path, log: Path, *flags: str, environment: Mapping[str, str] | None = None
) -> Iterator[Service]:
    """The blueprint's predictor with a model package, in the environment that ships; flags beside the defaults."""
    http, rpc = free_ports(2)
    command = [
        *(str(python), "-m", "inference_services.sentiment.predictor"),
        *(f"--model_dir={package}", f"--http_port={http}", f"--grpc_port={rpc}", *flags),
    ]
    with running(command, port=http, ready_path="/readyz", environment=environment, log=log) as server:
        yield Service(name, server)


@contextlib.contextmanager
def edge_server(name: str, python: Path, package: Path, log: Path) -> Iterator[Service]:
    """The blueprint's server for small machines."""
    (port,) = free_ports(1)
    command = [
        *(str(python), "-m", "inference_services.sentiment.edge"),
        *(f"--model_dir={package}", f"--http_port={port}"),
    ]
    with running(command, port=port, ready_path="/readyz", log=log) as server:
        yield Service(name, server)


@contextlib.contextmanager
def usual_service(
    name: str, python: Path, web: Path, weights: Path, log: Path, *, threads: int = 0
) -> Iterator[Service]:
    """The usual service; with as many threads as torch chooses, or as given.

    Args:
        name: What it is called.
        python: Interpreter of the environment with torch.
        web: Folder with FastAPI and uvicorn.
        weights: The trained encoder.
        log: File that gets what it prints.
        threads: Threads of torch; 0 leaves the choice to it.
    """
    (port,) = free_ports(1)
    command = [str(python), "-m", "benchmarks.sentiment.baseline", str(weights), str(port)]
    environment = {"PYTHONPATH": str(web)}
    if threads:
        environment["OMP_NUM_THREADS"] = str(threads)
        command.append(str(threads))
    with running(command, port=port, ready_path=baseline.HEALTH, environment=environment, log=log) as server:
        yield Service(name, server)
