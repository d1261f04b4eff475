"""Why a customer is in a segment and not in the next one, feature by feature, in plain words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from blueprints.schema import Column
from blueprints.segmentation.profiles import show
from blueprints.segmentation.segmenter import Segmenter
from blueprints.segmentation.segments import Segment


@dataclass(frozen=True, slots=True)
class Reason:
    """What one feature says.

    Attributes:
        feature: Name of the column.
        value: The customer's value; None if it is missing.
        typical: Value at the segment's centroid, in the feature's own unit.
        typical_of_next: The same of the next segment.
        contribution: How much it speaks for the segment against the next one, in squared standard deviations; below 0
            it speaks for the next one.
        text: The same in words: `"number of purchases: 12, typical for 'loyal customers' (centroid 10) rather than
            'one-time buyers' (centroid 1)"`.
    """

    feature: str
    value: float | None
    typical: float
    typical_of_next: float
    contribution: float
    text: str


@dataclass(frozen=True, slots=True)
class Reasons:
    """Why one row is where it is.

    Attributes:
        position: Position of its segment.
        next_position: Position of the segment with the second nearest centroid.
        margin: Squared distance to the next segment's centroid minus that to its own, in standardised space: the sum
            of all contributions.
        reasons: One a feature, the one that speaks most for the segment first.
    """

    position: int
    next_position: int
    margin: float
    reasons: tuple[Reason, ...]


def give_reasons(segmenter: Segmenter, features: NDArray[np.floating], columns: Sequence[Column]) -> Iterator[Reasons]:
    """Explains rows.

    Args:
        segmenter: The model.
        features: Rows, shape (n, k), NaN where a value is missing.
        columns: The features, in the same order.

    Raises:
        ValueError: The rows have other columns.
    """
    explained = segmenter.explain(features)
    segments = segmenter.segments.segments
    medians = segmenter.preprocessing.medians.tolist()
    for row, position, after, contributions, margin in zip(
        features.tolist(),
        explained.indices.tolist(),
        explained.runner_up.tolist(),
        explained.contributions.tolist(),
        explained.margins.tolist(),
        strict=True,
    ):
        found = [
            _reason(column, value, median, contribution, segments[position], segments[after])
            for column, value, median, contribution in zip(columns, row, medians, contributions, strict=True)
        ]
        found.sort(key=lambda reason: -reason.contribution)
        yield Reasons(position, after, margin, tuple(found))


def _reason(column: Column, value: float, median: float, contribution: float, own: Segment, after: Segment) -> Reason:
    missing = value != value  # noqa: PLR0124 - NaN
    typical, typical_of_next = own.centroid[column.name], after.centroid[column.name]
    told = f"not known, taken as {show(median, column)}" if missing else show(value, column)
    return Reason(
        feature=column.name,
        value=None if missing else value,
        typical=typical,
        typical_of_next=typical_of_next,
        contribution=contribution,
        text=f"{column.label}: {told}, {_comparison(column, contribution, own, after)}",
    )


def _comparison(column: Column, contribution: float, own: Segment, after: Segment) -> str:
    nearer, farther = (own, after) if contribution >= 0 else (after, own)
    one, other = (
        f"{segment.name!r} (centroid {show(segment.centroid[column.name], column)})" for segment in (nearer, farther)
    )
    if contribution == 0:
        return f"as near to {one} as to {other}"
    return f"typical for {one} rather than {other}"
