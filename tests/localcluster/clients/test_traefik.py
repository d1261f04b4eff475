"""The real Traefik watches the API server and routes by what it reads there."""

import http.client
import json
import subprocess
import threading
import time
from collections import Counter
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from localcluster.gateway import gateway_process
from tests.ports import free_ports

HOST = "web.localhost"
_START_S = 20
_LIVE_S = 5


class Backend(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Head and body go out together.
    wbufsize = 4096

    def do_GET(self):
        body = self.server.server_address[0].encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@contextmanager
def backend(address):
    """A server that answers with its own address; yields its port."""
    server = ThreadingHTTPServer((address, 0), Backend)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()


class Gateway:
    """Traefik, and who asks it."""

    def __init__(self, cluster, folder):
        (self.port,) = free_ports(1)
        self.cluster = cluster
        spec = gateway_process(folder, server=cluster.url, token=cluster.token, port=self.port)
        self.log = folder / "log"
        with self.log.open("w") as output:
            self.process = subprocess.Popen(
                spec.command, env=dict(spec.environment), stdout=output, stderr=subprocess.STDOUT
            )

    def ask(self):
        """Status and body of one answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", "/", headers={"Host": HOST})
            response = connection.getresponse()
            return response.status, response.read().decode()
        finally:
            connection.close()

    def shares(self, requests=200):
        """How many answers each backend gave."""
        answers = [self.ask() for _ in range(requests)]
        assert {status for status, _ in answers} == {200}
        return Counter(body for _, body in answers)

    def until(self, condition, within_s):
        deadline = time.monotonic() + within_s
        while not condition():
            assert time.monotonic() < deadline, f"not within {within_s} s\n{self.log.read_text()[-3000:]}"
            time.sleep(0.05)

    def apply(self, *items):
        self.cluster.kubectl("apply", "-f", "-", stdin="\n---\n".join(map(json.dumps, items)))

    def end(self):
        self.process.terminate()
        try:
            self.process.wait(15)
        finally:
            self.process.kill()


@pytest.fixture
def gateway(cluster, tmp_path):
    found = Gateway(cluster, tmp_path / "traefik")
    yield found
    found.end()


def gateway_api(kind, name, spec):
    metadata = {"name": name, "namespace": "default"}
    return {"apiVersion": "gateway.networking.k8s.io/v1", "kind": kind, "metadata": metadata, "spec": spec}


def service(name):
    spec = {"selector": {"app": name}, "ports": [{"name": "http", "port": 80, "targetPort": 8080}]}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec}


def endpoints(name, *places):
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": f"{name}-1", "labels": {"kubernetes.io/service-name": name}},
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": places[0][1], "protocol": "TCP"}],
        "endpoints": [{"addresses": [address], "conditions": {"ready": True}} for address, _ in places],
    }


def route(stable, candidate):
    backends = [
        {"name": "stable", "port": 80, "weight": stable},
        {"name": "candidate", "port": 80, "weight": candidate},
    ]
    return {"hostnames": [HOST], "parentRefs": [{"name": "entry"}], "rules": [{"backendRefs": backends}]}


def test_routes_follow_weights_and_endpoints_while_requests_come(cluster, gateway):
    with backend("127.0.0.11") as one, backend("127.0.0.12") as two, backend("127.0.0.13") as three:
        listener = {"name": "http", "protocol": "HTTP", "port": gateway.port}
        gateway.apply(
            gateway_api("GatewayClass", "traefik", {"controllerName": "traefik.io/gateway-controller"}),
            gateway_api("Gateway", "entry", {"gatewayClassName": "traefik", "listeners": [listener]}),
            service("stable"),
            service("candidate"),
            endpoints("stable", ("127.0.0.11", one)),
            endpoints("candidate", ("127.0.0.12", two)),
            gateway_api("HTTPRoute", "web", route(90, 10)),
        )
        gateway.until(lambda: _answers(gateway), _START_S)
        shares = gateway.shares()
        assert abs(shares["127.0.0.12"] - 20) <= 4, shares

        with requests_all_the_while(gateway) as statuses:
            patch = json.dumps({"spec": {"rules": route(50, 50)["rules"]}})
            cluster.kubectl("patch", "httproute/web", "--type=merge", "-p", patch)
            gateway.until(lambda: gateway.shares(20)["127.0.0.12"] >= 8, _LIVE_S)

            gateway.apply(endpoints("stable", ("127.0.0.13", three)))
            gateway.until(lambda: not gateway.shares(20)["127.0.0.11"], _LIVE_S)
            shares = gateway.shares()
            assert abs(shares["127.0.0.13"] - 100) <= 20, shares
        assert set(statuses) == {200}, statuses

        cluster.kubectl("patch", "httproute/web", "--type=json", "-p", _candidate_weight(0))
        gateway.until(lambda: set(gateway.shares(20)) == {"127.0.0.13"}, _LIVE_S)


def test_its_status_is_stored(cluster, gateway):
    listener = {"name": "http", "protocol": "HTTP", "port": gateway.port}
    gateway.apply(
        gateway_api("GatewayClass", "other", {"controllerName": "traefik.io/gateway-controller"}),
        gateway_api("Gateway", "other", {"gatewayClassName": "other", "listeners": [listener]}),
        service("other"),
        gateway_api("HTTPRoute", "other", {"parentRefs": [{"name": "other"}], "rules": [{"backendRefs": []}]}),
    )
    cluster.kubectl("wait", "--for=condition=Programmed", "gateway/other", f"--timeout={_START_S}s")
    shown = cluster.kubectl("get", "gateway/other").splitlines()
    assert shown[0].split() == ["NAME", "CLASS", "ADDRESS", "PROGRAMMED", "AGE"]
    assert shown[1].split()[:4] == ["other", "other", "127.0.0.1", "True"]
    accepted = '--for=jsonpath={.status.parents[0].conditions[?(@.type=="Accepted")].status}=True'
    cluster.kubectl("wait", accepted, "httproute/other", f"--timeout={_START_S}s")
    # Its status is no change of what was asked for.
    assert cluster.kubectl("get", "httproute/other", "-o", "jsonpath={.metadata.generation}") == "1"


def _answers(gateway):
    try:
        return gateway.ask()[0] == 200
    except OSError:
        return False


def _candidate_weight(weight):
    return json.dumps([{"op": "replace", "path": "/spec/rules/0/backendRefs/1/weight", "value": weight}])


@contextmanager
def requests_all_the_while(gateway):
    """Asks on and on; yields how often each status came."""
    statuses, done = Counter(), threading.Event()

    def ask():
        while not done.wait(0.01):
            statuses[gateway.ask()[0]] += 1

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield statuses
    finally:
        done.set()
        thread.join(10)
