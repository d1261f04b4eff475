"""Prometheus metrics of a server, beside those of the kserve SDK."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import Collector

from blueprints.schema import Column

# Eleven a decade, from 0.43 ms to 10 s: each is at most 1.24 times the one before, so that two versions' quantiles can
# be compared. The last is the request time-out.
_SECONDS = (*(float(f"{0.001 * 10 ** (step / 11):.4g}") for step in range(-4, 45)), 30.0)
_PREDICTION_BINS = 20


class RequestMetrics:
    """Counts and times requests by route template, never by raw path, so that strangers cannot add series.

    Args:
        registry: Where the metrics are kept; the process-wide registry in a server.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._requests = Counter(
            "http_requests_total", "Answered HTTP requests", ["method", "route", "status"], registry=registry
        )
        self._seconds = Histogram(
            "http_request_duration_seconds",
            "Time from the head of a request for work to its answer",
            ["method", "route"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._rpcs = Counter("grpc_server_handled_total", "Answered gRPC calls", ["method", "code"], registry=registry)
        self._rpc_seconds = Histogram(
            "grpc_server_handling_seconds", "Time of a gRPC call", ["method"], buckets=_SECONDS, registry=registry
        )
        self.in_flight = Gauge("requests_in_flight", "Requests that are worked on", registry=registry)

    def observe_http(self, method: str, route: str, status: int, seconds: float | None) -> None:
        """Counts one answered HTTP request, with its time where it was work."""
        self._requests.labels(method, route, str(status)).inc()
        if seconds is not None:
            self._seconds.labels(method, route).observe(seconds)

    def observe_grpc(self, method: str, code: str, seconds: float) -> None:
        """Counts one answered gRPC call."""
        self._rpcs.labels(method, code).inc()
        self._rpc_seconds.labels(method).observe(seconds)


class PredictionHistogram(Collector):
    """`model_predictions`: how often a model answered what, by output and version, in bins of equal width.

    Outputs without a minimum and a maximum have no bins and are left out; a category's bins are its codes. Observe from
    one thread.

    Args:
        outputs: The outputs of the model's signature.
        version: Version of the model package.
    """

    def __init__(self, outputs: Iterable[Column], version: str) -> None:
        self._version = version
        self._bounds = {output.name: bounds for output in outputs if (bounds := _bin_bounds(output))}
        # One more for what lies above the maximum.
        self._counts = {name: [0] * (len(bounds) + 1) for name, bounds in self._bounds.items()}
        self._sums = dict.fromkeys(self._bounds, 0.0)

    def observe(self, output: str, values: NDArray[np.floating]) -> None:
        """Counts the values of one output, shape (n,)."""
        bounds = self._bounds.get(output)
        if bounds is None:
            return
        counts = self._counts[output]
        if len(values) == 1:
            counts[bisect_left(bounds, float(values[0]))] += 1
        else:
            for bin_, count in enumerate(np.bincount(np.searchsorted(bounds, values), minlength=len(counts)).tolist()):
                counts[bin_] += count
        self._sums[output] += float(values.sum())

    def collect(self) -> Iterable[HistogramMetricFamily]:
        """The histogram as Prometheus reads it."""
        family = HistogramMetricFamily("model_predictions", "Answers of the model", labels=["output", "model_version"])
        for output, bounds in self._bounds.items():
            cumulative = np.cumsum(self._counts[output]).tolist()
            names = [*(f"{bound:g}" for bound in bounds), "+Inf"]
            family.add_metric([output, self._version], list(zip(names, cumulative, strict=True)), self._sums[output])
        yield family


def _bin_bounds(output: Column) -> Sequence[float]:
    """Upper bounds of the bins, ascending; empty if the output has no bounds."""
    if output.categories:
        return [float(code) for code in range(len(output.categories))]
    if output.minimum is None or output.maximum is None:
        return []
    bounds: list[float] = np.linspace(output.minimum, output.maximum, _PREDICTION_BINS + 1)[1:].tolist()
    return bounds


def publish_model(registry: CollectorRegistry, name: str, version: str, role: str) -> None:
    """Publishes `model_info`: which version of which model this process answers with, and in which role."""
    labels = {"model_name": name, "model_version": version, "role": role}
    Info("model", "The model that this process serves", registry=registry).info(labels)
