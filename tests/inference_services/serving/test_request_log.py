"""The request log: every line whole and as JSON, none lost at the end, and bounded when nobody reads."""

from __future__ import annotations

import errno
import json
import os
import sys
import threading
from datetime import UTC, datetime

from inference_services.serving import request_log
from inference_services.serving.request_log import RequestLog, described


def test_every_line_is_written_by_the_end(tmp_path):
    path = tmp_path / "log"
    with path.open("wb") as output:
        log = RequestLog(output.fileno())
        for number in range(5_000):
            log.add(described("request", path='/a"b'), f"id-{number}", b"200", 0.00123)
        log.close()
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["request_id"] for line in lines] == [f"id-{number}" for number in range(5_000)]
    assert (
        lines[0].items() >= {"path": '/a"b', "status": 200, "ms": 1.23, "message": "request", "level": "info"}.items()
    )
    assert abs((datetime.now(UTC) - datetime.fromisoformat(lines[0]["time"])).total_seconds()) < 60


def test_lines_come_while_it_runs():
    read, write = os.pipe()
    log = RequestLog(write)
    log.add(described("request"), "a", b"200", 0.1)
    assert b'"request_id":"a"' in os.read(read, 1000)
    log.close()
    os.close(read)
    os.close(write)


def test_a_reader_that_stands_still_costs_lines_but_no_memory_and_no_time(monkeypatch):
    monkeypatch.setattr(request_log, "_CAPACITY", 1_000)
    read, write = os.pipe()
    log = RequestLog(write)
    for _ in range(30):
        for _ in range(500):
            log.add(described("request"), "a", b"200", 0.1)
        threading.Event().wait(0.01)
    assert len(log._lines) <= 1_000
    content = b""

    def drain() -> None:
        nonlocal content
        while part := os.read(read, 65_536):
            content += part

    reader = threading.Thread(target=drain)
    reader.start()
    log.close()
    os.close(write)
    reader.join(10)
    lines = [json.loads(line) for line in content.splitlines()]
    dropped = sum(line.get("dropped", 0) for line in lines)
    assert dropped > 0
    assert sum(line["message"] == "request" for line in lines) + dropped == 15_000


def test_no_line_is_lost_between_two_threads(monkeypatch, tmp_path):
    monkeypatch.setattr(request_log, "_PAUSE_S", 0.0001)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        with (tmp_path / "log").open("wb") as output:
            log = RequestLog(output.fileno())
            for number in range(30_000):
                log.add(described("request"), f"{number}", b"200", 0.1)
            log.close()
    finally:
        sys.setswitchinterval(interval)
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert [line["request_id"] for line in lines] == [str(number) for number in range(30_000)]


def test_a_pipe_that_another_process_made_non_blocking_is_waited_for():
    read, write = os.pipe()
    os.set_blocking(write, False)
    log = RequestLog(write)
    for number in range(2_000):  # more than it holds
        log.add(described("request"), str(number), b"200", 0.1)
    threading.Event().wait(0.2)
    content = b""

    def drain() -> None:
        nonlocal content
        while part := os.read(read, 65_536):
            content += part

    reader = threading.Thread(target=drain)
    reader.start()
    log.close()
    os.close(write)
    reader.join(10)
    assert [json.loads(line)["request_id"] for line in content.splitlines()] == [str(n) for n in range(2_000)]


def test_a_full_disk_costs_lines_that_are_counted_and_ends_nothing(monkeypatch):
    monkeypatch.setattr(request_log, "_PAUSE_S", 0.001)
    read, write = os.pipe()
    real, full = os.write, threading.Event()

    def write_or_fail(descriptor: int, content: bytes) -> int:
        if full.is_set():
            raise OSError(errno.ENOSPC, "no space left on device")
        return real(descriptor, content)

    monkeypatch.setattr(request_log.os, "write", write_or_fail)
    log = RequestLog(write)
    full.set()
    for _ in range(7):
        log.add(described("request"), "lost", b"200", 0.1)
    threading.Event().wait(0.1)
    full.clear()
    log.add(described("request"), "late", b"200", 0.1)
    log.close()
    late, warning = map(json.loads, os.read(read, 65_536).splitlines())
    assert late["request_id"] == "late"
    assert (warning["message"], warning["dropped"]) == ("request log full", 7)
    os.close(read)
    os.close(write)
