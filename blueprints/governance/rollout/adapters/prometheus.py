"""Metrics from a Prometheus that labels the pods' series with `namespace` and `pod`, as a PodMonitor does."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any

from blueprints.governance.rollout.adapters.arms import ArmCounter, observation
from blueprints.governance.rollout.adapters.cluster import ClusterError
from blueprints.governance.rollout.adapters.samples import METRICS, Sample, reading
from blueprints.governance.rollout.observation import Observation
from blueprints.governance.rollout.ports import MetricsUnavailableError

_TIMEOUT_S = 5.0


class PrometheusMetrics:
    """Reads the counters of an arm's pods as Prometheus last saw them.

    Counters are summed here, replica by replica, so that restarts are seen for what they are: `increase` would
    extrapolate, and error levels are stated for whole requests.

    Args:
        url: Prometheus' own URL.
        namespace: The pods' namespace.
        arms: Regular expressions that the names of stable's and of the candidate's pods match as a whole.
        ready: Whether stable and candidate are ready.
        token: Bearer token, if Prometheus asks for one.
    """

    def __init__(
        self,
        url: str,
        namespace: str,
        arms: Callable[[], tuple[str, str]],
        ready: Callable[[], tuple[bool, bool]],
        *,
        token: str | None = None,
    ) -> None:
        import urllib3

        self._url = url.rstrip("/") + "/api/v1/query"
        self._namespace = namespace
        self._arms = arms
        self._ready = ready
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._counters = (ArmCounter(), ArmCounter())
        self._http = urllib3.PoolManager(retries=False)

    def observe(self) -> Observation:
        """See `Metrics`."""
        try:
            stable_ready, candidate_ready = self._ready()
            pods = self._arms()
        except ClusterError as error:
            raise MetricsUnavailableError(str(error)) from error
        for counter, pattern in zip(self._counters, pods, strict=True):
            replicas = self._query(pattern)
            counter.add(replicas, {pod: reading(samples) for pod, samples in replicas.items()})
        stable, candidate = (counter.counters for counter in self._counters)
        return observation(stable, candidate, stable_ready=stable_ready, candidate_ready=candidate_ready)

    def close(self) -> None:
        """Ends the connections."""
        self._http.clear()

    def _query(self, pods: str) -> Mapping[str, list[Sample]]:
        """Samples by pod."""
        from urllib3.exceptions import HTTPError

        selector = f'__name__=~"{"|".join(METRICS)}",namespace="{_quoted(self._namespace)}",pod=~"{_quoted(pods)}"'
        try:
            response = self._http.request(
                "POST",
                self._url,
                fields={"query": f"{{{selector}}}"},
                headers=self._headers,
                encode_multipart=False,
                timeout=_TIMEOUT_S,
                redirect=False,
            )
            answer: dict[str, Any] = json.loads(response.data)
        except (HTTPError, OSError, ValueError) as error:
            raise MetricsUnavailableError(f"{self._url} does not answer ({type(error).__name__})") from error
        if answer.get("status") != "success":
            raise MetricsUnavailableError(f"{self._url}: {answer.get('error', f'status {response.status}')}")
        samples: defaultdict[str, list[Sample]] = defaultdict(list)
        for series in answer["data"]["result"]:
            labels = series["metric"]
            samples[labels["pod"]].append(Sample(labels["__name__"], labels, float(series["value"][1])))
        return samples


def pods_of(service: str, roles: tuple[str, ...]) -> str:
    """Regular expression for the pods of a service's components, as their Deployments name them."""
    return f"{re.escape(service)}-({'|'.join(roles)})-[a-z0-9]+-[a-z0-9]+"


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')
