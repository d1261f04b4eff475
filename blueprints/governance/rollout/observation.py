"""What is known of the two arms at one moment: counters that only grow, and whether each arm is ready."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from itertools import accumulate, pairwise
from typing import Self

from pydantic import BaseModel, ConfigDict, model_validator


class Histogram(BaseModel):
    """Counts by bucket.

    Attributes:
        bounds: Upper bounds of the buckets, ascending, inclusive, without infinity.
        counts: Values in each bucket (not cumulative); one more than bounds, the last is above every bound.
    """

    model_config = ConfigDict(frozen=True)

    bounds: tuple[float, ...] = ()
    counts: tuple[int, ...] = (0,)

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if len(self.counts) != len(self.bounds) + 1:
            raise ValueError(f"a histogram of {len(self.bounds)} bounds has {len(self.bounds) + 1} counts")
        if list(self.bounds) != sorted(set(self.bounds)):
            raise ValueError("the bounds of a histogram ascend")
        if min(self.counts) < 0:
            raise ValueError("a count is not negative")
        return self

    @classmethod
    def from_cumulative(cls, buckets: Iterable[tuple[float, float]]) -> Self:
        """Reads Prometheus buckets.

        Args:
            buckets: (`le`, cumulative count) pairs in any order, with or without `le="+Inf"`'s infinity as last bound.
        """
        ordered = sorted(buckets)
        bounds = tuple(bound for bound, _ in ordered if bound != float("inf"))
        cumulative = [0, *(round(count) for _, count in ordered)]
        counts = [max(0, high - low) for low, high in pairwise(cumulative)]
        return cls(bounds=bounds, counts=tuple(counts if len(counts) > len(bounds) else [*counts, 0]))

    @property
    def total(self) -> int:
        """All values."""
        return sum(self.counts)

    def above(self, bound: float) -> int:
        """Values above one of the bounds."""
        return sum(self.counts[bisect_left(self.bounds, bound) + 1 :])

    def quantile(self, share: float) -> float:
        """The value that a share of all values does not exceed, interpolated in its bucket as Prometheus does.

        A value above the last bound counts as that bound; an empty histogram gives 0.
        """
        wanted = share * self.total
        if not self.bounds or wanted <= 0:
            return 0.0
        for index, reached in enumerate(accumulate(self.counts)):
            if reached >= wanted:
                if index == len(self.bounds):
                    break
                low, high = (self.bounds[index - 1] if index else min(0.0, self.bounds[0])), self.bounds[index]
                return high - (high - low) * (reached - wanted) / self.counts[index]
        return self.bounds[-1]

    def coarsened(self, bounds: Iterable[float]) -> Self:
        """The same values on fewer bounds, which must be among its own: so that two versions' buckets compare."""
        kept = sorted(set(bounds))
        if missing := set(kept) - set(self.bounds):
            raise ValueError(f"the histogram has no bounds {sorted(missing)}")
        counts = [0] * (len(kept) + 1)
        for bound, count in zip((*self.bounds, float("inf")), self.counts, strict=True):
            counts[bisect_left(kept, bound)] += count
        return type(self)(bounds=tuple(kept), counts=tuple(counts))

    def __add__(self, other: Histogram) -> Histogram:
        return Histogram(
            bounds=self.bounds, counts=tuple(a + b for a, b in zip(self.counts, other.counts, strict=True))
        )

    def __sub__(self, other: Histogram) -> Histogram:
        return Histogram(
            bounds=self.bounds, counts=tuple(a - b for a, b in zip(self.counts, other.counts, strict=True))
        )


class Counters(BaseModel):
    """What an arm has answered.

    Attributes:
        requests: Answered requests, errors included.
        errors: Answers that were the service's fault (5xx, gRPC equivalents, no answer); a refused bad input is none.
        refusals: Answers that it was the caller's fault (4xx except 429, gRPC equivalents): both arms have the same
            callers.
        restarts: How often a replica's process started anew.
        latency: Seconds to answer.
        predictions: The model's output (a probability, a score); no bounds if the service does not publish it.
    """

    model_config = ConfigDict(frozen=True)

    requests: int = 0
    errors: int = 0
    refusals: int = 0
    restarts: int = 0
    latency: Histogram = Histogram()
    predictions: Histogram = Histogram()

    def continues(self, earlier: Counters) -> bool:
        """Whether it counts on from an earlier reading: same buckets, nothing fell."""
        return (
            self.requests >= earlier.requests
            and self.errors >= earlier.errors
            and self.refusals >= earlier.refusals
            and self.restarts >= earlier.restarts
            and all(
                new.bounds == old.bounds and all(a >= b for a, b in zip(new.counts, old.counts, strict=True))
                for new, old in ((self.latency, earlier.latency), (self.predictions, earlier.predictions))
            )
        )

    def __add__(self, other: Counters) -> Counters:
        return Counters(
            requests=self.requests + other.requests,
            errors=self.errors + other.errors,
            refusals=self.refusals + other.refusals,
            restarts=self.restarts + other.restarts,
            latency=self.latency + other.latency,
            predictions=self.predictions + other.predictions,
        )

    def __sub__(self, other: Counters) -> Counters:
        return Counters(
            requests=self.requests - other.requests,
            errors=self.errors - other.errors,
            refusals=self.refusals - other.refusals,
            restarts=self.restarts - other.restarts,
            latency=self.latency - other.latency,
            predictions=self.predictions - other.predictions,
        )


class Arm(BaseModel):
    """One of the two services at one moment.

    Attributes:
        counters: Cumulative since any fixed moment, summed over its replicas. Monotone: a replica that restarted, went
            away or could not be read keeps what it had counted. (A fall is survived: counting starts anew from there.)
        ready: Whether it can take its traffic (condition `Ready` of the InferenceService, for its present generation).
    """

    model_config = ConfigDict(frozen=True)

    counters: Counters = Counters()
    ready: bool = True


class Observation(BaseModel):
    """Both arms at one moment; their histograms share bounds (see `Histogram.coarsened`)."""

    model_config = ConfigDict(frozen=True)

    stable: Arm
    candidate: Arm

    @model_validator(mode="after")
    def _comparable(self) -> Self:
        stable, candidate = self.stable.counters, self.candidate.counters
        if (stable.latency.bounds, stable.predictions.bounds) != (
            candidate.latency.bounds,
            candidate.predictions.bounds,
        ):
            raise ValueError("the arms' histograms have different bounds: coarsen both to the bounds they share")
        return self
