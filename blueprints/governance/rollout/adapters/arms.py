"""Counters of an arm that only grow, whatever happens to its replicas."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

from blueprints.governance.rollout.adapters.samples import Reading
from blueprints.governance.rollout.observation import Arm, Counters, Histogram, Observation

_Part = Literal["latency", "predictions"]


class ArmCounter:
    """Sums what the replicas of one arm answer from now on.

    A replica that was there at first counts from its first reading, a later one from its start. One that restarts, goes
    away or is not read for a while keeps what it had counted.
    """

    def __init__(self) -> None:
        self._earlier: frozenset[str] | None = None
        self._last: dict[str, Reading] = {}
        self._counted: dict[str, Counters] = {}

    def add(self, there: Iterable[str], readings: Mapping[str, Reading]) -> None:
        """Takes in one look.

        Args:
            there: Names of all replicas that there are, read or not.
            readings: Those that were read.
        """
        if self._earlier is None:
            self._earlier = frozenset(there)
        for name, reading in readings.items():
            last = self._last.get(name)
            if last is None:
                increment = reading.counters - reading.counters if name in self._earlier else reading.counters
            elif reading.started == last.started and reading.counters.continues(last.counters):
                increment = reading.counters - last.counters
            else:
                restarts = int(reading.started > last.started)
                increment = reading.counters.model_copy(update={"restarts": restarts})
            counted = self._counted.get(name)
            self._counted[name] = increment if counted is None else summed([counted, increment])
            self._last[name] = reading

    @property
    def counters(self) -> Counters:
        """What the arm has answered so far."""
        return summed(self._counted.values())


def observation(stable: Counters, candidate: Counters, *, stable_ready: bool, candidate_ready: bool) -> Observation:
    """Both arms, their histograms on the bounds that they share.

    An arm that was never read has no bounds: it has zeros on the other's.
    """
    for part in ("latency", "predictions"):
        stable, candidate = _on_shared_bounds([stable, candidate], part)
    return Observation(
        stable=Arm(counters=stable, ready=stable_ready), candidate=Arm(counters=candidate, ready=candidate_ready)
    )


def summed(counted: Iterable[Counters]) -> Counters:
    """The sum of counters whose histograms may have different bounds."""
    parts = list(counted)
    for part in ("latency", "predictions"):
        parts = _on_shared_bounds(parts, part)
    total = parts[0] if parts else Counters()
    for counters in parts[1:]:
        total += counters
    return total


def _on_shared_bounds(counted: list[Counters], part: _Part) -> list[Counters]:
    histograms: list[Histogram] = [getattr(counters, part) for counters in counted]
    bounded = [frozenset(histogram.bounds) for histogram in histograms if histogram.bounds]
    shared = tuple(sorted(frozenset.intersection(*bounded))) if bounded else ()
    zeros = Histogram(bounds=shared, counts=(0,) * (len(shared) + 1))
    return [
        counters.model_copy(update={part: histogram.coarsened(shared) if histogram.bounds else zeros})
        for counters, histogram in zip(counted, histograms, strict=True)
    ]
