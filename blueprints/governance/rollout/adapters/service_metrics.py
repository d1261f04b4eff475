"""Metrics by asking every replica for its `/metrics`: needs no Prometheus, but a way to the pods."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from blueprints.governance.rollout.adapters.arms import ArmCounter, observation
from blueprints.governance.rollout.adapters.cluster import (
    DEPLOYMENTS,
    ENDPOINT_SLICES,
    INFERENCE_SERVICES,
    Cluster,
    ClusterError,
)
from blueprints.governance.rollout.adapters.inference_service import SERVICE_LABEL, candidate_name, serves
from blueprints.governance.rollout.adapters.samples import Reading, parse, reading
from blueprints.governance.rollout.observation import Observation
from blueprints.governance.rollout.ports import MetricsUnavailableError

if TYPE_CHECKING:
    from urllib3 import PoolManager

_TIMEOUT_S = 2.0
_AT_ONCE = 16
_LARGEST = 4 << 20


class ServiceMetrics:
    """Reads the pods behind the Services that the route sends requests to: there the caller's answer is made.

    Args:
        cluster: Where they are.
        service: The stable service.
        services: Names of the stable version's Services to read; the candidate's follow from them.
    """

    def __init__(self, cluster: Cluster, service: str, services: Sequence[str]) -> None:
        import urllib3

        self._cluster = cluster
        self._arms = {
            service: (ArmCounter(), services),
            candidate_name(service): (
                ArmCounter(),
                [candidate_name(service) + name.removeprefix(service) for name in services],
            ),
        }
        self._http = urllib3.PoolManager(num_pools=256, maxsize=2, retries=False)
        self._pool = ThreadPoolExecutor(max_workers=_AT_ONCE, thread_name_prefix="metrics")

    def observe(self) -> Observation:
        """See `Metrics`."""
        try:
            (stable, stable_ready), (candidate, candidate_ready) = (self._look(name) for name in self._arms)
        except ClusterError as error:
            raise MetricsUnavailableError(f"where the replicas are is not known: {error}") from error
        return observation(
            stable.counters, candidate.counters, stable_ready=stable_ready, candidate_ready=candidate_ready
        )

    def close(self) -> None:
        """Ends threads and connections."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._http.clear()

    def _look(self, name: str) -> tuple[ArmCounter, bool]:
        counter, services = self._arms[name]
        replicas = {key: url for service in services for key, url in self._replicas(service)}
        readings = dict(
            zip(replicas, self._pool.map(lambda url: _read(self._http, url), replicas.values()), strict=True)
        )
        read = {key: one for key, one in readings.items() if one is not None}
        counter.add(replicas, read)
        return counter, bool(read) and ready(self._cluster, name)

    def _replicas(self, service: str) -> Iterable[tuple[str, str]]:
        """Name and URL of every pod, ready or not: one that is leaving may still answer."""
        for piece in self._cluster.list(ENDPOINT_SLICES, {"kubernetes.io/service-name": service}):
            ports = piece.get("ports") or []
            port = next(
                (port["port"] for port in ports if port.get("name") == "http"), ports[0]["port"] if ports else 0
            )
            for endpoint in piece.get("endpoints") or []:
                address = endpoint["addresses"][0]
                host = f"[{address}]" if piece.get("addressType") == "IPv6" else address
                target = endpoint.get("targetRef") or {}
                yield target.get("uid") or address, f"http://{host}:{port}/metrics"


def ready(cluster: Cluster, name: str) -> bool:
    """Whether an InferenceService is ready with what its spec names; False if there is none."""
    service = cluster.get(INFERENCE_SERVICES, name)
    return service is not None and serves(service, cluster.list(DEPLOYMENTS, {SERVICE_LABEL: name}))


def _read(http: PoolManager, url: str) -> Reading | None:
    from urllib3.exceptions import HTTPError

    try:
        response = http.request("GET", url, timeout=_TIMEOUT_S, redirect=False, preload_content=False)
        try:
            text = response.read(_LARGEST).decode() if response.status == 200 else None
        finally:
            response.release_conn()
        return None if text is None else reading(parse(text))
    except (HTTPError, OSError, ValueError):
        return None
