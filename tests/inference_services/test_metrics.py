from __future__ import annotations

from itertools import pairwise

import httpx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest

from blueprints.schema import Column
from inference_services.serving.metrics import PredictionHistogram, RequestMetrics, publish_model

PROBABILITY = Column(name="probability", kind="number", minimum=0, maximum=1)


def bins(histogram: PredictionHistogram, output: str = "probability") -> dict[str, float]:
    """Cumulative counts by upper bound."""
    (family,) = histogram.collect()
    return {
        sample.labels["le"]: sample.value
        for sample in family.samples
        if sample.name.endswith("_bucket") and sample.labels["output"] == output
    }


@given(st.lists(st.floats(0, 1), min_size=1, max_size=50))
def test_a_batch_counts_as_its_rows_do(values):
    together, alone = PredictionHistogram([PROBABILITY], "v"), PredictionHistogram([PROBABILITY], "v")
    together.observe("probability", np.array(values))
    for value in values:
        alone.observe("probability", np.array([value]))
    assert bins(together) == bins(alone)
    for bound, count in bins(together).items():
        edge = float(bound)
        assert abs(count - sum(value <= edge for value in values)) <= sum(
            value == pytest.approx(edge) for value in values
        )


def test_bins_are_of_equal_width_between_the_bounds_of_the_signature():
    histogram = PredictionHistogram([Column(name="score", kind="integer", minimum=-100, maximum=300)], "v")
    histogram.observe("score", np.array([-100.0, -80.0, 300.0, 301.0]))
    counts = bins(histogram, "score")
    assert list(counts)[:3] == ["-80", "-60", "-40"]
    assert len(counts) == 21
    assert (counts["-80"], counts["300"], counts["+Inf"]) == (2, 3, 4)


def test_categories_have_a_bin_each_and_unbounded_outputs_none():
    label = Column(name="label", kind="category", categories=("no", "yes"))
    histogram = PredictionHistogram([label, Column(name="amount", kind="number")], "v")
    histogram.observe("label", np.array([0.0, 1.0, 1.0]))
    histogram.observe("amount", np.array([5.0]))
    histogram.observe("of another model", np.array([5.0]))
    assert bins(histogram, "label") == {"0": 1, "1": 3, "+Inf": 3}
    assert bins(histogram, "amount") == {}


def test_prometheus_reads_predictions_and_the_model():
    registry = CollectorRegistry()
    histogram = PredictionHistogram([PROBABILITY], "abc")
    registry.register(histogram)
    publish_model(registry, "credit-risk", "abc", "predictor")
    histogram.observe("probability", np.array([0.31, 0.69]))
    text = generate_latest(registry).decode()
    assert 'model_predictions_bucket{le="0.35",model_version="abc",output="probability"} 1.0' in text
    assert 'model_predictions_sum{model_version="abc",output="probability"} 1.0' in text
    assert 'model_info{model_name="credit-risk",model_version="abc",role="predictor"} 1.0' in text


def test_latency_bounds_are_fine_enough_to_compare_quantiles():
    registry = CollectorRegistry()
    metrics = RequestMetrics(registry)
    metrics.http("POST", "/predict", timed=True).observe(200, 0.002)
    (family,) = (family for family in registry.collect() if family.name == "http_request_duration_seconds")
    bounds = [float(sample.labels["le"]) for sample in family.samples if sample.name.endswith("_bucket")]
    between = [bound for bound in bounds if 0.0005 <= bound <= 10]
    assert between[0] <= 0.001
    assert between[-1] == 10
    assert max(above / below for below, above in pairwise(between)) <= 1.25


def test_only_work_is_timed():
    registry = CollectorRegistry()
    metrics = RequestMetrics(registry)
    metrics.http("GET", "/metrics", timed=False).observe(200, 0.002)
    text = generate_latest(registry).decode()
    assert 'http_requests_total{method="GET",route="/metrics",status="200"} 1.0' in text
    assert "http_request_duration_seconds_bucket" not in text


def test_each_answer_of_the_transformer_is_counted_once_in_both_parts(transformer, predictor, credit_package):
    def answers(url: str) -> float:
        lines = httpx.get(f"{url}/metrics").text.splitlines()
        (count,) = (float(line.split()[-1]) for line in lines if line.startswith("model_predictions_count{"))
        return count

    names = [column.name for column in credit_package.signature.inputs]
    rows = credit_package.reference().slice(0, 3).to_pylist()
    instances = [{name: row[name] for name in names} for row in rows]
    before = answers(transformer.url), answers(predictor.url)
    path = "/v1/models/credit-risk:predict"
    assert transformer.client.post(path, json={"instances": instances}).status_code == 200
    assert (answers(transformer.url), answers(predictor.url)) == (before[0] + 3, before[1] + 3)
    info = f'model_info{{model_name="credit-risk",model_version="{credit_package.version}",role="transformer"}} 1.0'
    assert info in httpx.get(f"{transformer.url}/metrics").text
