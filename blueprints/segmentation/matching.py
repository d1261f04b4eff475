"""Segment ids that stay from run to run: which new segment is which old one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

from blueprints.schema import Column
from blueprints.segmentation.naming import BEHAVIOUR, Words, name_segments, traits_hold
from blueprints.segmentation.profiles import Profiles
from blueprints.segmentation.segments import Segment, Segments

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

REACH = 0.5
"""How far a centroid may move and keep its id, in distances from the old centroid to the nearest other old one. Within
half of that it is nearer to its old place than to any other old centroid, by the triangle inequality."""

# Rounds of matching and of measuring how all centroids moved; they settle in two or three.
_ROUNDS = 10


class Match(BaseModel):
    """Ids of a new model's segments.

    Attributes:
        method: What was compared: `centroids`, or `none` on a first run and with other features.
        ids: Id of each new segment, in the order of the new model's centroids.
        kept: Which of these ids an old segment had.
        scores: The distance moved by each segment that kept its id, where 1 is the distance between the old centroid
            and its nearest neighbour; None for a new id.
        retired: Old ids that no new segment has; they are never given again.
        next_id: The id that the next new segment gets.
    """

    model_config = ConfigDict(frozen=True)

    method: Literal["none", "centroids"]
    ids: tuple[int, ...]
    kept: tuple[bool, ...]
    scores: tuple[float | None, ...]
    retired: tuple[int, ...]
    next_id: int


def first_ids(centroids: NDArray[np.floating], sizes: NDArray[np.integer], *, old: Segments | None = None) -> Match:
    """Ids of segments that carry none on: the largest segment gets the first one; of equal sizes by centroid.

    Args:
        centroids: Shape (segments, features).
        sizes: Customers of each segment, shape (segments,).
        old: The segments of the last run if they are of other features: their ids are not given again.
    """
    known, first = (old.ids, old.next_id) if old is not None else ((), 1)
    return _numbered("none", {}, {}, centroids, sizes, known, first)


def match_centroids(
    old: Segments,
    centroids: NDArray[np.floating],
    sizes: NDArray[np.integer],
    transform: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    *,
    reach: float = REACH,
) -> Match:
    """Gives each new segment the id of the old one that its centroid is nearest to, one to one.

    The sum of squared distances is least over all one-to-one assignments (the Hungarian method, Kuhn 1955). What all
    centroids did together, such as a month that passed since the last purchase, is no move of a segment: the median
    displacement of the matched centroids, weighted by size, is taken off, and the matching repeated until it stays. An
    id is kept if the centroid is near to where it was, or to where it would be had it moved with the others.

    Args:
        old: The segments of the last run.
        centroids: The new centroids in the features' own units, shape (segments, features), columns as in `old`.
        sizes: Customers of each new segment, shape (segments,).
        transform: From the features' own units to the space that distances are measured in: the old model's
            `Preprocessing.transform`.
        reach: See `REACH`.

    Raises:
        ValueError: The centroids have other features than the old ones.
    """
    if centroids.shape[1] != len(old.columns):
        raise ValueError(f"the new centroids have {centroids.shape[1]} features, the old ones {len(old.columns)}")
    before, after = transform(old.centroids()), transform(np.asarray(centroids, np.float64))
    weights = np.asarray(sizes, np.float64)
    shift = np.zeros(before.shape[1])
    rows, columns = _assign(_squared(before, after))
    for _ in range(_ROUNDS):
        shift = _weighted_median(after[columns] - before[rows], weights[columns])
        again = _assign(_squared(before, after - shift))
        if np.array_equal(again[1], columns) and np.array_equal(again[0], rows):
            break
        rows, columns = again
    moved = np.sqrt(np.minimum(_squared(before, after), _squared(before, after - shift)))
    apart = _squared(before, before)
    np.fill_diagonal(apart, np.inf)
    nearest = np.sqrt(apart.min(axis=1))
    pairs, scores = {}, {}
    for row, column in zip(rows.tolist(), columns.tolist(), strict=True):
        if moved[row, column] <= reach * nearest[row]:
            pairs[column] = old.ids[row]
            scores[column] = float(moved[row, column] / nearest[row]) if nearest[row] else 0.0
    return _numbered("centroids", pairs, scores, centroids, sizes, old.ids, old.next_id)


def continue_segments(
    match: Match,
    centroids: NDArray[np.floating],
    profiles: Profiles,
    columns: Sequence[Column],
    *,
    old: Segments | None = None,
    words: Mapping[str, Words] = BEHAVIOUR,
) -> Segments:
    """The new model's segments under their ids, with names that stay as long as they are true.

    Args:
        match: Their ids.
        centroids: Their centroids in the features' own units, shape (segments, features), as in `profiles`.
        profiles: Their customers.
        columns: The features, for titles and units.
        old: The segments of the last run, if there was one.
        words: How names speak of certain features.
    """
    before = {segment.id: segment for segment in old.segments} if old else {}
    kept = {
        place: (before[identifier].name, before[identifier].traits)
        for place, identifier in enumerate(match.ids)
        if identifier in before and traits_hold(before[identifier].traits, profiles.segments[place])
    }
    namings = name_segments(profiles, columns, kept=kept, words=words)
    return Segments(
        segments=tuple(
            Segment(
                id=identifier,
                name=naming.name,
                description=naming.description,
                size=profile.size,
                share=profile.share,
                centroid=dict(zip(profiles.features, centroid.tolist(), strict=True)),
                traits=naming.traits,
            )
            for identifier, naming, profile, centroid in zip(
                match.ids, namings, profiles.segments, np.asarray(centroids, np.float64), strict=True
            )
        ),
        next_id=match.next_id,
    )


def _assign(costs: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows and columns of the one-to-one assignment of least total cost."""
    from scipy.optimize import linear_sum_assignment

    rows, columns = linear_sum_assignment(costs)
    return rows, columns


def _squared(one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    """Squared distances, shape (rows of one, rows of other)."""
    distances: NDArray[np.float64] = ((one[:, None, :] - other[None, :, :]) ** 2).sum(axis=2)
    return distances


def _weighted_median(values: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weighted median of each column, shape (columns,): the least value with at least half of the weight up to it."""
    order = np.argsort(values, axis=0, kind="stable")
    cumulated = np.cumsum(weights[order], axis=0)
    middle = (cumulated < cumulated[-1] / 2).sum(axis=0)
    median: NDArray[np.float64] = np.take_along_axis(values, order, axis=0)[middle, np.arange(values.shape[1])]
    return median


def _numbered(
    method: Literal["none", "centroids"],
    pairs: Mapping[int, int],
    scores: Mapping[int, float],
    centroids: NDArray[np.floating],
    sizes: NDArray[np.integer],
    old_ids: Sequence[int],
    next_id: int,
) -> Match:
    """The match with fresh ids for the unmatched segments: the largest first, of equal sizes by centroid."""
    fresh = sorted(
        (place for place in range(len(sizes)) if place not in pairs),
        key=lambda place: (-int(sizes[place]), tuple(centroids[place].tolist())),
    )
    ids = dict(pairs) | {place: next_id + count for count, place in enumerate(fresh)}
    return Match(
        method=method,
        ids=tuple(ids[place] for place in range(len(sizes))),
        kept=tuple(place in pairs for place in range(len(sizes))),
        scores=tuple(scores.get(place) for place in range(len(sizes))),
        retired=tuple(one for one in old_ids if one not in pairs.values()),
        next_id=next_id + len(fresh),
    )
