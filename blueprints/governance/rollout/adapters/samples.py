"""From Prometheus samples of our servers to what an arm has answered."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from blueprints.governance.rollout.observation import Counters, Histogram

METRICS = (
    "http_requests_total",
    "http_request_duration_seconds_bucket",
    "grpc_server_handled_total",
    "grpc_server_handling_seconds_bucket",
    "model_predictions_bucket",
    "process_start_time_seconds",
)
"""What is read; everything else of `/metrics` is passed over."""

_LINE = re.compile(rf"({'|'.join(METRICS)})(?:\{{(.*)\}})? ([^ ]+)")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
# The server's own fault; what a caller did wrong is none.
_GRPC_ERRORS = frozenset({"UNKNOWN", "INTERNAL", "UNAVAILABLE", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED", "DATA_LOSS"})
_NEITHER = frozenset({"OK", "CANCELLED"})


class Sample(NamedTuple):
    """One line of an exposition."""

    name: str
    labels: Mapping[str, str]
    value: float


class Reading(NamedTuple):
    """What one process has answered since it started.

    Attributes:
        counters: Its counters; without bounds where it publishes no such histogram.
        started: When it started; another value is another process.
    """

    counters: Counters
    started: float = 0.0


def parse(text: str) -> Iterator[Sample]:
    """The samples that are read, from Prometheus' text format."""
    for line in text.splitlines():
        if match := _LINE.match(line):
            name, labels, value = match.groups()
            yield Sample(name, dict(_LABEL.findall(labels or "")), float(value))


def reading(samples: Iterable[Sample]) -> Reading:
    """What one process says of itself.

    Requests are the POSTs to known routes and the `ModelInfer` calls: only these are work; probes and scrapes are not.
    Of several outputs the first one published is taken.
    """
    requests = errors = refusals = 0
    started = 0.0
    latency: defaultdict[float, float] = defaultdict(float)
    predictions: dict[str, dict[float, float]] = {}
    for name, labels, value in samples:
        if name == "http_requests_total" and labels.get("method") == "POST":
            requests += round(value)
            status = labels.get("status", "")
            # 429 is a server that cannot keep up; 499 is the caller's own hanging up.
            errors += round(value) if status.startswith("5") or status == "429" else 0
            refusals += round(value) if status.startswith("4") and status not in {"429", "499"} else 0
        elif name == "grpc_server_handled_total" and labels.get("method") == "ModelInfer":
            requests += round(value)
            code = labels.get("code")
            errors += round(value) if code in _GRPC_ERRORS else 0
            refusals += round(value) if code not in _GRPC_ERRORS | _NEITHER else 0
        elif name.endswith("_seconds_bucket") and labels.get("method") in {"POST", "ModelInfer"}:
            latency[float(labels["le"])] += value
        elif name == "model_predictions_bucket":
            bins = predictions.setdefault(labels.get("output", ""), defaultdict(float))
            bins[float(labels["le"])] += value
        elif name == "process_start_time_seconds":
            started = max(started, value)
    return Reading(
        Counters(
            requests=requests,
            errors=errors,
            refusals=refusals,
            latency=Histogram.from_cumulative(latency.items()),
            predictions=Histogram.from_cumulative(next(iter(predictions.values()), {}).items()),
        ),
        started,
    )
