"""What every server holds: limits, one shape for errors, request ids, metrics, health and a clean end."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time

import httpx
import pytest

from tests.inference_services.bad_input import CODES
from tests.inference_services.conftest import ROOT, start

PREDICT = "/v1/models/credit-risk:predict"
VALID = {"instances": [CODES]}
JSON = {"content-type": "application/json"}


@pytest.fixture(scope="module")
def small(credit_package, tmp_path_factory):
    """A predictor with tight limits."""
    server = start(
        "predictor",
        credit_package.folder,
        tmp_path_factory.mktemp("small"),
        "--max_body=5000",
        "--max_concurrency=2",
        "--request_timeout=1",
    )
    server.wait("/readyz")
    yield server
    server.stop()


@pytest.mark.parametrize(
    ("body", "status", "kind"),
    [
        (b"", 422, "json_invalid"),
        (b"not json", 422, "json_invalid"),
        (b"\xff\xfe", 422, "json_invalid"),
        (b'{"instances": [[NaN]]}', 422, "json_invalid"),
        (b'{"instances": [[Infinity]]}', 422, "json_invalid"),
        (b'{"instances": [[1e999]]}', 422, "json_invalid"),
        (b"[" * 100_000, 422, "json_invalid"),
        (b'{"a":' * 50_000, 422, "json_invalid"),
        (b"null", 422, "dict_type"),
        (b"[]", 422, "dict_type"),
        (b'"x"', 422, "dict_type"),
        (b"{}", 422, "missing"),
        (b" " * 10_000_000, 413, "too_large"),
    ],
)
def test_bodies_that_are_no_request_are_refused_with_a_reason(predictor, body, status, kind):
    answer = predictor.client.post(PREDICT, content=body, headers=JSON)
    assert answer.status_code == status
    assert answer.json()["detail"][0]["type"] == kind
    assert set(answer.json()["detail"][0]) == {"loc", "msg", "type"}


def test_a_body_without_length_is_cut_off_while_it_streams(small):
    sent = 0

    def stream():
        nonlocal sent
        for _ in range(1_000):
            sent += 1_000
            yield b"x" * 1_000

    assert small.client.post(PREDICT, content=stream(), headers=JSON).status_code == 413


def test_wrong_method_path_and_media_type_have_their_own_status(predictor):
    wrong = predictor.client.get(PREDICT)
    assert (wrong.status_code, wrong.headers["allow"]) == (405, "POST")
    assert predictor.client.get("/nothing").status_code == 404
    for headers in (
        {"content-type": "text/plain"},
        {"content-type": "application/octet-stream"},
        {**JSON, "content-encoding": "gzip"},
        {**JSON, "inference-header-content-length": "5"},
    ):
        answer = predictor.client.post(PREDICT, content=b"{}", headers=headers)
        assert answer.status_code == 415, headers
    with_charset = {"content-type": "application/json; charset=utf-8"}
    assert predictor.client.post(PREDICT, content=json.dumps(VALID), headers=with_charset).status_code == 200


def test_request_ids_go_in_and_out_and_into_the_log(predictor):
    def request_id(given: str) -> str:
        return predictor.client.post(PREDICT, json=VALID, headers={"x-request-id": given}).headers["x-request-id"]

    assert request_id("given-1") == "given-1"
    forged = request_id('a" b')
    assert len(forged) == 32
    time.sleep(0.3)  # lines are written in batches
    lines = [json.loads(line) for line in predictor.log.read_text().splitlines()]
    logged = next(line for line in lines if line.get("request_id") == "given-1")
    assert logged["status"] == 200
    assert logged["ms"] > 0


def test_metrics_count_by_route_and_status_and_strangers_cannot_add_series(predictor):
    for path in ("/a", "/b", "/v2/models/x/infer"):
        predictor.client.get(path)
    predictor.client.post(PREDICT, json={})
    text = predictor.client.get("/metrics").text
    assert f'http_requests_total{{method="POST",route="{PREDICT}",status="422"}}' in text
    assert f'http_request_duration_seconds_bucket{{le="0.001",method="POST",route="{PREDICT}"}}' in text
    assert 'route="unknown",status="404"' in text
    assert "/v2/models/x" not in text
    assert "request_predict_seconds" in text


def test_slow_bodies_time_out_and_are_bounded_without_crowding_out_others(small):
    def hang() -> socket.socket:
        connection = socket.create_connection(("127.0.0.1", small.http_port))
        head = f"POST {PREDICT} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{{"
        connection.sendall(head.encode())
        return connection

    hanging = [hang(), hang(), hang()]  # one more than there may be
    time.sleep(0.3)
    assert small.client.post(PREDICT, json=VALID).status_code == 200  # its body comes at once
    assert small.client.get("/healthz").status_code == 200
    for connection, status in zip(hanging, (429, 429, 408), strict=True):
        connection.settimeout(5)
        assert connection.recv(100).startswith(b"HTTP/1.1 %d" % status)
        connection.close()
    assert small.client.post(PREDICT, json=VALID).status_code == 200


def test_it_listens_on_the_loopback_address_only(predictor):
    for port in (predictor.http_port, predictor.grpc_port):
        with socket.socket() as other:
            other.settimeout(1)
            assert other.connect_ex(("127.0.0.2", port)) != 0


def test_bind_host_chooses_the_address(credit_package, tmp_path):
    server = start("predictor", credit_package.folder, tmp_path, BIND_HOST="127.0.0.2")
    try:
        for _ in range(600):
            try:
                assert httpx.get(f"http://127.0.0.2:{server.http_port}/healthz").status_code == 200
                break
            except httpx.ConnectError:
                assert server.process.poll() is None
                time.sleep(0.05)
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"{server.url}/healthz")
    finally:
        server.stop()


def test_sigterm_lets_running_requests_finish(credit_package, tmp_path):
    server = start("predictor", credit_package.folder, tmp_path)
    server.wait()
    body = json.dumps(VALID).encode()
    with socket.create_connection(("127.0.0.1", server.http_port)) as connection:
        head = f"POST {PREDICT} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n"
        connection.sendall(head.encode() + body[:10])
        time.sleep(0.2)
        server.process.send_signal(signal.SIGTERM)
        threading.Timer(0.5, connection.sendall, [body[10:]]).start()
        connection.settimeout(10)
        assert connection.recv(4_000).startswith(b"HTTP/1.1 200")
    assert server.stop() == 0


def test_while_it_drains_open_connections_are_answered_and_told_to_close(credit_package, tmp_path):
    server = start("predictor", credit_package.folder, tmp_path)
    server.wait()
    body = json.dumps(VALID).encode()
    request = f"POST {PREDICT} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body
    with (
        socket.create_connection(("127.0.0.1", server.http_port), timeout=10) as idle,
        socket.create_connection(("127.0.0.1", server.http_port), timeout=10) as busy,
    ):
        for connection in (idle, busy):
            connection.sendall(request)
            answer = b""
            while not answer.endswith(b"}"):
                answer += connection.recv(4_000)
            assert b"connection: close" not in answer
        server.process.send_signal(signal.SIGTERM)
        time.sleep(0.4)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", server.http_port), timeout=1)
        busy.sendall(request)
        answer = b"".join(iter(lambda: busy.recv(4_000), b""))  # until it closes
        assert answer.startswith(b"HTTP/1.1 200")
        assert b"connection: close" in answer
        assert idle.recv(100) == b""  # nobody asked anything on it
    assert server.stop() == 0


def run(role: str, *flags: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", f"inference_services.credit_risk.{role}", *flags]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


def test_a_changed_package_is_refused_before_anything_listens(credit_package, tmp_path):
    shutil.copytree(credit_package.folder, tmp_path / "p")
    (tmp_path / "p/policy.json").write_text("{}")
    ended = run("predictor", f"--model_dir={tmp_path / 'p'}")
    assert ended.returncode != 0
    assert "model package refused" in ended.stderr
    assert "policy.json does not match its checksum" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_workers_whose_package_is_refused_end_with_the_reason(credit_package, tmp_path):
    ended = run("predictor", f"--model_dir={tmp_path}", "--workers=2")
    assert ended.returncode == 1
    assert "model package refused" in ended.stderr
