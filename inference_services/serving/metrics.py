"""Prometheus metrics of a server, beside those of the kserve SDK."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, values
from prometheus_client.core import HistogramMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from blueprints.schema import Column

# Eleven a decade, from 0.43 ms to 10 s: each is at most 1.24 times the one before, so that two versions' quantiles can
# be compared. The last is the request time-out.
_SECONDS = (*(float(f"{0.001 * 10 ** (step / 11):.4g}") for step in range(-4, 45)), 30.0)
_PREDICTION_BINS = 20
_HELP = "Answers of the model"


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
        self.in_flight = Gauge(
            "requests_in_flight", "Requests that are worked on", registry=registry, multiprocess_mode="livesum"
        )

    def http(self, method: str, route: str, *, timed: bool) -> Answers:
        """The metrics of one route.

        Args:
            method: Its method.
            route: Its template.
            timed: Whether it is work, whose time is told.
        """
        seconds = self._seconds.labels(method, route) if timed else None
        return Answers(lambda status: self._requests.labels(method, route, status), seconds)

    def grpc(self, method: str) -> Answers:
        """The metrics of one gRPC method."""
        return Answers(lambda code: self._rpcs.labels(method, code), self._rpc_seconds.labels(method))


class Answers:
    """Counts and times the answers of one route or method; what Prometheus' client looks up is looked up once.

    Args:
        counter: The counter of a status.
        seconds: The histogram of times, if there is one.
    """

    def __init__(self, counter: Callable[[str], Counter], seconds: Histogram | None) -> None:
        self._counter = counter
        self._counters: dict[int | str, Counter] = {}
        self._seconds = seconds

    def observe(self, status: int | str, seconds: float) -> None:
        """Counts one answer."""
        counter = self._counters.get(status)
        if counter is None:
            counter = self._counters[status] = self._counter(str(status))
        counter.inc()
        if self._seconds is not None:
            self._seconds.observe(seconds)


class PredictionHistogram(Collector):
    """`model_predictions`: how often a model answered what, by output and version, in bins of equal width.

    Outputs without a minimum and a maximum have no bins and are left out; a category's bins are its codes. Its numbers
    are kept where those of Prometheus' own histograms are, so that several processes' add up.

    Args:
        outputs: The outputs of the model's signature.
        version: Version of the model package.
    """

    def __init__(self, outputs: Iterable[Column], version: str) -> None:
        self._version = version
        self._bounds = {output.name: bounds for output in outputs if (bounds := _bin_bounds(output))}
        # One more for what lies above the maximum.
        self._counts = {
            name: [self._value("bucket", name, le) for le in (*(f"{bound:g}" for bound in bounds), "+Inf")]
            for name, bounds in self._bounds.items()
        }
        self._sums = {name: self._value("sum", name) for name in self._bounds}

    def observe(self, output: str, predictions: NDArray[np.floating] | NDArray[np.integer]) -> None:
        """Counts the values of one output, shape (n,)."""
        bounds = self._bounds.get(output)
        if bounds is None:
            return
        counts = self._counts[output]
        if len(predictions) == 1:
            counts[bisect_left(bounds, float(predictions[0]))].inc(1)
        else:
            for bin_, count in enumerate(
                np.bincount(np.searchsorted(bounds, predictions), minlength=len(counts)).tolist()
            ):
                if count:
                    counts[bin_].inc(count)
        self._sums[output].inc(float(predictions.sum()))

    def collect(self) -> Iterable[HistogramMetricFamily]:
        """The histogram as Prometheus reads it."""
        family = HistogramMetricFamily("model_predictions", _HELP, labels=["output", "model_version"])
        for output, bounds in self._bounds.items():
            cumulative = np.cumsum([count.get() for count in self._counts[output]]).tolist()
            names = [*(f"{bound:g}" for bound in bounds), "+Inf"]
            family.add_metric(
                [output, self._version], list(zip(names, cumulative, strict=True)), self._sums[output].get()
            )
        yield family

    def _value(self, kind: str, output: str, *le: str) -> Any:
        labels = ("output", "model_version", "le")[: 2 + len(le)]
        name = "model_predictions"
        return values.ValueClass("histogram", name, f"{name}_{kind}", labels, (output, self._version, *le), _HELP)


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
    gauge = Gauge("model_info", "The model that is served", [*labels], registry=registry, multiprocess_mode="livemax")
    gauge.labels(**labels).set(1)


def shared_registry(folder: Path, parent: int) -> CollectorRegistry:
    """The metrics of all worker processes.

    Args:
        folder: Where they keep their values.
        parent: Process id of their parent, whose start is theirs.
    """
    registry = CollectorRegistry()
    MultiProcessCollector(registry, path=str(folder))  # type: ignore[no-untyped-call]
    registry.register(_Processes(parent))
    return registry


class _Processes(Collector):
    """`process_*` of a process and its children: sums, and the start of the first.

    Args:
        parent: Its process id.
    """

    def __init__(self, parent: int) -> None:
        self._parent = parent

    def collect(self) -> Iterable[Metric]:
        """The metrics of processes, as Prometheus' client names them."""
        children = Path(f"/proc/{self._parent}/task/{self._parent}/children").read_text().split()
        totals = {metric.name: metric for metric in _process(self._parent)}
        for child in map(int, children):
            for metric in _process(child):
                if metric.name in totals and metric.name != "process_start_time_seconds":
                    total = totals[metric.name]
                    total.samples = [
                        sample._replace(value=sample.value + more.value)
                        for sample, more in zip(total.samples, metric.samples, strict=False)
                    ]
        return totals.values()


def _process(pid: int) -> Iterable[Metric]:
    return ProcessCollector(pid=lambda: pid, registry=None).collect()
