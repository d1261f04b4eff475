"""The transformer with a real predictor behind it: decisions, refusals, records."""

from __future__ import annotations

import json
import math
import re
import sqlite3
import time
from typing import Any

import grpc
import httpx
import numpy as np
import pytest
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb
from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import GRPCInferenceServiceStub

from blueprints.credit_risk.application import decode_features
from blueprints.credit_risk.decisions import DecisionStore
from tests.conftest import CREDIT_COLUMNS, credit_features
from tests.inference_services.bad_input import APPLICATION, BAD_JSON_VALUES
from tests.inference_services.conftest import start

V1 = "/v1/models/credit-risk:predict"
V2 = "/v2/models/credit-risk/infer"
JSON = {"content-type": "application/json"}
DATATYPES = {"credit_limit": "FP64", "utilisation": "FP64", "education": "BYTES", "housing": "BYTES"}
BAD_LABELS = [("education", "University"), ("housing", 1), ("housing", None), ("housing", ""), ("education", "x" * 500)]


def tensors(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {"name": name, "shape": [len(rows)], "datatype": DATATYPES.get(name, "INT32"), "data": [r[name] for r in rows]}
        for name in rows[0]
    ]


def store_of(server) -> DecisionStore:
    return DecisionStore(f"sqlite:///{server.log.parent / 'home' / 'decisions.db'}")


@pytest.fixture(scope="module")
def applications() -> list[dict[str, Any]]:
    return decode_features(credit_features(20, seed=11), CREDIT_COLUMNS)


def test_every_protocol_decides_alike_and_as_the_scorer_does(transformer, applications, credit_scorer):
    expected = credit_scorer.probabilities(credit_features(20, seed=11))
    v1 = transformer.client.post(V1, json={"instances": applications}).json()["predictions"]
    batch = transformer.client.post("/predict", json={"applications": applications}).json()["decisions"]
    single = [transformer.client.post("/predict", json=application).json() for application in applications]
    v2 = transformer.client.post(V2, json={"inputs": tensors(applications)}).json()
    outputs = {output["name"]: output["data"] for output in v2["outputs"]}
    for decisions in (v1, batch, single):
        np.testing.assert_allclose([d["probability_of_default"] for d in decisions], expected, atol=1e-12)
        for decision in decisions:
            declined = decision["probability_of_default"] >= decision["threshold"]
            assert decision["decision"] == ("decline" if declined else "approve")
            assert decision["model_version"] == credit_scorer.version
    np.testing.assert_allclose(outputs["probability_of_default"], expected, atol=1e-12)
    assert outputs["decision"] == [decision["decision"] for decision in v1]
    assert {decision["decision"] for decision in v1} == {"approve", "decline"}
    ids = [d["decision_id"] for d in [*v1, *batch, *single]] + outputs["decision_id"]
    assert len(set(ids)) == 80


def test_grpc_takes_labels_and_decides(transformer, applications, credit_scorer):
    request = pb.ModelInferRequest(model_name="credit-risk")
    for tensor in tensors(applications):
        added = request.inputs.add(name=tensor["name"], shape=tensor["shape"], datatype=tensor["datatype"])
        if tensor["datatype"] == "BYTES":
            added.contents.bytes_contents.extend(label.encode() for label in tensor["data"])
        elif tensor["datatype"] == "FP64":
            added.contents.fp64_contents.extend(math.nan if v is None else v for v in tensor["data"])
        else:
            added.contents.int_contents.extend(tensor["data"])
    with grpc.insecure_channel(transformer.grpc_target) as channel:
        stub = GRPCInferenceServiceStub(channel)
        answer = stub.ModelInfer(request)
        np.testing.assert_allclose(
            answer.outputs[0].contents.fp64_contents,
            credit_scorer.probabilities(credit_features(20, seed=11)),
            atol=1e-12,
        )
        request.inputs[3].contents.bytes_contents[2] = b"school of life"
        with pytest.raises(grpc.RpcError) as caught:
            stub.ModelInfer(request)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert caught.value.details().startswith("inputs.education[2]: Input should be 'graduate school'")


