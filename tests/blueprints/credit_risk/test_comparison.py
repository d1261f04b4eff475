"""Champion against challenger: who may be promoted, and why."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pytest
from sklearn.metrics import roc_auc_score

from blueprints.credit_risk.application import encode_frame
from blueprints.credit_risk.comparison import compare
from blueprints.credit_risk.packaging import OUTPUT
from blueprints.credit_risk.scorer import POLICY, WEIGHTS
from blueprints.credit_risk.training import TrainingConfig, fit_booster, train
from blueprints.model_package import Lineage, Signature, write_package


def write(folder, model):
    return write_package(
        folder,
        files={WEIGHTS: bytes(model.booster.save_raw("ubj")), POLICY: model.policy.model_dump_json().encode()},
        signature=Signature(model_name="credit-risk", inputs=model.columns, outputs=(OUTPUT,)),
        lineage=Lineage(
            created_at=datetime(2026, 1, 1, tzinfo=UTC), dataset="loans", dataset_version="1", dataset_sha256="0" * 64
        ),
        reference=pa.table({"x": [1]}),
        model_card="",
    )


@pytest.fixture(scope="module")
def test_rows(make_loans):
    return make_loans(1_500, 7)


@pytest.fixture(scope="module")
def good(loans_model, tmp_path_factory):
    return write(tmp_path_factory.mktemp("good") / "package", loans_model)


@pytest.fixture(scope="module")
def poor(loans_model, make_loans, tmp_path_factory):
    """A model of the same columns that learned from shuffled outcomes, mixed with few true ones."""
    frame = make_loans(1_500, 1)
    target = frame["defaulted"].to_numpy().copy()
    target[300:] = np.random.default_rng(0).permutation(target[300:])
    parameters = {**loans_model.report.parameters, "scale_pos_weight": 1.0}
    parameters.pop("rounds")
    booster = fit_booster(encode_frame(frame, loans_model.columns), target, loans_model.columns, parameters, 10)
    from dataclasses import replace

    return write(tmp_path_factory.mktemp("poor") / "package", replace(loans_model, booster=booster))


def test_a_first_model_is_promoted_if_it_reaches_the_minimum(good, test_rows, loans_schema):
    verdict = compare(good, None, test_rows, loans_schema, minimum_auc=0.7)
    assert verdict.promote
    assert (verdict.challenger, verdict.champion, verdict.auc_difference) == (good.version, "", None)
    assert "no champion yet" in verdict.reason
    assert "reaches the minimum 0.7" in verdict.reason
    refused = compare(good, None, test_rows, loans_schema, minimum_auc=0.99)
    assert not refused.promote
    assert "is below the minimum 0.99" in refused.reason


def test_a_better_model_is_promoted(good, poor, test_rows, loans_schema, loans_model):
    verdict = compare(good, poor, test_rows, loans_schema)
    assert verdict.promote
    assert verdict.champion == poor.version
    assert 0 < verdict.auc_difference.low < verdict.auc_difference.value < verdict.auc_difference.high
    auc = roc_auc_score(test_rows["defaulted"], loans_model.probabilities(test_rows))
    assert f"ROC-AUC {auc:.4f}" in verdict.reason
    assert "within the tolerance" in verdict.reason


def test_a_model_that_is_worse_beyond_the_tolerance_is_not(good, poor, test_rows, loans_schema):
    verdict = compare(poor, good, test_rows, loans_schema, minimum_auc=0.5)
    assert not verdict.promote
    assert verdict.auc_difference.value < 0
    assert verdict.cost_difference > 0
    assert "beyond the tolerance of 0.005" in verdict.reason
    assert compare(poor, good, test_rows, loans_schema, minimum_auc=0.5, tolerance=0.4).promote


def test_the_two_directions_mirror_each_other(good, poor, test_rows, loans_schema):
    one, other = (compare(*pair, test_rows, loans_schema) for pair in ((good, poor), (poor, good)))
    assert one.auc_difference.value == pytest.approx(-other.auc_difference.value)
    assert one.auc_difference.low == pytest.approx(-other.auc_difference.high)
    assert one.cost_difference == pytest.approx(-other.cost_difference)


def test_a_better_model_below_the_minimum_is_not_promoted(good, poor, test_rows, loans_schema):
    verdict = compare(good, poor, test_rows, loans_schema, minimum_auc=0.99)
    assert not verdict.promote
    assert verdict.reason.endswith("but below the minimum 0.99")


def test_the_champion_itself_may_stay(good, test_rows, loans_schema):
    verdict = compare(good, good, test_rows, loans_schema)
    assert verdict.promote
    assert verdict.auc_difference.value == verdict.auc_difference.low == verdict.cost_difference == 0
    assert "it is the champion already" in verdict.reason


def test_a_champion_of_other_columns_cannot_be_compared(good, credit_package, test_rows, loans_schema):
    verdict = compare(good, credit_package, test_rows, loans_schema)
    assert not verdict.promote
    assert verdict.auc_difference is None
    assert "the champion needs other columns (credit_limit, age_of_account, late_payments)" in verdict.reason
    assert "register this model under a name of its own" in verdict.reason


def test_a_champion_of_fewer_columns_can(good, make_loans, test_rows, loans_schema, tmp_path):
    fewer = loans_schema.model_copy(
        update={"columns": tuple(column for column in loans_schema.columns if column.name != "income")}
    )
    model = train(make_loans(600, 1), make_loans(300, 2), fewer, TrainingConfig(trials=1, max_rounds=30))
    verdict = compare(good, write(tmp_path / "package", model), test_rows, loans_schema)
    assert verdict.promote
    assert verdict.auc_difference.value > 0


def test_other_words_for_the_same_columns_do_not_matter(good, test_rows, loans_schema):
    columns = tuple(column.model_copy(update={"title": "x", "description": "y"}) for column in loans_schema.columns)
    assert compare(good, good, test_rows, loans_schema.model_copy(update={"columns": columns})).promote
