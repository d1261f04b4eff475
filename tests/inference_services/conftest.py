"""Servers as processes on free loopback ports."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from blueprints.model_package import ModelPackage
from tests.ports import free_ports

ROOT = Path(__file__).parents[2]


@dataclass
class Running:
    """A server process."""

    process: subprocess.Popen[bytes]
    http_port: int
    grpc_port: int
    log: Path
    client: httpx.Client = field(init=False)

    def __post_init__(self) -> None:
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{self.http_port}", timeout=30)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http_port}"

    @property
    def grpc_target(self) -> str:
        return f"127.0.0.1:{self.grpc_port}"

    def wait(self, path: str = "/healthz", seconds: float = 60) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                break
            try:
                if self.client.get(path).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.05)
        raise AssertionError(f"{path} never answered 200; exit code {self.process.poll()}\n{self.log.read_text()}")

    def stop(self) -> int:
        self.client.close()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()


def start(
    role: str,
    model: Path,
    folder: Path,
    *flags: str,
    package: str = "inference_services.credit_risk",
    **environment: str,
) -> Running:
    """Starts `<package>.<role>` with a model package; call `wait` on what it returns."""
    http_port, grpc_port = free_ports(2)
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / f"{role}-{http_port}.log"
    command = [sys.executable, "-m", f"{package}.{role}", f"--model_dir={model}"]
    command += [f"--http_port={http_port}", f"--grpc_port={grpc_port}", *flags]
    environment = {**os.environ, "BLUEPRINTS_HOME": str(folder / "home"), **environment}
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT, env=environment)
    return Running(process, http_port, grpc_port, log)


@contextmanager
def all_ready(servers: dict[str, Running]) -> Iterator[dict[str, Running]]:
    """Waits until each is ready; in the end they end together."""
    try:
        for server in servers.values():
            server.wait("/readyz")
        yield servers
    finally:
        for server in servers.values():
            server.process.terminate()
        for server in servers.values():
            server.stop()


@pytest.fixture(scope="session")
def _servers(credit_package: ModelPackage, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Running]]:
    """Predictor, transformer and explainer, started at once as a service starts them."""
    folder = tmp_path_factory.mktemp("servers")
    predictor = start("predictor", credit_package.folder, folder)
    servers = {
        "predictor": predictor,
        "transformer": start(
            "transformer", credit_package.folder, folder, f"--predictor_host=127.0.0.1:{predictor.http_port}"
        ),
        "explainer": start("explainer", credit_package.folder, folder),
    }
    with all_ready(servers):
        yield servers


@pytest.fixture(scope="session")
def predictor(_servers: dict[str, Running]) -> Running:
    return _servers["predictor"]


@pytest.fixture(scope="session")
def transformer(_servers: dict[str, Running]) -> Running:
    return _servers["transformer"]


@pytest.fixture(scope="session")
def explainer(_servers: dict[str, Running]) -> Running:
    return _servers["explainer"]