@pytest.mark.parametrize(("field", "value"), BAD_JSON_VALUES + BAD_LABELS)
def test_bad_values_are_refused_over_every_rest_protocol_with_their_place(transformer, field, value):
    bad = {**APPLICATION, field: value}
    typed = transformer.client.post("/predict", content=json.dumps(bad), headers=JSON)
    v1 = transformer.client.post(V1, content=json.dumps({"instances": [APPLICATION, bad]}), headers=JSON)
    v2 = transformer.client.post(V2, content=json.dumps({"inputs": tensors([APPLICATION, bad])}), headers=JSON)
    assert [answer.status_code for answer in (typed, v1, v2)] == [422, 422, 422]
    assert typed.json()["detail"][0]["loc"] == ["body", field]
    assert v1.json()["detail"][0]["loc"] == ["body", "instances", 1, field]
    assert v2.json()["detail"][0]["loc"] == ["body", "inputs", field, 1]


def test_missing_and_misspelt_fields_are_named_with_a_hint(transformer):
    answer = transformer.client.post(
        "/predict", json={**APPLICATION, "hosing": APPLICATION["housing"], "housing": "own"}
    )
    assert answer.json()["detail"] == [
        {"loc": ["body", "hosing"], "msg": "unknown field; did you mean 'housing'?", "type": "extra_forbidden"}
    ]
    fewer = {name: value for name, value in APPLICATION.items() if name != "housing"}
    assert transformer.client.post("/predict", json=fewer).json()["detail"][0]["loc"] == ["body", "housing"]
    without_nullable = {name: value for name, value in APPLICATION.items() if name != "utilisation"}
    assert transformer.client.post("/predict", json=without_nullable).status_code == 200


@pytest.mark.parametrize("body", [{"applications": []}, {"applications": None}, {"applications": [1], "x": 1}, [], 1])
def test_bodies_that_hold_no_application_are_refused(transformer, body):
    assert transformer.client.post("/predict", json=body).status_code == 422


def test_more_applications_than_allowed_are_refused(transformer):
    answer = transformer.client.post(V1, json={"instances": [{}] * 100_000})
    assert answer.status_code == 422
    assert "at most 10000 applications" in answer.json()["detail"][0]["msg"]


def test_a_decision_is_on_record_with_inputs_explanation_and_lineage(transformer, credit_package):
    answer = transformer.client.post("/predict", json=APPLICATION, headers={"x-request-id": "recorded-1"}).json()
    store = store_of(transformer)
    recorded = store.read(answer["decision_id"])
    store.close()
    assert recorded is not None
    decision = recorded.decision
    assert decision.inputs == APPLICATION
    assert decision.request_id == "recorded-1"
    assert {**decision.output, "model_version": decision.model_version, "decision_id": decision.decision_id} == answer
    assert recorded.lineage["pipeline_run"] == credit_package.lineage.pipeline_run
    assert decision.explanation["contributions"].keys() == APPLICATION.keys()


def test_a_decision_id_decides_once(transformer):
    body = {**APPLICATION, "decision_id": "once"}
    first = transformer.client.post("/predict", json=body)
    assert transformer.client.post("/predict", json=body).json() == first.json()
    other = transformer.client.post("/predict", json={**body, "late_payments": 0})
    assert other.status_code == 409
    assert other.json()["detail"][0]["loc"] == ["body", "decision_id"]
    in_batch = transformer.client.post(V1, json={"instances": [APPLICATION, {**body, "late_payments": 0}]})
    assert in_batch.status_code == 409
    assert in_batch.json()["detail"][0]["loc"] == ["body", "instances", 1, "decision_id"]


@pytest.mark.parametrize("decision_id", ["", " ", "a b", "x" * 65, 5, "é"])
def test_a_decision_id_is_a_plain_word(transformer, decision_id):
    answer = transformer.client.post("/predict", json={**APPLICATION, "decision_id": decision_id})
    assert answer.status_code == 422


