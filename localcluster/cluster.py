"""The laptop cluster: API server, controllers, gateway, and every process that they start, as one process.

python -m localcluster.cluster [PORT]
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import resource
import secrets
import signal
import sys
from collections.abc import AsyncIterator, Iterable, Sequence
from pathlib import Path

from pydantic import BaseModel, ValidationError

from blueprints.workspace import Workspace
from localcluster.addresses import AddressError, AddressSpace
from localcluster.api import kubeconfig
from localcluster.api.persistence import PersistenceError
from localcluster.api.private_file import write_private
from localcluster.api.resources import Resource
from localcluster.api.server import ApiServer
from localcluster.builtin import install_builtin
from localcluster.controllers.client import Client
from localcluster.controllers.controller import Cache, Controller, cancelled
from localcluster.controllers.cron_jobs import CronJobController
from localcluster.controllers.deployments import DeploymentController
from localcluster.controllers.inference_services import InferenceServiceController
from localcluster.controllers.jobs import JobController
from localcluster.controllers.pods import PodController
from localcluster.controllers.recorder import Recorder
from localcluster.controllers.service_proxy import ServiceProxy
from localcluster.controllers.services import ServiceController
from localcluster.daemon import (
    DEFAULT_PORT,
    KUBECONFIG,
    LARGEST_LOG_BYTES,
    LOG,
    ClusterError,
    ClusterState,
    identity,
    remove_state,
    write_state,
)
from localcluster.gateway import NAME as GATEWAY
from localcluster.gateway import GatewayError, gateway_process
from localcluster.ports import LOOPBACK, PortTakenError, free_ports, refuse_taken
from localcluster.processes.environment import base_environment
from localcluster.processes.runner import bound_log
from localcluster.processes.supervisor import StartError, Supervisor
from localcluster.storage import Storage

_LOG = logging.getLogger("localcluster")
_GATEWAY_READY_S = 30
_SYNCED_S = 30
_FILES = 65_536
_LOOK_S = 5
_OBJECTS = "objects"


class _Kept(BaseModel):
    """What a cluster keeps from one start to the next, so that clients find it again."""

    token: str
    port: int = 0
    secure_port: int = 0
    gateway_port: int = DEFAULT_PORT
    octet: int | None = None

    @classmethod
    def read(cls, path: Path) -> _Kept:
        try:
            return cls.model_validate_json(path.read_bytes())
        except (FileNotFoundError, ValidationError):
            return cls(token=secrets.token_urlsafe(32))


@contextlib.asynccontextmanager
async def running(workspace: Workspace, *, port: int | None = None) -> AsyncIterator[ClusterState]:
    """Runs the cluster for as long as the context lasts.

    Args:
        workspace: Where it keeps everything.
        port: Port of the gateway; 0 takes a free one, None the one of the last time.

    Yields:
        Where it is, once it answers. What ends the cluster from inside cancels the context.

    Raises:
        AddressError, GatewayError, PersistenceError, PortTakenError, StartError: It cannot start; says why.
    """
    folder = workspace.cluster
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    kept = _Kept.read(folder / "kept.json")
    port = kept.gateway_port if port is None else port or free_ports(1)[0]
    refuse_taken(port, "the gateway")
    async with contextlib.AsyncExitStack() as stack:
        addresses = stack.enter_context(AddressSpace.claim(kept.octet))
        pods: PodController | None = None

        def log_file(namespace: str, pod: str, previous: bool) -> Path | None:  # as `LogFile` is called
            return None if pods is None else pods.log_path(namespace, pod, previous=previous)

        server = await stack.enter_async_context(
            ApiServer(
                folder / _OBJECTS,
                token=kept.token,
                port=_if_free(kept.port),
                secure_port=_if_free(kept.secure_port),
                logs=log_file,
            )
        )
        kept = _Kept(
            token=kept.token,
            port=server.port,
            secure_port=server.secure_port,
            gateway_port=port,
            octet=addresses.octet,
        )
        write_private(folder / "kept.json", kept.model_dump_json().encode())
        kubeconfig.write(
            folder / KUBECONFIG, server=server.secure_url, token=kept.token, certificate=server.certificate
        )
        client = await stack.enter_async_context(Client(server.url, kept.token, "laptop-cluster"))
        await install_builtin(client, port)
        recorder = Recorder(client)
        proxy = ServiceProxy()
        stack.callback(proxy.close)
        cache = Cache(client, _watched())
        pods = PodController(
            client,
            cache,
            recorder,
            folder=folder,
            addresses=addresses,
            storage=Storage(workspace),
            environment=base_environment(workspace),
        )
        controllers: list[Controller] = [
            pods,
            DeploymentController(client, cache, recorder),
            JobController(client, cache, recorder),
            CronJobController(client, cache, recorder),
            ServiceController(client, cache, addresses, proxy),
            InferenceServiceController(client, cache, recorder),
        ]
        async with asyncio.TaskGroup() as group:
            logs = (folder / LOG, folder / "logs" / f"{GATEWAY}.log")
            runs = [
                cache.run(),
                recorder.run(),
                _keep_house(folder / _OBJECTS, logs),
                *(controller.run() for controller in controllers),
            ]
            tasks = [group.create_task(run) for run in runs]
            gateway = Supervisor(folder / "logs")
            try:
                async with gateway:
                    gateway.start(gateway_process(folder / GATEWAY, server=server.url, token=kept.token, port=port))
                    async with asyncio.timeout(_SYNCED_S):
                        await cache.synced()
                    await gateway.wait_ready(timeout_s=_GATEWAY_READY_S)
                    state = ClusterState(
                        pid=os.getpid(),
                        started=identity(os.getpid()),
                        server=server.secure_url,
                        gateway=f"http://{LOOPBACK}:{port}",
                        kubeconfig=folder / KUBECONFIG,
                        octet=addresses.octet,
                        ready=True,
                    )
                    write_state(workspace, state)
                    try:
                        yield state
                    finally:
                        remove_state(workspace)
            finally:
                # The gateway has answered its last request; now the pods may end.
                await asyncio.gather(*map(cancelled, tasks))


async def _keep_house(objects: Path, logs: Sequence[Path]) -> None:
    """Keeps logs from growing without end, and ends a cluster whose objects were deleted from the disk.

    Raises:
        ClusterError: What is written would be lost.
    """
    while True:
        await asyncio.sleep(_LOOK_S)
        if not await asyncio.to_thread(objects.exists):
            raise ClusterError(f"{objects} was deleted while the cluster ran; start it anew: blueprints cluster up")
        for log in logs:
            if log.exists():
                bound_log(log, LARGEST_LOG_BYTES)


def _watched() -> Iterable[Resource]:
    loops: tuple[type[Controller], ...] = (
        PodController,
        DeploymentController,
        JobController,
        CronJobController,
        ServiceController,
        InferenceServiceController,
    )
    return dict.fromkeys(resource for loop in loops for resource in loop.watches)


def _if_free(port: int) -> int:
    """The port, or 0 if another program has it by now."""
    if port:
        try:
            refuse_taken(port, "the API server")
        except PortTakenError:
            return 0
    return port


async def _main(port: int | None) -> None:
    # Every connection through a Service is two files.
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, _FILES)), hard))
    task = asyncio.current_task()
    assert task is not None  # noqa: S101
    loop = asyncio.get_running_loop()

    def end() -> None:
        # Once: what is ended in good order must not be cancelled in its turn.
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, lambda: None)
        task.cancel()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end)
    async with running(Workspace.current(), port=port):
        await loop.create_future()


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    try:
        asyncio.run(_main(int(sys.argv[1]) if sys.argv[1:] else None))
    except asyncio.CancelledError:
        sys.exit(0)
    except (AddressError, GatewayError, PersistenceError, PortTakenError, StartError) as error:
        sys.exit(str(error))
    except ExceptionGroup as group:
        _LOG.exception("the cluster ended")
        sys.exit(str(group.exceptions[0]))
