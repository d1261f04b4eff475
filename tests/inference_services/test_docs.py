"""/docs in a real browser: readable, usable, and with nothing from elsewhere."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import websocket

from tests.inference_services.conftest import Running

PATHS = ("/docs", "/docs.js", "/docs.css")


class Tab:
    """A tab of headless Chromium, over its DevTools protocol."""

    def __init__(self, address: str) -> None:
        self._socket = websocket.create_connection(address, timeout=20, suppress_origin=True)
        self._calls = 0
        self.events: list[dict[str, Any]] = []

    def call(self, method: str, **parameters: Any) -> Any:
        self._calls += 1
        self._socket.send(json.dumps({"id": self._calls, "method": method, "params": parameters}))
        while (message := json.loads(self._socket.recv())).get("id") != self._calls:
            self.events.append(message)
        return message["result"]

    def value(self, expression: str) -> Any:
        return self.call("Runtime.evaluate", expression=expression, returnByValue=True)["result"].get("value")

    def until(self, expression: str, seconds: float = 20) -> Any:
        deadline = time.monotonic() + seconds
        while not (value := self.value(expression)):
            assert time.monotonic() < deadline, f"never came: {expression}\n{self.value('document.body.innerText')}"
            time.sleep(0.05)
        return value

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def open_page(tmp_path: Path) -> Iterator[Callable[[str], Tab]]:
    found = shutil.which("chromium")
    if found is None:
        pytest.skip("no browser: install Debian's chromium")
    command = [found, "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    command += ["--remote-debugging-port=0", f"--user-data-dir={tmp_path / 'profile'}", "about:blank"]
    with (tmp_path / "log").open("wb") as log:
        browser = subprocess.Popen(command, stdout=log, stderr=log)
    tabs: list[Tab] = []

    def visit(url: str) -> Tab:
        deadline = time.monotonic() + 20
        while not (port := re.search(r"ws://127.0.0.1:(\d+)/", (tmp_path / "log").read_text())):
            assert time.monotonic() < deadline, (tmp_path / "log").read_text()
            time.sleep(0.05)
        targets = httpx.get(f"http://127.0.0.1:{port[1]}/json/list").json()
        tabs.append(Tab(next(target["webSocketDebuggerUrl"] for target in targets if target["type"] == "page")))
        for domain in ("Network", "Log", "Runtime", "Page"):
            tabs[0].call(f"{domain}.enable")
        tabs[0].call("Page.navigate", url=url)
        return tabs[0]

    try:
        yield visit
    finally:
        for tab in tabs:
            tab.close()
        browser.terminate()
        browser.wait(timeout=20)


def test_the_page_shows_every_operation_and_its_example_can_be_sent(transformer: Running, open_page):
    tab = open_page(f"{transformer.url}/docs")
    tab.until("document.querySelectorAll('details').length > 5")
    document = transformer.client.get("/openapi.json").json()
    shown = tab.value("[...document.querySelectorAll('summary code')].map((code) => code.innerText)")
    assert sorted(shown) == sorted(path for path, methods in document["paths"].items() for _ in methods)
    assert tab.value("document.title") == document["info"]["title"]
    example = document["paths"]["/predict"]["post"]["requestBody"]["content"]["application/json"]["example"]
    assert json.loads(tab.value("document.querySelector('textarea').value")) == example
    shown = tab.value("document.querySelector('details').innerText")
    for words in ("credit_limit", "from 10,000 to 1,000,000 NTD", "Statement balance over credit limit.", "409"):
        assert words in shown
    tab.value("document.querySelector('button').click()")
    answer = tab.until("document.querySelector('details div pre')?.innerText")
    assert json.loads(answer).keys() >= {"probability_of_default", "decision", "decision_id"}


def test_the_page_shows_plots_and_refusals(explainer: Running, open_page):
    tab = open_page(f"{explainer.url}/docs")
    tab.until("!!document.querySelector('select')")
    tab.value("document.querySelector('select').value = 'image/svg+xml'; document.querySelector('button').click()")
    assert tab.until("document.querySelector('details div img')?.naturalWidth") > 500
    tab.value("document.querySelector('textarea').value = '{}'; document.querySelector('button').click()")
    assert "is missing" in tab.until("document.querySelector('details div pre')?.innerText")
    assert tab.value("document.querySelector('p.bad').innerText").startswith("422")


def test_the_page_asks_nobody_but_its_server(transformer: Running, open_page):
    tab = open_page(f"{transformer.url}/docs")
    tab.until("!!document.querySelector('details')")
    asked = [
        event["params"]["request"]["url"] for event in tab.events if event["method"] == "Network.requestWillBeSent"
    ]
    assert f"{transformer.url}/openapi.json" in asked
    assert [url for url in asked if not url.startswith((f"{transformer.url}/", "data:"))] == []
    assert [event for event in tab.events if event["method"] in {"Log.entryAdded", "Runtime.exceptionThrown"}] == []
    for path in PATHS:
        answer = transformer.client.get(path)
        assert "//" not in re.sub(r"^\s*//.*", "", answer.text, flags=re.MULTILINE)
        assert "default-src 'none'" in answer.headers["content-security-policy"]


def test_words_of_a_signature_are_shown_as_text(transformer: Running, open_page):
    tab = open_page(f"{transformer.url}/docs")
    tab.until("!!document.querySelector('details')")
    assert tab.value("element('p', {}, '<img src=x onerror=1>').innerHTML") == "&lt;img src=x onerror=1&gt;"
    scripts = (Path(__file__).parents[2] / "inference_services/serving/docs_page/docs.js").read_text()
    assert not re.search(r"innerHTML|outerHTML|insertAdjacent|document\.write|eval\(", scripts)
