"""A real API server, the overlay's objects in it, something that acts as KServe would, and pods that count."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from blueprints.governance.rollout.adapters.cluster import (
    DEPLOYMENTS,
    ENDPOINT_SLICES,
    EVENTS,
    HTTP_ROUTES,
    INFERENCE_SERVICES,
    LEASES,
    Cluster,
    ClusterError,
    ConflictError,
    Kind,
    Object,
)
from blueprints.governance.rollout.adapters.inference_service import ROLES, model_of
from tests.api_server import NAMESPACE, api_server, overlay, with_service

LATENCY = (0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512)
BINS = (0.2, 0.4, 0.6, 0.8, 1.0)


class Pod:
    """An HTTP server whose `/metrics` say what a model server's would."""

    def __init__(self) -> None:
        self.name = ""
        self.started = time.time()
        self.restart()
        pod = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = generate_latest(pod.registry)
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def restart(self) -> None:
        """Its process starts anew: every counter is 0."""
        self.registry = CollectorRegistry()
        labels = ["method", "route", "status"]
        self._requests = Counter("http_requests_total", "", labels, registry=self.registry)
        self._seconds = Histogram(
            "http_request_duration_seconds", "", ["method", "route"], buckets=LATENCY, registry=self.registry
        )
        self._predictions = Histogram(
            "model_predictions", "", ["output", "model_version"], buckets=BINS, registry=self.registry
        )
        self.started += 1
        Gauge("process_start_time_seconds", "", registry=self.registry).set(self.started)
        self._requests.labels("GET", "/metrics", "200").inc(7)

    def answer(self, requests: int = 1, *, status: int = 200, seconds: float = 0.005, prediction: float = 0.3) -> None:
        self._requests.labels("POST", "/predict", str(status)).inc(requests)
        for _ in range(requests):
            self._seconds.labels("POST", "/predict").observe(seconds)
            if status == 200:
                self._predictions.labels("p", "v").observe(prediction)

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class Operator:
    """Does what KServe and Kubernetes would: Deployments of each InferenceService, and conditions."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.broken: set[str] = set()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(10)

    def _run(self) -> None:
        while not self._stop.wait(0.05):
            try:
                for service in self.cluster.list(INFERENCE_SERVICES, {}):
                    self._reconcile(service)
            except ClusterError:
                continue

    def _reconcile(self, service: Object) -> None:
        name = service["metadata"]["name"]
        for role in ROLES:
            deployment = self._deployment(name, role, model_of(service))
            generation = deployment["metadata"]["generation"]
            self._status(
                DEPLOYMENTS,
                deployment,
                {
                    "observedGeneration": generation,
                    "replicas": 1,
                    "updatedReplicas": 1,
                    "availableReplicas": 1,
                    "readyReplicas": 1,
                },
            )
        ready = "False" if name in self.broken else "True"
        self._status(INFERENCE_SERVICES, service, {"conditions": [{"type": "Ready", "status": ready}]})

    def _deployment(self, name: str, role: str, model: str) -> Object:
        there = self.cluster.get(DEPLOYMENTS, f"{name}-{role}")
        labels = {"app": f"isvc.{name}-{role}", "component": role, "serving.kserve.io/inferenceservice": name}
        annotations = {"internal.serving.kserve.io/storage-initializer-sourceuri": model}
        template = {
            "metadata": {"labels": labels, "annotations": annotations},
            "spec": {"containers": [{"name": "kserve-container", "image": "some:1"}]},
        }
        if there is None:
            spec = {"selector": {"matchLabels": {"app": labels["app"]}}, "template": template}
            metadata = {"name": f"{name}-{role}", "labels": labels}
            try:
                return self.cluster.create(DEPLOYMENTS, {"metadata": metadata, "spec": spec})
            except ConflictError:
                return self.cluster.require(DEPLOYMENTS, f"{name}-{role}")
        if there["spec"]["template"]["metadata"]["annotations"] != annotations:
            return self.cluster.merge(DEPLOYMENTS, f"{name}-{role}", {"spec": {"template": template}})
        return there

    def _status(self, kind: Kind, item: Object, status: Object) -> None:
        if {key: (item.get("status") or {}).get(key) for key in status} != status:
            path = kind.path(NAMESPACE, item["metadata"]["name"]) + "/status"
            self.cluster._call("PATCH", path, {"status": status})


@pytest.fixture(scope="session")
def kubeconfig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with api_server(tmp_path_factory.mktemp("api")) as kubeconfig:
        yield kubeconfig


@pytest.fixture(scope="session")
def local_objects() -> list[Object]:
    return overlay()


@pytest.fixture
def cluster(kubeconfig: Path) -> Iterator[Cluster]:
    """The overlay `local` on the server, and nothing else."""
    cluster = with_service(kubeconfig)
    yield cluster
    for kind in (HTTP_ROUTES, INFERENCE_SERVICES, DEPLOYMENTS, ENDPOINT_SLICES, LEASES, EVENTS):
        for item in cluster.list(kind, {}):
            cluster.delete(kind, item)


@pytest.fixture
def operator(cluster: Cluster) -> Iterator[Operator]:
    operator = Operator(cluster)
    yield operator
    operator.stop()


@pytest.fixture
def pods() -> Iterator[list[Pod]]:
    """Four pods, which end with the test."""
    made = [Pod() for _ in range(4)]
    yield made
    for pod in made:
        pod.stop()


@pytest.fixture
def publish(cluster: Cluster) -> Callable[[str, Pod], None]:
    """Makes a pod an endpoint of a Service."""

    def publish(service: str, pod: Pod) -> None:
        pod.name = f"{service}-{pod.port}"
        labels = {"kubernetes.io/service-name": service}
        target = {"kind": "Pod", "name": pod.name, "namespace": NAMESPACE, "uid": pod.name}
        endpoint = {"addresses": ["127.0.0.1"], "conditions": {"ready": True}, "targetRef": target}
        ports = [{"name": "http", "port": pod.port, "protocol": "TCP"}]
        metadata = {"name": pod.name, "labels": labels}
        item = {"metadata": metadata, "addressType": "IPv4", "endpoints": [endpoint], "ports": ports}
        cluster.create(ENDPOINT_SLICES, item)

    return publish


@pytest.fixture
def withdraw(cluster: Cluster) -> Callable[[Pod], None]:
    """Takes a pod away from its Service."""
    return lambda pod: cluster.delete(ENDPOINT_SLICES, cluster.require(ENDPOINT_SLICES, pod.name))


@pytest.fixture
def eventually() -> Callable[[Callable[[], object]], None]:
    """Waits until a condition holds."""

    def eventually(condition: Callable[[], object], seconds: float = 10) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, "it never held"
            time.sleep(0.02)

    return eventually
