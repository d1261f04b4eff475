"""What the statistics of a rollout know, in a form that is stored between two looks, and how it grows at each look.

Errors, refusals, slow requests and predictions are all judged by the one test of `sequential`: a request fails or is
refused, or it is slower than a bound, or its prediction is above a bound. Latency is compared bucket by bucket: if the
candidate's latency is at most `ratio` times stable's, then no more of its requests are above `ratio * bound` than of
stable's above `bound`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import log
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict

from blueprints.governance.rollout.config import RolloutConfig
from blueprints.governance.rollout.observation import Counters, Histogram, Observation
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

ERRORS, REFUSALS, P50, P99, PREDICTIONS = "errors", "refusals", "p50", "p99", "predictions"
SAFETY = "safety"
# The level of a false rollback is shared by the first five and by the bound on stable's error rate at weight 100.
_LEVELS = 6
# No bet before stable has answered so much.
_FEW = 20
# What was shown long ago must not outweigh what happens now: credit beyond the threshold is capped.
_CREDIT = 2.0
# Shares of stable's requests above a bound that make it one around the median, or one in the tail.
_BODY, _TAIL = (0.1, 0.9), (0.001, 0.1)
_LATENCY_GAPS = (0.05, 0.3)
_PREDICTION_BOUNDS = 9
_PREDICTION_GAPS = (0.15,)


class Evidence(BaseModel):
    """Sufficient statistics of the sequential tests.

    Attributes:
        looks: Looks with new requests of the candidate so far.
        stable: What stable has answered since both arms run side by side.
        candidate: What the candidate has answered since then.
        seen_stable: The reading up to which stable was counted.
        seen_candidate: The reading up to which the candidate was counted.
        wealth: Logarithms of the wealth of each test's bets; a test of many bounds has one entry a bound.
    """

    model_config = ConfigDict(frozen=True)

    looks: int = 0
    stable: Counters = Counters()
    candidate: Counters = Counters()
    seen_stable: Counters | None = None
    seen_candidate: Counters | None = None
    wealth: dict[str, tuple[float, ...]] = {}

    def strength(self, test: str) -> float:
        """Logarithm of a test's e-value: the mean wealth of its bets, those that were not made yet at nothing."""
        parts = [one for name, wealth in self.wealth.items() if name.startswith(test) for one in wealth]
        if not parts:
            return NOTHING
        return log_sum(parts) - log(max(len(parts), self._bets(test)))

    def at_next_step(self) -> Evidence:
        """The same without what earlier steps showed in the candidate's favour, so each shows it anew; debts stay."""
        owed = {SAFETY: tuple(min(one, 0.0) for one in self.wealth[SAFETY])} if SAFETY in self.wealth else {}
        return self.model_copy(update={"wealth": {**self.wealth, **owed}})

    def _bets(self, test: str) -> int:
        if test in (P50, P99):
            return len(self.stable.latency.bounds) * len(_LATENCY_GAPS)
        if test == PREDICTIONS:
            return 2 * len(_spread(self.stable.predictions.bounds)) * len(_PREDICTION_GAPS)
        return 1


def rollback_threshold(config: RolloutConfig) -> float:
    """The strength at which a test against the candidate is decided."""
    return log(_LEVELS / config.false_rollback)


def safety_threshold(config: RolloutConfig) -> float:
    """The strength at which it is shown that the candidate's error rate is within the margin."""
    return log(1 / config.missed_bad)


def gathered(evidence: Evidence, observation: Observation, config: RolloutConfig, weight: int) -> Evidence:
    """Adds what was answered since the last look.

    Requests wait for the next look while only one arm has answered, since nothing can be compared.

    Args:
        evidence: So far; the first observation is where counting starts.
        observation: Now.
        config: Tolerances and levels.
        weight: The candidate's, since the last look; at 100 stable is expected to answer nothing.
    """
    stable, candidate = observation.stable.counters, observation.candidate.counters
    before = evidence.seen_stable, evidence.seen_candidate
    if not (before[0] and before[1] and stable.continues(before[0]) and candidate.continues(before[1])):
        return _counted_anew(evidence, stable, candidate)
    new_stable, new_candidate = stable - before[0], candidate - before[1]
    alone = weight == 100
    if not new_candidate.requests or not (alone or new_stable.requests):
        return evidence
    look = evidence.looks + 1
    wealth = dict(evidence.wealth)
    if alone:
        wealth[ERRORS] = _errors_alone(evidence, new_candidate, config, look)
    else:
        wealth[SAFETY] = _safety(evidence, _errors(new_stable, new_candidate), config)
        for comparison in _comparisons(evidence.stable, new_stable, new_candidate, config):
            wealth[comparison.test] = comparison.wealth(wealth.get(comparison.test), look)
    return Evidence(
        looks=look,
        stable=evidence.stable + new_stable,
        candidate=evidence.candidate + new_candidate,
        seen_stable=stable,
        seen_candidate=candidate,
        wealth=wealth,
    )


class _Comparison(NamedTuple):
    """One test's block: bets that the candidate's rate is more than the tolerance above stable's."""

    test: str
    block: Block
    usual: float
    tolerance: float
    gaps: Sequence[float]

    def wealth(self, before: Sequence[float] | None, look: int) -> tuple[float, ...]:
        return tuple(
            _stored(restarted(one, log_growth(self.block, self.usual, bet, self.tolerance), look))
            for one, bet in zip(
                before or [NOTHING] * len(self.gaps), bets(self.usual, self.tolerance, self.gaps), strict=True
            )
        )


