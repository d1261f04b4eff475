"""The explainer as a process: exact values, plain reasons, plots."""

from __future__ import annotations

import asyncio
import json
import time
import xml.etree.ElementTree as ET

import numpy as np
import pandas as pd
import pytest
import shap

from blueprints.credit_risk.application import decode_features
from blueprints.credit_risk.scorer import POLICY, WEIGHTS
from blueprints.model_package import open_package, write_package
from inference_services.credit_risk.explainer import CreditExplainer
from tests.conftest import CREDIT_COLUMNS, credit_features
from tests.inference_services.bad_input import APPLICATION, BAD_JSON_VALUES

EXPLAIN = "/v1/models/credit-risk:explain"
JSON = {"content-type": "application/json"}


def test_values_are_the_scorers_and_sum_to_the_margin(explainer, credit_scorer):
    features = credit_features(30, seed=13)
    applications = decode_features(features, CREDIT_COLUMNS)
    explanations = explainer.client.post(EXPLAIN, json={"instances": applications}).json()["explanations"]
    _, contributions, base_value = credit_scorer.explain(features)
    for row, explanation in enumerate(explanations):
        assert list(explanation["contributions"]) == [column.name for column in CREDIT_COLUMNS]
        np.testing.assert_allclose(list(explanation["contributions"].values()), contributions[row], atol=1e-6)
        assert (
            abs(sum(explanation["contributions"].values()) + explanation["base_value"] - explanation["margin"]) < 1e-4
        )
        assert explanation["base_value"] == pytest.approx(float(base_value[row]), abs=1e-6)
        assert explanation["model_version"] == credit_scorer.version


def test_it_agrees_with_the_decision_of_the_transformer(explainer, transformer):
    decision = transformer.client.post("/predict", json={**APPLICATION, "decision_id": "explained"}).json()
    body = {"instances": [{**APPLICATION, "decision_id": "explained"}]}
    explanation = explainer.client.post(EXPLAIN, json=body).json()["explanations"][0]
    for field in ("probability_of_default", "decision", "threshold", "model_version", "decision_id"):
        assert explanation[field] == decision[field]


def test_reasons_for_a_decline_name_what_raised_the_risk_in_words(explainer):
    bad = {**APPLICATION, "late_payments": 12, "utilisation": 1.9, "credit_limit": 20_000}
    explanation = explainer.client.post(EXPLAIN, json={"instances": [bad]}).json()["explanations"][0]
    assert explanation["decision"] == "decline"
    reasons = explanation["reasons"]
    assert 1 <= len(reasons) <= 4
    assert [r["contribution"] for r in reasons] == sorted((r["contribution"] for r in reasons), reverse=True)
    assert all(reason["contribution"] > 0 for reason in reasons)
    assert any(r["text"].startswith("Late payments in the last year: 12, above the typical ") for r in reasons)


def test_what_the_trainer_calls_protected_is_never_a_reason_though_it_counts(credit_package, tmp_path):
    lineage = credit_package.lineage.model_copy(update={"parameters": {"protected": ["late_payments", "housing"]}})
    package = write_package(
        tmp_path / "package",
        files={name: credit_package.read_bytes(name) for name in (WEIGHTS, POLICY)},
        signature=credit_package.signature,
        lineage=lineage,
        reference=credit_package.reference(),
        model_card="",
    )

    async def reasons_of(served) -> list[set[str]]:
        explainer = CreditExplainer("credit-risk", served, max_rows=100)
        applications = decode_features(credit_features(40, seed=5), CREDIT_COLUMNS)
        explanations = await explainer.explanations(applications, with_plot=False)
        assert all("late_payments" in explanation["contributions"] for explanation in explanations)
        return [{reason["feature"] for reason in explanation["reasons"]} for explanation in explanations]

    protected = {"late_payments", "housing"}
    assert any(named & protected for named in asyncio.run(reasons_of(credit_package)))
    assert not any(named & protected for named in asyncio.run(reasons_of(open_package(package.folder))))


def test_a_plot_comes_on_request_inside_json_or_alone(explainer):
    body = {"instances": [APPLICATION], "parameters": {"plot": "waterfall"}}
    inside = explainer.client.post(EXPLAIN, json=body).json()["explanations"][0]["plot"]
    alone = explainer.client.post(EXPLAIN, json={"instances": [APPLICATION]}, headers={"accept": "image/svg+xml"})
    assert alone.headers["content-type"] == "image/svg+xml"
    assert alone.text == inside
    assert ET.fromstring(inside).tag.endswith("svg")  # noqa: S314 - our own drawing
    assert "plot" not in explainer.client.post(EXPLAIN, json={"instances": [APPLICATION]}).json()["explanations"][0]


@pytest.mark.parametrize(("field", "value"), BAD_JSON_VALUES)
def test_bad_values_are_refused_with_their_place(explainer, field, value):
    content = json.dumps({"instances": [APPLICATION, {**APPLICATION, field: value}]})
    answer = explainer.client.post(EXPLAIN, content=content, headers=JSON)
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["body", "instances", 1, field]


@pytest.mark.parametrize(
    "parameters", [5, [], {"plot": "force"}, {"plot": None}, {"plot": ["waterfall"]}, {"other": 1}]
)
def test_unknown_parameters_are_refused(explainer, parameters):
    answer = explainer.client.post(EXPLAIN, json={"instances": [APPLICATION], "parameters": parameters})
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"][:2] == ["body", "parameters"]


def test_a_plot_is_of_one_application_and_plots_are_few(explainer):
    two = {"instances": [APPLICATION] * 2}
    assert explainer.client.post(EXPLAIN, json=two, headers={"accept": "image/svg+xml"}).status_code == 422
    many = {"instances": [APPLICATION] * 51, "parameters": {"plot": "waterfall"}}
    assert explainer.client.post(EXPLAIN, json=many).status_code == 422


def test_it_explains_and_does_not_predict(explainer):
    assert explainer.client.post("/v1/models/credit-risk:predict", json={}).status_code == 404
    assert explainer.client.post("/v1/models/other:explain", json={}).status_code == 404


def test_an_explanation_costs_a_fraction_of_a_new_tree_explainer(credit_scorer):
    features = credit_features(1, seed=1)
    frame = pd.DataFrame(features, columns=[column.name for column in CREDIT_COLUMNS])

    def seconds(work, times: int) -> float:
        work()
        taken = []
        for _ in range(times):
            started = time.perf_counter()
            work()
            taken.append(time.perf_counter() - started)
        return float(np.median(taken))

    def served() -> None:
        credit_scorer.probabilities(features)
        credit_scorer.explain(features)

    new_explainer = seconds(lambda: shap.TreeExplainer(credit_scorer.booster).shap_values(frame), 5)
    assert seconds(served, 50) * 5 < new_explainer
