"""PostgreSQL and Redis on loopback, for warehouse, decision record and feature store: Debian's packages.

    python -m localcluster.services up       # make services
    . .blueprints/services.env               # what the blueprints read
    python -m localcluster.services down     # make services-down

For development: nothing is backed up, and the data lies in the folder of temporary files.
"""

from __future__ import annotations

import argparse
import os
import secrets
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from blueprints.workspace import Workspace
from localcluster.ports import LOOPBACK, PortTakenError, refuse_taken

POSTGRES_PORT, REDIS_PORT = 15432, 16379
DATABASE = "blueprints"
ENVIRONMENT = "services.env"

_DEBIAN = Path("/usr/lib/postgresql")
_FEATURE_STORE = Path(__file__).resolve().parents[1] / "manifests" / "feature_store" / "feature_store.redis.yaml"
_READY_S, _END_S = 30.0, 20.0


class ServiceError(Exception):
    """A service cannot be started or stopped; the message says what to do."""


@dataclass(frozen=True)
class Services:
    """PostgreSQL and Redis whose files lie in one folder.

    Attributes:
        folder: The folder; only its owner may enter it.
        postgres_port: Port of PostgreSQL.
        redis_port: Port of Redis.
    """

    folder: Path
    postgres_port: int = POSTGRES_PORT
    redis_port: int = REDIS_PORT

    @classmethod
    def of_this_user(cls) -> Services:
        """Those of this user: below the folder of temporary files, which PostgreSQL's own user can enter as well."""
        return cls(Path(tempfile.gettempdir()) / f"blueprints-services-{os.getuid()}")

    def up(self) -> dict[str, str]:
        """Starts what does not run yet and waits until it answers.

        Returns:
            Environment variables for the blueprints.

        Raises:
            ServiceError: A package is missing, or a server does not start.
            PortTakenError: Somebody else has its port.
        """
        postgres, redis = _postgres_binaries(), shutil.which("redis-server")
        if redis is None:
            raise ServiceError("redis-server is not installed: apt-get install redis-server")
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self.folder.stat().st_uid not in (os.getuid(), _postgres_uid()):
            raise ServiceError(f"{self.folder} belongs to somebody else; remove it")
        password = self._password()
        if not _alive(self._pid_file("postgres")):
            refuse_taken(self.postgres_port, "PostgreSQL")
            self._start_postgres(postgres, password)
        if not _alive(self._pid_file("redis")):
            refuse_taken(self.redis_port, "Redis")
            self._start_redis(redis, password)
        return self.environment(password)

    def down(self) -> list[str]:
        """Stops what runs, in order; returns its names. Data stays."""
        stopped = []
        for name, how in (("redis", signal.SIGTERM), ("postgres", signal.SIGINT)):
            pid = _alive(self._pid_file(name))
            if pid is None:
                continue
            os.kill(pid, how)
            deadline = time.monotonic() + _END_S
            while _alive(self._pid_file(name)) is not None:
                if time.monotonic() > deadline:
                    raise ServiceError(f"{name} (process {pid}) does not end; see {self.folder}")
                time.sleep(0.05)
            stopped.append(name)
        return stopped

    def environment(self, password: str) -> dict[str, str]:
        """What the blueprints read: warehouse and decision record in PostgreSQL, features online in Redis."""
        url = f"postgres:{password}@{LOOPBACK}:{self.postgres_port}/{DATABASE}"
        return {
            "WAREHOUSE_URL": f"postgresql://{url}",
            "DECISIONS_URL": f"postgresql+psycopg://{url}",
            "FEATURE_STORE_CONFIG": str(_FEATURE_STORE),
            "FEATURE_STORE_REDIS": f"{LOOPBACK}:{self.redis_port},password={password}",
        }

    def _password(self) -> str:
        file = self.folder / "password"
        if not file.is_file():
            with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as written:
                written.write(secrets.token_urlsafe(24))
        return file.read_text()

    def _start_postgres(self, binaries: Path, password: str) -> None:
        data = self.folder / "postgres"
        user = "postgres" if os.geteuid() == 0 else None  # PostgreSQL refuses to run as root
        if user:
            shutil.chown(self.folder, user)
        if not (data / "PG_VERSION").is_file():
            with tempfile.NamedTemporaryFile("w", dir=self.folder, prefix=".pw-") as file:
                file.write(password)
                file.flush()
                if user:
                    shutil.chown(file.name, user)
                options = ("--auth=scram-sha-256", "--username=postgres", "--encoding=UTF8", "--locale=C")
                _run([binaries / "initdb", *options, f"--pwfile={file.name}", f"--pgdata={data}"], user, self.folder)
        settings = (
            f"listen_addresses={LOOPBACK}",
            f"port={self.postgres_port}",
            f"unix_socket_directories={self.folder}",
        )
        command: list[str | Path] = [binaries / "postgres", "-D", data, *(f"-c{setting}" for setting in settings)]
        self._launch("postgres", command, user)
        environment = {**os.environ, "PGPASSWORD": password}
        client: list[str | Path] = [
            binaries / "psql",
            "-h",
            LOOPBACK,
            "-p",
            str(self.postgres_port),
            "-U",
            "postgres",
            "-tA",
            "-c",
        ]
        self._wait("postgres", [*client, "SELECT 1"], environment)
        exists = f"SELECT 1 FROM pg_database WHERE datname = '{DATABASE}'"  # noqa: S608 - a constant
        if not _output([*client, exists], environment).strip():
            _output([*client, f"CREATE DATABASE {DATABASE}"], environment)

    def _start_redis(self, binary: str, password: str) -> None:
        config = self.folder / "redis.conf"
        lines = (
            f"bind {LOOPBACK}", f"port {self.redis_port}", f"dir {self.folder}", f"requirepass {password}",
            "save 60 1", "maxmemory-policy noeviction",
        )  # fmt: skip
        config.touch(mode=0o600)
        config.write_text("\n".join(lines) + "\n")
        self._launch("redis", [binary, str(config)], None)
        environment = {**os.environ, "REDISCLI_AUTH": password}
        self._wait("redis", ["redis-cli", "-h", LOOPBACK, "-p", str(self.redis_port), "ping"], environment)

    def _launch(self, name: str, command: Sequence[str | Path], user: str | None) -> None:
        with (self.folder / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                list(map(str, command)), stdout=log, stderr=log, user=user, cwd=self.folder, start_new_session=True
            )
        self._pid_file(name).write_text(str(process.pid))

    def _wait(self, name: str, probe: Sequence[str | Path], environment: dict[str, str]) -> None:
        deadline = time.monotonic() + _READY_S
        while subprocess.run(probe, env=environment, capture_output=True, check=False, timeout=10).returncode:
            if time.monotonic() > deadline or _alive(self._pid_file(name)) is None:
                log = self.folder / f"{name}.log"
                raise ServiceError(f"{name} does not start; {log} ends with: {log.read_text(errors='replace')[-400:]}")
            time.sleep(0.1)

    def _pid_file(self, name: str) -> Path:
        return self.folder / f"{name}.pid"


