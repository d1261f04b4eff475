"""Prometheus metrics of a server, beside those of the kserve SDK."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

# From half a millisecond, where one application is scored, to the request time-out.
_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


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
            "Time from a request's head to its answer",
            ["method", "route"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._rpcs = Counter("grpc_server_handled_total", "Answered gRPC calls", ["method", "code"], registry=registry)
        self._rpc_seconds = Histogram(
            "grpc_server_handling_seconds", "Time of a gRPC call", ["method"], buckets=_SECONDS, registry=registry
        )
        self.in_flight = Gauge("requests_in_flight", "Requests that are worked on", registry=registry)

    def observe_http(self, method: str, route: str, status: int, seconds: float) -> None:
        """Counts one answered HTTP request."""
        self._requests.labels(method, route, str(status)).inc()
        self._seconds.labels(method, route).observe(seconds)

    def observe_grpc(self, method: str, code: str, seconds: float) -> None:
        """Counts one answered gRPC call."""
        self._rpcs.labels(method, code).inc()
        self._rpc_seconds.labels(method).observe(seconds)
