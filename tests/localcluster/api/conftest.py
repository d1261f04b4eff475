import asyncio
import json
import threading
from contextlib import contextmanager

import httpx
import pytest

from localcluster.api.server import ApiServer

TOKEN = "a token of the tests"


class RunningServer:
    """An API server in a thread, and a client that speaks to it."""

    def __init__(self, server, stop):
        self.server = server
        self.stop = stop
        self.http = httpx.Client(base_url=server.url, headers={"Authorization": f"Bearer {TOKEN}"}, timeout=10)

    def __call__(self, method, path, body=None, *, patch="", **params):
        headers = {"Content-Type": f"application/{patch}"} if patch else {}
        content = None if body is None else json.dumps(body)
        if content and not patch:
            headers["Content-Type"] = "application/json"
        return self.http.request(method, path, content=content, headers=headers, params=params)

    def ok(self, *args, **kwargs):
        response = self(*args, **kwargs)
        assert response.status_code < 300, response.text
        return response.json()

    def config_map(self, name, data=None, namespace="default", **metadata):
        path = f"/api/v1/namespaces/{namespace}/configmaps"
        return self.ok("POST", path, {"metadata": {"name": name, **metadata}, "data": data or {}})

    @contextmanager
    def watch(self, path, **params):
        """Events of a watch, each as (type, object)."""
        timeout = httpx.Timeout(10, read=5)
        params = {"watch": "1", "timeoutSeconds": "5", **params}
        with self.http.stream("GET", path, params=params, timeout=timeout) as response:
            lines = response.iter_lines()
            yield ((event["type"], event["object"]) for event in map(json.loads, lines))


@contextmanager
def serving(folder, **settings):
    """Runs a server on a folder in a thread of its own."""
    ready, state = threading.Event(), {}

    async def run():
        loop, stop = asyncio.get_running_loop(), asyncio.Event()
        state["stop"] = lambda: None if loop.is_closed() else loop.call_soon_threadsafe(stop.set)
        async with ApiServer(folder, token=TOKEN, **settings) as server:
            state["server"] = server
            ready.set()
            await stop.wait()

    def main():
        try:
            asyncio.run(run())
        except BaseException as error:  # noqa: BLE001  # told to the test
            state["error"] = error
        finally:
            ready.set()

    thread = threading.Thread(target=main)
    thread.start()
    try:
        assert ready.wait(20)
        if "error" in state:
            raise state["error"]
        running = RunningServer(state["server"], state["stop"])
        with running.http:
            yield running
    finally:
        state["stop"]()
        thread.join(20)
    assert "error" not in state, state["error"]


@pytest.fixture(scope="session")
def serve():
    """Runs a server on a folder; a context manager, so that a test can start it again."""
    return serving


@pytest.fixture(scope="module")
def api(tmp_path_factory):
    """A server that the tests of a module share."""
    with serving(tmp_path_factory.mktemp("api")) as running:
        yield running
