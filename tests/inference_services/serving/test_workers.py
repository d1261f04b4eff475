"""Several workers behind one port: their figures add up, none is missed for long, and their end loses no request."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import httpx
import pytest
from kserve import InferenceGRPCClient, InferInput, InferRequest

from inference_services.serving.http_server import bind, reserve
from tests.inference_services.bad_input import CODES
from tests.inference_services.conftest import ROOT, start

PREDICT = "/v1/models/credit-risk:predict"
VALID = {"instances": [CODES, CODES, CODES]}
WORKERS = 4


def children(pid: int) -> list[int]:
    return list(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))


def metrics(server) -> dict[str, float]:
    """Every sample, from whichever worker answers; a new connection each time."""
    lines = httpx.get(f"{server.url}/metrics").text.splitlines()
    return {line.rsplit(" ", 1)[0]: float(line.rsplit(" ", 1)[1]) for line in lines if not line.startswith("#")}


def value(samples: dict[str, float], pattern: str) -> float:
    return sum(number for name, number in samples.items() if re.search(pattern, name))


def send(server, number: int) -> Counter[int]:
    """Requests on a connection each, so that every worker gets some."""
    answers: Counter[int] = Counter()
    for index in range(number):
        body = VALID if index % 4 else {}
        answers[httpx.post(server.url + PREDICT, json=body).status_code] += 1
    return answers


@pytest.fixture(scope="module")
def server(credit_package, tmp_path_factory):
    running = start("predictor", credit_package.folder, tmp_path_factory.mktemp("workers"), f"--workers={WORKERS}")
    running.wait("/readyz", seconds=120)
    yield running
    running.stop()


def test_it_is_ready_when_all_workers_are(server):
    assert len(children(server.process.pid)) == WORKERS
    assert sum('"message":"serving"' in line for line in server.log.read_text().splitlines()) == WORKERS


def test_what_was_sent_is_counted_exactly_whichever_worker_is_asked(server):
    before = metrics(server)
    answers = send(server, 80)
    assert answers == {200: 60, 422: 20}
    for _ in range(8):
        after = metrics(server)
        for status, number in answers.items():
            name = f'http_requests_total{{method="POST",route="{PREDICT}",status="{status}"}}'
            assert after[name] - before.get(name, 0) == number
        rows = value(after, "model_predictions_count") - value(before, "model_predictions_count")
        assert rows == 3 * 60
        assert value(after, r'model_predictions_bucket.*le="\+Inf"') == value(after, "model_predictions_count")
        assert value(after, "requests_in_flight") == 0
        assert value(after, "^model_info") == 1
        assert value(after, r"http_request_duration_seconds_count.*predict") == value(
            after, r"http_requests_total.*POST.*predict"
        )


def test_all_workers_answer_grpc_and_its_calls_are_counted(server):
    before = value(metrics(server), 'grpc_server_handled_total.*"ModelInfer"')
    inputs = [InferInput(name, [1], "FP64" if type(v) is float else "INT64") for name, v in CODES.items()]
    for tensor, number in zip(inputs, CODES.values(), strict=True):
        tensor.data = [number]

    async def ask() -> None:
        for _ in range(12):
            client = InferenceGRPCClient(server.grpc_target)
            await client.infer(InferRequest("credit-risk", inputs))
            await client.close()

    import asyncio

    asyncio.run(ask())
    assert value(metrics(server), 'grpc_server_handled_total.*"ModelInfer"') == before + 12


def test_a_killed_worker_is_replaced_and_its_counts_stay(server):
    samples = metrics(server)
    before, started = value(samples, "http_requests_total.*POST"), samples["process_start_time_seconds"]
    killed = min(children(server.process.pid))
    os.kill(killed, signal.SIGKILL)
    deadline = time.monotonic() + 60
    while killed in children(server.process.pid):  # what it had been given is lost with it
        time.sleep(0.01)
    while len(children(server.process.pid)) < WORKERS:
        assert time.monotonic() < deadline
        assert httpx.get(f"{server.url}/readyz").status_code == 200  # the others go on
        time.sleep(0.05)
    serving = WORKERS + 1
    while sum('"message":"serving"' in line for line in server.log.read_text().splitlines()) < serving:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    samples = metrics(server)
    assert value(samples, "http_requests_total.*POST") == before
    assert samples["process_start_time_seconds"] == started  # to those who watch it is one server
    send(server, 20)
    assert value(metrics(server), "http_requests_total.*POST") == before + 20


def test_a_worker_that_ends_alone_delays_nobody(server):
    deadline = time.monotonic() + 30
    while len(children(server.process.pid)) < WORKERS or httpx.get(f"{server.url}/readyz").status_code != 200:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    time.sleep(0.5)
    slowest = 0.0
    os.kill(max(children(server.process.pid)), signal.SIGTERM)
    until = time.monotonic() + 0.6
    while time.monotonic() < until:
        started = time.monotonic()
        socket.create_connection(("127.0.0.1", server.http_port), timeout=5).close()
        slowest = max(slowest, time.monotonic() - started)
    assert slowest < 0.9  # a client whom the kernel does not answer tries again after a second


SUPERVISED = """
import asyncio, os, sys
from inference_services.serving import workers
workers._BEAT_S, workers._LONGEST_SILENCE_S, workers._MOST_QUICK_FAILURES = 0.1, 1.0, 2
worker = workers.Worker.current()
if worker is None:
    raise SystemExit(workers.Supervisor(1, grace=1).run())
