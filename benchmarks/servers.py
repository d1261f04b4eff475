"""Servers that are measured: started, waited for, looked at, ended."""

from __future__ import annotations

import contextlib
import os
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

PROJECT = Path(__file__).resolve().parents[1]
_POLL_S = 0.01


@dataclass(frozen=True)
class Server:
    """A server that answers.

    Attributes:
        url: `http://127.0.0.1:port`.
        process: Its process.
        ready_s: Seconds from the start of the process to the first answer 200.
    """

    url: str
    process: subprocess.Popen[bytes]
    ready_s: float

    def rss_mb(self) -> float:
        """Resident memory of the process and its children, in megabytes."""
        import psutil  # type: ignore[import-untyped]

        whole = psutil.Process(self.process.pid)
        total = 0
        for one in (whole, *whole.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess):
                total += one.memory_info().rss
        return total / 1e6


@contextlib.contextmanager
def running(
    command: Sequence[str],
    *,
    port: int,
    ready_path: str,
    environment: Mapping[str, str] | None = None,
    log: Path | None = None,
    timeout: float = 60,
) -> Iterator[Server]:
    """Starts a server in the project's folder, waits until it is ready, and ends it with SIGTERM.

    Args:
        command: The command line.
        port: Where it listens, on loopback.
        ready_path: Path that answers 200 once the server is ready.
        environment: What its environment has beside this process's.
        log: File that gets what it prints; nowhere by default.
        timeout: Seconds that it has to become ready.

    Raises:
        RuntimeError: It ended or did not become ready; the message has the end of its log.
    """
    url = f"http://127.0.0.1:{port}"
    with contextlib.ExitStack() as stack:
        out: IO[bytes] | int = stack.enter_context(log.open("wb")) if log else subprocess.DEVNULL
        begun = time.monotonic()
        process = subprocess.Popen(
            list(command), cwd=PROJECT, env={**os.environ, **(environment or {})}, stdout=out, stderr=subprocess.STDOUT
        )
        stack.callback(_end, process)
        while not _answers(url + ready_path):
            late = time.monotonic() - begun > timeout
            if late or process.poll() is not None:
                said = log.read_text(errors="replace")[-800:] if log else ""
                what = f"did not become ready within {timeout:g} s" if late else "ended before it was ready"
                raise RuntimeError(f"the server at {url} {what}: {said}")
            time.sleep(_POLL_S)
        yield Server(url, process, time.monotonic() - begun)


@dataclass
class MemoryWatch:
    """Samples a server's memory five times a second while a context lasts.

    Attributes:
        server: Whose.
        samples: Resident memory in megabytes.
    """

    server: Server
    samples: list[float] = field(default_factory=list)

    def __enter__(self) -> MemoryWatch:
        """Begins."""
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Ends."""
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.is_set():
            self.samples.append(self.server.rss_mb())
            self._over.wait(0.2)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ends a server, and whatever processes of its own it leaves behind."""
    import psutil

    children: list[psutil.Process] = []
    with contextlib.suppress(psutil.NoSuchProcess):
        children = psutil.Process(process.pid).children(recursive=True)
    process.terminate()
    try:
        process.wait(timeout=40)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for child in psutil.wait_procs(children, timeout=2)[1]:
        with contextlib.suppress(psutil.NoSuchProcess):
            child.kill()
