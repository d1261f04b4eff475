"""What a rollout may do, how long, and what it must show: defaults for production, a preset for a laptop."""

from __future__ import annotations

from enum import StrEnum
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

Seconds = Annotated[float, Field(ge=0, le=30 * 86400)]
Share = Annotated[float, Field(ge=0, le=1)]
Level = Annotated[float, Field(gt=0, le=0.2)]


class ConfigError(ValueError):
    """A configuration that no rollout can run with."""


class Outcome(StrEnum):
    """What follows when the analysis does not come to an end, or predictions differ."""

    ROLLBACK = "rollback"
    PAUSE = "pause"


class Step(BaseModel):
    """One weight of the candidate and how long it stays at the least.

    Attributes:
        weight: Percent of the traffic.
        wait_s: Least time at this weight.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    weight: int = Field(ge=1, le=100)
    wait_s: Seconds = 300


class RolloutConfig(BaseModel):
    """Steps, waits, limits and error levels of a rollout.

    Attributes:
        steps: Ascending weights; the last one may be 100, where only the candidate answers.
        interval_s: Time between two looks.
        min_requests: Requests that the candidate must have answered at a step before it may leave it.
        step_limit_s: Time at one step after which the analysis is inconclusive.
        on_inconclusive: What follows then.
        ready_limit_s: Time for the candidate to become ready before its first request, and for stable in a promotion.
        unready_grace_s: Time that the candidate may be unready with traffic on it, all together; `resume` renews it.
        restart_limit: Restarts of the candidate's replicas beyond those of stable's at which it is rolled back.
        settle_s: Time in which the gateway surely follows a change of weights and answers what it had begun.
        error_tolerance: Excess of the candidate's error rate, or of its share of refused requests, over stable's that
            is never a reason to roll back.
        error_margin: Excess that no promoted candidate may have.
        false_rollback: Probability, over the whole rollout, that a candidate within all tolerances is rolled back.
        missed_bad: Probability that a candidate with at least `error_margin` is promoted.
        p50_ratio: The candidate's median latency over stable's, above which it is rolled back.
        p99_ratio: The same for the 99th percentile.
        slow_tolerance: Excess share of slow requests that is never a reason to roll back, whatever the ratios.
        prediction_limit: Distance (Kolmogorov-Smirnov) of the predictions of both arms that needs a person's word.
        on_prediction_shift: What follows when the distance is shown to be larger; None: predictions are not compared.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    steps: tuple[Step, ...] = (Step(weight=5), Step(weight=25), Step(weight=50), Step(weight=100))
    interval_s: Annotated[float, Field(ge=0.1, le=600)] = 10
    min_requests: Annotated[int, Field(ge=1)] = 100
    step_limit_s: Seconds = 4 * 3600
    on_inconclusive: Outcome = Outcome.ROLLBACK
    ready_limit_s: Seconds = 900
    unready_grace_s: Seconds = 60
    restart_limit: Annotated[int, Field(ge=1)] = 2
    settle_s: Seconds = 10
    error_tolerance: Share = 0.01
    error_margin: Share = 0.05
    false_rollback: Level = 0.005
    missed_bad: Level = 0.005
    p50_ratio: Annotated[float, Field(ge=1)] = 1.5
    p99_ratio: Annotated[float, Field(ge=1)] = 2.0
    slow_tolerance: Share = 0.01
    prediction_limit: Share = 0.2
    on_prediction_shift: Outcome | None = Outcome.PAUSE

    @model_validator(mode="after")
    def _possible(self) -> Self:
        weights = [step.weight for step in self.steps]
        if not weights or weights[0] == 100:
            raise ValueError("the first step leaves traffic to stable: without both arms nothing can be compared")
        if any(low >= high for low, high in pairwise(weights)):
            raise ValueError(f"the steps' weights ascend; these do not: {weights}")
        if self.error_margin <= self.error_tolerance:
            raise ValueError("error_margin is above error_tolerance: between them lies what is neither good nor bad")
        if slow := [step.weight for step in self.steps if step.wait_s >= self.step_limit_s]:
            raise ValueError(f"step_limit_s is longer than the wait of every step; it is not at {slow} %")
        return self

    @classmethod
    def laptop(cls) -> Self:
        """Short waits, for about 50 requests a second on one machine."""
        return cls(
            steps=tuple(Step(weight=weight, wait_s=10) for weight in (5, 25, 50, 100)),
            interval_s=1,
            min_requests=50,
            step_limit_s=300,
            ready_limit_s=180,
            unready_grace_s=10,
            settle_s=1.5,
        )

    @classmethod
    def from_yaml(cls, path: Path) -> Self:
        """Reads a configuration; what it does not name keeps its default.

        Raises:
            ConfigError: The file is no valid configuration.
        """
        import yaml

        try:
            return cls.checked(yaml.safe_load(path.read_text(encoding="utf-8")) or {})
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise ConfigError(f"{path}: {error}") from error
        except ConfigError as error:
            raise ConfigError(f"{path}: {error}") from error

    @classmethod
    def checked(cls, fields: Any) -> Self:
        """Validates fields of a configuration.

        Raises:
            ConfigError: They are not valid; says each field and why.
        """
        try:
            return cls.model_validate(fields)
        except ValidationError as error:
            problems = (
                f"{'.'.join(map(str, problem['loc'])) or 'rollout'}: {problem['msg'].removeprefix('Value error, ')}"
                for problem in error.errors()
            )
            raise ConfigError("; ".join(problems)) from error

    def with_steps(self, weights: tuple[int, ...], wait_s: float) -> Self:
        """The same with other steps, as the command line gives them.

        Raises:
            ConfigError: No rollout can run with them.
        """
        fields = self.model_dump() | {"steps": [{"weight": weight, "wait_s": wait_s} for weight in weights]}
        return self.checked(fields)
