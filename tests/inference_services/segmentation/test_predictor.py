"""The predictor: the model's own answers over every protocol, and reasons for what is refused."""

from __future__ import annotations

import math

import grpc
import numpy as np
import pytest
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb
from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import GRPCInferenceServiceStub

from blueprints.segmentation.features import FEATURES
from tests.inference_services.documented import answers_as_documented
from tests.segment_model import IDS, NAMES, TITLES

V1 = "/v1/models/segmentation:predict"
V2 = "/v2/models/segmentation/infer"
WHOLE = {column.name for column in FEATURES if column.kind == "integer"}
NULLABLE = {column.name for column in FEATURES if column.nullable}


def plain(row):
    """A feature row as JSON has it, by name."""
    return {
        name: None if math.isnan(value) else int(value) if name in WHOLE else value
        for name, value in zip(NAMES, row.tolist(), strict=True)
    }


def tensors(rows):
    return [
        {
            "name": name,
            "shape": [len(rows)],
            "datatype": "INT32" if name in WHOLE else "FP64",
            "data": [row[name] for row in rows],
        }
        for name in NAMES
    ]


def rpc_request(rows):
    request = pb.ModelInferRequest(model_name="segmentation")
    for tensor in tensors(rows):
        kind = np.int32 if tensor["datatype"] == "INT32" else np.float64
        request.inputs.add(name=tensor["name"], datatype=tensor["datatype"], shape=tensor["shape"])
        request.raw_input_contents.append(np.array(tensor["data"], kind).tobytes())
    return request


def by_name(outputs):
    return {output["name"]: output for output in outputs}


def test_it_gives_the_models_answers_over_every_protocol(segment_predictor, segmenter, segment_package, customers):
    expected = segmenter.assign(customers.matrix)
    ids, names = np.array(IDS)[expected.indices].tolist(), [TITLES[index] for index in expected.indices]
    rows = [plain(row) for row in customers.matrix]
    v2 = segment_predictor.client.post(V2, json={"inputs": tensors(rows)}).json()
    assert v2["model_version"] == segment_package.version
    outputs = by_name(v2["outputs"])
    assert [(one["name"], one["datatype"], one["shape"]) for one in v2["outputs"]] == [
        ("segment_id", "INT64", [300]),
        ("segment", "BYTES", [300]),
        ("distances", "FP32", [300, 3]),
        ("confidence", "FP32", [300]),
    ]
    assert outputs["segment_id"]["data"] == ids
    assert outputs["segment"]["data"] == names
    np.testing.assert_allclose(np.reshape(outputs["distances"]["data"], (300, 3)), expected.distances, atol=1e-4)
    np.testing.assert_allclose(outputs["confidence"]["data"], expected.confidence, atol=1e-4)
    for instances in (rows, [list(row.values()) for row in rows]):
        v1 = segment_predictor.client.post(V1, json={"instances": instances}).json()
        assert v1["model_version"] == segment_package.version
        assert [one["segment_id"] for one in v1["predictions"]] == ids
        assert [one["segment"] for one in v1["predictions"]] == names
        assert list(v1["predictions"][0]["distances"]) == list(TITLES)
        distances = [[*one["distances"].values()] for one in v1["predictions"]]
        np.testing.assert_allclose(distances, expected.distances, atol=1e-4)
    for row in rows:
        row.update({name: math.nan for name, value in row.items() if value is None})
    with grpc.insecure_channel(segment_predictor.grpc_target) as channel:
        answer = GRPCInferenceServiceStub(channel).ModelInfer(rpc_request(rows), timeout=20)
    assert np.frombuffer(answer.raw_output_contents[0], np.int64).tolist() == ids
    distances = np.frombuffer(answer.raw_output_contents[2], np.float32).reshape(300, 3)
    np.testing.assert_allclose(distances, expected.distances, atol=1e-4)


def test_only_the_outputs_that_are_asked_for_come(segment_predictor, customers):
    body = {"inputs": tensors([plain(customers.matrix[0])]), "outputs": [{"name": "confidence"}, {"name": "segment"}]}
    answer = segment_predictor.client.post(V2, json=body).json()
    assert [one["name"] for one in answer["outputs"]] == ["confidence", "segment"]


