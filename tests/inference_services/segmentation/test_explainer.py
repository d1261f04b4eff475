"""The explainer: what each feature says adds up, in figures and in words."""

from __future__ import annotations

import math

import numpy as np
import pytest

from blueprints.segmentation.features import FEATURES
from tests.inference_services.conftest import start
from tests.inference_services.documented import answers_as_documented
from tests.inference_services.segmentation.conftest import SEGMENTATION
from tests.inference_services.segmentation.test_predictor import plain
from tests.inference_services.segmentation.test_transformer import UNKNOWN
from tests.segment_model import IDS, NAMES, TITLES

EXPLAIN = "/v1/models/segmentation:explain"


def explained(server, instances):
    answer = server.client.post(EXPLAIN, json={"instances": instances})
    assert answer.status_code == 200, answer.text
    return answer.json()["explanations"]


def test_contributions_add_up_and_are_those_of_the_distances(segment_explainer, segmenter, customers):
    points = segmenter.preprocessing.transform(customers.matrix)
    squared = ((points[:, None] - segmenter.centers) ** 2).sum(axis=2)
    order = np.argsort(squared, axis=1)
    found = explained(segment_explainer, customers.ids.tolist())
    for row, explanation in enumerate(found):
        own, after = order[row, :2]
        assert (explanation["segment_id"], explanation["segment"]) == (IDS[own], TITLES[own])
        assert (explanation["next_segment_id"], explanation["next_segment"]) == (IDS[after], TITLES[after])
        contributions = [reason["contribution"] for reason in explanation["reasons"]]
        assert math.fsum(contributions) == pytest.approx(explanation["margin"], rel=1e-12, abs=1e-12)
        assert explanation["margin"] == pytest.approx(squared[row, after] - squared[row, own], rel=1e-4, abs=1e-4)
        assert contributions == sorted(contributions, reverse=True)
        assert sorted(reason["feature"] for reason in explanation["reasons"]) == sorted(NAMES)


def test_it_answers_as_the_transformer_does(segment_explainer, segment_servers, customers):
    ids = customers.ids.tolist()
    predicted = segment_servers["transformer"].client.post("/predict", json={"customer_ids": ids}).json()
    for one, explanation in zip(predicted["predictions"], explained(segment_explainer, ids), strict=True):
        del one["distances"]
        one["confidence"] = pytest.approx(one["confidence"], abs=1e-4)
        assert {name: explanation[name] for name in one} == one
        assert explanation["model_version"] == predicted["model_version"]


def test_reasons_are_in_plain_words(segment_explainer, segmenter, customers):
    (explanation,) = explained(segment_explainer, [{"customer_id": 2}])
    centroids = {one.name: one.centroid for one in segmenter.segments.segments}
    titles = {column.name: column.title for column in FEATURES}
    values = dict(zip(NAMES, customers.matrix[1].tolist(), strict=True))
    for reason in explanation["reasons"]:
        name, value = reason["feature"], values[reason["feature"]]
        assert reason["centroid"] == centroids[explanation["segment"]][name]
        assert reason["next_centroid"] == centroids[explanation["next_segment"]][name]
        assert reason["text"].startswith(f"{titles[name]}: ")
        if math.isnan(value):
            assert reason["value"] is None
            assert "not known, taken as " in reason["text"]
        else:
            assert reason["value"] == pytest.approx(value, rel=1e-6)
        near = explanation["segment" if reason["contribution"] >= 0 else "next_segment"]
        assert f"typical for '{near}' (centroid " in reason["text"]
    assert "days days" not in str(explanation)


def test_rows_of_features_are_explained_beside_customers(segment_explainer, customers):
    row = plain(customers.matrix[0])
    by_number, by_name, by_place = explained(segment_explainer, [{"customer_id": 1}, row, [*row.values()]])
    assert by_number.pop("customer_id") == 1
    assert by_number.pop("features_as_of") == "2024-06-01T00:00:00Z"
    assert by_name == by_place == by_number


@pytest.mark.parametrize(
    ("instance", "status", "loc"),
    [
        ({"customer_id": UNKNOWN}, 404, [1, "customer_id"]),
        (UNKNOWN, 404, [1]),
        ({"customer_id": -1}, 404, [1, "customer_id"]),
        ({"customer_id": 1, "monetary": 3}, 422, [1, "monetary"]),
        ({"customer_id": "1"}, 422, [1, "customer_id"]),
        ({"customer_id": 1.5}, 422, [1, "customer_id"]),
        (True, 422, [1]),
        ("1", 422, [1]),
        (None, 422, [1]),
        ({"monetary": 3}, 422, [1, "recency_days"]),
        ({}, 422, [1, "recency_days"]),
        ([1, 2], 422, [1]),
    ],
)
def test_what_cannot_be_explained_is_refused_with_its_place(segment_explainer, instance, status, loc):
    answer = segment_explainer.client.post(EXPLAIN, json={"instances": [1, instance]})
    assert answer.status_code == status, answer.text
    assert answer.json()["detail"][0]["loc"] == ["body", "instances", *loc]


def test_features_that_fit_no_column_are_refused(segment_explainer, customers):
    row = plain(customers.matrix[0])
    for name, value in (("recency_days", None), ("monetary", 1e300), ("frequency", 1.5), ("monetary", "3")):
        answer = segment_explainer.client.post(EXPLAIN, json={"instances": [3, {**row, name: value}]})
        assert answer.status_code == 422
        assert answer.json()["detail"][0]["loc"] == ["body", "instances", 1, name]


@pytest.mark.parametrize("body", [{}, [], {"instances": []}, {"instances": [1] * 1_001}, {"instances": [1], "x": 1}])
def test_bodies_without_instances_or_with_too_many_are_refused(segment_explainer, body):
    assert segment_explainer.client.post(EXPLAIN, json=body).status_code == 422


def test_it_explains_a_thousand_customers(segment_explainer):
    found = explained(segment_explainer, [1 + row % 299 for row in range(1_000)])
    assert [one["customer_id"] for one in found[:300]] == [*range(1, 300), 1]


def test_without_a_store_it_still_explains_rows(segment_package, customers, tmp_path):
    server = start("explainer", segment_package.folder, tmp_path, package=SEGMENTATION)
    try:
        server.wait("/healthz")
        assert server.client.get("/readyz").status_code == 503
        assert explained(server, [plain(customers.matrix[0])])[0]["segment_id"] in IDS
        answer = server.client.post(EXPLAIN, json={"instances": [{"customer_id": 1}]})
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    finally:
        server.stop()


def test_it_answers_as_documented(segment_explainer):
    answers_as_documented(segment_explainer, 404)
