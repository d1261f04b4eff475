"""The whole cluster with real servers under a steady stream of requests: nothing that goes wrong reaches a client."""

import asyncio
import contextlib
import copy
import os
import signal
import time
from pathlib import Path

import aiohttp
import psutil
import pytest

from cli.deploy import of_blueprint
from localcluster.api.resources import INFERENCE_SERVICES, PODS, resource_of
from localcluster.render import render
from tests.localcluster.small_cluster import small_cluster, until

OVERLAY = Path(__file__).parents[2] / "kustomize" / "overlays" / "local"
APPLICATION = {
    "credit_limit": 50_000,
    "age_of_account": 12,
    "late_payments": 6,
    "education": "high school",
    "housing": "rent",
    "utilisation": 1.2,
}
REQUESTS_PER_S = 50


class Stream:
    """Sends requests at a steady rate, whether earlier ones are answered or not, and notes what came of each.

    Args:
        port: Port of the gateway.
        host: Host to ask for.
        path: Path to ask.
        body: JSON body of a POST; a GET without.
    """

    def __init__(self, port, host, path, body=None):
        self._url, self._headers, self._body = f"http://127.0.0.1:{port}{path}", {"Host": host}, body
        self.outcomes = []

    async def one(self, session):
        method = "GET" if self._body is None else "POST"
        try:
            async with session.request(method, self._url, json=self._body, headers=self._headers) as response:
                text = await response.text()
                return response.status if response.status == 200 else (response.status, text[:200])
        except (aiohttp.ClientError, TimeoutError) as error:
            return repr(error)

    async def answered(self):
        """Waits for the gateway: it takes over new endpoints a moment after a service is ready."""
        async with aiohttp.ClientSession() as session:

            async def there():
                return await self.one(session) == 200

            await until(there)

    @contextlib.asynccontextmanager
    async def running(self):
        """Sends for as long as the context lasts; then every request must have been answered with 200."""
        stop, requests = asyncio.Event(), []
        await self.answered()

        async def send():
            async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as session:
                due = time.monotonic()
                while not stop.is_set():
                    requests.append(asyncio.create_task(self.one(session)))
                    due += 1 / REQUESTS_PER_S
                    await asyncio.sleep(max(0, due - time.monotonic()))
                self.outcomes = await asyncio.gather(*requests)

        sending = asyncio.create_task(send())
        await asyncio.sleep(0.3)
        try:
            yield
            await asyncio.sleep(0.5)
        finally:
            stop.set()
            await sending
        failed = [outcome for outcome in self.outcomes if outcome != 200]
        assert len(self.outcomes) > REQUESTS_PER_S / 2
        assert failed == [], f"{len(failed)} of {len(self.outcomes)} failed"


def run(folder, scenario, seconds=200):
    async def go():
        async with small_cluster(folder, gateway=True, pods=True) as cluster:
            await scenario(cluster)

    asyncio.run(asyncio.wait_for(go(), seconds))


async def ready(cluster, name, namespace, *, pods, seconds=100):
    """Waits until a service is ready with its newest specification, and so many pods are left."""
    said = None

    async def there():
        nonlocal said
        item = await cluster.client.get(INFERENCE_SERVICES, name, namespace)
        status = (item or {}).get("status") or {}
        told = {condition["type"]: condition["status"] for condition in status.get("conditions") or []}
        found, _ = await cluster.client.list(PODS, namespace)
        current = status.get("observedGeneration") == item["metadata"]["generation"]
        said = (status, [(pod["metadata"]["name"], pod["status"]) for pod in found])
        return current and told.get("Ready") == "True" and len(found) == pods

    try:
        await until(there, timeout_s=seconds)
    except TimeoutError:
        pytest.fail(f"not ready: {said}")


def processes(word):
    """Processes of this cluster whose command line has a word."""
    return [child for child in psutil.Process().children(recursive=True) if word in " ".join(child.cmdline())]


def test_a_rolling_update_loses_no_request_even_of_servers_that_do_not_drain(tmp_path, overlay):
    (tmp_path / "package").mkdir()
    items = {item["kind"]: copy.deepcopy(item) for item in render(overlay)}
    service, runtime = items["InferenceService"], items["ServingRuntime"]
    del service["spec"]["transformer"], service["spec"]["explainer"]
    predictor = service["spec"]["predictor"]
    predictor["model"]["storageUri"] = f"file://{tmp_path / 'package'}"
    predictor |= {"minReplicas": 2, "annotations": {"ml-deployment-blueprints/any-image": "true"}}
    predictor["deploymentStrategy"] = {"rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}}
    route = {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {"name": "shop", "namespace": "shop"},
        "spec": {
            "parentRefs": [{"name": "kserve-ingress-gateway", "namespace": "kserve"}],
            "hostnames": ["shop.localhost"],
            "rules": [{"backendRefs": [{"name": "shop-predictor", "port": 80}]}],
        },
    }

    async def scenario(cluster):
        await cluster.namespace()
        await cluster.apply(runtime, service, route)
        await ready(cluster, "shop", "shop", pods=2)
        before = {process.pid for process in processes("tiny_server.py")}
        async with Stream(cluster.port, "shop.localhost", "/").running():
            predictor["model"]["args"] = ["--say=second"]
            await cluster.apply(service)
            await ready(cluster, "shop", "shop", pods=2)
        after = processes("tiny_server.py")
        assert len(after) == 2
        assert before.isdisjoint(process.pid for process in after)
        assert all("--say=second" in process.cmdline() for process in after)

    run(tmp_path / "cluster", scenario)


@pytest.mark.slow  # real model servers start five or six times
@pytest.mark.timeout(240)
@pytest.mark.parametrize(("protocol", "kill"), [("v2", True), ("grpc-v2", False)])
def test_the_credit_risk_service_outlives_a_killed_predictor_and_an_update(tmp_path, credit_package, protocol, kill):
    items = [copy.deepcopy(item) for item in of_blueprint("credit-risk", OVERLAY) if resource_of(item) is not None]
    service = next(item for item in items if item["kind"] == "InferenceService")
    route = next(item for item in items if item["kind"] == "HTTPRoute")
    route["spec"]["rules"] = [rule for rule in route["spec"]["rules"] if rule["name"] == "predict"]
    namespace, spec = service["metadata"]["namespace"], service["spec"]
    del spec["explainer"]
    uri = f"file://{credit_package.folder}"
    container = spec["transformer"]["containers"][0]
    container["env"] = [{"name": "STORAGE_URI", "value": uri}]
    if protocol == "grpc-v2":
        container["args"].remove("--predictor_protocol=v2")
        container["args"] += ["--predictor_protocol=grpc-v2", "--predictor_host=credit-risk-predictor:8081"]
    spec["predictor"] |= {"minReplicas": 2, "maxReplicas": 2}
    spec["predictor"]["model"]["storageUri"] = uri

    async def scenario(cluster):
        await cluster.apply(*items)
        await ready(cluster, "credit-risk", namespace, pods=3)
        stream = Stream(cluster.port, "credit-risk.localhost", "/predict", APPLICATION)
        async with stream.running():
            if kill:
                os.kill(processes("credit_risk.predictor")[0].pid, signal.SIGKILL)
                await asyncio.sleep(0.5)
            spec["predictor"]["model"]["env"] = [{"name": "RELEASE", "value": "two"}]
            await cluster.apply(service)
            await ready(cluster, "credit-risk", namespace, pods=3)

    run(tmp_path, scenario)
