"""Mitigation: smaller gaps on a table with a planted bias, at a price that one sees."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from blueprints.credit_risk.fairness import FairnessGate, audit
from blueprints.credit_risk.mitigation import mitigate
from blueprints.credit_risk.reports import fairness_report
from blueprints.credit_risk.training import TrainingConfig, train

GATE = FairnessGate(demographic_parity_difference=0.15, equalized_odds_difference=0.15, group_rows=100)


@pytest.fixture(scope="module")
def parts(make_loans):
    """Loans whose region adds to the risk and nearly gives away the sex."""
    return tuple(make_loans(rows, seed, bias=2.5) for rows, seed in ((2_000, 1), (1_000, 2), (2_000, 3)))


@pytest.fixture(scope="module")
def biased(parts, loans_schema):
    return train(*parts[:2], loans_schema, TrainingConfig(trials=1, max_rounds=80, cost_false_negative=1.5))


def judge(model, parts, schema):
    test, probabilities = parts[2], model.probabilities(parts[2])
    result = audit(test, probabilities, model.policy.threshold, schema, GATE)
    return result, float(roc_auc_score(test["defaulted"], probabilities))


@pytest.mark.parametrize("constraint", ["demographic_parity", "equalized_odds"])
def test_the_gap_shrinks_and_the_report_shows_its_price(biased, parts, loans_schema, constraint):
    fairer = mitigate(biased, *parts[:2], loans_schema, protected="sex", constraint=constraint, iterations=8)
    (before, before_auc), (after, after_auc) = (judge(model, parts, loans_schema) for model in (biased, fairer))
    gap = f"{constraint}_difference"
    old, new = getattr(before.columns[0], gap), getattr(after.columns[0], gap)
    assert old > 0.15
    assert new < 0.6 * old
    assert 0.6 < after_auc < before_auc
    page = fairness_report(after, after_auc, (before, before_auc), fairer.report.mitigation)
    for shown in (
        f"{constraint} by sex",
        f"Price in ROC-AUC: {after_auc - before_auc:+.4f}",
        f"{before_auc:.4f}",
        f"{after_auc:.4f}",
        f"{old:.4f}",
        f"{new:.4f}",
    ):
        assert shown in page


def test_a_mitigated_model_answers_without_the_protected_column(biased, parts, loans_schema):
    fairer = mitigate(biased, *parts[:2], loans_schema, protected="sex", iterations=3)
    assert fairer.columns == biased.columns
    probabilities = fairer.probabilities(parts[2].drop(columns=["sex", "age", "defaulted"]))
    np.testing.assert_array_equal(probabilities, fairer.probabilities(parts[2]))
    assert (fairer.report.mitigation, biased.report.mitigation) == ("equalized_odds by sex", "")
    assert fairer.policy.cost_false_negative == biased.policy.cost_false_negative


def test_mitigation_is_deterministic_and_bands_a_number(biased, parts, loans_schema):
    one, two = (mitigate(biased, *parts[:2], loans_schema, protected="age", iterations=2) for _ in range(2))
    assert one.booster.save_raw("ubj") == two.booster.save_raw("ubj")
    assert one.policy.model_dump() == two.policy.model_dump()


@pytest.mark.parametrize("column", ["region", "height", ""])
def test_a_column_that_is_not_protected_is_refused_in_words(biased, parts, loans_schema, column):
    with pytest.raises(ValueError, match=f"'{column}' is no protected column of this dataset; there are: sex, age"):
        mitigate(biased, *parts[:2], loans_schema, protected=column)
