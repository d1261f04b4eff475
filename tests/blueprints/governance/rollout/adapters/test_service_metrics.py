from __future__ import annotations

import json
import re
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs

import pytest

from blueprints.governance.rollout.adapters.cluster import INFERENCE_SERVICES
from blueprints.governance.rollout.adapters.inference_service import candidate_of
from blueprints.governance.rollout.adapters.prometheus import PrometheusMetrics, pods_of
from blueprints.governance.rollout.adapters.service_metrics import ServiceMetrics
from blueprints.governance.rollout.ports import MetricsUnavailableError

SERVICES = ("credit-risk-explainer", "credit-risk-transformer")


@pytest.fixture
def both(cluster, operator, pods, publish, eventually):
    """Stable with two pods behind its transformer, a candidate with one."""
    stable = cluster.require(INFERENCE_SERVICES, "credit-risk")
    cluster.create(INFERENCE_SERVICES, candidate_of(stable, "pvc://models/credit-risk/0123456789ab"))
    for pod, service in zip(pods, ("transformer", "transformer", "candidate-transformer"), strict=False):
        publish(f"credit-risk-{service}", pod)
    metrics = ServiceMetrics(cluster, "credit-risk", SERVICES)
    eventually(lambda: (seen := metrics.observe()).stable.ready and seen.candidate.ready)
    yield metrics
    metrics.close()


def test_each_arm_is_the_sum_of_its_pods(both, pods):
    pods[0].answer(10)
    pods[1].answer(5, status=503)
    pods[2].answer(3, seconds=0.1, prediction=0.9)
    seen = both.observe()
    stable, candidate = seen.stable.counters, seen.candidate.counters
    assert (stable.requests, stable.errors, stable.latency.total, stable.predictions.total) == (15, 5, 15, 10)
    assert (candidate.requests, candidate.errors) == (3, 0)
    assert candidate.latency.above(0.064) == candidate.predictions.above(0.8) == 3
    assert stable.predictions.above(0.8) == 0


def test_a_pod_that_goes_restarts_or_comes_loses_nothing_that_was_seen(both, pods, publish, withdraw):
    pods[0].answer(10)
    pods[1].answer(5)
    assert both.observe().stable.counters.requests == 15
    withdraw(pods[0])
    pods[1].restart()
    pods[1].answer(2)
    assert both.observe().stable.counters.requests == 17
    pods[3].answer(4)
    publish("credit-risk-explainer", pods[3])
    assert both.observe().stable.counters.requests == 21


def test_an_arm_whose_pods_do_not_answer_keeps_its_counters_and_is_not_ready(both, pods, publish):
    pods[2].answer(3)
    assert both.observe().candidate.counters.requests == 3
    pods[2].stop()
    before = time.monotonic()
    seen = both.observe()
    assert time.monotonic() - before < 3
    assert (seen.candidate.counters.requests, seen.candidate.ready, seen.stable.ready) == (3, False, True)


def test_readiness_is_the_inference_services(both, operator, cluster, eventually):
    operator.broken.add("credit-risk-candidate")
    eventually(lambda: not both.observe().candidate.ready)
    assert both.observe().stable.ready


def test_without_the_cluster_metrics_are_unavailable(both, cluster, monkeypatch):
    monkeypatch.setattr(
        cluster, "_api", type(cluster._api)(type(cluster._api.configuration)(host="http://127.0.0.1:9"))
    )
    with pytest.raises(MetricsUnavailableError):
        both.observe()


@pytest.fixture
def prometheus(pods):
    """Answers instant queries on the pods' own registries as Prometheus does, labels `namespace` and `pod` added."""
    names = {
        "credit-risk-transformer-5d8f-aaaaa": pods[0],
        "credit-risk-candidate-transformer-5d8f-bbbbb": pods[1],
        "credit-risk-predictor-5d8f-ccccc": pods[2],
    }
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
            asked.append((self.headers.get("Authorization"), form["query"][0]))
            match = re.fullmatch(r'\{__name__=~"(.*?)",namespace="n",pod=~"(.*)"\}', form["query"][0])
            pattern = match[2].replace("\\\\", "\\")
            result = [
                {"metric": {"__name__": sample.name, "pod": name, **sample.labels}, "value": [0, str(sample.value)]}
                for name, pod in names.items()
                if re.fullmatch(pattern, name)
                for family in pod.registry.collect()
                for sample in family.samples
                if re.fullmatch(match[1], sample.name)
            ]
            body = json.dumps({"status": "success", "data": {"resultType": "vector", "result": result}}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}", asked
    server.shutdown()
    server.server_close()


def test_prometheus_gives_the_same_counters_pod_by_pod(prometheus, pods):
    url, asked = prometheus
    arms = (pods_of("credit-risk", ("transformer",)), pods_of("credit-risk-candidate", ("transformer",)))
    metrics = PrometheusMetrics(url, "n", lambda: arms, lambda: (True, True), token="secret")
    metrics.observe()
    pods[0].answer(10)
    pods[1].answer(4, status=500)
    pods[2].answer(100)
    seen = metrics.observe()
    assert (seen.stable.counters.requests, seen.candidate.counters.errors) == (10, 4)
    pods[1].restart()
    pods[1].answer(2, seconds=0.2)
    seen = metrics.observe()
    assert (seen.candidate.counters.requests, seen.candidate.counters.latency.above(0.128)) == (6, 2)
    assert asked[0][0] == "Bearer secret"
    metrics.close()


def test_a_prometheus_that_does_not_answer_is_unavailable():
    metrics = PrometheusMetrics("http://127.0.0.1:9", "n", lambda: ("a", "b"), lambda: (True, True))
    with pytest.raises(MetricsUnavailableError, match=r"127\.0\.0\.1:9"):
        metrics.observe()