def _postgres_binaries() -> Path:
    installed = sorted(_DEBIAN.glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    found = str(installed[-1]) if installed else shutil.which("initdb")
    if found is None:
        raise ServiceError("PostgreSQL is not installed: apt-get install postgresql")
    return Path(found).parent


def _postgres_uid() -> int:
    import pwd

    try:
        return pwd.getpwnam("postgres").pw_uid
    except KeyError:
        return os.getuid()


def _alive(file: Path) -> int | None:
    """The process that a file names, if it runs and is one of ours."""
    try:
        pid = int(file.read_text())
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except (OSError, ValueError):
        return None
    state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    return pid if file.stem.encode() in command and state != "Z" else None


def _run(command: Sequence[str | Path], user: str | None, folder: Path) -> None:
    done = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, user=user, cwd=folder, timeout=120, check=False
    )
    if done.returncode:
        raise ServiceError(f"{Path(command[0]).name} failed: {done.stderr.strip()[-400:]}")


def _output(command: Sequence[str | Path], environment: dict[str, str]) -> str:
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30, check=False)
    if done.returncode:
        raise ServiceError(f"{Path(command[0]).name} failed: {done.stderr.strip()[-400:]}")
    return done.stdout


def _write_environment(variables: dict[str, str]) -> Path:
    file = Workspace.current().root / ENVIRONMENT
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_name(f".{file.name}")
    temporary.unlink(missing_ok=True)
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as written:
        written.writelines(f"export {name}={shlex.quote(value)}\n" for name, value in variables.items())
    temporary.replace(file)
    return file


def main() -> None:
    """Starts or stops the services."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0] if __doc__ else None)
    parser.add_argument("what", choices=("up", "down"))
    services = Services.of_this_user()
    try:
        if parser.parse_args().what == "up":
            file = _write_environment(services.up())
            shown = file.relative_to(Path.cwd()) if file.is_relative_to(Path.cwd()) else file
            print(f"PostgreSQL and Redis run on {LOOPBACK}. The blueprints use them after:\n  . {shown}")  # noqa: T201
        else:
            stopped = services.down()
            print(f"Stopped: {', '.join(stopped) or 'nothing ran'}")  # noqa: T201
    except (ServiceError, PortTakenError) as error:
        sys.exit(f"Error: {error}")


if __name__ == "__main__":
    main()
