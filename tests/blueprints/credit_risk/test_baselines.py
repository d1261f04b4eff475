"""The baselines: real competitors that see what the scorecard sees."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from blueprints.credit_risk.baselines import LIGHTGBM, SCORECARD, baseline_scores


@pytest.fixture(scope="module")
def parts(make_loans):
    return make_loans(1_500, 1), make_loans(800, 3)


def test_both_baselines_rank_and_give_probabilities(parts, loans_schema):
    training, test = parts
    scores = baseline_scores(training, test, loans_schema)
    assert list(scores) == [SCORECARD, LIGHTGBM]
    for score in scores.values():
        assert score.shape == (800,)
        assert 0 <= score.min() <= score.max() <= 1
        assert roc_auc_score(test["defaulted"], score) > 0.75


def test_equal_seeds_give_equal_scores(parts, loans_schema):
    one, two = (baseline_scores(*parts, loans_schema, seed=4) for _ in range(2))
    for name, score in one.items():
        np.testing.assert_array_equal(score, two[name])


def test_protected_columns_change_nothing_unless_asked_for(parts, loans_schema):
    training, test = parts
    turned = test.assign(age=108 - test["age"], sex=test["sex"].cat.rename_categories(["male", "female"]))
    for protected in (False, True):
        before = baseline_scores(training, test, loans_schema, with_protected=protected)[LIGHTGBM]
        after = baseline_scores(training, turned, loans_schema, with_protected=protected)[LIGHTGBM]
        assert np.array_equal(before, after) != protected


def test_the_scorecard_bins_a_risk_that_rises_and_falls(parts, loans_schema):
    training, test = (part.assign(defaulted=part["amount"].between(3_000, 6_000).astype(int)) for part in parts)
    # No line in the amount can rank this; bins can.
    score = baseline_scores(training, test, loans_schema)[SCORECARD]
    assert roc_auc_score(test["defaulted"], score) > 0.9


def test_a_missing_value_is_a_bin_of_its_own(parts, loans_schema):
    training, test = (part.assign(defaulted=part["income"].isna().astype(int)) for part in parts)
    for score in baseline_scores(training, test, loans_schema).values():
        assert roc_auc_score(test["defaulted"], score) == pytest.approx(1)


def test_rows_unlike_the_training_rows_are_scored(parts, loans_schema):
    training, test = parts
    seen = training[(training["purpose"] != "business") & training["region"].notna() & training["income"].notna()]
    for score in baseline_scores(seen, test.assign(amount=10**7), loans_schema).values():
        assert np.isfinite(score).all()
