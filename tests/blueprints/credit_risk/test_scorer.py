"""The scorer: exact SHAP values, monotone calibration, and weights that must fit the signature."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import shap
import xgboost
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from blueprints.credit_risk.scorer import POLICY, WEIGHTS, Calibration, CreditScorer, feature_types
from blueprints.model_package import ModelPackage, PackageError, write_package


@pytest.fixture(scope="module")
def features(credit_scorer: CreditScorer) -> np.ndarray:
    rng = np.random.default_rng(7)
    columns = [
        rng.integers(0, len(c.categories), 300) if c.kind == "category" else rng.uniform(c.minimum, c.maximum, 300)
        for c in credit_scorer.columns
    ]
    matrix = np.column_stack(columns).astype(np.float32)
    matrix[::9, -1] = np.nan
    return matrix


def test_contributions_and_base_value_sum_to_the_margin(credit_scorer: CreditScorer, features: np.ndarray):
    _, contributions, base_value = credit_scorer.explain(features)
    assert contributions.shape == features.shape
    assert np.abs(contributions.sum(1) + base_value - credit_scorer.margins(features)).max() < 1e-4


def test_contributions_equal_tree_explainer_on_a_model_with_categories(
    credit_scorer: CreditScorer, features: np.ndarray
):
    matrix = xgboost.DMatrix(
        features, feature_names=credit_scorer.booster.feature_names, feature_types=feature_types(credit_scorer.columns)
    )
    explainer = shap.TreeExplainer(credit_scorer.booster)
    values = explainer.shap_values(matrix)
    _, contributions, base_value = credit_scorer.explain(features)
    assert np.abs(values - contributions).max() < 1e-4
    assert abs(float(explainer.expected_value) - float(base_value[0])) < 1e-4


def test_probabilities_are_calibrated_margins(credit_scorer: CreditScorer, features: np.ndarray):
    margins, probabilities = credit_scorer.margins(features), credit_scorer.probabilities(features)
    order = np.argsort(margins)
    assert np.all(np.diff(probabilities[order]) >= 0)
    assert probabilities.min() >= 0.01
    assert probabilities.max() <= 0.99


@given(st.floats(-20, 20), st.floats(-20, 20))
def test_a_calibration_never_turns_two_risks_round(first: float, second: float):
    calibration = Calibration(method="x", margins=(-3, 0, 2), probabilities=(0.05, 0.5, 0.9))
    low, high = calibration(np.array(sorted([first, second])))
    assert 0.05 <= low <= high <= 0.9


@pytest.mark.parametrize(
    ("margins", "probabilities"),
    [
        ((0, 0), (0, 1)),
        ((1, 0), (0, 1)),
        ((0, 1), (1, 0)),
        ((0, 1), (0, 2)),
        ((0, 1, 2), (0, 1)),
        ((0, np.inf), (0, 1)),
    ],
)
def test_a_calibration_that_is_not_monotone_is_refused(margins: tuple, probabilities: tuple):
    with pytest.raises(ValidationError):
        Calibration(method="x", margins=margins, probabilities=probabilities)


@pytest.mark.parametrize(
    ("weights", "policy"), [(b"no model", None), (None, b"{}"), (None, json.dumps({"threshold": 2}).encode())]
)
def test_weights_or_a_policy_that_do_not_fit_are_refused(
    tmp_path: Path, credit_package: ModelPackage, weights: bytes | None, policy: bytes | None
):
    files = {
        WEIGHTS: weights or credit_package.read_bytes(WEIGHTS),
        POLICY: policy or credit_package.read_bytes(POLICY),
    }
    package = write_package(
        tmp_path / "p",
        files=files,
        signature=credit_package.signature,
        lineage=credit_package.lineage,
        reference=credit_package.reference(),
        model_card="",
    )
    with pytest.raises(PackageError):
        CreditScorer(package)


def test_weights_of_other_features_are_refused(tmp_path: Path, credit_package: ModelPackage):
    signature = credit_package.signature.model_copy(update={"inputs": credit_package.signature.inputs[::-1]})
    package = write_package(
        tmp_path / "p",
        files={name: credit_package.read_bytes(name) for name in (WEIGHTS, POLICY)},
        signature=signature,
        lineage=credit_package.lineage,
        reference=credit_package.reference(),
        model_card="",
    )
    with pytest.raises(PackageError, match="other features"):
        CreditScorer(package)
