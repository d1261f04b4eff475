from __future__ import annotations

import numpy as np
import pytest
from prometheus_client import CollectorRegistry, generate_latest

from blueprints.governance.rollout.adapters.samples import parse, reading
from blueprints.schema import Column
from inference_services.serving.metrics import PredictionHistogram, RequestMetrics


def test_what_our_own_server_publishes_is_understood():
    registry = CollectorRegistry()
    metrics = RequestMetrics(registry)
    predictions = PredictionHistogram([Column(name="p", kind="number", minimum=0, maximum=1)], "v")
    registry.register(predictions)
    for status, seconds in ((200, 0.0021), (200, 0.04), (422, 0.001), (500, 0.3)):
        metrics.http("POST", "/v1/models/m:predict", timed=True).observe(status, seconds)
    metrics.http("GET", "/metrics", timed=False).observe(200, 0.002)
    metrics.http("any", "unknown", timed=False).observe(404, 0.002)
    metrics.grpc("ModelInfer").observe("OK", 0.002)
    metrics.grpc("ModelInfer").observe("UNAVAILABLE", 0.002)
    metrics.grpc("ModelInfer").observe("INVALID_ARGUMENT", 0.002)
    metrics.grpc("ServerLive").observe("OK", 0.002)
    predictions.observe("p", np.array([0.01, 0.99, 0.98]))
    counters = reading(parse(generate_latest(registry).decode())).counters
    assert (counters.requests, counters.errors, counters.refusals) == (7, 2, 2)
    assert counters.latency.total == 7
    assert counters.latency.above(0.01) == 2
    assert counters.predictions.total == 3
    assert (counters.predictions.counts[0], counters.predictions.counts[-2]) == (1, 2)


def test_labels_with_quotes_and_exponents_are_read():
    text = (
        'http_requests_total{method="POST",route="/a\\"b,c}",status="503"} 1.2e+03\n'
        "process_start_time_seconds 1.7e+09\n# HELP http_requests_total x\n"
        'http_requests_total_created{method="POST"} 5\nsomething_else 3\n'
    )
    found = reading(parse(text))
    assert (found.counters.requests, found.counters.errors, found.started) == (1200, 1200, 1.7e9)


@pytest.mark.parametrize(
    ("status", "errors", "refusals"), [(200, 0, 0), (404, 0, 1), (422, 0, 1), (429, 1, 0), (499, 0, 0), (503, 1, 0)]
)
def test_a_server_that_cannot_keep_up_has_failed_and_a_caller_that_hung_up_has_not(status, errors, refusals):
    text = f'http_requests_total{{method="POST",route="/predict",status="{status}"}} 1\n'
    counters = reading(parse(text)).counters
    assert (counters.requests, counters.errors, counters.refusals) == (1, errors, refusals)


def test_of_several_outputs_the_first_is_taken_and_none_is_no_error():
    text = (
        'model_predictions_bucket{output="a",model_version="1",le="1"} 1\n'
        'model_predictions_bucket{output="a",model_version="1",le="+Inf"} 2\n'
        'model_predictions_bucket{output="b",model_version="1",le="+Inf"} 9\n'
    )
    assert reading(parse(text)).counters.predictions.counts == (1, 1)
    assert reading([]).counters.predictions.bounds == ()