@pytest.mark.parametrize("protocol", ["v2", "grpc-v2"])
def test_without_its_predictor_it_is_live_not_ready_and_answers_503(
    credit_package, make_credit_package, tmp_path, protocol
):
    """Down, then of another version: never a decision that nobody can trace."""
    other = make_credit_package(tmp_path / "other", 1)
    predictor = start("predictor", other.folder, tmp_path)
    port = predictor.http_port if protocol == "v2" else predictor.grpc_port
    transformer = start(
        "transformer",
        credit_package.folder,
        tmp_path,
        f"--predictor_host=127.0.0.1:{port}",
        f"--predictor_protocol={protocol}",
    )
    try:
        transformer.wait("/healthz")
        predictor.wait("/readyz")
        assert transformer.client.get("/readyz").status_code == 503
        answer = transformer.client.post("/predict", json=APPLICATION)
        assert answer.status_code == 503
        assert re.search(r"no version .* this server has", answer.json()["detail"][0]["msg"])
        predictor.stop()
        answer = transformer.client.post("/predict", json=APPLICATION)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        assert "does not answer" in answer.json()["detail"][0]["msg"]
        assert transformer.client.post("/predict", json={}).status_code == 422
        assert transformer.client.get("/readyz").status_code == 503
    finally:
        transformer.stop()
        predictor.stop()


@pytest.mark.parametrize("protocol", ["v2", "grpc-v2"])
def test_what_was_answered_survives_sigkill(predictor, credit_package, tmp_path, protocol):
    port = predictor.http_port if protocol == "v2" else predictor.grpc_port
    server = start(
        "transformer",
        credit_package.folder,
        tmp_path,
        f"--predictor_host=127.0.0.1:{port}",
        f"--predictor_protocol={protocol}",
    )
    server.wait("/readyz")
    answered = []
    deadline = time.monotonic() + 1
    while time.monotonic() < deadline:
        answered.append(server.client.post("/predict", json=APPLICATION).json()["decision_id"])
    server.process.kill()
    server.process.wait()
    server.client.close()
    with sqlite3.connect(tmp_path / "home" / "decisions.db") as connection:
        on_record = {row[0] for row in connection.execute("SELECT decision_id FROM decisions")}
    assert len(answered) > 20
    assert set(answered) <= on_record


def test_decisions_go_to_postgresql_where_the_url_says_so(predictor, credit_package, postgres, tmp_path):
    url = postgres.new_database()
    flag = f"--predictor_host=127.0.0.1:{predictor.http_port}"
    server = start("transformer", credit_package.folder, tmp_path, flag, DECISIONS_URL=url)
    try:
        server.wait("/readyz")
        answers = [server.client.post("/predict", json={**APPLICATION, "decision_id": "d"}) for _ in range(2)]
        other = {**APPLICATION, "late_payments": 0, "decision_id": "d"}
        assert server.client.post("/predict", json=other).status_code == 409
    finally:
        code = server.stop()
    assert [answer.status_code for answer in answers] == [200, 200]
    assert code == 0
    store = DecisionStore(url)
    assert store.read("d").decision.inputs == APPLICATION
    assert store.read("d").lineage["pipeline_run"] == "test-run"
    store.close()


def test_the_documentation_shows_the_application_and_an_example_that_works(transformer):
    document = transformer.client.get("/openapi.json").json()
    fields = document["components"]["schemas"]["Application"]["properties"]
    assert fields["credit_limit"]["unit"] == "NTD"
    example = document["paths"]["/predict"]["post"]["requestBody"]["content"]["application/json"]["example"]
    assert transformer.client.post("/predict", json=example).status_code == 200


def test_a_refused_connection_is_not_left_open(transformer):
    with httpx.Client(base_url=transformer.url) as client:
        for _ in range(3):
            assert client.post("/predict", content=b"[" * 100, headers=JSON).status_code == 422
        assert client.post("/predict", json=APPLICATION).status_code == 200
