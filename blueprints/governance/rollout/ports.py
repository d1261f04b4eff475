"""What the engine needs of its surroundings; Kubernetes, Prometheus and MLflow are behind these."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from blueprints.governance.rollout.observation import Observation
from blueprints.governance.rollout.state import Rollout, State

NO_WEIGHT = -1
"""The weight of a candidate whose share differs from rule to rule."""


class SupersededError(Exception):
    """Someone else wrote since the state was read: read again."""


class UnavailableError(Exception):
    """A port's other side does not answer for now. Any port may raise it; the engine tries again at the next look."""


class MetricsUnavailableError(UnavailableError):
    """The arms cannot be observed now; the engine holds, and looks again."""


class Stored(NamedTuple):
    """What `Traffic.read` found.

    Attributes:
        state: The state in the annotation; None if there is no rollout.
        weight: The candidate's weight as it is in the route, 0 if it has none; someone may have edited it, also so that
            it is not the same everywhere (`NO_WEIGHT`).
        version: What a write must match (the object's resourceVersion).
    """

    state: State | None
    weight: int
    version: str


class Traffic(Protocol):
    """Weights and state, kept on one object so that one write changes both or neither."""

    def read(self) -> Stored:
        """The present state and weight.

        Raises:
            StateError: The stored state cannot be read.
        """
        ...

    def write(self, state: State, version: str) -> str:
        """Stores the state and gives the candidate `state.weight`, stable the rest, in one write.

        Args:
            state: The new state.
            version: As it was read; the write fails if the object has changed since.

        Returns:
            The object's new version.

        Raises:
            SupersededError: The object has changed since it was read, or is gone. Nothing was written.
        """
        ...


class Metrics(Protocol):
    """What the arms have answered."""

    def observe(self) -> Observation:
        """Both arms now; cumulative counters, see `Arm`. Returns within a few seconds.

        An arm whose replicas cannot be reached is observed with its last counters and `ready=False`.

        Raises:
            MetricsUnavailableError: The source of the metrics itself does not answer.
        """
        ...


class Release(Protocol):
    """The steps of a promotion. Each may be called any number of times, by two engines at once, after a crash in it.

    Each acts for the rollout that it is given and does nothing if stable and candidate belong to another one by now
    (the candidate serves another model than `rollout.candidate_model`, and stable does not serve that model either).
    """

    def move_model(self, rollout: Rollout) -> None:
        """Makes stable serve the candidate's model, by a rolling update that loses no request."""
        ...

    def stable_ready(self, rollout: Rollout) -> bool:
        """Whether all of stable's replicas serve the candidate's model and are ready."""
        ...

    def remove_candidate(self, rollout: Rollout) -> None:
        """Deletes the candidate, which has no traffic any more. It being gone already is no error."""
        ...

    def register(self, rollout: Rollout, reason: str) -> None:
        """Moves the registry's alias `champion` to the candidate's model and writes the promotion log."""
        ...


class Lease(Protocol):
    """At most one engine works at a rollout; one that lost the lease unawares is stopped by the resourceVersion."""

    def acquire(self, holder: str) -> bool:
        """Takes the lease, or renews it; False if another holder has it and it has not expired."""
        ...

    def release(self, holder: str) -> None:
        """Gives the lease back; nothing if it is another's."""
        ...


class Clock(Protocol):
    """Time; wall clock, as it must go on after a restart on another machine."""

    def now(self) -> float:
        """Seconds since 1970, UTC."""
        ...

    def sleep(self, seconds: float) -> None:
        """Waits; may return earlier."""
        ...