async def work():
    worker._beat()
    print("works", os.getpid(), flush=True)
    await asyncio.sleep(float(sys.argv[1]))
    os._exit(3)
asyncio.run(work())
"""


def supervised(seconds: float, folder: Path) -> subprocess.Popen[str]:
    """A parent with one worker that fails after some seconds."""
    command = [sys.executable, "-c", SUPERVISED, str(seconds)]
    environment = {**os.environ, "TMPDIR": str(folder)}
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, env=environment)


def test_a_worker_that_hangs_is_replaced_and_one_that_beats_is_not(tmp_path):
    with supervised(60, tmp_path) as parent:
        first = int(parent.stdout.readline().split()[1])
        time.sleep(2.5)
        assert children(parent.pid) == [first]
        os.kill(first, signal.SIGSTOP)
        second = next(line for line in parent.stdout if line.startswith("works"))
        assert int(second.split()[1]) != first
        parent.terminate()
    assert not list(tmp_path.iterdir())


def test_workers_that_fail_again_and_again_end_their_parent_with_an_error(tmp_path):
    with supervised(0.2, tmp_path) as parent:
        output, _ = parent.communicate(timeout=30)
        assert parent.returncode == 3
    assert output.count("works") == 3
    assert not list(tmp_path.iterdir())


def test_folders_that_killed_parents_left_are_removed_and_those_in_use_are_not(tmp_path):
    with supervised(60, tmp_path) as killed, supervised(60, tmp_path) as other:
        killed.stdout.readline()
        other.stdout.readline()
        assert len(list(tmp_path.iterdir())) == 2
        killed.kill()
        killed.wait()
        with supervised(60, tmp_path) as third:
            third.stdout.readline()
            assert len(list(tmp_path.iterdir())) == 2
            third.terminate()
        assert len(list(tmp_path.iterdir())) == 1
        other.terminate()
    assert not list(tmp_path.iterdir())


def test_the_end_under_load_loses_no_request_and_leaves_nothing(credit_package, tmp_path):
    environment = {"TMPDIR": str(tmp_path)}
    running = start("predictor", credit_package.folder, tmp_path, "--workers=2", **environment)
    running.wait("/readyz", seconds=120)
    assert list(tmp_path.glob("serving-metrics-*"))
    stop, lost, answered = threading.Event(), [], Counter()
    body = json.dumps(VALID).encode()

    def ask() -> None:
        with httpx.Client(base_url=running.url, timeout=20) as client:
            while not stop.is_set():
                try:
                    answer = client.post(PREDICT, content=body, headers={"content-type": "application/json"})
                except httpx.ConnectError:
                    return  # it takes no new connection: nothing was sent
                except httpx.TransportError as error:
                    lost.append(error)
                    return
                answered[answer.status_code] += 1

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    while answered[200] < 50:
        time.sleep(0.01)
    pids = children(running.process.pid)
    assert running.stop() == 0
    stop.set()
    for thread in threads:
        thread.join()
    assert lost == []
    assert set(answered) == {200}
    assert not list(tmp_path.glob("serving-metrics-*"))
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)


def test_workers_end_with_a_parent_that_is_killed(credit_package, tmp_path):
    running = start("predictor", credit_package.folder, tmp_path, "--workers=2")
    running.wait("/readyz", seconds=120)
    pids = children(running.process.pid)
    running.process.kill()
    running.process.wait()
    deadline = time.monotonic() + 15
    while any(Path(f"/proc/{pid}/exe").exists() for pid in pids):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    running.client.close()


def test_servers_do_not_share_a_port_by_mistake(server, credit_package, tmp_path):
    for flag, port in (("--grpc_port", server.grpc_port), ("--http_port", server.http_port)):
        other = start("predictor", credit_package.folder, tmp_path, "--workers=2", f"{flag}={port}")
        assert other.process.wait(60) == 1
        assert f"give another {flag}" in other.log.read_text()
        other.client.close()


def test_a_reserved_port_is_for_those_that_share_it():
    with reserve("127.0.0.1", 0) as held:
        port = held.getsockname()[1]
        for take in (bind, reserve):
            with pytest.raises(OSError, match="in use"):
                take("127.0.0.1", port)
        workers = [bind("127.0.0.1", port, shared=True) for _ in range(2)]
        for worker in workers:
            worker.listen()
        for _ in range(10):
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        for worker in workers:
            worker.close()