def test_some_customers_have_missing_values(customers):
    """So that the tests above tell something about them."""
    missing = {name for name, column in zip(NAMES, customers.matrix.T, strict=True) if np.isnan(column).any()}
    assert missing == NULLABLE


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("recency_days", None, "must be a number"),
        ("recency_days", 0, "must be at least 1 days"),
        ("recency_days", 2.5, "must be a whole number"),
        ("frequency", "3", "not a string"),
        ("frequency", True, "not a boolean"),
        ("monetary", [1.0], "not an array"),
        ("monetary", None, "not null"),
        ("monetary", 1e300, "must be at most"),
        ("mean_gap_days", {}, "not an object"),
        ("mean_gap_days", -1e39, "must be at least"),
    ],
)
def test_values_that_fit_no_column_are_refused_in_json(segment_predictor, customers, name, value, reason):
    good = plain(customers.matrix[0])
    rows = [good, {**good, name: value}]
    answer = segment_predictor.client.post(V1, json={"instances": rows})
    assert answer.status_code == 422
    (problem,) = answer.json()["detail"]
    assert problem["loc"] == ["body", "instances", 1, name]
    assert reason in problem["msg"]
    answer = segment_predictor.client.post(V2, json={"inputs": tensors(rows)})
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"][:3] == ["body", "inputs", name]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e300, 3e38, 2e15])
@pytest.mark.parametrize("name", ["monetary", "mean_gap_days", "average_quantity"])
def test_values_that_are_not_finite_or_too_far_out_are_refused_over_grpc(segment_predictor, customers, name, value):
    row = {other: math.nan if held is None else held for other, held in plain(customers.matrix[2]).items()}
    request = rpc_request([{**row, name: value}])
    with grpc.insecure_channel(segment_predictor.grpc_target) as channel:
        stub = GRPCInferenceServiceStub(channel)
        if math.isnan(value) and name in NULLABLE:
            assert len(stub.ModelInfer(request, timeout=20).outputs) == 4
            return
        with pytest.raises(grpc.RpcError) as caught:
            stub.ModelInfer(request, timeout=20)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert caught.value.details().startswith(f"inputs.{name}[0]: must be ")


def test_the_largest_values_are_answered_with_and_without_a_logarithm(segment_predictor, segmenter, customers):
    logged = dict(zip(NAMES, segmenter.preprocessing.logged, strict=True))
    document = segment_predictor.client.get("/openapi.json").json()
    body = document["paths"][V1]["post"]["requestBody"]["content"]["application/json"]["schema"]
    fields = body["properties"]["instances"]["items"]["oneOf"][0]["properties"]
    for name in ("monetary", "average_quantity"):
        row = {**plain(customers.matrix[2]), name: fields[name]["maximum"]}
        (prediction,) = segment_predictor.client.post(V1, json={"instances": [row]}).json()["predictions"]
        assert all(np.isfinite(distance) for distance in prediction["distances"].values())
    assert [bool(logged[name]) for name in ("monetary", "average_quantity")] == [True, False]


def test_wrong_types_and_shapes_are_refused(segment_predictor, customers):
    good = tensors([plain(customers.matrix[0])])
    for change, place, word in (
        ({"datatype": "BYTES"}, "datatype", "INT32 or INT64"),
        ({"datatype": "FP64"}, "datatype", "INT32 or INT64"),
        ({"shape": [1, 2], "data": [1, 2]}, "shape", "must be [n]"),
        ({"data": [1, 2]}, "data", "holds 2 values"),
        ({"shape": [0], "data": []}, "shape", "holds 0 rows, but"),
        ({"shape": [2], "data": [1, 2]}, "shape", "holds 2 rows, but"),
    ):
        answer = segment_predictor.client.post(V2, json={"inputs": [*good[1:], {**good[0], **change}]})
        assert answer.status_code == 422, change
        (problem,) = answer.json()["detail"]
        assert problem["loc"][-1] == place
        assert word in problem["msg"]
    empty = segment_predictor.client.post(V2, json={"inputs": [{**one, "shape": [0], "data": []} for one in good]})
    assert "the batch is empty" in empty.json()["detail"][0]["msg"]
    missing = segment_predictor.client.post(V2, json={"inputs": good[1:]})
    assert missing.json()["detail"][0]["msg"] == "missing tensors: recency_days"


def test_many_rows_are_answered_and_more_are_refused(segment_predictor, segmenter, customers):
    row = [*plain(customers.matrix[0]).values()]
    answer = segment_predictor.client.post(V1, json={"instances": [row] * 10_000})
    assert len(answer.json()["predictions"]) == 10_000
    assert segment_predictor.client.post(V1, json={"instances": [row] * 10_001}).status_code == 422
    for body in ({}, [], {"instances": []}, {"instances": [row], "x": 1}, {"instances": [row[:-1]]}):
        assert segment_predictor.client.post(V1, json=body).status_code == 422


def test_its_example_can_be_sent_and_it_counts_segments(segment_predictor):
    document = segment_predictor.client.get("/openapi.json").json()
    content = document["paths"][V1]["post"]["requestBody"]["content"]["application/json"]
    (prediction,) = segment_predictor.client.post(V1, json=content["example"]).json()["predictions"]
    assert prediction["segment_id"] == IDS[0]
    assert prediction["confidence"] > 0.5
    metrics = segment_predictor.client.get("/metrics").text
    assert 'model_predictions_bucket{le="2",model_version=' in metrics
    assert 'output="segment"' in metrics


def test_it_answers_as_documented(segment_predictor):
    answers_as_documented(segment_predictor)
