"""The backtest: no training row is later than its test period."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.metrics import roc_auc_score

from blueprints.credit_risk.backtest import _hold_outs, backtest, rolling_origins, stability_index
from blueprints.credit_risk.training import fit_booster, predict_margins

# Few distinct times, so that ties are the rule; in any order.
TIMES = hnp.arrays(
    "datetime64[s]", st.integers(1, 60), elements=st.integers(0, 12).map(lambda s: np.datetime64(s, "s"))
)


@given(time=TIMES, periods=st.integers(1, 8))
def test_every_training_row_is_earlier_than_every_row_of_its_test_period(time, periods):
    for past, period in rolling_origins(time, periods=periods):
        assert len(past)
        assert len(period)
        assert time[past].max() < time[period].min()


@given(time=TIMES, periods=st.integers(1, 8))
def test_periods_do_not_overlap_and_rows_of_one_time_stay_together(time, periods):
    cuts = list(rolling_origins(time, periods=periods))
    assert len(cuts) <= periods
    tested = [set(time[period].tolist()) for _, period in cuts]
    assert sum(map(len, tested)) == len(set().union(*tested))
    for past, period in cuts:
        known, seen = set(time[past].tolist()), set(time[period].tolist())
        assert np.isin(np.flatnonzero(np.isin(time, time[period])), period).all()
        assert np.isin(np.flatnonzero(np.isin(time, time[past])), past).all()
        assert not known & seen
    if cuts:
        # From the first origin on, every row is tested once.
        assert sum(len(period) for _, period in cuts) == len(time) - len(cuts[0][0])


def test_periods_of_distinct_times_are_equally_long_and_the_past_grows():
    time = np.random.default_rng(0).permutation(np.arange(1_000)).astype("datetime64[s]")
    cuts = list(rolling_origins(time, periods=6))
    assert [len(past) for past, _ in cuts] == pytest.approx([400, 500, 600, 700, 800, 900], abs=1)
    assert [len(period) for _, period in cuts] == pytest.approx([100] * 6, abs=1)


@given(rows=st.integers(2, 80), periods=st.integers(2, 8), seed=st.integers(0, 9))
def test_hold_outs_are_disjoint_and_no_row_trains_its_own_test(rows, periods, seed):
    cuts = list(_hold_outs(rows, min(periods, rows), seed))
    assert sorted(np.concatenate([held for _, held in cuts])) == list(range(rows))
    for past, held in cuts:
        assert sorted([*past, *held]) == list(range(rows))


def test_rows_in_any_order_give_periods_in_time_order(loans_model, make_loans, dated_loans_schema):
    frame = make_loans(1_000, 3).sample(frac=1, random_state=0).reset_index(drop=True)
    told = []
    result = backtest(frame, dated_loans_schema, loans_model, periods=3, progress=lambda *step: told.append(step[:2]))
    assert result.method == "rolling origin"
    assert [period.train_rows for period in result.periods] == [400, 600, 800]
    assert [period.test_rows for period in result.periods] == [200, 200, 200]
    times = frame["applied_at"].sort_values()
    for period in result.periods:
        first_tested = times.iloc[period.train_rows]
        assert period.period == str(first_tested.date())
        assert np.datetime64(period.train_end) == times.iloc[period.train_rows - 1].tz_convert(None).to_datetime64()
        tested = frame[frame["applied_at"].isin(times.iloc[period.train_rows : period.train_rows + 200])]
        assert period.positives == pytest.approx(tested["defaulted"].mean())
        assert 0.6 < period.roc_auc < 1
        assert 0 < period.ks < 1
    assert told == [(1, 3), (2, 3), (3, 3)]


def test_the_figures_are_those_of_a_model_that_saw_only_the_past(loans_model, make_loans, dated_loans_schema):
    from blueprints.credit_risk.application import encode_frame

    frame = make_loans(1_000, 3)
    features, target = encode_frame(frame, loans_model.columns), frame["defaulted"].to_numpy()
    (row,) = backtest(frame, dated_loans_schema, loans_model, periods=1).periods
    parameters = dict(loans_model.report.parameters)
    rounds = max(20, round(parameters.pop("rounds") * 400 / loans_model.report.rows))
    booster = fit_booster(features[:400], target[:400], loans_model.columns, parameters, rounds)
    assert row.roc_auc == pytest.approx(roc_auc_score(target[400:], predict_margins(booster, features[400:])))


def test_rows_without_a_time_are_held_out_and_the_method_says_so(loans_model, make_loans, loans_schema):
    result = backtest(make_loans(400, 3), loans_schema, loans_model, periods=4)
    assert result.method == "repeated hold-out"
    assert [(row.period, row.train_end, row.train_rows, row.test_rows) for row in result.periods] == [
        (str(index), "", 300, 100) for index in range(1, 5)
    ]


def test_a_period_with_one_outcome_has_no_ranking(loans_model, make_loans, dated_loans_schema):
    frame = make_loans(500, 3)
    frame.loc[400:, "defaulted"] = 0
    rows = backtest(frame, dated_loans_schema, loans_model, periods=3).periods
    assert np.isnan([rows[-1].roc_auc, rows[-1].ks]).all()
    assert not np.isnan(rows[0].roc_auc)


def test_rows_that_cannot_be_cut_are_refused_in_words(loans_model, make_loans, loans_schema, dated_loans_schema):
    frame = make_loans(100)
    frame["applied_at"] = frame["applied_at"].iloc[0]
    with pytest.raises(ValueError, match="applied_at: too few distinct times"):
        backtest(frame, dated_loans_schema, loans_model)
    with pytest.raises(ValueError, match="2 to 100 hold-outs, not 1"):
        backtest(frame, loans_schema, loans_model, periods=1)


@given(hnp.arrays(np.float64, st.integers(1, 200), elements=st.floats(-5, 5)))
def test_equal_samples_are_stable(sample):
    assert stability_index(sample, sample) == pytest.approx(0, abs=1e-12)


def test_the_stability_index_grows_with_the_shift():
    rng = np.random.default_rng(0)
    base, other = rng.normal(size=5_000), rng.normal(size=5_000)
    indices = [stability_index(base, other + shift) for shift in (0, 0.2, 0.5, 1, 3)]
    assert indices == sorted(indices)
    assert indices[0] < 0.01
    assert 0.25 < indices[3] < indices[4] < np.inf


@given(
    hnp.arrays(np.float64, st.integers(1, 50), elements=st.floats(-5, 5)),
    hnp.arrays(np.float64, st.integers(1, 50), elements=st.floats(-5, 5)),
)
def test_the_stability_index_is_finite_and_never_negative(expected, actual):
    assert 0 <= stability_index(expected, actual) + 1e-12 < np.inf
