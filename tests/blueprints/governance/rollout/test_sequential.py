"""The sequential test: a fair bet under every null, so that looking at any time is free."""

from __future__ import annotations

from math import comb, exp, isclose, log

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from blueprints.governance.rollout.sequential import (
    GAPS,
    NOTHING,
    Block,
    bets,
    estimate,
    log_growth,
    log_growth_alone,
    log_sum,
    restarted,
    upper_bound,
)

rates = st.floats(0.001, 0.95)


def binomial(successes, trials, rate):
    return comb(trials, successes) * rate**successes * (1 - rate) ** (trials - successes)


@settings(max_examples=150, deadline=None)
@given(rates, rates, st.floats(-0.5, 0.5), st.integers(1, 9), st.integers(1, 6), st.floats(0, 1), st.floats(0, 1))
def test_no_bet_gains_in_expectation_at_any_rates_within_the_tolerance(
    stable, candidate, tolerance, stable_requests, candidate_requests, true_stable, share
):
    highest = min(true_stable + tolerance, 1.0)
    assume(highest >= 0)
    true_candidate = share * highest
    expected = sum(
        binomial(a, stable_requests, true_stable)
        * binomial(b, candidate_requests, true_candidate)
        * exp(log_growth(Block(a, stable_requests, b, candidate_requests), stable, candidate, tolerance))
        for a in range(stable_requests + 1)
        for b in range(candidate_requests + 1)
    )
    assert expected <= 1 + 1e-5


@settings(max_examples=100, deadline=None)
@given(rates, st.floats(0, 0.9), st.integers(1, 12), st.floats(0, 1))
def test_no_bet_on_a_lone_candidate_gains_in_expectation_below_the_limit(candidate, limit, requests, share):
    assume(limit > 0.001)
    expected = sum(
        binomial(b, requests, share * limit) * exp(log_growth_alone(Block(0, 0, b, requests), candidate, limit))
        for b in range(requests + 1)
    )
    assert expected <= 1 + 1e-9


@settings(max_examples=100, deadline=None)
@given(rates, st.floats(0.001, 0.9), st.floats(-0.3, 0.5), st.integers(1, 5000), st.integers(1, 500))
def test_a_bet_is_measured_against_the_nearest_point_of_the_null(stable, gap, tolerance, many, few):
    from scipy.optimize import minimize_scalar

    candidate = stable + tolerance + gap
    assume(0.001 < candidate < 0.999)

    def divergence(bet, null):
        return bet * log(bet / null) + (1 - bet) * log((1 - bet) / (1 - null))

    def distance(null):
        return many * divergence(stable, null) + few * divergence(candidate, null + tolerance)

    low, high = max(1e-9, 1e-9 - tolerance), min(1, 1 - tolerance) - 1e-9
    nearest = minimize_scalar(distance, bounds=(low, high), method="bounded", options={"xatol": 1e-10}).fun
    # A block that falls out exactly as the bet says gains the distance.
    block = Block(stable * many, many, candidate * few, few)
    assert isclose(log_growth(block, stable, candidate, tolerance), nearest, rel_tol=1e-4, abs_tol=1e-5)


def test_bets_within_the_null_and_blocks_of_one_arm_neither_gain_nor_lose():
    assert log_growth(Block(1, 10, 9, 10), 0.1, 0.15, 0.05) == 0
    assert log_growth(Block(0, 0, 9, 10), 0.1, 0.9, 0.05) == 0
    assert log_growth(Block(1, 10, 0, 0), 0.1, 0.9, 0.05) == 0
    assert log_growth_alone(Block(0, 0, 9, 10), 0.1, 0.2) == 0


def test_restarted_bets_spend_one_unit_in_all():
    wealth = NOTHING
    for look in range(1, 1001):
        wealth = restarted(wealth, 0.0, look)
        assert isclose(exp(wealth), look / (look + 1), rel_tol=1e-9)


def test_a_candidate_that_turns_bad_is_found_as_soon_as_one_that_was_bad_at_once():
    late, threshold = NOTHING, log(1000)
    for look in range(1, 201):
        late = restarted(late, log_growth(Block(0, 38, 0, 12), 0.005, 0.165, 0.01), look)
    looks = 0
    while late < threshold:
        looks += 1
        late = restarted(late, log_growth(Block(0, 38, 2, 12), 0.005, 0.165, 0.01), 200 + looks)
    assert looks <= 8


def test_same_rates_are_rarely_told_apart_although_every_look_counts():
    random = np.random.default_rng(5)
    level, rejected, runs = 0.05, 0, 300
    for _ in range(runs):
        wealth, past = [NOTHING] * len(GAPS), [0, 0]
        for look in range(1, 80):
            # The rate changes at every look; both arms meet it.
            rate = random.uniform(0, 0.3)
            block = Block(int(random.binomial(30, rate)), 30, int(random.binomial(10, rate)), 10)
            usual = estimate(*past)
            wealth = [
                restarted(one, log_growth(block, usual, bet, 0.0), look)
                for one, bet in zip(wealth, bets(usual, 0.0), strict=True)
            ]
            past = [past[0] + block.stable_failures, past[1] + 30]
            if log_sum(wealth) - log(len(wealth)) >= log(1 / level):
                rejected += 1
                break
    assert rejected / runs <= level


def test_the_upper_bound_of_a_rate_holds_at_all_times():
    random = np.random.default_rng(3)
    missed = 0
    for _ in range(200):
        failures = np.cumsum(random.random(400) < 0.05)
        missed += any(upper_bound(int(failures[at]), at + 1, 0.05) < 0.05 for at in range(0, 400, 10))
    assert missed / 200 <= 0.05
    assert upper_bound(0, 0, 0.05) == 1
    assert upper_bound(10, 10, 0.05) == 1
    assert 0.01 < upper_bound(50, 5000, 0.001) < 0.02


@pytest.mark.parametrize("part", [[NOTHING], [NOTHING, 0.0], [-1e6, 1e6]])
def test_sums_of_logarithms_do_not_overflow(part):
    assert log_sum(part) == max(part)
