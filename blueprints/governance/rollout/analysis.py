"""What the counters of both arms say of the candidate: advance, hold, roll back, inconclusive.

Errors, slow requests and predictions are all judged by the one test of `sequential`: a request fails, or is slower than
stable's median times a limit, or has a prediction above a bound.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import log

from blueprints.governance.rollout.config import RolloutConfig
from blueprints.governance.rollout.evidence import Evidence
from blueprints.governance.rollout.observation import Counters, Histogram, Observation
from blueprints.governance.rollout.sequential import (
    GAPS,
    NOTHING,
    Block,
    bets,
    estimate,
    log_growth,
    log_growth_alone,
    log_mean,
    restarted,
    upper_bound,
)
from blueprints.governance.rollout.state import State, Verdict

ERRORS, P50, P99, PREDICTIONS, SAFETY = "errors", "p50", "p99", "predictions", "safety"
# The level of a false rollback is shared by the first four and by the bound on stable's error rate at weight 100.
_SHARES = 5
# Evidence of 20 : 1 against a candidate is no verdict yet, but no moment to give it more traffic either.
_SUSPICION = log(20)
# No bet before stable has answered so much.
_FEW = 20
# What was shown long ago must not outweigh what happens now: credit beyond the threshold is capped.
_CREDIT = 2.0
_PREDICTION_BOUNDS = 9
_PREDICTION_GAPS = (0.15,)


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
    evidence = _continued(evidence, stable, candidate)
    if evidence.seen_stable is None or evidence.seen_candidate is None:
        return evidence
    new_stable, new_candidate = stable - evidence.seen_stable, candidate - evidence.seen_candidate
    alone = weight == 100
    if not new_candidate.requests or not (alone or new_stable.requests):
        return evidence
    look = evidence.looks + 1
    wealth = dict(evidence.wealth)
    if alone:
        wealth[ERRORS] = _errors_alone(evidence, new_candidate, config, look)
    else:
        wealth |= _compared(evidence, new_stable, new_candidate, config, look)
    return Evidence(
        looks=look,
        stable=evidence.stable + new_stable,
        candidate=evidence.candidate + new_candidate,
        seen_stable=stable,
        seen_candidate=candidate,
        wealth=wealth,
    )


def judged(state: State, observation: Observation | None, now: float) -> tuple[Verdict, str]:
    """The verdict on the candidate at its present step, and why.

    Args:
        state: With its evidence up to now.
        observation: Now; None if the arms cannot be observed.
        now: Seconds since 1970.
    """
    against = objection(state.evidence, state.config)
    if against is not None:
        return Verdict.ROLLBACK, against
    waits = next(_missing(state, observation, now), None)
    if waits is None:
        return Verdict.ADVANCE, _figures(state.evidence)
    if now - state.entered_at > state.config.step_limit_s:
        return Verdict.INCONCLUSIVE, f"no verdict within {state.config.step_limit_s:g} s: {waits}"
    return Verdict.HOLD, waits


def objection(evidence: Evidence, config: RolloutConfig) -> str | None:
    """Why the candidate must go back, if that is shown; None if it is not."""
    threshold = log(_SHARES / config.false_rollback)
    stable, candidate = evidence.stable, evidence.candidate
    if strength(evidence, ERRORS) >= threshold:
        return (
            f"error rate {_percent(candidate.errors, candidate.requests)} against "
            f"{_percent(stable.errors, stable.requests)} of stable: shown to be more than "
            f"{config.error_tolerance * 100:g} points higher"
        )
    for test, share, limit in _latencies(config):
        if strength(evidence, test) >= threshold:
            slow, usual = candidate.latency.quantile(share), stable.latency.quantile(share)
            return f"{test} latency {_ms(slow)} against {_ms(usual)} of stable: shown to be above {limit:g} times it"
    return None


def shifted(evidence: Evidence, config: RolloutConfig) -> str | None:
    """Says so if the candidate's predictions are shown to be further from stable's than the limit."""
    if config.on_prediction_shift is None or strength(evidence, PREDICTIONS) < log(_SHARES / config.false_rollback):
        return None
    distance = _distance(evidence.stable.predictions, evidence.candidate.predictions)
    return (
        f"predictions differ from stable's by {distance:.2f} (Kolmogorov-Smirnov): shown to be more than "
        f"{config.prediction_limit:g}"
    )


def strength(evidence: Evidence, test: str) -> float:
    """Logarithm of a test's e-value."""
    return log_mean(evidence.wealth[test]) if evidence.wealth.get(test) else NOTHING


