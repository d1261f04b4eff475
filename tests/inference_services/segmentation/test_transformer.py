"""The transformer: a customer's features from a real online store, a real predictor behind it, and both gone."""

from __future__ import annotations

import json
import math
import signal
import sqlite3
import time

import grpc
import numpy as np
import pytest
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb
from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import GRPCInferenceServiceStub

from tests.inference_services.conftest import start
from tests.inference_services.documented import answers_as_documented
from tests.inference_services.segmentation.conftest import SEGMENTATION
from tests.online_stores import PASSWORD
from tests.segment_model import IDS, LARGEST, TITLES, fill_store

V1 = "/v1/models/segmentation:predict"
V2 = "/v2/models/segmentation/infer"
UNKNOWN = 10**12
BAD = [
    ("7", "not a string"),
    (7.5, "not a decimal number"),
    (True, "not a boolean"),
    (None, "not null"),
    ([7], "not an array"),
    (2**63, "at most 64 bits"),
    (-(2**63) - 1, "at most 64 bits"),
    (10**30, "at most 64 bits"),
    (2.0**60, "at most 64 bits"),
]


def tensor(ids, datatype="INT64"):
    return {"inputs": [{"name": "customer_id", "shape": [len(ids)], "datatype": datatype, "data": ids}]}


@pytest.fixture(scope="module")
def expected(segmenter, customers):
    return segmenter.assign(customers.matrix)


def test_every_customer_gets_the_segment_of_the_published_features(
    segment_transformer, segment_package, customers, expected
):
    ids = customers.ids.tolist()
    assert ids[-1] == LARGEST
    for path, body in (
        ("/predict", {"customer_ids": ids}),
        (V1, {"instances": [{"customer_id": customer} for customer in ids]}),
        (V1, {"instances": ids}),
    ):
        answer = segment_transformer.client.post(path, json=body).json()
        assert answer["model_version"] == segment_package.version
        found = answer["predictions"]
        assert [one["customer_id"] for one in found] == ids
        assert [one["segment_id"] for one in found] == [IDS[index] for index in expected.indices]
        assert [one["segment"] for one in found] == [TITLES[index] for index in expected.indices]
        assert {one["features_as_of"] for one in found} == {"2024-06-01T00:00:00Z"}
        assert list(found[0]["distances"]) == list(TITLES)
        distances = [[*one["distances"].values()] for one in found]
        np.testing.assert_allclose(distances, expected.distances, atol=1e-4)
        np.testing.assert_allclose([one["confidence"] for one in found], expected.confidence, atol=1e-4)
    outputs = segment_transformer.client.post(V2, json=tensor(ids)).json()["outputs"]
    assert [(one["name"], one["datatype"]) for one in outputs] == [
        ("customer_id", "INT64"),
        ("segment_id", "INT64"),
        ("segment", "BYTES"),
        ("distances", "FP32"),
        ("confidence", "FP32"),
        ("features_as_of", "BYTES"),
    ]
    assert outputs[0]["data"] == ids
    assert outputs[1]["data"] == [IDS[index] for index in expected.indices]


def test_one_customer_is_answered_with_all_there_is_to_say(segment_transformer, segment_package, expected):
    answer = segment_transformer.client.post("/predict", json={"customer_id": 3}).json()
    index = expected.indices[2]
    distances = dict(zip(TITLES, expected.distances[2].tolist(), strict=True))
    assert answer.pop("distances") == pytest.approx(distances, abs=1e-4)
    assert answer == {
        "customer_id": 3,
        "segment_id": IDS[index],
        "segment": TITLES[index],
        "confidence": pytest.approx(float(expected.confidence[2]), abs=1e-4),
        "features_as_of": "2024-06-01T00:00:00Z",
        "model_version": segment_package.version,
    }


