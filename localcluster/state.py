"""What a running service leaves on disk, so that another process can find, show and stop it."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil  # type: ignore[import-untyped]
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from localcluster.processes.runner import ProcessStatus, State

_FILE = "state.json"
# A start time is read back with this precision; a process id is not used again so soon.
_TOLERANCE_S = 2.0


class ProcessState(BaseModel):
    """One process of a service; the fields are those of `ProcessStatus`.

    Attributes:
        started: Unix time at which the process with this `pid` started; 0 while there is none.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    state: State
    pid: int | None
    started: float
    restarts: int
    since: float
    log: Path
    host: str
    ports: dict[str, int]


class ServiceState(BaseModel):
    """A service that runs on this machine.

    Attributes:
        name: Name of the service.
        pid: Process id of its supervisor.
        started: Unix time at which the supervisor started; together with `pid` it names one process for good.
        urls: Component to URL.
        processes: Its processes.
        updated: Unix time of this state.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    pid: int = Field(gt=0)
    started: float
    urls: dict[str, str]
    processes: tuple[ProcessState, ...]
    updated: float

    @property
    def ready(self) -> bool:
        """Whether every process answers."""
        return bool(self.processes) and all(process.state == "ready" for process in self.processes)

    @classmethod
    def of_this_process(cls, name: str, urls: Mapping[str, str], processes: Sequence[ProcessStatus]) -> ServiceState:
        """The state of a service that this process supervises."""
        return cls(
            name=name,
            pid=os.getpid(),
            started=started_at(os.getpid()),
            urls=dict(urls),
            processes=tuple(
                ProcessState(
                    name=process.name,
                    state=process.state,
                    pid=process.pid,
                    started=started_at(process.pid) if process.pid else 0,
                    restarts=process.restarts,
                    since=process.since,
                    log=process.log,
                    host=process.host,
                    ports=dict(process.ports),
                )
                for process in processes
            ),
            updated=time.time(),
        )


def started_at(pid: int) -> float:
    """Unix time at which a process started; 0 if there is none of this id, or only a dead one's remains."""
    try:
        process = psutil.Process(pid)
        return 0.0 if process.status() == psutil.STATUS_ZOMBIE else float(process.create_time())
    except psutil.Error:
        return 0.0


def alive(pid: int, started: float) -> bool:
    """Whether the very process that started then still runs; another one with a recycled id does not count."""
    return started > 0 and abs(started_at(pid) - started) <= _TOLERANCE_S


def write_state(folder: Path, state: ServiceState) -> None:
    """Writes a service's state, all or nothing."""
    folder.mkdir(parents=True, exist_ok=True)
    handle, path = tempfile.mkstemp(dir=folder, prefix=f".{_FILE}-")
    with os.fdopen(handle, "w") as file:
        file.write(state.model_dump_json(indent=2))
    Path(path).replace(folder / _FILE)


def read_state(folder: Path) -> ServiceState | None:
    """The state of a service, None if there is none that can be read."""
    try:
        return ServiceState.model_validate_json((folder / _FILE).read_bytes())
    except (FileNotFoundError, ValidationError):
        return None


def remove_state(folder: Path) -> None:
    """Removes the state of a service that has ended."""
    (folder / _FILE).unlink(missing_ok=True)
