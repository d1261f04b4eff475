"""What the customers of each segment have in common: sizes, medians and means, and how far they stand out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import reduce
from typing import TYPE_CHECKING

import numpy as np
from pydantic import BaseModel, ConfigDict

from blueprints.schema import Column
from blueprints.segmentation.moments import Moments

if TYPE_CHECKING:
    from numpy.typing import NDArray

SAMPLE = 10_000
"""Customers of each segment that medians, quartiles and dominance are taken from; all of them where there are fewer."""

MOSTLY = 0.5
"""Share of missing values above which a feature says nothing of a segment."""


class FeatureProfile(BaseModel):
    """One feature among some customers; what cannot be said, for lack of values, is None.

    Attributes:
        mean: Mean of the values that are there.
        deviation: Their standard deviation (of the population, not of a sample).
        lower: Lower quartile.
        median: Median.
        upper: Upper quartile.
        missing: Share of the customers that have no value, 0 to 1.
        ratio: The median over the median of all customers; None too if that one is zero or has the other sign.
        difference: The mean minus the mean of all customers, in standard deviations of all customers.
        dominance: Cliff's delta (Cliff 1993) against the customers of all other segments: the probability that a value
            of this segment is above one of the others, minus that it is below; -1 to 1, whatever the scale.
    """

    model_config = ConfigDict(frozen=True)

    mean: float | None
    deviation: float | None
    lower: float | None
    median: float | None
    upper: float | None
    missing: float
    ratio: float | None = None
    difference: float | None = None
    dominance: float | None = None


class SegmentProfile(BaseModel):
    """One segment: its customers, their share of all, and each feature among them."""

    model_config = ConfigDict(frozen=True)

    size: int
    share: float
    features: dict[str, FeatureProfile]


class Profiles(BaseModel):
    """All segments beside all customers.

    Attributes:
        rows: Customers.
        overall: Each feature among all customers.
        segments: One a segment, in the order of the model's centroids.
    """

    model_config = ConfigDict(frozen=True)

    rows: int
    overall: dict[str, FeatureProfile]
    segments: tuple[SegmentProfile, ...]

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the features, in order."""
        return tuple(self.overall)

    def medians(self) -> NDArray[np.float64]:
        """Median of each segment and feature, NaN for none; shape (segments, features)."""
        return self._table("median")

    def dominance(self) -> NDArray[np.float64]:
        """Cliff's delta of each segment and feature, 0 where none can be said; shape (segments, features)."""
        return np.nan_to_num(self._table("dominance"), nan=0.0)

    def _table(self, figure: str) -> NDArray[np.float64]:
        rows = [[getattr(one, figure) for one in segment.features.values()] for segment in self.segments]
        return np.array(rows, np.float64)


