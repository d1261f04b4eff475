"""A real API server in a thread, with the service of the overlay `local` in it and no process behind it."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from blueprints.governance.rollout.adapters.cluster import HTTP_ROUTES, INFERENCE_SERVICES, Cluster, ConflictError
from cli.deploy import of_blueprint
from localcluster.api.server import ApiServer

CONTEXT = "test"
NAMESPACE = "blueprints-local"
OVERLAY = Path(__file__).parents[1] / "kustomize" / "overlays" / "local"
_TOKEN = "a-token-that-only-these-tests-know-01"


@contextmanager
def api_server(folder: Path) -> Iterator[Path]:
    """Gives the kubeconfig, with a context named `CONTEXT`, of a server that answers."""
    started = threading.Event()
    found: dict[str, Any] = {}

    async def serve() -> None:
        async with ApiServer(folder / "api", token=_TOKEN) as server:
            found.update(url=server.url, loop=asyncio.get_running_loop(), stop=asyncio.Event())
            started.set()
            await found["stop"].wait()

    thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
    thread.start()
    assert started.wait(20)
    kubeconfig = folder / "kubeconfig"
    kubeconfig.write_text(
        f"apiVersion: v1\nkind: Config\ncurrent-context: {CONTEXT}\n"
        f"clusters: [{{name: c, cluster: {{server: '{found['url']}'}}}}]\n"
        f"users: [{{name: u, user: {{token: {_TOKEN}}}}}]\n"
        f"contexts: [{{name: {CONTEXT}, context: {{cluster: c, user: u, namespace: {NAMESPACE}}}}}]\n"
    )
    try:
        yield kubeconfig
    finally:
        found["loop"].call_soon_threadsafe(found["stop"].set)
        thread.join(20)


@cache
def overlay() -> list[dict[str, Any]]:
    """What the overlay `local` holds for credit risk. Do not change it."""
    return of_blueprint("credit-risk", OVERLAY)


def with_service(kubeconfig: Path) -> Cluster:
    """Puts the overlay's InferenceService and HTTPRoute on the server."""
    cluster = Cluster.connect(NAMESPACE, kubeconfig=kubeconfig)
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}
    with contextlib.suppress(ConflictError):
        cluster._call("POST", "/api/v1/namespaces", namespace)
    kinds = {kind.name: kind for kind in (HTTP_ROUTES, INFERENCE_SERVICES)}
    for item in overlay():
        if item["kind"] in kinds:
            cluster.create(kinds[item["kind"]], item)
    return cluster