def _missing(state: State, observation: Observation | None, now: float) -> Iterator[str]:
    """What the next step waits for, first things first."""
    config, evidence = state.config, state.evidence
    if observation is None:
        yield "the services' metrics cannot be read"
    elif not (observation.stable.ready and observation.candidate.ready):
        yield "the candidate is not ready" if observation.stable.ready else "stable is not ready"
    for test in (ERRORS, P50, P99):
        if strength(evidence, test) >= _SUSPICION:
            yield f"the candidate's {test} look worse than stable's, which is not shown yet"
    answered = evidence.candidate.requests - state.requests_at_entry
    if answered < config.min_requests:
        yield f"the candidate has answered {answered} of at least {config.min_requests} requests at this step"
    last_comparison = state.step + 1 == len(config.steps) or config.steps[state.step + 1].weight == 100
    if state.weight < 100 and last_comparison and strength(evidence, SAFETY) < log(1 / config.missed_bad):
        yield f"it is not shown yet that errors are less than {config.error_margin * 100:g} points above stable's"
    remaining = config.steps[state.step].wait_s - (now - state.entered_at)
    if remaining > 0:
        yield f"{remaining:.0f} s of this step remain"


def _compared(
    evidence: Evidence, stable: Counters, candidate: Counters, config: RolloutConfig, look: int
) -> dict[str, tuple[float, ...]]:
    past = evidence.stable
    block = Block(stable.errors, stable.requests, candidate.errors, candidate.requests)
    usual = estimate(past.errors, past.requests) if past.requests >= _FEW else None
    wealth = {ERRORS: _against(evidence, ERRORS, block, usual, config.error_tolerance, look)}
    wealth[SAFETY] = _for(evidence, block, config)
    usual_latency = past.latency if past.latency.total >= _FEW else None
    for test, share, limit in _latencies(config):
        bound = None if usual_latency is None else _slow(usual_latency, share, limit)
        if usual_latency is None or bound is None:
            continue
        block = _above(stable.latency, candidate.latency, bound)
        usual = estimate(usual_latency.above(bound), usual_latency.total)
        # At `limit` times stable's quantile, a share of 1 - share is slower than the bound.
        tolerance = max(config.slow_tolerance, 1 - share - usual)
        wealth[test] = _against(evidence, test, block, usual, tolerance, look)
    if config.on_prediction_shift is not None and past.predictions.bounds:
        wealth[PREDICTIONS] = tuple(_predictions(evidence, stable, candidate, config, look))
    return wealth


def _against(
    evidence: Evidence,
    test: str,
    block: Block,
    usual: float | None,
    tolerance: float,
    look: int,
) -> tuple[float, ...]:
    """Wealth of the bets that the candidate's rate is more than the tolerance above stable's."""
    before = evidence.wealth.get(test, (NOTHING,) * len(GAPS))
    if usual is None:
        return tuple(restarted(one, 0.0, look) for one in before)
    return tuple(
        restarted(one, log_growth(block, usual, bet, tolerance), look)
        for one, bet in zip(before, bets(usual, tolerance), strict=True)
    )


def _for(evidence: Evidence, block: Block, config: RolloutConfig) -> tuple[float, ...]:
    """Wealth of the bets that the candidate's error rate is less than the margin above stable's.

    They are bets on successes: that the shortfall of the candidate's is smaller than the margin.
    """
    errors = evidence.stable.errors + evidence.candidate.errors
    requests = evidence.stable.requests + evidence.candidate.requests
    before = evidence.wealth.get(SAFETY, (0.0, 0.0))
    if requests < _FEW:
        return before
    usual = estimate(errors, requests)
    cap = log(1 / config.missed_bad) + _CREDIT
    return tuple(
        min(cap, one + log_growth(block.mirrored(), 1 - usual, 1 - min(usual + excess, 0.99), -config.error_margin))
        for one, excess in zip(before, (0.0, config.error_tolerance), strict=True)
    )


