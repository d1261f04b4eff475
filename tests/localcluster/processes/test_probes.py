import asyncio
import socket
import ssl
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import grpc
import pytest

from localcluster.api.certificate import server_context
from localcluster.processes.probes import healthy
from localcluster.processes.process_spec import Exec, Grpc, HttpGet, Probe, TcpSocket
from tests.ports import free_ports


def holds(action, timeout_s=1.0):
    return asyncio.run(healthy(Probe(action, timeout_s=timeout_s), {"PATH": "/usr/bin:/bin"}))


def serving(context=None):
    """A web server that answers with the status that its path names."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            wanted = self.path.strip("/") or "200"
            self.send_response(int(wanted) if self.headers.get("X-Probe", "yes") == "yes" else 500)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def web():
    yield from serving()


@pytest.fixture
def secure_web(tmp_path):
    yield from serving(server_context(tmp_path))


@pytest.mark.parametrize(("status", "good"), [(200, True), (302, True), (399, True), (404, False), (503, False)])
def test_http_is_healthy_from_200_to_399(web, status, good):
    assert holds(HttpGet("127.0.0.1", web, f"/{status}")) is good


def test_https_verifies_no_certificate_and_so_loads_no_authorities(secure_web, monkeypatch):
    monkeypatch.setattr(ssl.SSLContext, "load_default_certs", lambda *_: pytest.fail("takes 20 ms and more"))
    monkeypatch.setattr(ssl.SSLContext, "set_default_verify_paths", lambda *_: pytest.fail("takes 20 ms and more"))
    for status, good in ((200, True), (503, False)):
        assert holds(HttpGet("127.0.0.1", secure_web, f"/{status}", "https")) is good


def test_http_sends_the_manifests_headers(web):
    assert not holds(HttpGet("127.0.0.1", web, headers=(("X-Probe", "no"),)))


def test_a_closed_port_is_not_healthy():
    port = free_ports(1)[0]
    for action in (HttpGet("127.0.0.1", port), TcpSocket("127.0.0.1", port), Grpc("127.0.0.1", port)):
        assert not holds(action)


@pytest.mark.parametrize("answer", [b"", b"SSH-2.0\r\n", b"HTTP/1.1 okay\r\n", b"x" * 100_000])
def test_a_server_that_speaks_no_http_is_not_healthy(answer):
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve():
            connection, _ = listener.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        assert not holds(HttpGet("127.0.0.1", listener.getsockname()[1]))
        assert holds(TcpSocket("127.0.0.1", listener.getsockname()[1]))
        thread.join(5)


def test_a_server_that_does_not_answer_in_time_is_not_healthy():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        assert not holds(HttpGet("127.0.0.1", listener.getsockname()[1]), timeout_s=0.1)


@pytest.mark.parametrize(("service", "good"), [("up", True), ("down", False)])
def test_grpc_asks_the_health_service(service, good):
    def check(request, _):
        assert request == b"\x0a" + bytes([len(service)]) + service.encode()
        return b"\x08\x01" if service == "up" else b"\x08\x02"

    from concurrent.futures import ThreadPoolExecutor

    server = grpc.server(ThreadPoolExecutor(1))
    handlers = {"Check": grpc.unary_unary_rpc_method_handler(check)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("grpc.health.v1.Health", handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        assert holds(Grpc("127.0.0.1", port, service)) is good
    finally:
        server.stop(0).wait()


@pytest.mark.parametrize(
    ("command", "good"), [(("true",), True), (("false",), False), (("sleep", "9"), False), (("no-such-thing",), False)]
)
def test_exec_is_healthy_when_the_command_ends_with_0_in_time(command, good):
    assert holds(Exec(command), timeout_s=0.3) is good