def test_it_takes_customers_over_grpc(segment_transformer, expected):
    request = pb.ModelInferRequest(model_name="segmentation")
    added = request.inputs.add(name="customer_id", datatype="INT64", shape=[2])
    added.contents.int64_contents.extend([5, 5])
    with grpc.insecure_channel(segment_transformer.grpc_target) as channel:
        stub = GRPCInferenceServiceStub(channel)
        answer = stub.ModelInfer(request, timeout=20)
        assert list(answer.outputs[1].contents.int64_contents) == [IDS[expected.indices[4]]] * 2
        assert list(answer.outputs[5].contents.bytes_contents) == [b"2024-06-01T00:00:00Z"] * 2
        added.contents.int64_contents[1] = UNKNOWN
        with pytest.raises(grpc.RpcError) as caught:
            stub.ModelInfer(request, timeout=20)
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    assert caught.value.details() == f"inputs.customer_id[1]: customer {UNKNOWN} has no features in the online store"


@pytest.mark.parametrize("customer", [UNKNOWN, 0, -1, -(2**63)])
def test_unknown_customers_are_404_and_named_with_their_place(segment_transformer, customer):
    for path, body, loc in (
        ("/predict", {"customer_id": customer}, ["body", "customer_id"]),
        ("/predict", {"customer_ids": [1, customer]}, ["body", "customer_ids", 1]),
        (V1, {"instances": [{"customer_id": 1}, {"customer_id": customer}]}, ["body", "instances", 1, "customer_id"]),
        (V1, {"instances": [1, customer]}, ["body", "instances", 1]),
        (V2, tensor([1, customer]), ["body", "inputs", "customer_id", 1]),
    ):
        answer = segment_transformer.client.post(path, json=body)
        assert answer.status_code == 404, path
        (problem,) = answer.json()["detail"]
        assert problem == {
            "loc": loc,
            "msg": f"customer {customer} has no features in the online store",
            "type": "customer_not_found",
        }


def test_of_many_unknown_customers_the_first_twenty_are_named(segment_transformer):
    answer = segment_transformer.client.post("/predict", json={"customer_ids": [1, *range(5_000, 5_050)]})
    assert answer.status_code == 404
    assert [problem["loc"][-1] for problem in answer.json()["detail"]] == list(range(1, 21))


@pytest.mark.parametrize(("value", "reason"), BAD)
def test_what_is_no_number_of_a_customer_is_refused_with_its_place(segment_transformer, value, reason):
    for path, body, loc in (
        ("/predict", {"customer_id": value}, ["body", "customer_id"]),
        ("/predict", {"customer_ids": [1, value]}, ["body", "customer_ids", 1]),
        (V1, {"instances": [{"customer_id": 1}, {"customer_id": value}]}, ["body", "instances", 1, "customer_id"]),
        (V2, tensor([1, value]), ["body", "inputs", "customer_id", 1]),
    ):
        if path == V2 and type(value) is list:
            continue
        answer = segment_transformer.client.post(path, json=body)
        assert answer.status_code == 422, path
        (problem,) = answer.json()["detail"]
        assert problem["loc"] == loc
        assert reason in problem["msg"]


@pytest.mark.parametrize(
    "body",
    [
        [],
        7,
        None,
        {},
        {"customer_ids": []},
        {"customer_ids": {}},
        {"customer_ids": 7},
        {"customer_id": 7, "customer_ids": [7]},
        {"customer_id": 7, "age": 3},
        {"customer_id": {"customer_id": 7}},
        {"customer": 7},
        {"customer_ids": [1] * 10_001},
    ],
)
def test_other_bodies_are_refused(segment_transformer, body):
    assert segment_transformer.client.post("/predict", json=body).status_code == 422


@pytest.mark.parametrize(
    ("instances", "loc"),
    [
        ([{"customer_id": 1, "x": 1}], ["body", "instances", 0, "x"]),
        ([1, {}], ["body", "instances", 1, "customer_id"]),
        ([], ["body", "instances"]),
        ("1", ["body", "instances"]),
    ],
)
def test_other_instances_are_refused(segment_transformer, instances, loc):
    answer = segment_transformer.client.post(V1, json={"instances": instances})
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == loc


def test_a_whole_number_may_be_written_with_a_point(segment_transformer):
    for body in ({"customer_id": 7}, {"customer_id": 7.0}):
        answer = segment_transformer.client.post("/predict", json=body).json()
        assert (answer["customer_id"], type(answer["customer_id"])) == (7, int)