def _comparisons(past: Counters, stable: Counters, candidate: Counters, config: RolloutConfig) -> Iterator[_Comparison]:
    """All tests against the candidate for which enough is known of stable; `past` is stable's before this block."""
    if past.requests >= _FEW:
        usual = estimate(past.errors, past.requests)
        yield _Comparison(ERRORS, _errors(stable, candidate), usual, config.error_tolerance, GAPS)
        usual = estimate(past.refusals, past.requests)
        block = Block(stable.refusals, stable.requests, candidate.refusals, candidate.requests)
        yield _Comparison(REFUSALS, block, usual, config.error_tolerance, GAPS)
    if past.latency.total >= _FEW:
        for test, bound, slow in _slower(past.latency, config):
            usual = estimate(past.latency.above(bound), past.latency.total)
            block = _above(stable.latency, bound, candidate.latency, slow)
            # Only more than half of the candidate's requests say something of its median.
            tolerance = max(config.slow_tolerance, 0.5 - usual) if test == P50 else config.slow_tolerance
            yield _Comparison(f"{test}@{bound:g}", block, usual, tolerance, _LATENCY_GAPS)
    if config.on_prediction_shift is not None and past.predictions.total >= _FEW:
        for bound in _spread(past.predictions.bounds):
            block = _above(stable.predictions, bound, candidate.predictions, bound)
            usual, limit = estimate(past.predictions.above(bound), past.predictions.total), config.prediction_limit
            yield _Comparison(f"{PREDICTIONS}@>{bound:g}", block, usual, limit, _PREDICTION_GAPS)
            yield _Comparison(f"{PREDICTIONS}@<{bound:g}", block.mirrored(), 1 - usual, limit, _PREDICTION_GAPS)


def _slower(usual: Histogram, config: RolloutConfig) -> Iterator[tuple[str, float, float]]:
    """Pairs of a bound for stable and one for the candidate, which is at least the limit's ratio higher.

    Around the median, up to the first bound at or above it, for the limit of the median; beyond the 90th percentile, up
    to the first bound that next to no request exceeds, for that of the tail.
    """
    before = 1.0
    for bound in usual.bounds:
        share = usual.above(bound) / usual.total
        body = _BODY[0] <= share <= _BODY[1] or before >= 0.5 > share
        tail = share < _TAIL[1] and before >= _TAIL[0]
        for test, ratio in ((P50, config.p50_ratio),) * body + ((P99, config.p99_ratio),) * tail:
            slow = next((higher for higher in usual.bounds if higher >= bound * ratio), None)
            if slow is not None:
                yield test, bound, slow
        before = share


def _safety(evidence: Evidence, block: Block, config: RolloutConfig) -> tuple[float, ...]:
    """Wealth of the bets that the candidate's error rate is less than the margin above stable's.

    They are bets on successes: the candidate falls short of stable's by less than the margin.
    """
    before = evidence.wealth.get(SAFETY, (0.0, 0.0))
    errors = evidence.stable.errors + evidence.candidate.errors
    requests = evidence.stable.requests + evidence.candidate.requests
    if requests < _FEW:
        return before
    usual = estimate(errors, requests)
    cap = safety_threshold(config) + _CREDIT
    return tuple(
        _stored(min(cap, one + log_growth(block.mirrored(), 1 - usual, 1 - min(bet, 0.99), -config.error_margin)))
        for one, bet in zip(before, (usual, usual + config.error_tolerance), strict=True)
    )


def _errors_alone(evidence: Evidence, candidate: Counters, config: RolloutConfig, look: int) -> tuple[float, ...]:
    """Wealth of the bets against a candidate that answers alone: its errors are far above what stable's were."""
    past = evidence.stable
    usual = upper_bound(past.errors, past.requests, config.false_rollback / _LEVELS)
    limit = min(usual + config.error_margin, 1.0)
    block = Block(0, 0, candidate.errors, candidate.requests)
    before = evidence.wealth.get(ERRORS) or (NOTHING,) * len(GAPS)
    return tuple(
        _stored(restarted(one, log_growth_alone(block, bet, limit), look))
        for one, bet in zip(before, bets(limit, 0.0), strict=True)
    )


def _counted_anew(evidence: Evidence, stable: Counters, candidate: Counters) -> Evidence:
    """The same, counting on from this reading: it is the first one, a counter has fallen, or the buckets are others."""
    bounds = (evidence.stable.latency.bounds, evidence.stable.predictions.bounds)
    update: dict[str, object] = {"seen_stable": stable, "seen_candidate": candidate}
    if bounds != (stable.latency.bounds, stable.predictions.bounds):
        empty = {"latency": stable.latency - stable.latency, "predictions": stable.predictions - stable.predictions}
        update |= {
            "stable": evidence.stable.model_copy(update=empty),
            "candidate": evidence.candidate.model_copy(update=empty),
            "wealth": {name: wealth for name, wealth in evidence.wealth.items() if "@" not in name},
        }
    return evidence.model_copy(update=update)


def _errors(stable: Counters, candidate: Counters) -> Block:
    return Block(stable.errors, stable.requests, candidate.errors, candidate.requests)


def _above(stable: Histogram, stable_bound: float, candidate: Histogram, candidate_bound: float) -> Block:
    return Block(stable.above(stable_bound), stable.total, candidate.above(candidate_bound), candidate.total)


def _spread(bounds: Sequence[float]) -> Sequence[float]:
    """At the most so many bounds, evenly from all."""
    if len(bounds) <= _PREDICTION_BOUNDS:
        return bounds
    return [bounds[(index * (len(bounds) - 1)) // (_PREDICTION_BOUNDS - 1)] for index in range(_PREDICTION_BOUNDS)]


def _stored(wealth: float) -> float:
    """Rounded down, which is on the safe side: the state stays small."""
    return int(wealth * 1000 - 1) / 1000 if wealth < 0 else int(wealth * 1000) / 1000
