"""The verdict on the candidate: advance, hold, roll back, inconclusive; and why, in words."""

from __future__ import annotations

from collections.abc import Iterator
from math import log

from blueprints.governance.rollout.config import RolloutConfig
from blueprints.governance.rollout.evidence import (
    ERRORS,
    P50,
    P99,
    PREDICTIONS,
    REFUSALS,
    SAFETY,
    Evidence,
    rollback_threshold,
    safety_threshold,
)
from blueprints.governance.rollout.observation import Histogram, Observation
from blueprints.governance.rollout.state import State, Verdict

# Evidence of 20 : 1 against a candidate is no verdict yet, but no moment to give it more traffic either.
_SUSPICION = log(20)


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
    missing = next(_missing(state, observation, now), None)
    if missing is None:
        return Verdict.ADVANCE, _figures(state.evidence)
    if now - state.entered_at > state.config.step_limit_s:
        return Verdict.INCONCLUSIVE, f"no verdict within {state.config.step_limit_s:g} s: {missing}"
    return Verdict.HOLD, missing


def objection(evidence: Evidence, config: RolloutConfig) -> str | None:
    """Why the candidate must go back, if that is shown; None if it is not."""
    threshold = rollback_threshold(config)
    stable, candidate = evidence.stable, evidence.candidate
    if evidence.strength(ERRORS) >= threshold:
        return (
            f"error rate {_percent(candidate.errors, candidate.requests)} against "
            f"{_percent(stable.errors, stable.requests)} of stable: shown to be more than "
            f"{config.error_tolerance * 100:g} points higher"
        )
    if evidence.strength(REFUSALS) >= threshold:
        return (
            f"{_percent(candidate.refusals, candidate.requests)} of requests refused (4xx) against "
            f"{_percent(stable.refusals, stable.requests)} by stable: shown to be more than "
            f"{config.error_tolerance * 100:g} points more"
        )
    for test, share, limit in ((P50, 0.5, config.p50_ratio), (P99, 0.99, config.p99_ratio)):
        if evidence.strength(test) >= threshold:
            slow, usual = candidate.latency.quantile(share), stable.latency.quantile(share)
            return f"{test} latency {_ms(slow)} against {_ms(usual)} of stable: shown to be above {limit:g} times it"
    if candidate.restarts - stable.restarts >= config.restart_limit:
        return f"the candidate's replicas restarted {candidate.restarts} times, stable's {stable.restarts} times"
    return None


def shifted(evidence: Evidence, config: RolloutConfig) -> str | None:
    """Says so if the candidate's predictions are shown to be further from stable's than the limit."""
    if config.on_prediction_shift is None or evidence.strength(PREDICTIONS) < rollback_threshold(config):
        return None
    distance = _distance(evidence.stable.predictions, evidence.candidate.predictions)
    return (
        f"predictions differ from stable's by {distance:.2f} (Kolmogorov-Smirnov): shown to be more than "
        f"{config.prediction_limit:g}"
    )


def _missing(state: State, observation: Observation | None, now: float) -> Iterator[str]:
    """What the next step waits for, first things first."""
    config, evidence = state.config, state.evidence
    if observation is None:
        yield "the services' metrics cannot be read"
    elif not (observation.stable.ready and observation.candidate.ready):
        yield "the candidate is not ready" if observation.stable.ready else "stable is not ready"
    for test in (ERRORS, REFUSALS, P50, P99):
        if evidence.strength(test) >= _SUSPICION:
            yield f"the candidate's {test} look worse than stable's, which is not shown yet"
    answered = evidence.candidate.requests - state.requests_at_entry
    if answered < config.min_requests:
        yield f"the candidate has answered {answered} of at least {config.min_requests} requests at this step"
    last_comparison = state.step + 1 == len(config.steps) or config.steps[state.step + 1].weight == 100
    if state.weight < 100 and last_comparison and evidence.strength(SAFETY) < safety_threshold(config):
        yield f"it is not shown yet that errors are less than {config.error_margin * 100:g} points above stable's"
    remaining = config.steps[state.step].wait_s - (now - state.entered_at)
    if remaining > 0:
        yield f"{remaining:.0f} s of this step remain"


def _figures(evidence: Evidence) -> str:
    stable, candidate = evidence.stable, evidence.candidate
    return (
        f"error rate {_percent(candidate.errors, candidate.requests)} against "
        f"{_percent(stable.errors, stable.requests)} of stable, p50 {_ms(candidate.latency.quantile(0.5))} against "
        f"{_ms(stable.latency.quantile(0.5))}, after {candidate.requests} requests"
    )


def _distance(stable: Histogram, candidate: Histogram) -> float:
    if not stable.total or not candidate.total:
        return 0.0
    shares = ((stable.above(one) / stable.total, candidate.above(one) / candidate.total) for one in stable.bounds)
    return max((abs(a - b) for a, b in shares), default=0.0)


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole if whole else 0:.1f} %"


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.3g} ms"