@dataclass
class ProfileBuilder:
    """Profiles of customers that come in batches, in memory that does not grow with their number.

    Sizes, means, deviations and missing shares count every row. Medians, quartiles and dominance are those of a uniform
    sample of each segment, and exact for a segment of no more than `sample` customers; a median of 10,000 rows is off
    by about 1 % of a standard deviation.

    Args:
        features: Names of the columns.
        segments: Number of segments.
        sample: Customers of each segment that are kept.
        seed: Seed of the sample.

    Raises:
        ValueError: There is no feature, no segment or no sample.
    """

    features: Sequence[str]
    segments: int
    sample: int = SAMPLE
    seed: int = 0
    _totals: list[Moments] = field(init=False, repr=False)
    _kept: list[tuple[NDArray[np.float64], NDArray[np.float64]]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if not self.features or self.segments < 1 or self.sample < 1:
            raise ValueError("profiles need at least one feature, one segment and one row of sample")
        width = len(self.features)
        self._rng = np.random.default_rng(self.seed)
        self._totals = [Moments.of(np.empty((0, width))) for _ in range(self.segments)]
        self._kept = [(np.empty(0), np.empty((0, width))) for _ in range(self.segments)]

    def add(self, rows: NDArray[np.floating], labels: NDArray[np.integer]) -> ProfileBuilder:
        """Takes a batch.

        Args:
            rows: Feature values, NaN where missing, shape (n, features).
            labels: Segment of each row as a number from 0, shape (n,).

        Raises:
            ValueError: The shapes do not fit, or a label is out of range.
        """
        if rows.shape != (len(labels), len(self.features)):
            raise ValueError(f"rows have shape {rows.shape}, expected ({len(labels)}, {len(self.features)})")
        if len(labels) and (labels.min() < 0 or labels.max() >= self.segments):
            raise ValueError(f"labels must be 0 to {self.segments - 1}, got {labels.min()} to {labels.max()}")
        order = np.argsort(labels.astype(np.int16), kind="stable")
        ends = np.cumsum(np.bincount(labels, minlength=self.segments))[:-1]
        for segment, places in enumerate(np.split(order, ends)):
            if len(places):
                batch = rows[places].astype(np.float64, copy=False)
                self._totals[segment] = self._totals[segment].merged(Moments.of(batch))
                self._keep(segment, batch)
        return self

    def profiles(self) -> Profiles:
        """Profiles of everything that was added.

        Raises:
            ValueError: Nothing was added.
        """
        sizes = [int(total.counts[0] + total.missing[0]) for total in self._totals]
        everyone = reduce(Moments.merged, self._totals)
        rows = sum(sizes)
        if not rows:
            raise ValueError("there are no customers to profile")
        samples = [values for _, values in self._kept]
        # A kept row stands for so many rows of its segment.
        weights = [np.full(len(kept), size / max(len(kept), 1)) for size, kept in zip(sizes, samples, strict=True)]
        pooled, weight = np.concatenate(samples), np.concatenate(weights)
        owner = np.repeat(np.arange(self.segments), [len(kept) for kept in samples])
        overall: dict[str, FeatureProfile] = {}
        by_segment: list[dict[str, FeatureProfile]] = [{} for _ in range(self.segments)]
        for place, name in enumerate(self.features):
            overall[name] = _summary(everyone, place, rows, pooled[:, place], weight)
            deltas = _dominance(pooled[:, place], weight, owner, self.segments)
            for segment, (total, size) in enumerate(zip(self._totals, sizes, strict=True)):
                own = _summary(total, place, size, samples[segment][:, place], weights[segment])
                by_segment[segment][name] = _beside(own, overall[name], deltas[segment])
        return Profiles(
            rows=rows,
            overall=overall,
            segments=tuple(
                SegmentProfile(size=size, share=size / rows, features=features)
                for size, features in zip(sizes, by_segment, strict=True)
            ),
        )

    def _keep(self, segment: int, batch: NDArray[np.float64]) -> None:
        """Keeps the rows of the smallest random keys: a uniform sample without replacement (bottom-k)."""
        keys, kept = self._kept[segment]
        drawn = self._rng.random(len(batch))
        if len(keys) >= self.sample:
            chosen = drawn < keys.max()
            drawn, batch = drawn[chosen], batch[chosen]
        keys, kept = np.concatenate([keys, drawn]), np.concatenate([kept, batch])
        if len(keys) > self.sample:
            smallest = np.argpartition(keys, self.sample - 1)[: self.sample]
            keys, kept = keys[smallest], kept[smallest]
        self._kept[segment] = keys, kept


def profile(
    rows: NDArray[np.floating],
    labels: NDArray[np.integer],
    features: Sequence[str],
    segments: int | None = None,
    *,
    sample: int = SAMPLE,
    seed: int = 0,
) -> Profiles:
    """Profiles of customers that are all in memory; see `ProfileBuilder`.

    Args:
        rows: Feature values, NaN where missing, shape (n, features).
        labels: Segment of each row as a number from 0, shape (n,).
        features: Names of the columns.
        segments: Number of segments; by default one more than the highest label.
        sample: Customers of each segment that medians are taken from.
        seed: Seed of the sample.
    """
    count = segments if segments is not None else int(labels.max(initial=0)) + 1
    return ProfileBuilder(features, count, sample, seed).add(rows, labels).profiles()


def show(value: float | None, column: Column | None = None) -> str:
    """A figure as people write it: three digits and more, no exponent, with its unit if the column's title lacks it."""
    if value is None:
        return "–"
    size = abs(value)
    if 0 < size < 0.1:
        text = f"{value:.2g}"
    else:
        text = f"{value:,.{0 if size >= 100 else 1 if size >= 10 else 2}f}"
        text = text.rstrip("0").rstrip(".") if "." in text else text
    return f"{text} {column.unit}" if column is not None and column.unit and column.unit not in column.label else text


def show_share(share: float) -> str:
    """A share as people write it: whole percent from 1 % on, no 0 % for what is there."""
    if share >= 0.01 or share <= 0:
        return f"{share:.0%}"
    return f"{share:.1%}" if share >= 0.001 else "<0.1%"


def _summary(
    moments: Moments, place: int, rows: int, values: NDArray[np.float64], weights: NDArray[np.float64]
) -> FeatureProfile:
    """One feature: exact figures from the moments, quantiles from weighted values."""
    count = float(moments.counts[place])
    lower, median, upper = _quantiles(values, weights, (0.25, 0.5, 0.75))
    return FeatureProfile(
        mean=float(moments.means[place]) if count else None,
        deviation=float(moments.deviations[place]) if count else None,
        lower=lower,
        median=median,
        upper=upper,
        missing=1 - count / rows if rows else 0.0,
    )


def _quantiles(
    values: NDArray[np.float64], weights: NDArray[np.float64], levels: Sequence[float]
) -> tuple[float | None, ...]:
    """Quantiles of weighted values, NaN left out; between two values that share the level, their middle."""
    there = ~np.isnan(values)
    if not there.any():
        return (None,) * len(levels)
    order = np.argsort(values[there], kind="stable")
    ordered, cumulated = values[there][order], np.cumsum(weights[there][order])
    wanted = np.asarray(levels) * cumulated[-1]
    slack = 1e-9 * cumulated[-1]
    below = np.searchsorted(cumulated, wanted - slack)
    above = np.minimum(np.searchsorted(cumulated, wanted + slack), len(ordered) - 1)
    return tuple(((ordered[below] + ordered[above]) / 2).tolist())


def _dominance(
    values: NDArray[np.float64], weights: NDArray[np.float64], owner: NDArray[np.integer], segments: int
) -> list[float | None]:
    """Cliff's delta of each segment's values against those of all others."""
    there = ~np.isnan(values)
    order = np.argsort(values[there], kind="stable")
    ordered, weight, own = values[there][order], weights[there][order], owner[there][order]
    result: list[float | None] = []
    for segment in range(segments):
        mine = own == segment
        others = np.concatenate([[0.0], np.cumsum(np.where(mine, 0.0, weight))])
        if not mine.any() or mine.all():
            result.append(None)
            continue
        below = others[np.searchsorted(ordered, ordered[mine], side="left")]
        above = others[-1] - others[np.searchsorted(ordered, ordered[mine], side="right")]
        result.append(float(np.mean(below - above) / others[-1]))
    return result


def _beside(own: FeatureProfile, everyone: FeatureProfile, dominance: float | None) -> FeatureProfile:
    """A segment's feature with its lift against all customers."""
    ratio = difference = None
    if own.median is not None and everyone.median is not None and own.median * everyone.median > 0:
        ratio = own.median / everyone.median
    if own.mean is not None and everyone.mean is not None and everyone.deviation:
        difference = (own.mean - everyone.mean) / everyone.deviation
    return own.model_copy(update={"ratio": ratio, "difference": difference, "dominance": dominance})
