"""Training: seeded, native categories and missing values, calibrated, with the threshold of least cost."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from sklearn.metrics import brier_score_loss, roc_auc_score

from blueprints.credit_risk.training import (
    TrainedModel,
    TrainingConfig,
    _folds,
    choose_threshold,
    fit_booster,
    fit_calibration,
    predict_margins,
    train,
)
from blueprints.schema import Column

QUICK = TrainingConfig(trials=2, max_rounds=40, folds=2)


def test_the_same_seed_gives_the_same_model_and_progress_is_told(make_loans, loans_schema):
    training, validation, told = make_loans(600, 1), make_loans(300, 2), []
    one, two = (
        train(training, validation, loans_schema, QUICK, progress=lambda *step: told.append(step)) for _ in range(2)
    )
    assert one.booster.save_raw("ubj") == two.booster.save_raw("ubj")
    assert one.policy.model_dump() == two.policy.model_dump()
    assert one.report == two.report
    assert [(done, total) for done, total, _ in told] == [(1, 2), (2, 2)] * 2
    assert f"{max(one.report.trials):.4f}" in told[1][2]


def test_another_seed_searches_elsewhere(make_loans, loans_schema, loans_model):
    other = train(make_loans(600, 1), make_loans(300, 2), loans_schema, QUICK.model_copy(update={"seed": 5}))
    assert other.report.trials != train(make_loans(600, 1), make_loans(300, 2), loans_schema, QUICK).report.trials


def test_defaults_weigh_as_much_as_payers(loans_model, make_loans):
    target = make_loans(1_500, 1)["defaulted"]
    assert loans_model.report.parameters["scale_pos_weight"] == (target == 0).sum() / (target == 1).sum()
    assert loans_model.report.positives == pytest.approx(target.mean())
    assert loans_model.report.rows == 1_500


def test_the_model_ranks_rows_that_it_has_not_seen(loans_model, make_loans):
    frame = make_loans(1_000, 9)
    assert roc_auc_score(frame["defaulted"], loans_model.probabilities(frame)) > 0.7


def test_protected_columns_are_no_inputs_unless_asked_for(loans_model, make_loans, loans_schema):
    assert [column.name for column in loans_model.columns] == ["income", "amount", "purpose", "region"]
    config = TrainingConfig(trials=1, max_rounds=5, with_protected=True)
    seeing = train(make_loans(300, 1), make_loans(200, 2), loans_schema, config)
    assert seeing.booster.feature_names == ["income", "amount", "purpose", "region", "sex", "age"]


def test_a_table_without_a_target_is_refused(make_loans, loans_schema):
    schema = loans_schema.model_copy(update={"target": ""})
    with pytest.raises(ValueError, match="the table has no target, so there is nothing to learn to predict"):
        train(make_loans(100, 1), make_loans(100, 2), schema, TrainingConfig(trials=1))


@pytest.mark.parametrize("part", ["training", "validation"])
def test_rows_of_one_outcome_are_refused_in_words(make_loans, loans_schema, part):
    parts = {"training": make_loans(100, 1), "validation": make_loans(100, 2)}
    parts[part] = parts[part].assign(defaulted=0)
    with pytest.raises(ValueError, match=f"every {part} row has the same outcome"):
        train(parts["training"], parts["validation"], loans_schema, QUICK)


@given(rows=st.integers(12, 200), folds=st.integers(2, 10))
def test_folds_of_dated_rows_score_only_what_comes_later(rows, folds):
    target = np.arange(rows) % 2
    cut = list(_folds(target, TrainingConfig(folds=folds), chronological=True))
    assert len(cut) == folds
    assert all(fitted.max() < scored.min() for fitted, scored in cut)


def test_folds_of_undated_rows_keep_the_share_of_defaults():
    target = (np.arange(300) % 5 == 0).astype(int)
    for fitted, scored in _folds(target, TrainingConfig(folds=3), chronological=False):
        assert not set(fitted) & set(scored)
        assert target[scored].mean() == pytest.approx(0.2)


def test_dated_loans_are_searched_with_growing_windows(make_loans, loans_schema, dated_loans_schema):
    # The risk turns round after a third of the time: who knows nothing of the future ranks the wrong way round.
    frame, config = make_loans(900, 1), TrainingConfig(trials=1, folds=2, max_rounds=40)
    frame.loc[300:, "defaulted"] = 1 - frame.loc[300:, "defaulted"]
    dated, undated = (train(frame, make_loans(200, 2), schema, config) for schema in (dated_loans_schema, loans_schema))
    assert dated.report.trials[0] < 0.45
    assert undated.report.trials[0] > 0.5


def test_categories_are_sets_and_not_numbers():
    # Codes 0 and 2 default and 1 does not: one split, if the code is a category.
    column = Column(name="purpose", kind="category", categories=("a", "b", "c"))
    codes = np.tile([0, 1, 2], 200).astype(np.float32)
    parameters = {"objective": "binary:logistic", "max_depth": 1, "tree_method": "hist"}
    booster = fit_booster(codes[:, None], (codes != 1).astype(int), (column,), parameters, 1)
    assert booster.feature_types == ["c"]
    margins = predict_margins(booster, np.array([[0], [1], [2]], np.float32))
    assert margins[0] == margins[2] > margins[1]
    tree = json.loads(booster.save_raw("json"))["learner"]["gradient_booster"]["model"]["trees"][0]
    assert tree["split_type"][0] == 1


def test_missing_values_have_a_direction_of_their_own():
    column = Column(name="income", kind="number", nullable=True)
    values = np.where(np.arange(600) % 3 == 0, np.nan, np.arange(600) % 7).astype(np.float32)
    parameters = {"objective": "binary:logistic", "max_depth": 2, "tree_method": "hist"}
    booster = fit_booster(values[:, None], np.isnan(values).astype(int), (column,), parameters, 5)
    margins = predict_margins(booster, np.array([[np.nan], [0], [6]], np.float32))
    assert margins[0] > 0 > max(margins[1:])


def test_missing_values_and_categories_of_a_frame_reach_the_booster(loans_model, make_loans):
    frame = make_loans(1).assign(income=2_000.0, amount=5_000, purpose="car", region="north")
    car = loans_model.margins(frame)
    assert (loans_model.margins(frame.assign(purpose="business")) > car).all()
    assert (loans_model.margins(frame.assign(income=np.nan)) != car).all()


def test_a_saved_model_gives_equal_probabilities(loans_model, make_loans, tmp_path):
    frame = make_loans(200, 5)
    loans_model.save(tmp_path / "model")
    loaded = TrainedModel.load(tmp_path / "model")
    np.testing.assert_array_equal(loaded.probabilities(frame), loans_model.probabilities(frame))
    assert loaded.policy.model_dump() == loans_model.policy.model_dump()
    assert (loaded.columns, loaded.report) == (loans_model.columns, loans_model.report)


@pytest.mark.parametrize("wrong", [{"trials": 0}, {"folds": 1}, {"cost_false_negative": 0}, {"learning_rate": 1}])
def test_settings_that_make_no_sense_are_refused(wrong):
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        TrainingConfig(**wrong)


def distorted(rows: int, shift: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Margins whose log-odds are off by a shift, as `scale_pos_weight` makes them, and outcomes, few of them 1."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(-2.5, 1.2, rows)
    return (truth + shift).astype(np.float32), (rng.random(rows) < 1 / (1 + np.exp(-truth))).astype(np.int8)


def test_calibration_undoes_the_shift_and_improves_the_brier_score():
    margins, target = distorted(5_000, 2.5)
    fresh, outcome = distorted(5_000, 2.5, seed=1)
    calibrated = fit_calibration(margins, target)(fresh)
    raw = 1 / (1 + np.exp(-fresh.astype(float)))
    assert brier_score_loss(outcome, calibrated) < brier_score_loss(outcome, raw) - 0.05
    assert calibrated.mean() == pytest.approx(outcome.mean(), abs=0.015)


def test_calibration_keeps_the_ranking():
    margins, target = distorted(2_000, 1.0)
    calibration = fit_calibration(margins, target)
    assert roc_auc_score(target, calibration(margins)) == pytest.approx(roc_auc_score(target, margins), abs=1e-12)


@settings(max_examples=30)
@given(st.lists(st.floats(-30, 30, width=32), min_size=2, max_size=50), st.floats(-4, 4))
def test_calibration_never_falls_and_stays_a_probability(margins, shift):
    calibration = fit_calibration(*distorted(300, shift))
    probabilities = calibration(np.sort(np.array(margins)))
    assert (np.diff(probabilities) >= 0).all()
    assert 0 < probabilities.min() <= probabilities.max() < 1


def test_margins_that_rank_the_wrong_way_round_do_not_turn_the_order():
    margins, target = distorted(500, 0)
    assert np.diff(fit_calibration(-margins, target)(np.array([-3.0, 3.0])))[0] >= 0


# Few distinct probabilities, so that ties are the rule; neighbouring floats, so that there is no room between them.
PROBABILITIES = st.sampled_from([0.0, 0.1, 0.3, np.nextafter(0.3, 1), np.nextafter(np.nextafter(0.3, 1), 1), 0.5, 0.9])
COSTS = st.floats(0.05, 20)


@given(st.lists(st.tuples(PROBABILITIES, st.integers(0, 1)), min_size=1, max_size=30), COSTS, COSTS)
def test_no_threshold_costs_less_than_the_chosen_one(rows, cost_false_negative, cost_false_positive):
    probabilities, target = np.array([p for p, _ in rows]), np.array([t for _, t in rows], np.int8)

    def cost(threshold: float) -> float:
        declined = probabilities >= threshold
        return cost_false_negative * np.sum(target[~declined]) + cost_false_positive * np.sum(1 - target[declined])

    chosen = choose_threshold(probabilities, target, cost_false_negative, cost_false_positive)
    assert 0 <= chosen <= 1
    assert cost(chosen) == pytest.approx(min(map(cost, [0.0, *np.unique(probabilities), 1.0])))


def test_applicants_who_all_pay_are_all_accepted_and_who_all_default_are_all_declined():
    probabilities = np.array([0.05, 0.6, 0.99])
    assert (probabilities < choose_threshold(probabilities, np.zeros(3, int), 5, 1)).all()
    assert (probabilities >= choose_threshold(probabilities, np.ones(3, int), 5, 1)).all()


def test_a_dearer_default_lowers_the_threshold(make_loans, loans_schema):
    probabilities, rng = np.linspace(0.01, 0.99, 2_000), np.random.default_rng(0)
    target = (rng.random(2_000) < probabilities).astype(int)
    thresholds = [choose_threshold(probabilities, target, cost, 1) for cost in (1, 5, 20)]
    # With calibrated probabilities it lies at cost_fp / (cost_fp + cost_fn).
    assert thresholds == pytest.approx([1 / 2, 1 / 6, 1 / 21], abs=0.08)
    assert thresholds == sorted(thresholds, reverse=True)
