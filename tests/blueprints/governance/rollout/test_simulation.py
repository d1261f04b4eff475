"""Error levels of the whole engine, counted on simulated rollouts; `bench rollout` counts more of them."""

from __future__ import annotations

from statistics import median

import pytest

from blueprints.governance.rollout.config import RolloutConfig
from blueprints.governance.rollout.simulation import Scenario, plot_operating_characteristics, simulate
from blueprints.governance.rollout.state import Phase

LAPTOP = RolloutConfig.laptop()


def test_the_same_model_is_promoted_on_a_noisy_machine():
    outcomes = simulate(LAPTOP, Scenario(), n=100, seed=11)
    assert outcomes.share(Phase.ROLLED_BACK) <= 0.01
    assert outcomes.share(Phase.PROMOTED) >= 0.99
    assert 50 <= median(outcomes.durations_s) <= 70


@pytest.mark.parametrize("from_weight", [5, 50])
def test_five_points_more_errors_are_not_promoted(from_weight):
    outcomes = simulate(LAPTOP, Scenario(excess_errors=0.05, bad_from_weight=from_weight), n=60, seed=12)
    assert outcomes.share(Phase.PROMOTED) <= 0.01


@pytest.mark.parametrize("bad", [{"excess_errors": 0.2}, {"slower": 5}])
@pytest.mark.parametrize("from_weight", [25, 50])
def test_a_candidate_that_turns_plainly_bad_has_no_traffic_within_20_seconds(bad, from_weight):
    outcomes = simulate(LAPTOP, Scenario(**bad, bad_from_weight=from_weight), n=40, seed=13)
    assert outcomes.share(Phase.ROLLED_BACK) == 1
    assert max(outcomes.rollback_s) <= 20


def test_production_waits_lead_to_the_same_ends():
    production = RolloutConfig()
    assert simulate(production, Scenario(), n=10, seed=14).share(Phase.PROMOTED) == 1
    assert simulate(production, Scenario(excess_errors=0.05), n=10, seed=15).share(Phase.PROMOTED) == 0


def test_a_seed_repeats_a_simulation():
    scenario = Scenario(excess_errors=0.03)
    assert simulate(LAPTOP, scenario, n=4, seed=1) == simulate(LAPTOP, scenario, n=4, seed=1)
    assert simulate(LAPTOP, scenario, n=4, seed=1) != simulate(LAPTOP, scenario, n=4, seed=2)


def test_operating_characteristics_are_drawn(tmp_path):
    path = plot_operating_characteristics(tmp_path / "figure.png", n=1)
    assert path.read_bytes().startswith(b"\x89PNG")
