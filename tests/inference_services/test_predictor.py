"""The predictor as a process: v1, v2 and gRPC answer alike, and refuse alike."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import numpy as np
import pytest
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb
from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import GRPCInferenceServiceStub

from blueprints.credit_risk.scorer import CreditScorer
from tests.conftest import credit_features
from tests.inference_services.bad_input import BAD_JSON_VALUES, BAD_NUMBERS, CODES
from tests.inference_services.conftest import Running

V1 = "/v1/models/credit-risk:predict"
V2 = "/v2/models/credit-risk/infer"
DATATYPES = {"credit_limit": "FP32", "utilisation": "FP32"}


def tensors(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {"name": name, "shape": [len(rows)], "datatype": DATATYPES.get(name, "INT32"), "data": [r[name] for r in rows]}
        for name in rows[0]
    ]


def grpc_request(
    rows: list[dict[str, Any]], *, raw: bool = False, outputs: tuple[str, ...] = ()
) -> pb.ModelInferRequest:
    request = pb.ModelInferRequest(model_name="credit-risk", id="mine")
    for name in rows[0]:
        wide = name in DATATYPES
        values = np.array([row[name] for row in rows], np.float64 if wide else np.int32)
        tensor = request.inputs.add(name=name, shape=[len(rows)], datatype="FP64" if wide else "INT32")
        if raw:
            request.raw_input_contents.append(values.tobytes())
        elif wide:
            tensor.contents.fp64_contents.extend(values)
        else:
            tensor.contents.int_contents.extend(values)
    for name in outputs:
        request.outputs.add(name=name)
    return request


@pytest.fixture(scope="module")
def stub(predictor: Running) -> Iterator[GRPCInferenceServiceStub]:
    with grpc.insecure_channel(predictor.grpc_target) as channel:
        yield GRPCInferenceServiceStub(channel)


@pytest.fixture(scope="module")
def rows(credit_scorer: CreditScorer) -> tuple[list[dict[str, Any]], np.ndarray]:
    features = credit_features(50, seed=5)
    names = [column.name for column in credit_scorer.columns]
    listed = [
        {
            name: (None if math.isnan(value) else float(value)) if name in DATATYPES else int(value)
            for name, value in zip(names, row, strict=True)
        }
        for row in features
    ]
    return listed, features


def refuse_rpc(stub: GRPCInferenceServiceStub, request: pb.ModelInferRequest) -> grpc.RpcError:
    with pytest.raises(grpc.RpcError) as caught:
        stub.ModelInfer(request, timeout=10)
    return caught.value


def test_every_protocol_gives_the_scorers_probabilities(predictor, stub, rows, credit_scorer):
    listed, features = rows
    expected = credit_scorer.probabilities(features)
    v2 = predictor.client.post(V2, json={"id": "mine", "inputs": tensors(listed)}).json()
    assert v2["model_version"] == credit_scorer.version
    assert v2["id"] == "mine"
    assert v2["outputs"][0]["name"] == "probability_of_default"
    assert v2["outputs"][0]["shape"] == [50]
    by_name = predictor.client.post(V1, json={"instances": listed}).json()
    by_position = predictor.client.post(V1, json={"instances": [list(row.values()) for row in listed]}).json()
    with_nan = [{name: math.nan if value is None else value for name, value in row.items()} for row in listed]
    contents = stub.ModelInfer(grpc_request(with_nan))
    raw = stub.ModelInfer(grpc_request(with_nan, raw=True))
    assert contents.model_version == raw.model_version == by_name["model_version"] == credit_scorer.version
    for got in (
        v2["outputs"][0]["data"],
        by_name["predictions"],
        by_position["predictions"],
        contents.outputs[0].contents.fp64_contents,
        np.frombuffer(raw.raw_output_contents[0]),
    ):
        np.testing.assert_allclose(got, expected, rtol=0, atol=1e-12)


def test_contributions_and_base_value_come_on_request_and_sum_to_the_margin(predictor, rows):
    names = ["contributions", "base_value", "margin", "probability_of_default"]
    body = {"inputs": tensors(rows[0]), "outputs": [{"name": name} for name in names]}
    outputs = {output["name"]: output for output in predictor.client.post(V2, json=body).json()["outputs"]}
    assert list(outputs) == names
    contributions = np.reshape(outputs["contributions"]["data"], outputs["contributions"]["shape"])
    assert contributions.shape == (50, 6)
    total = contributions.sum(1) + outputs["base_value"]["data"]
    np.testing.assert_allclose(total, outputs["margin"]["data"], atol=1e-4)


def test_tensors_may_come_in_any_order_wider_and_as_columns(predictor):
    answer = predictor.client.post(V2, json={"inputs": tensors([CODES])}).json()["outputs"]
    wide = [
        {**tensor, "datatype": tensor["datatype"].replace("32", "64"), "shape": [1, 1], "data": [tensor["data"]]}
        for tensor in tensors([CODES])[::-1]
    ]
    assert predictor.client.post(V2, json={"inputs": wide}).json()["outputs"] == answer


def test_metadata_names_and_types_every_tensor_and_the_version(predictor, stub, credit_package):
    rest = predictor.client.get("/v2/models/credit-risk").json()
    assert rest["versions"] == [credit_package.version]
    assert rest["platform"] == "xgboost"
    assert [(t["name"], t["datatype"]) for t in rest["inputs"]] == [
        (c.name, DATATYPES.get(c.name, "INT32")) for c in credit_package.signature.inputs
    ]
    assert [t["name"] for t in rest["outputs"]] == ["probability_of_default", "margin", "contributions", "base_value"]
    rpc = stub.ModelMetadata(pb.ModelMetadataRequest(name="credit-risk"))
    assert [(t.name, t.datatype, list(t.shape)) for t in rpc.inputs] == [tuple(t.values()) for t in rest["inputs"]]
    assert list(rpc.versions) == rest["versions"]


@pytest.mark.parametrize(("field", "value"), BAD_JSON_VALUES)
def test_bad_values_are_refused_over_v1_and_v2_with_their_place(predictor, field, value):
    bad = {**CODES, field: value}
    v1 = predictor.client.post(V1, content=json.dumps({"instances": [CODES, bad]}), headers=JSON)
    assert v1.status_code == 422
    assert v1.json()["detail"][0]["loc"] == ["body", "instances", 1, field]
    v2 = predictor.client.post(V2, content=json.dumps({"inputs": tensors([CODES, bad])}), headers=JSON)
    assert v2.status_code == 422
    assert v2.json()["detail"][0]["loc"][:3] == ["body", "inputs", field]


JSON = {"content-type": "application/json"}


@pytest.mark.parametrize("raw", [False, True])
@pytest.mark.parametrize(("field", "value", "reason"), BAD_NUMBERS)
def test_bad_numbers_are_invalid_arguments_over_grpc_with_the_same_reason(predictor, stub, field, value, reason, raw):
    error = refuse_rpc(stub, grpc_request([CODES, {**CODES, field: value}], raw=raw))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert error.details().startswith(f"inputs.{field}[1]: ")
    assert reason in error.details()
    if math.isfinite(value):
        body = {"inputs": tensors([CODES, {**CODES, field: value}])}
        problem = predictor.client.post(V2, json=body).json()["detail"][0]
        assert error.details() == f"inputs.{field}[1]: {problem['msg']}"


def change(position: int, **fields: Any):
    def apply(body: dict[str, Any]) -> None:
        body["inputs"][position] |= fields

    return apply


@pytest.mark.parametrize(
    ("alter", "place"),
    [
        (lambda body: body.pop("inputs"), ["body", "inputs"]),
        (lambda body: body.update(inputs=[]), ["body", "inputs", "credit_limit"]),
        (lambda body: body.update(inputs="x"), ["body", "inputs"]),
        (lambda body: body["inputs"].pop(2), ["body", "inputs", "late_payments"]),
        (lambda body: body["inputs"].append(body["inputs"][0]), ["body", "inputs", "credit_limit"]),
        (lambda body: body.update(extra=1), ["body", "extra"]),
        (lambda body: body.update(id=1), ["body", "id"]),
        (lambda body: body.update(outputs=[{"name": "nope"}]), ["body", "outputs", 0, "name"]),
        (lambda body: body.update(outputs=5), ["body", "outputs"]),
        (lambda body: body.update(parameters={"binary_data_output": True}), ["body", "parameters"]),
        (change(0, name="nope"), ["body", "inputs", 0, "name"]),
        (change(0, name=5), ["body", "inputs", 0, "name"]),
        (change(0, datatype="INT32"), ["body", "inputs", "credit_limit", "datatype"]),
        (change(3, datatype="BYTES"), ["body", "inputs", "education", "datatype"]),
        (change(0, shape=[2]), ["body", "inputs", "credit_limit", "data"]),
        (change(0, shape=[1, 2], data=[1, 2]), ["body", "inputs", "credit_limit", "shape"]),
        (change(0, shape=[]), ["body", "inputs", "credit_limit", "shape"]),
        (change(0, shape=[-1]), ["body", "inputs", 0, "shape"]),
        (change(0, shape=[0], data=[]), ["body", "inputs", "credit_limit", "shape"]),
        (change(0, shape=[100_000]), ["body", "inputs", "credit_limit", "data"]),
        (change(0, shape=[2], data=[20_000, 20_000]), ["body", "inputs", "age_of_account", "shape"]),
        (change(0, data="x"), ["body", "inputs", 0, "data"]),
        (change(0, data={}), ["body", "inputs", 0, "data"]),
    ],
)
def test_malformed_v2_requests_are_refused_with_their_place(predictor, alter, place):
    body = {"inputs": tensors([CODES])}
    alter(body)
    answer = predictor.client.post(V2, json=body)
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == place


@pytest.mark.parametrize(
    "instances",
    [None, "x", [], [None], [[]], [[1, 2]], [{}], [{**CODES, "extra": 1}], [{k: CODES[k] for k in list(CODES)[1:]}]],
)
def test_malformed_v1_requests_are_refused(predictor, instances):
    answer = predictor.client.post(V1, json={"instances": instances})
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"][:2] == ["body", "instances"]


def test_a_hundred_thousand_rows_are_refused_over_every_protocol(predictor, stub):
    many = {"instances": [[1]] * 100_000}
    answer = predictor.client.post(V1, json=many)
    assert answer.status_code == 422
    assert "at most 10000 rows" in answer.json()["detail"][0]["msg"]
    error = refuse_rpc(stub, grpc_request([CODES] * 100_000, raw=True))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    small = pb.ModelInferRequest(model_name="credit-risk")
    small.inputs.add(name="housing", datatype="INT32", shape=[100_000])
    small.raw_input_contents.append(bytes(400_000))
    assert "at most 10000 rows" in refuse_rpc(stub, small).details()


def test_malformed_grpc_requests_are_invalid_arguments(stub):
    empty = pb.ModelInferRequest(model_name="credit-risk")
    odd = grpc_request([CODES], raw=True)
    odd.raw_input_contents[0] = b"abc"
    fewer = grpc_request([CODES], raw=True)
    del fewer.raw_input_contents[0]
    both = grpc_request([CODES], raw=True)
    both.inputs[0].contents.fp64_contents.append(1)
    negative = grpc_request([CODES])
    negative.inputs[0].shape[0] = -1
    unknown = grpc_request([CODES])
    unknown.inputs[0].datatype = "FP16"
    wrong_field = grpc_request([CODES])
    wrong_field.inputs[0].datatype = "FP32"
    asked = grpc_request([CODES], outputs=("nope",))
    for request in (empty, odd, fewer, both, negative, unknown, wrong_field, asked):
        assert refuse_rpc(stub, request).code() is grpc.StatusCode.INVALID_ARGUMENT


def test_an_unknown_model_or_version_is_not_found(predictor, stub):
    for path in ("/v1/models/other:predict", "/v2/models/other/infer", f"{V2.replace('/infer', '')}/versions/0/infer"):
        answer = predictor.client.post(path, json={"inputs": []})
        assert answer.status_code == 404
        assert answer.json()["detail"][0]["loc"][0] == "path"
    for fields in ({"model_name": "other"}, {"model_name": "credit-risk", "model_version": "0"}):
        assert refuse_rpc(stub, pb.ModelInferRequest(**fields)).code() is grpc.StatusCode.NOT_FOUND


def test_strangers_cannot_load_or_unload_models(predictor, stub):
    assert predictor.client.post("/v2/repository/models/credit-risk/unload").status_code == 404
    with pytest.raises(grpc.RpcError) as caught:
        stub.RepositoryModelUnload(pb.RepositoryModelUnloadRequest(model_name="credit-risk"))
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert predictor.client.get("/readyz").status_code == 200


def test_concurrent_requests_get_their_own_rows(predictor, rows, credit_scorer):
    listed, features = rows
    expected = credit_scorer.probabilities(features)

    def ask(index: int) -> float:
        return predictor.client.post(V1, json={"instances": [listed[index]]}).json()["predictions"][0]

    with ThreadPoolExecutor(16) as pool:
        got = list(pool.map(ask, [index % 50 for index in range(400)]))
    np.testing.assert_allclose(got, np.resize(expected, 400), atol=1e-12)
