"""Evaluation: figures equal scikit-learn's and hand computations, with honest intervals."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from sklearn.metrics import (
    average_precision_score,
    confusion_matrix,
    f1_score,
    precision_score,
    recall_score,
    roc_auc_score,
)

from blueprints.credit_risk.evaluation import _areas, evaluate, ks_distance
from blueprints.credit_risk.scorer import Calibration, Policy
from blueprints.estimates import Estimate, calibration_error

POLICY = Policy(
    threshold=0.3,
    cost_false_negative=5,
    cost_false_positive=1,
    calibration=Calibration(method="platt", margins=(-4, 0, 4), probabilities=(0.02, 0.3, 0.9)),
)
# Scores from a few values only, so that ties are the rule.
ROWS = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 1)), min_size=2, max_size=60)


def columns(rows: list[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    scores, target = np.array(rows).T
    assume(target.min() != target.max())
    return scores.astype(np.float64), target


def sample(rows: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    target = (rng.random(rows) < 0.3).astype(np.int8)
    return (rng.normal(size=rows) + target - 0.5).astype(np.float32), target


@given(ROWS)
def test_areas_from_counts_equal_those_of_scikit_learn(rows):
    scores, target = columns(rows)
    ranks = scores.astype(int)
    positives = np.bincount(ranks, weights=target, minlength=9)
    roc_auc, precision = _areas(positives, np.bincount(ranks, minlength=9) - positives)
    assert roc_auc == pytest.approx(roc_auc_score(target, scores))
    assert precision == pytest.approx(average_precision_score(target, scores))


@given(ROWS)
def test_ks_is_the_largest_gap_between_the_two_distributions(rows):
    scores, target = columns(rows)
    gaps = [abs((scores[target == 1] <= cut).mean() - (scores[target == 0] <= cut).mean()) for cut in scores]
    assert ks_distance(scores, target) == pytest.approx(max(gaps))


def test_decisions_at_the_threshold_equal_those_of_scikit_learn():
    margins, target = sample(800)
    result = evaluate(margins, target, POLICY, {}, resamples=20)
    declined = POLICY.calibration(margins) >= 0.3
    assert result.confusion == confusion_matrix(target, declined).tolist()
    assert result.f1 == pytest.approx(f1_score(target, declined))
    assert result.precision == pytest.approx(precision_score(target, declined))
    assert result.recall == pytest.approx(recall_score(target, declined))
    (_, declined_payers), (missed, _) = result.confusion
    assert result.cost_per_application == pytest.approx((5 * missed + declined_payers) / 800)
    assert result.cost_accepting_all == pytest.approx(5 * target.mean())


def test_a_threshold_that_declines_nobody_gives_zeros_and_no_error():
    margins, target = sample(200)
    result = evaluate(margins, target, POLICY.model_copy(update={"threshold": 1.0}), {}, resamples=20)
    assert (result.precision, result.recall, result.f1) == (0, 0, 0)
    assert result.cost_per_application == result.cost_accepting_all


def test_probabilities_are_measured_before_and_after_calibration():
    margins, target = sample(800)
    result = evaluate(margins, target, POLICY, {}, resamples=20)
    raw = 1 / (1 + np.exp(-margins.astype(float)))
    assert result.brier == pytest.approx(np.mean((POLICY.calibration(margins) - target) ** 2))
    assert result.brier_uncalibrated == pytest.approx(np.mean((raw - target) ** 2))
    assert result.calibration_error == calibration_error(POLICY.calibration(margins), target)
    assert result.calibration_error_uncalibrated == calibration_error(raw, target)


def test_intervals_contain_their_values_and_narrow_with_more_rows():
    widths = []
    for rows in (150, 3_000):
        margins, target = sample(rows)
        model = evaluate(margins, target, POLICY, {}, resamples=200).model
        assert model.roc_auc.value == pytest.approx(roc_auc_score(target, margins))
        assert model.pr_auc.value == pytest.approx(average_precision_score(target, margins))
        for figure in (model.roc_auc, model.pr_auc):
            assert figure.low < figure.value < figure.high
        widths.append(model.roc_auc.high - model.roc_auc.low)
    assert widths[1] < widths[0] / 3


def test_the_interval_is_that_of_scikit_learn_on_the_same_resamples():
    margins, target = sample(150)
    rng, areas = np.random.default_rng(3), []
    for _ in range(40):
        rows = rng.integers(0, 150, 150)
        areas.append(roc_auc_score(target[rows], margins[rows]))
    estimate = evaluate(margins, target, POLICY, {}, resamples=40, seed=3).model.roc_auc
    assert (estimate.low, estimate.high) == pytest.approx(tuple(np.quantile(areas, [0.025, 0.975])))


def test_the_margin_over_the_best_baseline_is_paired():
    margins, target = sample(600)
    noise = np.random.default_rng(1).normal(size=600)
    result = evaluate(margins, target, POLICY, {"poor": noise, "good": margins + 0.2 * noise}, resamples=200)
    good = result.baselines["good"].roc_auc
    assert result.auc_margin.value == pytest.approx(result.model.roc_auc.value - good.value)
    # On the same resamples the two move together: the margin is far surer than either figure.
    assert result.auc_margin.high - result.auc_margin.low < (good.high - good.low) / 2
    itself = evaluate(margins, target, POLICY, {"itself": margins}, resamples=50).auc_margin
    assert itself == Estimate(value=0, low=0, high=0)


def test_without_baselines_the_margin_is_over_chance():
    margins, target = sample(300)
    result = evaluate(margins, target, POLICY, {}, resamples=50)
    assert result.auc_margin.value == pytest.approx(result.model.roc_auc.value - 0.5)


def test_equal_seeds_give_equal_evaluations():
    margins, target = sample(200)
    one, two, other = (evaluate(margins, target, POLICY, {}, resamples=50, seed=seed) for seed in (1, 1, 2))
    assert one == two
    assert one.model.roc_auc != other.model.roc_auc


def test_headline_figures_are_those_of_the_evaluation():
    margins, target = sample(200)
    result = evaluate(margins, target, POLICY, {"b": -margins}, resamples=20)
    figures = result.metrics()
    assert figures["roc_auc"] == result.model.roc_auc.value
    assert figures["auc_margin_over_best_baseline"] == result.auc_margin.value
    assert all(isinstance(value, float) and np.isfinite(value) for value in figures.values())


@pytest.mark.parametrize("outcome", [0, 1])
def test_a_single_outcome_is_refused_in_words(outcome):
    with pytest.raises(ValueError, match="every test row has the same outcome; give more rows or another split"):
        evaluate(np.zeros(5, np.float32), np.full(5, outcome), POLICY, {})


@pytest.mark.parametrize("rows", [5, 7])
def test_scores_of_other_rows_are_refused_in_words(rows):
    with pytest.raises(ValueError, match=f"other: {rows} scores for 6 test rows"):
        evaluate(np.zeros(6), np.array([0, 1] * 3), POLICY, {"other": np.zeros(rows)})


def test_few_defaults_do_not_break_the_bootstrap():
    target = np.array([1, *[0] * 20])
    result = evaluate(np.arange(21.0)[::-1], target, POLICY, {}, resamples=30)
    assert result.model.roc_auc == Estimate(value=1, low=1, high=1)
