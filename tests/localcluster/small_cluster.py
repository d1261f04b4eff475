"""A cluster of real parts, as many as a test needs, and pods that the test sets by hand."""

import asyncio
import contextlib
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from blueprints.workspace import Workspace
from localcluster.addresses import AddressSpace
from localcluster.api.resources import DEPLOYMENTS, PODS, resource_of
from localcluster.api.server import ApiServer
from localcluster.builtin import install_builtin
from localcluster.controllers.client import Client
from localcluster.controllers.controller import Cache
from localcluster.controllers.deployments import DeploymentController
from localcluster.controllers.inference_services import InferenceServiceController
from localcluster.controllers.pods import PodController
from localcluster.controllers.recorder import Recorder
from localcluster.controllers.service_proxy import ServiceProxy
from localcluster.controllers.services import ServiceController
from localcluster.gateway import NAME, gateway_process
from localcluster.processes.environment import base_environment
from localcluster.processes.supervisor import Supervisor
from localcluster.storage import Storage
from tests.ports import free_ports

TOKEN = "a-token-of-a-test-cluster-0123456789"
TINY_SERVER = Path(__file__).with_name("tiny_server.py")


@dataclass
class SmallCluster:
    """What a test can reach.

    Attributes:
        api: The API server.
        client: Speaks to it.
        space: Its loopback addresses.
        proxy: Listens on Services' addresses.
        port: Port of the gateway.
        supervisor: Runs the gateway, if it was asked for.
    """

    api: ApiServer
    client: Client
    space: AddressSpace
    proxy: ServiceProxy
    port: int
    supervisor: Supervisor | None = None

    async def apply(self, *items):
        for item in items:
            await self.client.apply(resource_of(item), item)

    async def get(self, resource, name, namespace="shop"):
        return await self.client.get(resource, name, namespace)

    async def namespace(self, name="shop"):
        await self.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})

    async def pod(self, name, labels, address="", *, ready=True, ports=(("http", 8080),), namespace="shop", **status):
        """Makes a pod that a test runs itself, or changes its status."""
        container = {
            "name": "kserve-container",
            "image": "tiny:1",
            "ports": [{"name": port, "containerPort": number} for port, number in ports],
        }
        item = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "namespace": namespace, "labels": labels},
            "spec": {"nodeName": "laptop", "containers": [container]},
        }
        if await self.client.get(PODS, name, namespace) is None:
            await self.client.create(PODS, item)
        told = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True" if ready else "False"}], **status}
        told |= {"podIP": address} if address else {}
        await self.client.merge(PODS, name, namespace, {"status": told}, subresource="status")

    async def available(self, name, namespace="shop", *, revision="1"):
        """Says of a Deployment what its controller would say once all its pods are ready."""
        item = await self.client.get(DEPLOYMENTS, name, namespace)
        conditions = [
            {"type": "Available", "status": "True", "reason": "MinimumReplicasAvailable"},
            {"type": "Progressing", "status": "True", "reason": "NewReplicaSetAvailable"},
        ]
        status = {"observedGeneration": item["metadata"]["generation"], "conditions": conditions}
        annotations = {"deployment.kubernetes.io/revision": revision}
        await self.client.merge(DEPLOYMENTS, name, namespace, {"metadata": {"annotations": annotations}})
        await self.client.merge(DEPLOYMENTS, name, namespace, {"status": status}, subresource="status")


@contextlib.asynccontextmanager
async def small_cluster(folder, *, gateway=False, pods=False):
    """API server, InferenceService and Service controllers; the gateway, Deployments and pods if asked for."""
    async with contextlib.AsyncExitStack() as stack:
        api = await stack.enter_async_context(ApiServer(folder / "api", token=TOKEN))
        client = await stack.enter_async_context(Client(api.url, TOKEN, "localcluster"))
        space = stack.enter_context(AddressSpace.claim())
        port = free_ports(1)[0]
        await install_builtin(client, port)
        proxy, recorder = ServiceProxy(), Recorder(client)
        stack.callback(proxy.close)
        of_pods = [DeploymentController, PodController] if pods else []
        kinds = [InferenceServiceController, ServiceController, *of_pods]
        cache = Cache(client, {resource for kind in kinds for resource in kind.watches})
        services = ServiceController(client, cache, space, proxy)
        loops = [cache, recorder, InferenceServiceController(client, cache, recorder), services]
        if pods:
            workspace = Workspace(folder / "home")
            loops += [
                DeploymentController(client, cache, recorder),
                PodController(
                    client,
                    cache,
                    recorder,
                    folder=folder,
                    addresses=space,
                    storage=Storage(workspace),
                    environment=base_environment(workspace),
                ),
            ]
        cluster = SmallCluster(api, client, space, proxy, port)
        if gateway:
            cluster.supervisor = await stack.enter_async_context(Supervisor(folder / "gateway-logs"))
            cluster.supervisor.start(gateway_process(folder / "gateway", server=api.url, token=TOKEN, port=port))
        tasks = [asyncio.create_task(loop.run()) for loop in loops]
        try:
            if cluster.supervisor is not None:
                await cluster.supervisor.wait_ready([NAME], timeout_s=20)
            yield cluster
            for task in tasks:
                assert not task.done(), task.exception()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


@contextlib.contextmanager
def tiny_server(address, *flags):
    """A tiny server at port 8080 of an address; it may not answer yet."""
    command = [sys.executable, str(TINY_SERVER), *flags]
    environment = {"PATH": os.environ["PATH"], "BIND_HOST": address}
    process = subprocess.Popen(command, env=environment)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


async def until(condition, *, timeout_s=10.0):
    """Waits for an asynchronous condition to hold; returns what it gave."""
    async with asyncio.timeout(timeout_s):
        while not (found := await condition()):  # noqa: ASYNC110  # a condition of the API has no event
            await asyncio.sleep(0.02)
        return found