def test_wrong_tensors_are_refused(segment_transformer):
    for body in (tensor([]), tensor([1], "FP32"), tensor(["1"], "BYTES"), {"inputs": []}):
        assert segment_transformer.client.post(V2, json=body).status_code == 422
    assert segment_transformer.client.post(V2, json=tensor([1], "INT32")).status_code == 200


def test_bodies_that_are_no_json_or_hold_nan_are_refused(segment_transformer):
    for content in (b"", b"{", b'{"customer_id": NaN}', b'{"customer_id": Infinity}', json.dumps(math.nan).encode()):
        answer = segment_transformer.client.post(
            "/predict", content=content, headers={"content-type": "application/json"}
        )
        assert answer.status_code == 422
        assert answer.json()["detail"][0]["type"] == "json_invalid"


def test_ten_thousand_customers_are_answered_in_their_order(segment_transformer, expected):
    ids = [1 + row % 299 for row in range(10_000)]
    found = segment_transformer.client.post("/predict", json={"customer_ids": ids}).json()["predictions"]
    assert [one["customer_id"] for one in found] == ids
    assert [one["segment_id"] for one in found] == [IDS[expected.indices[number - 1]] for number in ids]


def test_it_answers_as_documented(segment_servers):
    answers_as_documented(segment_servers["transformer"], 404)


def copied(customers, folder):
    """A store of one's own, that can be taken away."""
    data = folder / "data"
    data.mkdir()
    with sqlite3.connect(customers.folder / "online.db") as source, sqlite3.connect(data / "online.db") as target:
        source.backup(target)
    return data


def until(server, path, status, seconds=20, **body):
    deadline = time.monotonic() + seconds
    while (answer := server.client.request("POST" if body else "GET", path, **body)).status_code != status:
        assert time.monotonic() < deadline, answer.text
        time.sleep(0.05)
    return answer


def test_a_store_that_is_gone_is_503_and_found_again_without_a_restart(
    segment_package, segment_predictor, customers, tmp_path
):
    data = copied(customers, tmp_path)
    hidden = data.rename(tmp_path / "hidden")
    host = f"--predictor_host=127.0.0.1:{segment_predictor.http_port}"
    model, store = segment_package.folder, {"FEATURE_STORE_DATA": str(data)}
    server = start("transformer", model, tmp_path, host, package=SEGMENTATION, **store)
    ask = {"json": {"customer_id": 1}}
    try:
        server.wait("/healthz")
        # Who never saw the store is not ready, so that a wrong one does not replace a working one.
        assert server.client.get("/readyz").status_code == 503
        hidden.rename(data)
        until(server, "/readyz", 200)
        before = until(server, "/predict", 200, **ask).json()

        data.rename(hidden)
        answer = server.client.post("/predict", **ask)
        assert answer.status_code == 503
        assert answer.headers["retry-after"] == "1"
        (problem,) = answer.json()["detail"]
        assert problem["type"] == "unavailable"
        assert "materialize the features" in problem["msg"]
        assert str(tmp_path) not in answer.text
        assert server.client.post(V2, json=tensor([1])).status_code == 503
        assert server.client.get("/readyz").status_code == 200
        # What is wrong is told before the store is asked.
        assert server.client.post("/predict", json={"customer_id": "1"}).status_code == 422

        hidden.rename(data)
        assert until(server, "/predict", 200, **ask).json() == before
    finally:
        assert server.stop() == 0


@pytest.mark.parametrize(
    ("kind", "ends"),
    [
        # Redis keeps what it holds only if it ends in order.
        ("redis", (signal.SIGTERM, signal.SIGINT)),
        ("postgres", (signal.SIGQUIT, signal.SIGINT)),
    ],
)
def test_a_database_that_goes_away_is_503_and_found_again_without_a_restart(
    segment_package, segment_predictor, empty_store, request, tmp_path, kind, ends
):
    store, database = empty_store(kind), request.getfixturevalue("redis_server" if kind == "redis" else kind)
    fill_store(tmp_path / "data", f"duckdb:///{tmp_path}/warehouse.duckdb", **store)
    host = f"--predictor_host=127.0.0.1:{segment_predictor.http_port}"
    server = start("transformer", segment_package.folder, tmp_path, host, package=SEGMENTATION, **store)
    ask = {"json": {"customer_ids": [3, LARGEST]}}
    try:
        server.wait("/readyz")
        before = server.client.post("/predict", **ask).json()
        # Twice, as the second one meets connections that were made after the first.
        for how in ends:
            database.stop(how)
            try:
                for _ in range(3):
                    began = time.monotonic()
                    answer = server.client.post("/predict", **ask)
                    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
                    assert answer.json()["detail"][0]["type"] == "unavailable"
                    assert time.monotonic() - began < 3
                    assert PASSWORD not in answer.text
                assert server.client.post(V2, json=tensor([3])).status_code == 503
                # Readiness of one replica cannot help: the store is the same for all.
                assert server.client.get("/readyz").status_code == 200
            finally:
                database.start()
            assert until(server, "/predict", 200, **ask).json() == before
    finally:
        assert server.stop() == 0


