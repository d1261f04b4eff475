"""A throw-away PostgreSQL cluster on a Unix socket."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
import pytest

_DEBIAN = Path("/usr/lib/postgresql")


@dataclass
class Cluster:
    """A server whose data folder, socket and log lie in one folder."""

    folder: Path
    binaries: Path
    user: str | None  # PostgreSQL refuses to run as root
    databases: int = 0
    process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    @property
    def dsn(self) -> str:
        return f"host={self.folder} user=postgres dbname=postgres connect_timeout=5"

    def create(self) -> None:
        command = [self.binaries / "initdb", "--no-sync", "--auth=trust", "--username=postgres", "--encoding=UTF8"]
        command += ["--locale=C", f"--pgdata={self.folder / 'data'}"]
        subprocess.run(command, check=True, capture_output=True, user=self.user, cwd=self.folder, timeout=60)

    def start(self) -> None:
        settings = ["listen_addresses=", f"unix_socket_directories={self.folder}", "fsync=off", "max_connections=40"]
        command = [self.binaries / "postgres", "-D", self.folder / "data", *(f"-c{setting}" for setting in settings)]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, user=self.user, cwd=self.folder)
        deadline = time.monotonic() + 30
        while True:
            try:
                psycopg.connect(self.dsn).close()
            except psycopg.OperationalError:
                if time.monotonic() > deadline or self.process.poll() is not None:
                    raise AssertionError((self.folder / "log").read_text()) from None
                time.sleep(0.05)
            else:
                return

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """SIGINT ends it in order; SIGQUIT at once, so that it has to recover."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(how)
            self.process.wait(timeout=20)

    def execute(self, *statements: str) -> None:
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement)

    def new_database(self) -> str:
        """URL of an empty database."""
        self.databases += 1
        name = f"decisions_{self.databases}"
        self.execute(f"CREATE DATABASE {name}")
        return f"postgresql://postgres@/{name}?host={self.folder}"


def running_cluster():
    """A cluster for a fixture: skips where PostgreSQL is not installed, and leaves nothing behind."""
    installed = sorted(_DEBIAN.glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    found = str(installed[-1]) if installed else shutil.which("initdb")
    if found is None:
        pytest.skip("PostgreSQL is absent: install Debian's postgresql")
    user = "postgres" if os.geteuid() == 0 else None
    # Not in pytest's folders: only their owner may enter them, and a socket's path is short.
    folder = Path(tempfile.mkdtemp(prefix="postgres-"))
    try:
        if user:
            shutil.chown(folder, user)
        cluster = Cluster(folder, Path(found).parent, user)
        cluster.create()
        try:
            cluster.start()
            yield cluster
        finally:
            cluster.stop()
    finally:
        shutil.rmtree(folder)
