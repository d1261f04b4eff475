"""API server, kubelet and the controllers of workloads, in a task of their own; the test drives them by kubectl."""

import asyncio
import contextlib
import json
import os
from dataclasses import dataclass, field
from pathlib import Path

from blueprints.workspace import Workspace
from localcluster.addresses import AddressSpace
from localcluster.api import kubeconfig
from localcluster.api.resources import DEPLOYMENTS, EVENTS, PODS, resource_of
from localcluster.api.server import ApiServer
from localcluster.controllers.client import Client
from localcluster.controllers.controller import Cache
from localcluster.controllers.deployments import DeploymentController
from localcluster.controllers.pods import PodController
from localcluster.controllers.recorder import Recorder
from localcluster.processes.runner import Backoff
from localcluster.render import kubectl
from localcluster.storage import Storage

TOKEN = "a-token-of-a-test-cluster-0123456789"
TINY_SERVER = Path(__file__).with_name("tiny_server.py")
QUICK = Backoff(first_s=0.1, longest_s=0.4)
IMAGE = "ml-deployment-blueprints/credit-risk:1"


@dataclass
class PodCluster:
    """What a test can reach.

    Attributes:
        api: The API server.
        client: Speaks to it.
        kubelet: Runs the pods.
        space: Its loopback addresses.
        kubeconfig: For kubectl.
    """

    api: ApiServer
    client: Client
    kubelet: PodController
    space: AddressSpace
    kubeconfig: Path
    tasks: list = field(default_factory=list)

    async def apply(self, *items):
        for item in items:
            await self.client.apply(resource_of(item), item)

    async def pod(self, name):
        return await self.client.get(PODS, name, "default")

    async def pods(self, labels=""):
        items, _ = await self.client.list(PODS, "default", labels=labels)
        return items

    async def deployment(self, name="web"):
        return await self.client.get(DEPLOYMENTS, name, "default")

    async def events(self, name):
        items, _ = await self.client.list(EVENTS, "default")
        return [item for item in items if item["involvedObject"]["name"] == name]

    async def kubectl(self, *words, check=True, text=None):
        """Runs the real kubectl; returns what it printed."""
        process = await asyncio.create_subprocess_exec(
            *(str(kubectl()), *words),
            env={"PATH": os.environ["PATH"], "HOME": str(self.kubeconfig.parent), "KUBECONFIG": str(self.kubeconfig)},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await process.communicate(None if text is None else text.encode())
        assert not check or process.returncode == 0, output.decode()
        return output.decode()

    async def ask(self, address, path="/", port=8080):
        """What a tiny server tells; None if it does not answer with 200."""
        try:
            reader, writer = await asyncio.open_connection(address, port)
        except OSError:
            return None
        try:
            writer.write(f"GET {path} HTTP/1.0\r\n\r\n".encode())
            head, _, body = (await asyncio.wait_for(reader.read(), 10)).partition(b"\r\n\r\n")
            return json.loads(body) if b" 200 " in head.split(b"\r\n")[0] else None
        except OSError:
            return None
        finally:
            writer.close()


@contextlib.asynccontextmanager
async def pod_cluster(folder, *more, volumes=None, octet=None):
    """A cluster without gateway; `more` are further controllers, as classes."""
    async with contextlib.AsyncExitStack() as stack:
        space = stack.enter_context(AddressSpace.claim(octet))
        kubelets = []
        api = await stack.enter_async_context(
            ApiServer(
                folder / "api",
                token=TOKEN,
                logs=lambda namespace, pod, previous: kubelets[0].log_path(namespace, pod, previous=previous),
            )
        )
        kubeconfig.write(folder / "config", server=api.secure_url, token=TOKEN, certificate=api.certificate)
        client = await stack.enter_async_context(Client(api.url, TOKEN, "laptop-cluster"))
        cache = Cache(
            client, {*PodController.watches, *DeploymentController.watches, *(r for m in more for r in m.watches)}
        )
        recorder = Recorder(client)
        kubelet = PodController(
            client,
            cache,
            recorder,
            folder=folder,
            addresses=space,
            storage=Storage(Workspace(folder / "workspace"), volumes),
            environment={"PATH": os.environ["PATH"]},
            backoff=QUICK,
        )
        kubelets.append(kubelet)
        loops = [cache, recorder, kubelet, DeploymentController(client, cache, recorder)]
        loops += [make(client, cache, recorder) for make in more]
        cluster = PodCluster(api, client, kubelet, space, folder / "config")
        tasks = [asyncio.create_task(loop.run()) for loop in loops]
        try:
            await asyncio.wait_for(cache.synced(), 10)
            yield cluster
            for task in tasks:
                assert not task.done(), task.exception()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def until(condition, *, timeout_s=30.0):
    """Waits for a condition, asynchronous or not, to hold; returns what it gave."""
    async with asyncio.timeout(timeout_s):
        while True:
            found = condition()
            if asyncio.iscoroutine(found):
                found = await found
            if found:
                return found
            await asyncio.sleep(0.02)


def container(*args, **fields):
    """A container that runs the tiny server."""
    return {
        "name": "app",
        "image": IMAGE,
        "command": ["python", str(TINY_SERVER)],
        "args": list(args),
        "ports": [{"name": "http", "containerPort": 8080}],
        "readinessProbe": {"httpGet": {"path": "/readyz", "port": "http"}, "periodSeconds": 1, "failureThreshold": 1},
        **fields,
    }


def pod(name="one", *args, spec=None, annotations=None, labels=None, **fields):
    """A pod of a tiny server."""
    metadata = {"name": name, "namespace": "default", "labels": labels or {"app": name}}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata | ({"annotations": annotations} if annotations else {}),
        "spec": {"terminationGracePeriodSeconds": 5, "containers": [container(*args, **fields)], **(spec or {})},
    }


def deployment(name="web", *args, replicas=2, spec=None, pod_spec=None, **fields):
    """A Deployment of tiny servers."""
    template = {
        "metadata": {"labels": {"app": name}},
        "spec": {"terminationGracePeriodSeconds": 5, "containers": [container(*args, **fields)], **(pod_spec or {})},
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
            "template": template,
            **(spec or {}),
        },
    }


def condition(item, kind):
    """Status of a condition; empty if it is not there."""
    found = [each["status"] for each in (item or {}).get("status", {}).get("conditions", []) if each["type"] == kind]
    return found[0] if found else ""


def state(item):
    """State of a pod's container, as kubectl shows it."""
    (entry,) = item.get("status", {}).get("containerStatuses") or [{"state": {}}]
    return next(iter(entry["state"].items()), ("", {}))