def test_a_redis_that_hangs_is_503_in_time(segment_package, segment_predictor, empty_store, redis_server, tmp_path):
    store = empty_store("redis")
    fill_store(tmp_path / "data", f"duckdb:///{tmp_path}/warehouse.duckdb", **store)
    host = f"--predictor_host=127.0.0.1:{segment_predictor.http_port}"
    server = start("transformer", segment_package.folder, tmp_path, host, package=SEGMENTATION, **store)
    ask = {"json": {"customer_id": 3}}
    try:
        server.wait("/readyz")
        redis_server.process.send_signal(signal.SIGSTOP)
        try:
            began = time.monotonic()
            assert server.client.post("/predict", **ask).status_code == 503
            assert time.monotonic() - began < 5
        finally:
            redis_server.process.send_signal(signal.SIGCONT)
        until(server, "/predict", 200, **ask)
    finally:
        assert server.stop() == 0


def test_features_that_do_not_fit_the_model_are_no_fault_of_the_caller(
    segment_package, segment_predictor, customers, tmp_path
):
    data = copied(customers, tmp_path)
    with sqlite3.connect(data / "online.db") as store:
        table = '"segmentation_customer_features"'
        store.execute(f"UPDATE {table} SET value = X'2000' WHERE feature_name = 'frequency'")  # noqa: S608
    host = f"--predictor_host=127.0.0.1:{segment_predictor.http_port}"
    server = start(
        "transformer", segment_package.folder, tmp_path, host, package=SEGMENTATION, FEATURE_STORE_DATA=str(data)
    )
    try:
        server.wait("/readyz")
        answer = server.client.post("/predict", json={"customer_ids": [2, 1]})
        assert answer.status_code == 503
        assert "customer 2.frequency: must be at least 1, not 0" in answer.json()["detail"][0]["msg"]
    finally:
        server.stop()


def test_a_predictor_that_is_gone_is_503(segment_package, customers, tmp_path):
    model, store = segment_package.folder, {"FEATURE_STORE_DATA": str(customers.folder)}
    server = start("transformer", model, tmp_path, "--predictor_host=127.0.0.1:9", package=SEGMENTATION, **store)
    try:
        server.wait("/healthz")
        assert server.client.get("/readyz").status_code == 503
        answer = server.client.post("/predict", json={"customer_id": 1})
        assert answer.status_code == 503
        assert "predictor" in answer.json()["detail"][0]["msg"]
        assert server.client.post("/predict", json={"customer_id": UNKNOWN}).status_code == 404
    finally:
        server.stop()


@pytest.mark.parametrize(
    ("environment", "reason"),
    [
        ({"FEATURE_STORE_CONFIG": "nowhere.yaml"}, "nowhere.yaml: cannot be read"),
        (
            {"FEATURE_STORE_CONFIG": "manifests/feature_store/feature_store.redis.yaml"},
            "set the environment variable FEATURE_STORE_REDIS",
        ),
    ],
)
def test_a_configuration_that_cannot_be_used_ends_the_server_with_the_reason(
    segment_package, tmp_path, environment, reason
):
    host = "--predictor_host=127.0.0.1:9"
    server = start("transformer", segment_package.folder, tmp_path, host, package=SEGMENTATION, **environment)
    assert server.process.wait(60) == 1
    assert reason in server.log.read_text()
    server.client.close()
