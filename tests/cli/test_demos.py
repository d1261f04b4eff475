"""What a demo asks and shows, against a stand-in that answers as the blueprint's servers do."""

from __future__ import annotations

import io
import json
import shlex
import threading
from datetime import date
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pyarrow as pa
import pytest
import typer
from rich.console import Console

from blueprints.segmentation.warehouse import open_warehouse
from blueprints.workspace import Workspace
from cli.demos import DEMOS, Service, credit_risk, load, segmentation, sentiment
from tests.lexicon_model import lexicon_package

SPANS = [
    {"start": 0, "end": 4, "text": "good", "score": 2.0},
    {"start": 5, "end": 8, "text": "bad", "score": -2.0},
    {"start": 9, "end": 13, "text": "film", "score": 0.01},
]
DECISION = {
    "decision": "decline",
    "probability_of_default": 0.41,
    "threshold": 0.2,
    "decision_id": "d-1",
    "model_version": "v1",
}
ANSWERS = {
    "sentiment": {
        "/predict": {"label": "negative", "probability": 0.9, "probabilities": {}, "model_version": "v1"},
        "/v1/models/sentiment:explain": {"explanations": [{"spans": SPANS}]},
    },
    "credit-risk": {
        "/predict": DECISION,
        "/v1/models/credit-risk:explain": {"explanations": [{"reasons": [{"text": "Late [three] times"}]}]},
    },
    "segmentation": {
        "/predict": {
            "customer_id": 3,
            "segment": "big [new] spenders",
            "confidence": 0.5,
            "features_as_of": "1998-07-01T00:00:00Z",
            "model_version": "v1",
        },
        "/v1/models/segmentation:explain": {
            "explanations": [{"next_segment": "lapsed buyers", "reasons": [{"text": "amount spent: 497"}]}]
        },
    },
}


def publish_segments():
    """Five customers in two segments in the workspace's warehouse; customer 3 is in the middle of the smaller."""
    rows = {
        "customer_id": [1, 2, 5, 3, 4],
        "segment_id": [1, 1, 1, 2, 2],
        "confidence": [0.5, 0.5, 0.5, 0.6, 0.9],
    }
    with open_warehouse(Workspace.current().warehouse_url) as warehouse:
        warehouse.publish("customer_segments", date(1998, 7, 1), [pa.RecordBatch.from_pydict(rows)])


@pytest.fixture
def service(tmp_path, monkeypatch):
    """Makes a service that answers what `ANSWERS` says; bodies that it was sent are in `seen`."""
    monkeypatch.setenv("BLUEPRINTS_HOME", str(tmp_path))
    seen, servers = {}, []

    monkeypatch.delenv("WAREHOUSE_URL", raising=False)

    def start(blueprint):
        if blueprint == "segmentation":
            publish_segments()

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                seen[self.path] = json.loads(self.rfile.read(int(self.headers["content-length"])))
                content = json.dumps(ANSWERS[blueprint].get(self.path, {"error": "none"})).encode()
                self.send_response(200 if self.path in ANSWERS[blueprint] else 404)
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_):
                pass

        servers.append(ThreadingHTTPServer(("127.0.0.1", 0), Handler))
        threading.Thread(target=servers[-1].serve_forever, daemon=True).start()
        return Service(blueprint, f"http://{blueprint}.localhost:{servers[-1].server_port}")

    start.seen = seen
    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def shown(renderable) -> str:
    console = Console(width=100, file=io.StringIO())
    console.print(renderable)
    return console.file.getvalue()


@pytest.mark.parametrize("blueprint", list(DEMOS))
def test_every_demo_says_what_it_does_and_belongs_to_a_pipeline(blueprint):
    from pipelines import PIPELINES

    demo = load(blueprint)
    assert blueprint in PIPELINES
    assert all((demo.title, demo.training, demo.asking))


def test_sentiment_shows_the_label_and_the_text(service, tmp_path):
    there = service("sentiment")
    answer = sentiment.ask(lexicon_package(tmp_path / "package"), there)
    text = shown(answer.shown)
    for words in ("NEGATIVE", "90.0%", sentiment.SENTENCE, "green speaks for negative", "model v1"):
        assert words in text
    assert service.seen["/predict"] == {"text": sentiment.SENTENCE}
    assert service.seen["/v1/models/sentiment:explain"] == {"instances": [sentiment.SENTENCE]}


def test_words_are_tinted_by_sign_and_strength():
    text = sentiment.highlighted("good bad film", SPANS)
    assert [(span.start, span.end, str(span.style)) for span in text.spans] == [
        (0, 4, "#ffffff on #1a7f4b"),
        (5, 8, "#ffffff on #b3261e"),
    ]
    assert sentiment.highlighted("fine", [{"start": 0, "end": 4, "text": "fine", "score": 0.0}]).spans == []


def test_credit_risk_shows_the_decision_with_its_reasons(service, credit_package):
    answer = credit_risk.ask(credit_package, service("credit-risk"))
    text = shown(answer.shown)
    for words in ("DECLINE", "41.0%", "declined from 20.0%", "Late [three] times", "decision d-1"):
        assert words in text
    assert dict(answer.commands)["lineage"].endswith("lineage d-1")


def test_segmentation_shows_a_customer_of_the_smallest_segment_with_the_reasons(service, tmp_path):
    answer = segmentation.ask(lexicon_package(tmp_path / "package"), service("segmentation"))
    text = shown(answer.shown)
    for words in ("Customer 3", "big [new] spenders", "confidence 50%", "next: lapsed buyers", "amount spent: 497"):
        assert words in text
    assert service.seen["/predict"] == {"customer_id": 3}


@pytest.mark.parametrize("blueprint", list(DEMOS))
def test_curl_lines_send_what_the_demo_sent(blueprint, service, credit_package, tmp_path):
    there = service(blueprint)
    package = credit_package if blueprint == "credit-risk" else lexicon_package(tmp_path / "package")
    lines = [line for _, line in load(blueprint).ask(package, there).commands if line.startswith("curl")]
    assert len(lines) == 2
    for line in lines:
        *_, data, url = shlex.split(line)
        file = Path.cwd() / data.removeprefix("@")
        assert file.parent == Workspace.current().root
        assert json.loads(file.read_text(encoding="utf-8")) == service.seen[url.removeprefix(there.url)]


def test_what_a_service_refuses_or_does_not_answer_is_one_clear_error(service, capsys):
    with pytest.raises(typer.Exit):
        service("sentiment").post("/nothing", {})
    with pytest.raises(typer.Exit):
        Service("sentiment", "http://sentiment.localhost:9").post("/predict", {})
    said = " ".join(capsys.readouterr().err.split())
    assert 'answered 404: {"error": "none"}' in said
    assert "does not answer" in said
