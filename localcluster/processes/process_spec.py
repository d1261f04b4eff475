"""What a process is, once everything about manifests is worked out: the contract with the supervisor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

RestartPolicy = Literal["Always", "OnFailure", "Never"]


@dataclass(frozen=True)
class Address:
    """Where a process listens.

    Attributes:
        host: A loopback address.
    """

    host: str = "127.0.0.1"


@dataclass(frozen=True)
class HttpGet:
    """Healthy when a GET answers 200 to 399."""

    host: str
    port: int
    path: str = "/"
    scheme: str = "http"
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class TcpSocket:
    """Healthy when the port accepts a connection."""

    host: str
    port: int


@dataclass(frozen=True)
class Grpc:
    """Healthy when the gRPC health service answers SERVING."""

    host: str
    port: int
    service: str = ""


@dataclass(frozen=True)
class Exec:
    """Healthy when a command ends with 0."""

    command: tuple[str, ...]


@dataclass(frozen=True)
class Probe:
    """One probe with Kubernetes' own defaults; times in seconds."""

    action: HttpGet | TcpSocket | Grpc | Exec
    initial_delay_s: float = 0
    period_s: float = 10
    timeout_s: float = 1
    success_threshold: int = 1
    failure_threshold: int = 3


@dataclass(frozen=True)
class ProcessSpec:
    """One process to run.

    Attributes:
        name: Unique in its supervisor; names its log file too, so a slash in it makes a folder.
        command: Program and arguments.
        environment: All of its environment; nothing is inherited.
        address: Where it listens.
        ports: Name of a port to its number on `address.host`.
        startup: Holds the other two back until it succeeds once.
        readiness: Whether it can answer requests.
        liveness: Whether it must be restarted.
        grace_s: Seconds from SIGTERM to SIGKILL.
        restart: When it is started again after it has ended.
    """

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    address: Address = Address()
    ports: Mapping[str, int] = field(default_factory=dict)
    startup: Probe | None = None
    readiness: Probe | None = None
    liveness: Probe | None = None
    grace_s: float = 30
    restart: RestartPolicy = "Always"
