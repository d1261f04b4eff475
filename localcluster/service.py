"""One InferenceService of an overlay as processes on this machine, without a cluster."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from blueprints.workspace import Workspace
from localcluster.container import process_spec
from localcluster.inference_service import HTTP_PORT, Component, Role, components, service_name
from localcluster.ports import free_ports
from localcluster.processes.environment import base_environment
from localcluster.processes.process_spec import Address, ProcessSpec
from localcluster.processes.runner import Event, ProcessStatus
from localcluster.processes.supervisor import Supervisor
from localcluster.render import ManifestError, render
from localcluster.state import ServiceState, alive, read_state, remove_state, write_state

LOOPBACK = "127.0.0.1"
DEFAULT_PORT = 8080
GRPC_PORT = 8081
# In the order of their ports: requests enter by the transformer where there is one.
_PORT_ORDER: tuple[Role, ...] = ("transformer", "explainer", "predictor")
_HIGHEST_PORT = 65_535


class ServiceError(Exception):
    """A service cannot be started."""


class LocalService:
    """Runs the components of one InferenceService, wired to each other, for as long as its context lasts.

        async with LocalService.from_overlay("credit-risk", overlay, model_dir=package.folder) as service:
            await service.wait_ready()
            print(service.urls["transformer"])
            await service.run()

    SIGTERM and Ctrl-C end the context, and with it every process. While it runs, its state is on disk for
    `localcluster.background.status` and `stop`.

    Args:
        name: Name of the service.
        specs: Its processes.
        urls: Component to the URL where it answers; `predictor-grpc` to the `host:port` of its gRPC, and so on.
        workspace: Where logs and state go.
        on_event: Called in the event loop for everything that happens; must not block.
    """

    def __init__(
        self,
        name: str,
        specs: Sequence[ProcessSpec],
        *,
        urls: Mapping[str, str],
        workspace: Workspace,
        on_event: Callable[[Event], None] = lambda _: None,
    ) -> None:
        self.name = name
        self.specs = tuple(specs)
        self.urls = dict(urls)
        self.folder = workspace.services / name
        self._on_event = on_event
        self._supervisor = Supervisor(self.folder / "logs", on_event=self._note)

    @classmethod
    def from_overlay(
        cls,
        name: str,
        overlay: Path,
        *,
        model_dir: Path,
        port: int = DEFAULT_PORT,
        workspace: Workspace | None = None,
        on_event: Callable[[Event], None] = lambda _: None,
    ) -> LocalService:
        """Reads a service from an overlay, as `kubectl kustomize` builds it.

        Args:
            name: Name of the InferenceService.
            overlay: Folder of the overlay.
            model_dir: Folder of the model package, which stands for the service's one storage URI.
            port: Port of the transformer; explainer, predictor and the predictor's gRPC get the three that follow.
                0 takes free ones.
            workspace: Where logs and state go; the current one by default.
            on_event: Called in the event loop for everything that happens; must not block.

        Raises:
            ManifestError: The overlay cannot be built, or asks for what cannot be run here.
        """
        workspace = workspace or Workspace.current()
        model_dir = model_dir.resolve()
        if not model_dir.is_dir():
            raise ManifestError(f"{model_dir}: no such folder; train a model first: blueprints run {name}")
        objects = render(overlay)
        parts = components(objects.get("InferenceService", name), objects)
        addresses = local_addresses(parts, port)
        uris = sorted({part.storage_uri for part in parts} - {""})
        if len(uris) > 1:
            raise ManifestError(f"{name}: its components name different model packages: {', '.join(uris)}")
        specs = [
            process_spec(
                part,
                objects,
                address=addresses[part.role],
                storage=lambda _: model_dir,
                services={other.service: addresses[other.role] for other in parts},
                environment=base_environment(workspace),
                waits_for=[service_name(name, "predictor")] if part.role == "transformer" else (),
            )
            for part in parts
        ]
        urls: dict[str, str] = {
            role: f"http://{address.host}:{address.port(HTTP_PORT)}" for role, address in addresses.items()
        }
        for part, spec in zip(parts, specs, strict=True):
            if "grpc" in spec.ports:
                urls[f"{part.role}-grpc"] = f"{spec.address.host}:{spec.ports['grpc']}"
        return cls(name, specs, urls=urls, workspace=workspace, on_event=on_event)

    async def __aenter__(self) -> Self:
        running = read_state(self.folder)
        if running is not None and alive(running.pid, running.started):
            raise ServiceError(f"{self.name} is running already (process {running.pid}); stop it with --stop")
        refuse_taken_ports(self.specs)
        await self._supervisor.__aenter__()
        self._end_on_sigterm()
        for spec in self.specs:
            self._supervisor.start(spec)
        self._write_state()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self._supervisor.__aexit__(kind, error, trace)
        finally:
            asyncio.get_running_loop().remove_signal_handler(signal.SIGTERM)
            remove_state(self.folder)

    async def wait_ready(self, timeout_s: float = 60) -> None:
        """Waits until every component answers.

        Raises:
            StartError: One of them does not; the message ends with the end of its log.
        """
        await self._supervisor.wait_ready(timeout_s=timeout_s)

    async def run(self) -> None:
        """Runs until this task is cancelled, which Ctrl-C and SIGTERM do."""
        await asyncio.get_running_loop().create_future()

    def status(self) -> tuple[ProcessStatus, ...]:
        """The processes as they are now."""
        return self._supervisor.status()

    def _note(self, event: Event) -> None:
        self._write_state()
        self._on_event(event)

    def _write_state(self) -> None:
        write_state(self.folder, ServiceState.of_this_process(self.name, self.urls, self._supervisor.status()))

    def _end_on_sigterm(self) -> None:
        task = asyncio.current_task()
        if task is not None:
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)


def local_addresses(parts: Sequence[Component], port: int) -> dict[Role, Address]:
    """Gives every component its ports on the one loopback address.

    Transformer, explainer and predictor get consecutive ports from `port` on, then the predictor's gRPC; components
    that are not there leave no gap. Other gRPC listeners get free ports.

    Raises:
        ManifestError: `port` leaves no room for all of them.
    """
    roles = [role for role in _PORT_ORDER if role in {part.role for part in parts}]
    if not (port == 0 or 1 <= port <= _HIGHEST_PORT - len(roles)):
        raise ManifestError(f"port {port} does not work; use 1 to {_HIGHEST_PORT - len(roles)}, or 0 for free ones")
    free = iter(free_ports(2 * len(roles)))
    http = {role: next(free) if port == 0 else port + index for index, role in enumerate(roles)}
    grpc = {role: next(free) if role != "predictor" or port == 0 else port + len(roles) for role in roles}
    return {role: Address(LOOPBACK, {HTTP_PORT: http[role], GRPC_PORT: grpc[role]}) for role in roles}


def refuse_taken_ports(specs: Sequence[ProcessSpec]) -> None:
    """Makes sure that the ports of all processes are free.

    Raises:
        ServiceError: One is taken; the message says what to do.
    """
    for spec in specs:
        for port in spec.ports.values():
            _refuse_taken(spec.address.host, port, spec.name)


def check_ports(port: int) -> None:
    """Makes sure, before anything is done, that a service could start at `port`; 0 takes free ports and always can.

    Raises:
        ServiceError: One of its ports is taken; the message says what to do.
    """
    if port:
        for offset in range(len(_PORT_ORDER) + 1):
            _refuse_taken(LOOPBACK, port + offset, "the service")


def _refuse_taken(host: str, port: int, name: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As servers bind: connections that linger from an earlier run are no obstacle, a listener is.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise ServiceError(
                f"{host}:{port}, which {name} needs, is taken ({error.strerror}); "
                "end what listens there, or choose other ports with --port (make: PORT=; 0: any free ones)"
            ) from error
