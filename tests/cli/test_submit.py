from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import yaml

RUN = "5d1e6f3a-0000-4000-8000-000000000001"


@pytest.fixture
def kubeflow():
    """Answers as the v2beta1 API does, as far as the client asks, and keeps what it was sent."""
    sent = []

    class Api(BaseHTTPRequestHandler):
        def do_GET(self):
            if "experiments" in self.path:
                self.answer({"experiments": [{"experiment_id": "e", "display_name": "blueprints", "namespace": ""}]})
            else:
                self.answer({"multi_user": False})

        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            sent.append((self.path, body))
            self.answer({"run_id": RUN, "experiment_id": "e", "display_name": body.get("display_name")})

        def answer(self, body):
            content = json.dumps(body).encode()
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Api)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", sent
    server.shutdown()
    server.server_close()


def test_the_pipeline_that_is_submitted_is_the_one_that_is_compiled(blueprints, kubeflow, tmp_path):
    host, sent = kubeflow
    done = blueprints("submit", "credit-risk", "--host", host, "--set", "trials=3", "--dataset", "german", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"run_id": RUN, "url": f"{host}/#/runs/details/{RUN}"}
    (body,) = [body for path, body in sent if path.startswith("/apis/v2beta1/runs")]
    blueprints("compile", "--output", str(tmp_path))
    (compiled, *_) = yaml.safe_load_all((tmp_path / "credit-risk.yaml").read_text())
    spec = body["pipeline_spec"]
    assert spec.get("pipeline_spec", spec)["deploymentSpec"] == compiled["deploymentSpec"]
    assert body["runtime_config"]["parameters"] == {
        "trials": 3,
        "dataset": "german",
        "registered_model": "credit-risk-german",
    }


def test_a_model_of_own_data_gets_a_name_of_its_own(blueprints, kubeflow, tmp_path):
    host, sent = kubeflow
    (tmp_path / "schema.yaml").write_text("target: y\n")
    own = ("--data", "s3://bucket/loans.parquet", "--schema", str(tmp_path / "schema.yaml"))
    for name in ((), ("--dataset", "taiwan")):
        assert blueprints("submit", "credit-risk", "--host", host, *own, *name).returncode == 0
    names = [body["runtime_config"]["parameters"]["registered_model"] for path, body in sent if "/runs" in path]
    assert names == ["credit-risk-own", "credit-risk-taiwan"]


def test_a_blueprint_s_own_default_dataset_is_registered_under_its_name(blueprints, kubeflow):
    host, sent = kubeflow
    for dataset in ("film_sentences", "sentences"):
        assert blueprints("submit", "sentiment", "--host", host, "--dataset", dataset).returncode == 0
    given = [body["runtime_config"]["parameters"] for path, body in sent if "/runs" in path]
    assert given == [
        {"dataset": "film_sentences"},
        {"dataset": "sentences", "registered_model": "sentiment-sentences"},
    ]