def _errors_alone(evidence: Evidence, candidate: Counters, config: RolloutConfig, look: int) -> tuple[float, ...]:
    past = evidence.stable
    level = config.false_rollback / _SHARES
    limit = min(upper_bound(past.errors, past.requests, level) + config.error_margin, 1.0)
    block = Block(0, 0, candidate.errors, candidate.requests)
    before = evidence.wealth.get(ERRORS, (NOTHING,) * len(GAPS))
    return tuple(
        restarted(one, log_growth_alone(block, bet, limit), look)
        for one, bet in zip(before, bets(limit, 0.0), strict=True)
    )


def _predictions(
    evidence: Evidence, stable: Counters, candidate: Counters, config: RolloutConfig, look: int
) -> Iterator[float]:
    """Wealth of the bets that more, or fewer, of the candidate's predictions are above a bound; two for each bound."""
    past, bounds = evidence.stable.predictions, _spread(evidence.stable.predictions.bounds)
    before = evidence.wealth.get(PREDICTIONS, ())
    if len(before) != 2 * len(bounds):
        before = (NOTHING,) * (2 * len(bounds))
    for index, bound in enumerate(bounds):
        block = _above(stable.predictions, candidate.predictions, bound)
        usual = estimate(past.above(bound), past.total)
        sides = ((block, usual), (block.mirrored(), 1 - usual))
        for wealth, (side, rate) in zip(before[2 * index : 2 * index + 2], sides, strict=True):
            (bet,) = bets(rate, config.prediction_limit, _PREDICTION_GAPS)
            growth = log_growth(side, rate, bet, config.prediction_limit) if past.total >= _FEW else 0.0
            yield restarted(wealth, growth, look)


def _continued(evidence: Evidence, stable: Counters, candidate: Counters) -> Evidence:
    """The same, with a reading from which both arms count on: the first one, or a new one if a counter has fallen."""
    before = evidence.seen_stable, evidence.seen_candidate
    if before[0] and before[1] and stable.continues(before[0]) and candidate.continues(before[1]):
        return evidence
    return evidence.model_copy(
        update={
            "seen_stable": stable,
            "seen_candidate": candidate,
            "stable": _on_bounds(evidence.stable, stable),
            "candidate": _on_bounds(evidence.candidate, candidate),
        }
    )


def _on_bounds(counters: Counters, reading: Counters) -> Counters:
    """The counters, their histograms begun anew where the reading's have other bounds."""
    changed = {
        name: new - new
        for name, old, new in (
            ("latency", counters.latency, reading.latency),
            ("predictions", counters.predictions, reading.predictions),
        )
        if old.bounds != new.bounds
    }
    return counters.model_copy(update=changed)


def _latencies(config: RolloutConfig) -> tuple[tuple[str, float, float], ...]:
    return (P50, 0.5, config.p50_ratio), (P99, 0.99, config.p99_ratio)


def _slow(usual: Histogram, share: float, limit: float) -> float | None:
    """The first bound at or above the limit; None if the buckets end below it."""
    wanted = limit * usual.quantile(share)
    return next((bound for bound in usual.bounds if bound >= wanted), None)


def _above(stable: Histogram, candidate: Histogram, bound: float) -> Block:
    return Block(stable.above(bound), stable.total, candidate.above(bound), candidate.total)


def _spread(bounds: Sequence[float]) -> Sequence[float]:
    if len(bounds) <= _PREDICTION_BOUNDS:
        return bounds
    return [bounds[(index * (len(bounds) - 1)) // (_PREDICTION_BOUNDS - 1)] for index in range(_PREDICTION_BOUNDS)]


def _distance(stable: Histogram, candidate: Histogram) -> float:
    if not stable.total or not candidate.total:
        return 0.0
    return max(
        (abs(stable.above(bound) / stable.total - candidate.above(bound) / candidate.total) for bound in stable.bounds),
        default=0.0,
    )


def _figures(evidence: Evidence) -> str:
    stable, candidate = evidence.stable, evidence.candidate
    return (
        f"error rate {_percent(candidate.errors, candidate.requests)} against "
        f"{_percent(stable.errors, stable.requests)} of stable, p50 {_ms(candidate.latency.quantile(0.5))} against "
        f"{_ms(stable.latency.quantile(0.5))}, after {candidate.requests} requests"
    )


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole if whole else 0:.1f} %"


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.3g} ms"
