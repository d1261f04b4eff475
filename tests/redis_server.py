"""A throw-away Redis server on 127.0.0.1."""

from __future__ import annotations

import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import redis

from tests.ports import free_port


@dataclass
class RedisServer:
    """A server that keeps nothing on disk unless it is stopped in order."""

    folder: Path
    binary: str
    port: int
    process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        command = [
            self.binary,
            "--port",
            str(self.port),
            "--bind",
            "127.0.0.1",
            "--dir",
            self.folder,
            "--save",
            "3600 1",
        ]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        client = redis.Redis(port=self.port)
        deadline = time.monotonic() + 20
        while True:
            try:
                client.ping()
            except redis.RedisError:
                if time.monotonic() > deadline or self.process.poll() is not None:
                    raise
                time.sleep(0.05)
            else:
                client.close()
                return

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """SIGTERM and SIGINT end it in order: what it holds is there again after the next start."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(how)
            self.process.wait(timeout=20)


def running_redis(folder: Path) -> Iterator[RedisServer]:
    """A server for a fixture: skips where Redis is not installed."""
    binary = shutil.which("redis-server")
    if binary is None:
        pytest.skip("Redis is absent: install Debian's redis-server")
    server = RedisServer(folder, binary, free_port())
    server.start()
    try:
        yield server
    finally:
        server.stop()
