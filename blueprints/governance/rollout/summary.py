"""A rollout in figures, for people and machines alike."""

from __future__ import annotations

from math import sqrt

from pydantic import BaseModel, ConfigDict

from blueprints.governance.rollout.observation import Counters
from blueprints.governance.rollout.state import Phase, Stage, State, Transition, Verdict

# Two-sided 95 %.
_Z = 1.959964


class ArmFigures(BaseModel):
    """What one version has answered while both ran side by side.

    Attributes:
        model: What it serves, a storage URI.
        weight: Its percentage of the traffic.
        requests: Answered requests.
        errors: Of these, the service's own faults.
        error_rate: Their share, 0 to 1; None without requests.
        error_interval: Wilson's 95 % interval of it (Wilson, 1927), for the eye: verdicts come from sequential tests.
        p50_s: Median latency; None without requests.
        p99_s: 99th percentile.
    """

    model_config = ConfigDict(frozen=True)

    model: str
    weight: int
    requests: int
    errors: int
    error_rate: float | None
    error_interval: tuple[float, float] | None
    p50_s: float | None
    p99_s: float | None


class Summary(BaseModel):
    """A rollout at one moment.

    Attributes:
        id: The rollout's.
        service: The stable service's name.
        phase: Where it is.
        stage: Where its promotion is.
        step: Number of the present step, from 1; 0 before the first.
        steps: How many there are.
        verdict: The last one.
        reason: Why the state is what it is.
        stable: Figures of the stable version.
        candidate: Figures of the candidate.
        p50_ratio: Candidate over stable.
        p99_ratio: Candidate over stable.
        prediction_distance: Kolmogorov-Smirnov distance of the predictions, by the bins that are published.
        started_by: Who started it.
        started_at: Seconds since 1970, UTC.
        entered_at: When the present phase, step or stage began.
        history: The last transitions, oldest first.
    """

    model_config = ConfigDict(frozen=True)

    id: str
    service: str
    phase: Phase
    stage: Stage | None
    step: int
    steps: int
    verdict: Verdict
    reason: str
    stable: ArmFigures
    candidate: ArmFigures
    p50_ratio: float | None
    p99_ratio: float | None
    prediction_distance: float | None
    started_by: str
    started_at: float
    entered_at: float
    history: tuple[Transition, ...]

    def flat(self) -> dict[str, float]:
        """The figures that there are, by name, for a metrics store."""
        named = {
            f"{name}_{figure}": getattr(arm, figure)
            for name, arm in (("stable", self.stable), ("candidate", self.candidate))
            for figure in ("requests", "errors", "error_rate", "p50_s", "p99_s")
        }
        named |= {name: getattr(self, name) for name in ("p50_ratio", "p99_ratio", "prediction_distance")}
        return {name: float(figure) for name, figure in named.items() if figure is not None}


def summary(state: State) -> Summary:
    """The figures of a state."""
    rollout, evidence = state.rollout, state.evidence
    stable = _arm(rollout.stable_model, 100 - state.weight, evidence.stable)
    candidate = _arm(rollout.candidate_model, state.weight, evidence.candidate)
    return Summary(
        id=rollout.id,
        service=rollout.service,
        phase=state.phase,
        stage=state.stage,
        step=state.step + 1,
        steps=len(state.config.steps),
        verdict=state.verdict,
        reason=state.reason,
        stable=stable,
        candidate=candidate,
        p50_ratio=_ratio(candidate.p50_s, stable.p50_s),
        p99_ratio=_ratio(candidate.p99_s, stable.p99_s),
        prediction_distance=_distance(evidence.stable, evidence.candidate),
        started_by=rollout.started_by,
        started_at=state.started_at,
        entered_at=state.entered_at,
        history=state.history,
    )


def wilson(part: int, whole: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share; `whole` is above 0."""
    share, square = part / whole, _Z * _Z
    centre = (share + square / (2 * whole)) / (1 + square / whole)
    half = _Z / (1 + square / whole) * sqrt(share * (1 - share) / whole + square / (4 * whole * whole))
    return max(0.0, centre - half), min(1.0, centre + half)


def _arm(model: str, weight: int, counters: Counters) -> ArmFigures:
    requests, latency = counters.requests, counters.latency
    timed = latency.total > 0 and bool(latency.bounds)
    return ArmFigures(
        model=model,
        weight=weight,
        requests=requests,
        errors=counters.errors,
        error_rate=counters.errors / requests if requests else None,
        error_interval=wilson(counters.errors, requests) if requests else None,
        p50_s=latency.quantile(0.5) if timed else None,
        p99_s=latency.quantile(0.99) if timed else None,
    )


def _ratio(candidate: float | None, stable: float | None) -> float | None:
    return candidate / stable if candidate is not None and stable else None


def _distance(stable: Counters, candidate: Counters) -> float | None:
    ours, theirs = stable.predictions, candidate.predictions
    if not ours.total or not theirs.total or ours.bounds != theirs.bounds:
        return None
    gaps = (abs(ours.above(bound) / ours.total - theirs.above(bound) / theirs.total) for bound in ours.bounds)
    return max(gaps, default=None)
