"""Global explanation: exact SHAP values, ranked."""

from __future__ import annotations

import numpy as np
import pytest
import shap

from blueprints.credit_risk.application import encode_frame
from blueprints.credit_risk.explanation import explain_model
from blueprints.credit_risk.training import predict_margins


def test_contributions_are_exact(loans_model, make_loans):
    frame = make_loans(150, 4)
    explanation = explain_model(loans_model, frame, rows=150, seed=1)
    margins = predict_margins(loans_model.booster, explanation.values)
    base = margins - explanation.contributions.sum(axis=1)
    assert np.ptp(base) < 1e-4
    reference = shap.TreeExplainer(loans_model.booster)(explanation.values)
    np.testing.assert_allclose(explanation.contributions, reference.values, atol=1e-4)


def test_what_drives_the_risk_ranks_first_and_shares_sum_to_one(loans_model, make_loans):
    explanation = explain_model(loans_model, make_loans(400, 4))
    assert (explanation.ranking[0].feature, explanation.ranking[-1].feature) == ("amount", "region")
    means = [row.mean_contribution for row in explanation.ranking]
    assert means == sorted(means, reverse=True)
    assert sum(row.share for row in explanation.ranking) == pytest.approx(1)
    assert explanation.labels == ("Income", "Amount", "Purpose", "Region")


def test_a_sample_is_drawn_by_seed_and_no_larger_than_the_table(loans_model, make_loans):
    frame = make_loans(120, 4)
    one, two, other = (explain_model(loans_model, frame, rows=40, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.values, two.values)
    assert not np.array_equal(one.values, other.values, equal_nan=True)
    whole = explain_model(loans_model, frame)
    assert whole.values.shape == whole.contributions.shape == (120, 4)
    assert len(np.unique(whole.values[:, 1])) == len(np.unique(encode_frame(frame, loans_model.columns)[:, 1]))
