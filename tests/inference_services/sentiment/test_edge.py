"""The edge server: the predictor's answers on one thread, over REST."""

import json

import pytest


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/predict", {"text": "a great story, and not boring"}),
        ("/predict", {"texts": ["awful " * 80, "😀😀😀", "warm and funny"]}),
        ("/v1/models/sentiment:predict", {"instances": ["dull", {"text": "very good"}]}),
        (
            "/v2/models/sentiment/infer",
            {"id": "1", "inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": ["a bad film"]}]},
        ),
        ("/predict", {"text": "\x00\x00\x00"}),
        ("/predict", {"text": "x" * 513}),
        ("/v2/models/other/infer", {}),
    ],
)
def test_it_answers_as_the_predictor_does(edge, text_predictor, path, body):
    answer, expected = (server.client.post(path, json=body) for server in (edge, text_predictor))
    assert (answer.status_code, answer.json()) == (expected.status_code, expected.json())


def test_it_calls_the_model_once_at_a_time_on_one_thread(edge):
    (plan,) = (line for line in map(json.loads, edge.log.read_text().splitlines()) if line["message"] == "batching")
    assert (plan["slots"], plan["threads"]) == (1, 1)


def test_it_has_health_metrics_and_documentation(edge, text_package):
    assert edge.client.get("/readyz").json() == {"status": "ready", "model_version": text_package.version}
    assert 'role="predictor"' in edge.client.get("/metrics").text
    assert "/predict" in edge.client.get("/openapi.json").json()["paths"]
