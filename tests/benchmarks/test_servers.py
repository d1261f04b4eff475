"""Servers are started, seen and ended."""

import contextlib
import sys
import urllib.request

import psutil
import pytest

from benchmarks.servers import MemoryWatch, running
from tests.ports import free_ports


def command(port):
    return [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", str(port)]


def runs(process):
    """Whether a process still does something; one that was killed may wait for somebody to take note."""
    with contextlib.suppress(psutil.NoSuchProcess, psutil.TimeoutExpired):
        process.wait(timeout=1)
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.status() != psutil.STATUS_ZOMBIE
    return False


def test_a_server_answers_while_the_context_lasts(tmp_path):
    (port,) = free_ports(1)
    with running(command(port), port=port, ready_path="/pyproject.toml", log=tmp_path / "log") as server:
        with urllib.request.urlopen(f"{server.url}/pyproject.toml", timeout=5) as answer:  # noqa: S310
            assert answer.status == 200
        with MemoryWatch(server) as memory:
            pass
        assert 0 < server.ready_s < 60
        assert 1 < server.rss_mb() < 500
        assert len(memory.samples) >= 1
        process = psutil.Process(server.process.pid)
    assert not process.is_running()


def test_no_process_of_a_server_outlives_it(tmp_path):
    (port,) = free_ports(1)
    leaving = (
        "import subprocess, sys; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']); "
        f"import runpy; sys.argv = ['http.server', '--bind', '127.0.0.1', '{port}']; "
        "runpy.run_module('http.server', run_name='__main__')"
    )
    with running([sys.executable, "-c", leaving], port=port, ready_path="/", log=tmp_path / "log") as server:
        (child,) = psutil.Process(server.process.pid).children()
    assert not runs(child)


def test_a_server_that_ends_says_why(tmp_path):
    (port,) = free_ports(1)
    failing = [sys.executable, "-c", "import sys; sys.exit('no such model')"]
    with (
        pytest.raises(RuntimeError, match="ended before it was ready: no such model"),
        running(failing, port=port, ready_path="/", log=tmp_path / "log"),
    ):
        pass


def test_a_server_that_is_never_ready_is_ended(tmp_path):
    (port,) = free_ports(1)
    with (
        pytest.raises(RuntimeError, match="did not become ready within 1 s"),
        running(command(port), port=port, ready_path="/nothing-here", log=tmp_path / "log", timeout=1),
    ):
        pass
