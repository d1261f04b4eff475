from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from blueprints.governance.rollout.config import RolloutConfig
from blueprints.governance.rollout.evidence import Evidence
from blueprints.governance.rollout.observation import Counters, Histogram
from blueprints.governance.rollout.state import Rollout, State
from blueprints.governance.rollout.summary import summary, wilson

NOTHING = Counters()
ROLLOUT = Rollout(id="r", service="s", stable_model="pvc://m/s/old", candidate_model="pvc://m/s/new")


def state(stable: Counters = NOTHING, candidate: Counters = NOTHING) -> State:
    evidence = Evidence(stable=stable, candidate=candidate)
    return State.start(ROLLOUT, RolloutConfig(), 1.0).model_copy(update={"evidence": evidence, "weight": 25})


@given(st.integers(1, 5_000).flatmap(lambda whole: st.tuples(st.integers(0, whole), st.just(whole))))
def test_the_interval_is_wilsons(counts):
    theirs = binomtest(*counts).proportion_ci(method="wilson")
    assert wilson(*counts) == pytest.approx((theirs.low, theirs.high), abs=1e-6)


def test_without_requests_there_are_no_rates():
    figures = summary(state())
    assert (figures.candidate.error_rate, figures.p50_ratio, figures.prediction_distance) == (None, None, None)
    assert figures.flat() == {
        "stable_requests": 0,
        "stable_errors": 0,
        "candidate_requests": 0,
        "candidate_errors": 0,
    }


def test_figures_compare_both_versions():
    predictions = {"bounds": (0.5, 1.0)}
    stable = Counters(
        requests=100,
        errors=1,
        latency=Histogram(bounds=(1.0, 2.0), counts=(100, 0, 0)),
        predictions=Histogram(counts=(90, 10, 0), **predictions),
    )
    candidate = Counters(
        requests=50,
        errors=5,
        latency=Histogram(bounds=(1.0, 2.0), counts=(0, 50, 0)),
        predictions=Histogram(counts=(20, 30, 0), **predictions),
    )
    figures = summary(state(stable, candidate))
    assert (figures.stable.weight, figures.candidate.weight) == (75, 25)
    assert (figures.stable.error_rate, figures.candidate.error_rate) == (0.01, 0.1)
    assert figures.p50_ratio == pytest.approx(3)
    assert figures.prediction_distance == pytest.approx(0.5)
    assert figures.flat()["p50_ratio"] == figures.p50_ratio
    assert json.loads(figures.model_dump_json())["candidate"]["model"] == "pvc://m/s/new"
