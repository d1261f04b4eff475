"""A real API server with the local overlay's service, no process behind it."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from blueprints.governance.rollout.adapters.cluster import HTTP_ROUTES, INFERENCE_SERVICES, Cluster
from blueprints.governance.rollout.adapters.http_route import HttpRouteTraffic
from blueprints.governance.rollout.adapters.inference_service import model_of, with_model
from blueprints.governance.rollout.config import RolloutConfig
from blueprints.governance.rollout.state import Phase, Rollout, Stage, State
from localcluster.api.server import ApiServer
from localcluster.render import render

NAMESPACE = "blueprints-local"
OVERLAY = Path(__file__).parents[4] / "kustomize" / "overlays" / "local"
TOKEN = "a-token-that-only-this-test-knows-0002"


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """The cluster that `KUBECONFIG` names, for this process and those that it starts."""
    started, found = threading.Event(), {}

    async def serve() -> None:
        async with ApiServer(tmp_path / "api", token=TOKEN) as server:
            found.update(url=server.url, loop=asyncio.get_running_loop(), stop=asyncio.Event())
            started.set()
            await found["stop"].wait()

    thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
    thread.start()
    assert started.wait(20)
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(
        "apiVersion: v1\nkind: Config\ncurrent-context: t\n"
        f"clusters: [{{name: t, cluster: {{server: '{found['url']}'}}}}]\n"
        f"users: [{{name: t, user: {{token: {TOKEN}}}}}]\n"
        "contexts: [{name: t, context: {cluster: t, user: t}}]\n"
    )
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig))
    cluster = Cluster.connect(NAMESPACE, kubeconfig=kubeconfig)
    kinds = {kind.name: kind for kind in (HTTP_ROUTES, INFERENCE_SERVICES)}
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}
    cluster._call("POST", "/api/v1/namespaces", namespace)
    for item in render(OVERLAY):
        if item["kind"] in kinds:
            cluster.create(kinds[item["kind"]], item)
    yield cluster
    found["loop"].call_soon_threadsafe(found["stop"].set)
    thread.join(20)


@pytest.fixture
def nearly_promoted(cluster: Cluster) -> None:
    """A rollout whose last step is left: the registry's."""
    stable = cluster.require(INFERENCE_SERVICES, "credit-risk")
    new = "pvc://models/credit-risk/0123456789ab"
    rollout = Rollout(id="r1", service="credit-risk", stable_model=model_of(stable), candidate_model=new)
    cluster.merge(INFERENCE_SERVICES, "credit-risk", {"spec": with_model(stable["spec"], new)})
    state = State.start(rollout, RolloutConfig.laptop(), time.time())
    traffic = HttpRouteTraffic(cluster, "credit-risk")
    late = {"phase": Phase.PROMOTING, "stage": Stage.REGISTER, "step": 3}
    traffic.write(state.model_copy(update=late), traffic.read().version)
