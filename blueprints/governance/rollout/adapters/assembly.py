"""Puts a service's ports together, and works at its rollout until the end or SIGTERM."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import ceil

from blueprints.governance.registry import Registry
from blueprints.governance.rollout.adapters.cluster import HTTP_ROUTES, INFERENCE_SERVICES, Cluster, ClusterError
from blueprints.governance.rollout.adapters.http_route import HttpRouteTraffic
from blueprints.governance.rollout.adapters.inference_service import candidate_name, model_of
from blueprints.governance.rollout.adapters.knative import KnativeTraffic
from blueprints.governance.rollout.adapters.lease import KubernetesLease
from blueprints.governance.rollout.adapters.prometheus import PrometheusMetrics, pods_of
from blueprints.governance.rollout.adapters.release import KnativeRelease, KubernetesRelease, resolve_model
from blueprints.governance.rollout.adapters.service_metrics import ServiceMetrics, ready
from blueprints.governance.rollout.config import RolloutConfig
from blueprints.governance.rollout.engine import Engine, RolloutError, order, start
from blueprints.governance.rollout.machine import abort
from blueprints.governance.rollout.state import Phase, Rollout, State

_LEASE_S = 15
_MODE = "serving.kserve.io/deploymentMode"
_KNATIVE = frozenset({"Knative", "Serverless"})


class SystemClock:
    """Wall-clock time."""

    def now(self) -> float:
        """See `Clock`."""
        return time.time()

    def sleep(self, seconds: float) -> None:
        """See `Clock`."""
        time.sleep(seconds)


@dataclass(frozen=True)
class ServiceRollout:
    """What a rollout of one service works with.

    Attributes:
        cluster: Where it is.
        service: The stable service.
        traffic: Weights and state.
        release: Candidate and promotion.
        registry: Where aliases are; None where there is none.
        prometheus: URL of Prometheus; empty to ask the pods.
        prometheus_token: Bearer token for it.
    """

    cluster: Cluster
    service: str
    traffic: HttpRouteTraffic | KnativeTraffic
    release: KubernetesRelease | KnativeRelease
    registry: Registry | None
    prometheus: str = ""
    prometheus_token: str | None = None

    @classmethod
    def of(
        cls,
        cluster: Cluster,
        service: str,
        *,
        registry: Registry | None,
        prometheus: str = "",
        prometheus_token: str | None = None,
    ) -> ServiceRollout:
        """Finds out how a service's traffic is split: by its HTTPRoute, or by Knative.

        Raises:
            ClusterError: There is no such service, or neither way.
        """
        annotations = cluster.require(INFERENCE_SERVICES, service)["metadata"].get("annotations") or {}
        if annotations.get(_MODE) in _KNATIVE:
            if not prometheus:
                raise ClusterError(f"{service!r} runs on Knative, whose pods come and go: give the URL of a Prometheus")
            return cls(
                cluster,
                service,
                KnativeTraffic(cluster, service),
                KnativeRelease(cluster, service, registry),
                registry,
                prometheus,
                prometheus_token,
            )
        cluster.require(HTTP_ROUTES, service)
        return cls(
            cluster,
            service,
            HttpRouteTraffic(cluster, service),
            KubernetesRelease(cluster, service, registry),
            registry,
            prometheus,
            prometheus_token,
        )

    def start(self, package: str, config: RolloutConfig, *, by: str) -> State:
        """Stores the rollout and makes the candidate; `work` does the rest.

        A rollout of the same model that is under way is left as it is: what was interrupted can be called again.

        Args:
            package: Version, alias, number or storage URI of the candidate's model package.
            config: How.
            by: Who starts it.

        Raises:
            RolloutError: A rollout of another model is under way, the last one's promotion failed, or stable serves it.
            RegistryError: The registry does not know the package.
            ClusterError: The cluster refuses.
        """
        service = self.cluster.require(INFERENCE_SERVICES, self.service)
        name = (service["metadata"].get("labels") or {}).get("model", self.service)
        model = resolve_model(package, stable_model=model_of(service), name=name, registry=self.registry)
        present = self.traffic.read().state
        if model == model_of(service) and (present is None or present.phase.over):
            raise RolloutError(
                f"{self.service!r} serves {model} already: name another package, or train one (blueprints run {name})"
            )
        if present is not None and not present.phase.over:
            if present.rollout.candidate_model == model:
                self._prepare(present)
                return present
            raise RolloutError(
                f"a rollout of {present.rollout.candidate_model} is under way ({present.phase}): wait for its end, "
                "or abort it"
            )
        rollout = Rollout(
            id=secrets.token_hex(4),
            service=self.service,
            stable_model=model_of(service),
            candidate_model=model,
            started_by=by,
        )
        # Whoever is second fails here, and has not touched the first one's candidate.
        state = start(self.traffic, rollout, config, time.time())
        try:
            self.release.prepare(model)
        except ClusterError:
            order(self.traffic, lambda now: abort(now, time.time(), by))
            raise
        return state

    def work(self, on_change: Callable[[State], None] = lambda _: None, *, lease_s: int | None = None) -> State:
        """Works at the rollout until it is over, or waits while another engine does; returns its last state.

        SIGTERM and Ctrl-C end it in between: the lease is given back, and the state stays for the next engine.

        Args:
            on_change: Told of each state that was written.
            lease_s: Seconds after which another engine takes over from one that was killed; longer than two looks.

        Raises:
            RolloutError: There is no rollout.
        """
        present = self.traffic.read().state
        if present is not None:
            self._prepare(present)
        if lease_s is None:
            lease_s = _LEASE_S if present is None else max(_LEASE_S, ceil(2 * present.config.interval_s))
        metrics = self._metrics()
        lease = KubernetesLease(self.cluster, self.service, lease_s)
        holder = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"
        try:
            with _ending_on_sigterm():
                return Engine(self.traffic, metrics, self.release, lease, SystemClock(), holder, on_change).run()
        finally:
            metrics.close()

    def _prepare(self, state: State) -> None:
        """Makes the candidate that a rollout waits for, in case that whoever started it was killed before."""
        if state.phase is Phase.PENDING and not self.release.prepared(state.rollout.candidate_model):
            self.release.prepare(state.rollout.candidate_model)

    def _metrics(self) -> ServiceMetrics | PrometheusMetrics:
        traffic, cluster, service = self.traffic, self.cluster, self.service
        if isinstance(traffic, KnativeTraffic):
            pods, are_ready = traffic.pods, traffic.ready
        else:
            services = traffic.services()
            if not self.prometheus:
                return ServiceMetrics(cluster, service, services)
            roles = tuple(name.removeprefix(f"{service}-") for name in services)
            named = (pods_of(service, roles), pods_of(candidate_name(service), roles))

            def pods() -> tuple[str, str]:
                return named

            def are_ready() -> tuple[bool, bool]:
                return ready(cluster, service), ready(cluster, candidate_name(service))

        return PrometheusMetrics(self.prometheus, cluster.namespace, pods, are_ready, token=self.prometheus_token)


@contextmanager
def _ending_on_sigterm() -> Iterator[None]:
    """Turns SIGTERM into an exit that runs what must be tidied up."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
