"""A real API server in a thread, and real clients beside it."""

from __future__ import annotations

import asyncio
import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from localcluster.api import kubeconfig
from localcluster.api.server import ApiServer
from localcluster.render import kubectl

TOKEN = "a-token-of-a-test-that-is-long-enough"


@dataclass(frozen=True)
class Cluster:
    """A server that answers, and how clients find it."""

    url: str
    folder: Path

    @property
    def token(self) -> str:
        return TOKEN

    @property
    def kubeconfig(self) -> Path:
        return self.folder / "kubeconfig"

    def log_file(self, pod: str) -> Path:
        return self.folder / f"{pod}.log"

    @property
    def environment(self) -> dict[str, str]:
        """Without a home or proxies of the user who runs the tests."""
        return {"PATH": os.environ["PATH"], "HOME": str(self.folder), "KUBECONFIG": str(self.kubeconfig)}

    def kubectl(self, *arguments: object, stdin: str = "", fails: bool = False, **environment: str) -> str:
        """What kubectl prints; its errors if it is to fail."""
        done = subprocess.run(
            [str(kubectl()), *map(str, arguments)],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=60,
            env={**self.environment, **environment},
            check=False,
        )
        assert (done.returncode != 0) == fails, f"kubectl {arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stderr if fails else done.stdout + done.stderr

    def start(self, *arguments: object) -> subprocess.Popen[str]:
        """A kubectl that goes on; the test ends it."""
        return subprocess.Popen(
            [str(kubectl()), *map(str, arguments)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=self.environment,
        )


@contextmanager
def serving(folder: Path) -> Iterator[Cluster]:
    """Runs a server on free ports in a thread."""
    ready = threading.Event()
    found: list[tuple[str, Callable[[], None]]] = []
    failed: list[Exception] = []

    def log_file(namespace: str, pod: str, previous: bool) -> Path | None:
        path = folder / f"{pod}.log"
        return path if path.exists() and not previous else None

    async def serve() -> None:
        loop, end = asyncio.get_running_loop(), asyncio.Event()
        async with ApiServer(folder / "state", token=TOKEN, logs=log_file) as server:
            kubeconfig.write(
                folder / "kubeconfig", server=server.secure_url, token=TOKEN, certificate=server.certificate
            )
            found.append((server.url, lambda: loop.call_soon_threadsafe(end.set)))
            ready.set()
            await end.wait()

    def run() -> None:
        try:
            asyncio.run(serve())
        except Exception as error:  # noqa: BLE001  # raised again where the test waits
            failed.append(error)
            ready.set()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert ready.wait(30), "the server did not start"
    if failed:
        raise failed[0]
    url, end = found[0]
    try:
        yield Cluster(url, folder)
    finally:
        end()
        thread.join(20)
    assert not thread.is_alive(), "the server did not end"
    assert not failed, failed


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One server for the tests of a module; each test uses names of its own."""
    with serving(tmp_path_factory.mktemp("cluster")) as cluster:
        yield cluster
