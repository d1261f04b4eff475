"""Simulated rollouts: the real engine on simulated services, to count its false and its missed verdicts."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cache
from math import erf, log, sqrt
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from blueprints.governance.rollout.config import RolloutConfig
from blueprints.governance.rollout.engine import Engine, start
from blueprints.governance.rollout.observation import Arm, Counters, Histogram, Observation
from blueprints.governance.rollout.ports import Stored, SupersededError
from blueprints.governance.rollout.state import Phase, Rollout, State

if TYPE_CHECKING:
    from numpy.typing import NDArray

# As the servers export them (http_request_duration_seconds), and a probability in tenths.
LATENCY_BOUNDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
PREDICTION_BOUNDS = tuple(tenth / 10 for tenth in range(1, 10))
# What the machine does to every request, of both arms, and how often it changes its mind.
_SLOWDOWNS = (1.0, 1.3, 2.0, 5.0)
_SPELL_ERRORS = (0.0, 0.0, 0.01, 0.03)
_CALM, _MEAN_CALM_S, _MEAN_SPELL_S = 0, 60.0, 8.0
# One request in so many meets a pause (a collection, a cold cache) that takes this many times as long.
_PAUSED_SHARE, _PAUSE = 0.01, 8.0


@dataclass(frozen=True)
class Scenario:
    """Two services and the traffic on them.

    Attributes:
        requests_per_s: Of both arms together.
        error_rates: Each rollout draws stable's error rate from between these.
        excess_errors: The candidate's error rate minus stable's.
        median_s: Median latency of a quiet machine.
        spread: Standard deviation of the logarithm of the latency.
        slower: The candidate's latency over stable's.
        shift: Distance between the distributions of both arms' predictions.
        bad_from_weight: The candidate is like stable below this weight and turns bad when it gets it.
    """

    requests_per_s: float = 50
    error_rates: tuple[float, float] = (0.0, 0.02)
    excess_errors: float = 0.0
    median_s: float = 0.008
    spread: float = 0.5
    slower: float = 1.0
    shift: float = 0.0
    bad_from_weight: int = 0


@dataclass(frozen=True)
class Outcomes:
    """Ends of many rollouts.

    Attributes:
        phases: How each ended.
        durations_s: From start to end.
        rollback_s: From the first bad answer to weight 0; only of those rolled back after one.
        reasons: Why each ended so.
    """

    phases: tuple[Phase, ...]
    durations_s: tuple[float, ...]
    rollback_s: tuple[float, ...]
    reasons: tuple[str, ...] = field(repr=False)

    def share(self, phase: Phase) -> float:
        """Share of the rollouts that ended in a phase."""
        return self.phases.count(phase) / len(self.phases)


def simulate(config: RolloutConfig, scenario: Scenario, n: int, seed: int) -> Outcomes:
    """Runs rollouts on simulated time, about 5,000 looks a second.

    Args:
        config: As in a real rollout.
        scenario: Services and traffic.
        n: Rollouts.
        seed: The same seed gives the same outcomes.
    """
    seeds = np.random.SeedSequence(seed).spawn(n)
    ends = [_run(config, scenario, np.random.default_rng(one)) for one in seeds]
    return Outcomes(
        phases=tuple(state.phase for state, _, _ in ends),
        durations_s=tuple(world.time for _, world, _ in ends),
        rollback_s=tuple(after for _, _, after in ends if after is not None),
        reasons=tuple(state.reason for state, _, _ in ends),
    )


def plot_operating_characteristics(
    path: Path, config: RolloutConfig | None = None, n: int = 200, seed: int = 0
) -> Path:
    """Draws how likely a candidate is promoted and rolled back, over the error rate and latency that it adds.

    Args:
        path: PNG to write.
        config: As in a real rollout; the laptop's by default.
        n: Rollouts per point.
        seed: Of the simulation.
    """
    from matplotlib.figure import Figure

    config = config or RolloutConfig.laptop()
    figure = Figure(figsize=(10, 3.8), layout="constrained")
    errors, latency = figure.subplots(1, 2)
    excesses = np.array([0, 0.005, 0.01, 0.015, 0.02, 0.025, 0.03, 0.035, 0.04, 0.05, 0.06, 0.08])
    slower = np.array([1, 1.25, 1.5, 1.75, 2, 2.5, 3, 4, 5])
    plain = Scenario()
    by_excess = [simulate(config, replace(plain, excess_errors=float(one)), n, seed) for one in excesses]
    by_latency = [simulate(config, replace(plain, slower=float(one)), n, seed) for one in slower]
    for axes, at, outcomes in ((errors, excesses * 100, by_excess), (latency, slower, by_latency)):
        axes.plot(at, [one.share(Phase.PROMOTED) for one in outcomes], "o-", color="#1f6feb", ms=4, label="promoted")
        axes.plot(
            at, [one.share(Phase.ROLLED_BACK) for one in outcomes], "s-", color="#b3261e", ms=4, label="rolled back"
        )
        axes.set_ylim(-0.03, 1.03)
        axes.set_ylabel("share of rollouts")
        axes.spines[["top", "right"]].set_visible(False)
    for axes, limit, name in (
        (errors, config.error_tolerance * 100, "tolerance"),
        (errors, config.error_margin * 100, "margin"),
        (latency, config.p50_ratio, "p50"),
        (latency, config.p99_ratio, "p99"),
    ):
        axes.axvline(limit, color="#8a94a0", lw=0.8, ls=":")
        axes.annotate(name, (limit, 0.5), xytext=(3, 0), textcoords="offset points", fontsize=8, color="#57606a")
    errors.set_xlabel("candidate's error rate above stable's, points")
    latency.set_xlabel("candidate's latency over stable's, every request")
    errors.legend(frameon=False, fontsize=9, loc="center right")
    figure.savefig(path, dpi=150)
    return path


class _World:
    """Two services under load, the route between them, the release and the clock: every port of the engine."""

    def __init__(self, scenario: Scenario, random: np.random.Generator) -> None:
        self.time = 0.0
        self.first_bad: float | None = None
        self._scenario = scenario
        self._random = random
        self._state: State | None = None
        self._version = 0
        self._spell, self._spell_ends = _CALM, random.exponential(_MEAN_CALM_S)
        self._error_rate = random.uniform(*scenario.error_rates)
        self._arms = [_Tally(), _Tally()]

    def read(self) -> Stored:
        return Stored(self._state, self._weight, str(self._version))

    def write(self, state: State, version: str) -> str:
        if version != str(self._version):
            raise SupersededError
        self._state, self._version = state, self._version + 1
        return str(self._version)

    def observe(self) -> Observation:
        stable, candidate = (Arm(counters=tally.counters()) for tally in self._arms)
        return Observation(stable=stable, candidate=candidate)

    def move_model(self, rollout: Rollout) -> None:
        pass

    def stable_ready(self, rollout: Rollout) -> bool:  # noqa: ARG002
        return True

    def remove_candidate(self, rollout: Rollout) -> None:
        pass

    def register(self, rollout: Rollout, reason: str) -> None:
        pass

    def acquire(self, holder: str) -> bool:  # noqa: ARG002
        return True

    def release(self, holder: str) -> None:
        pass

    def now(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        """Serves requests for that time."""
        until = self.time + seconds
        while self.time < until:
            if self.time >= self._spell_ends:
                calm = self._spell != _CALM
                self._spell = _CALM if calm else int(self._random.integers(1, len(_SLOWDOWNS)))
                self._spell_ends = self.time + self._random.exponential(_MEAN_CALM_S if calm else _MEAN_SPELL_S)
            span = min(until, self._spell_ends) - self.time
            self._serve(span)
            self.time += span

    @property
    def _weight(self) -> int:
        return 0 if self._state is None else self._state.weight

    def _serve(self, seconds: float) -> None:
        scenario, weight = self._scenario, self._weight
        requests = int(self._random.poisson(scenario.requests_per_s * seconds))
        to_candidate = int(self._random.binomial(requests, weight / 100))
        bad = weight >= scenario.bad_from_weight
        slowdown = _SLOWDOWNS[self._spell]
        excess, slower, shift = (scenario.excess_errors, scenario.slower, scenario.shift) if bad else (0.0, 1.0, 0.0)
        shapes = (requests - to_candidate, 0.0, 1.0, 0.0), (to_candidate, excess, slower, shift)
        for tally, (count, added, factor, moved) in zip(self._arms, shapes, strict=True):
            if count:
                latency = _latencies(scenario.median_s * factor * slowdown, scenario.spread)
                failed = int(
                    self._random.binomial(count, min(1.0, self._error_rate + _SPELL_ERRORS[self._spell] + added))
                )
                tally.add(count, failed, latency, _predictions(moved), self._random)
        worse = (excess, slower, shift) != (0.0, 1.0, 0.0)
        if worse and to_candidate and self.first_bad is None:
            self.first_bad = self.time


class _Tally:
    """Counters of one arm."""

    def __init__(self) -> None:
        self._requests = self._errors = 0
        self._latency = np.zeros(len(LATENCY_BOUNDS) + 1, dtype=np.int64)
        self._predictions = np.zeros(len(PREDICTION_BOUNDS) + 1, dtype=np.int64)

    def add(
        self,
        requests: int,
        errors: int,
        latency: NDArray[np.float64],
        predictions: NDArray[np.float64],
        random: np.random.Generator,
    ) -> None:
        self._requests += requests
        self._errors += errors
        self._latency += random.multinomial(requests, latency)
        self._predictions += random.multinomial(requests - errors, predictions)

    def counters(self) -> Counters:
        return Counters(
            requests=self._requests,
            errors=self._errors,
            latency=Histogram(bounds=LATENCY_BOUNDS, counts=tuple(self._latency.tolist())),
            predictions=Histogram(bounds=PREDICTION_BOUNDS, counts=tuple(self._predictions.tolist())),
        )


def _run(config: RolloutConfig, scenario: Scenario, random: np.random.Generator) -> tuple[State, _World, float | None]:
    world = _World(scenario, random)
    rollout = Rollout(id="simulated", service="simulated", stable_model="old", candidate_model="new")
    start(world, rollout, config, world.now())
    engine = Engine(world, world, world, world, world, "simulation")
    state = engine.look()
    # A pause waits for a person, who does not come here.
    while not state.phase.over and state.phase is not Phase.PAUSED:
        world.sleep(config.interval_s)
        state = engine.look()
    back = state.phase is Phase.ROLLED_BACK and world.first_bad is not None
    return state, world, world.time - world.first_bad if back and world.first_bad is not None else None


@cache
def _latencies(median: float, spread: float) -> NDArray[np.float64]:
    """Shares of the buckets for a lognormal latency of which some requests meet a pause."""

    def below(bound: float) -> float:
        quick, paused = (_normal(log(bound / (median * factor)) / spread) for factor in (1.0, _PAUSE))
        return (1 - _PAUSED_SHARE) * quick + _PAUSED_SHARE * paused

    reached = np.array([0.0, *(below(bound) for bound in LATENCY_BOUNDS), 1.0])
    return np.diff(reached)


@cache
def _predictions(shift: float) -> NDArray[np.float64]:
    """Shares of the tenths for low probabilities, moved so that the distance to the unmoved ones is the shift."""
    usual = np.array([30, 20, 14, 10, 8, 6, 5, 3, 2, 2], dtype=np.float64) / 100
    moved = usual * (1 - shift)
    moved[-1] += shift
    return moved


def _normal(value: float) -> float:
    return 0.5 * (1 + erf(value / sqrt(2)))
