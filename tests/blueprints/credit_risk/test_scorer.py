"""The scorer: exact SHAP values, monotone calibration, and weights that must fit the signature."""

from __future__ import annotations

import json
from functools import cache
from itertools import combinations
from math import comb
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import shap
import xgboost
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from blueprints.credit_risk.scorer import POLICY, WEIGHTS, Calibration, CreditScorer, feature_types
from blueprints.model_package import ModelPackage, PackageError, write_package
from blueprints.schema import Column


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


def expectation(node: dict, row: dict[str, float], known: set[str]) -> float:
    """Expected output of a tree where only the known features are given: Lundberg et al. (2020), algorithm 1.

    At a known feature it follows the row, at any other it weighs both sides with the training rows that went there.
    """
    if "leaf" in node:
        return node["leaf"]
    children = {child["nodeid"]: child for child in node["children"]}
    if node["split"] in known:
        value = row[node["split"]]
        below = np.float32(value) < np.float32(node["split_condition"])
        side = "missing" if np.isnan(value) else "yes" if below else "no"
        return expectation(children[node[side]], row, known)
    return sum(child["cover"] * expectation(child, row, known) for child in children.values()) / node["cover"]


def exact_shapley_values(trees: list[dict], row: dict[str, float]) -> list[float]:
    """Shapley values of the game `expectation` by their definition: every subset of the other features."""

    @cache
    def worth(known: frozenset[str]) -> float:
        return sum(expectation(tree, row, set(known)) for tree in trees)

    n = len(row)
    return [
        sum(
            (worth(frozenset(others) | {name}) - worth(frozenset(others))) / (n * comb(n - 1, size))
            for size in range(n)
            for others in combinations([other for other in row if other != name], size)
        )
        for name in row
    ]


def test_contributions_are_shapley_values_by_their_definition(tmp_path: Path, credit_package: ModelPackage):
    rng = np.random.default_rng(3)
    rows = rng.normal(size=(400, 5)).astype(np.float32)
    rows[rng.random(400) < 0.3, 4] = np.nan
    risk = rows[:, 0] * rows[:, 1] + rows[:, 2] - 0.5 * rows[:, 3] + np.where(np.isnan(rows[:, 4]), 1.5, rows[:, 4])
    columns = tuple(Column(name=name, kind="number", nullable=name == "e") for name in "abcde")
    names = [column.name for column in columns]
    matrix = xgboost.DMatrix(rows, risk + rng.normal(size=400) > 1, feature_names=names)
    parameters = {"objective": "binary:logistic", "max_depth": 3, "eta": 0.5, "base_score": 0.3, "nthread": 1}
    booster = xgboost.train(parameters, matrix, 8)
    package = write_package(
        tmp_path / "p",
        files={WEIGHTS: bytes(booster.save_raw("ubj")), POLICY: credit_package.read_bytes(POLICY)},
        signature=credit_package.signature.model_copy(update={"inputs": columns}),
        lineage=credit_package.lineage,
        reference=pa.table({name: rows[:, index] for index, name in enumerate(names)}),
        model_card="",
    )
    trees = [json.loads(tree) for tree in booster.get_dump(with_stats=True, dump_format="json")]
    sample = rows[:40]
    exact = np.array([exact_shapley_values(trees, dict(zip(names, row, strict=True))) for row in sample])
    nothing_known = sum(expectation(tree, {}, set()) for tree in trees)

    explained = CreditScorer(package).explain(sample)

    assert np.isnan(sample[:, 4]).any()
    assert (np.abs(exact).max(axis=0) > 0.1).all()
    assert np.abs(explained.contributions - exact).max() <= 1e-4
    assert np.abs(explained.base_values - (np.log(0.3 / 0.7) + nothing_known)).max() <= 1e-4


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
