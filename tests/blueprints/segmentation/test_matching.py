from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from blueprints.segmentation.features import BASIC
from blueprints.segmentation.matching import REACH, continue_segments, first_ids, match_centroids
from blueprints.segmentation.profiles import profile
from blueprints.segmentation.segments import Segment, Segments, Trait

COLUMNS = ("a", "b", "c")
SEEDS = st.integers(0, 2**32)


def halved(values):
    """The old model's space of these tests."""
    return (values - 3) / 2


def segments_at(centroids, ids=None, next_id=None):
    ids = range(1, len(centroids) + 1) if ids is None else ids
    made = [
        Segment(id=one, name=f"segment {one}", size=10, share=0.1, centroid=dict(zip(COLUMNS, row, strict=True)))
        for one, row in zip(ids, np.asarray(centroids, float).tolist(), strict=True)
    ]
    return Segments(segments=tuple(made), next_id=next_id or max(ids) + 1)


def drawn(seed, segments, scale=10.0):
    rng = np.random.default_rng(seed)
    return rng, rng.normal(0, scale, (segments, len(COLUMNS))), rng.integers(1, 100, segments)


@given(SEEDS, st.integers(2, 10))
def test_matching_with_itself_is_the_identity(seed, count):
    rng, centroids, sizes = drawn(seed, count)
    ids = rng.permutation(50)[:count] + 1
    old = segments_at(centroids, ids.tolist(), 60)
    found = match_centroids(old, centroids, sizes, halved)
    assert found.ids == old.ids
    assert all(found.kept)
    assert found.scores == pytest.approx([0.0] * count, abs=1e-9)
    assert found.retired == ()
    assert found.next_id == 60


@given(SEEDS, st.integers(2, 7), st.integers(2, 7), st.floats(0, 3))
def test_the_order_of_the_centroids_changes_no_id(seed, before, after, noise):
    rng, old_centroids, _ = drawn(seed, before)
    _, fresh, sizes = drawn(seed + 1, after)
    centroids = fresh.copy()
    shared = min(before, after)
    centroids[:shared] = old_centroids[:shared] + rng.normal(0, noise, (shared, len(COLUMNS)))
    old = segments_at(old_centroids)
    order = rng.permutation(after)
    found = match_centroids(old, centroids, sizes, halved)
    turned = match_centroids(old, centroids[order], sizes[order], halved)
    assert turned.ids == tuple(found.ids[place] for place in order)
    assert first_ids(centroids[order], sizes[order]).ids == tuple(
        first_ids(centroids, sizes).ids[place] for place in order
    )
    turn = rng.permutation(before)
    reordered = segments_at(old_centroids[turn], [old.ids[place] for place in turn])
    assert match_centroids(reordered, centroids, sizes, halved).ids == found.ids


@given(SEEDS, st.integers(2, 6), st.integers(2, 6), st.booleans())
def test_ids_are_unique_and_never_given_again(seed, before, after, other_features):
    rng = np.random.default_rng(seed)
    used = set(range(1, before + 1))
    segments = segments_at(rng.normal(0, 10, (before, len(COLUMNS))))
    for _ in range(4):
        centroids, sizes = rng.normal(0, 10, (after, len(COLUMNS))), rng.integers(0, 100, after)
        if other_features:
            found = first_ids(centroids, sizes, old=segments)
        else:
            found = match_centroids(segments, centroids, sizes, halved)
        assert len(set(found.ids)) == after
        kept = {one for one, stays in zip(found.ids, found.kept, strict=True) if stays}
        assert kept <= set(segments.ids)
        assert kept | set(found.retired) == set(segments.ids)
        assert not (set(found.ids) - kept) & used
        assert found.next_id == segments.next_id + after - len(kept)
        used |= set(found.ids)
        segments = segments_at(centroids, found.ids, found.next_id)


@settings(deadline=None)
@given(SEEDS, st.integers(2, 5))
def test_no_assignment_moves_centroids_less(seed, count):
    rng, centroids, sizes = drawn(seed, count)
    old = segments_at(rng.normal(0, 10, (count, len(COLUMNS))))
    moved = ((halved(old.centroids())[:, None] - halved(centroids)[None]) ** 2).sum(axis=2)
    nearest = match_centroids(old, centroids, sizes, halved, reach=np.inf)
    cost = sum(moved[old.ids.index(one), place] for place, one in enumerate(nearest.ids))
    turns = permutations(range(count))
    assert cost == pytest.approx(min(sum(moved[row, turn[row]] for row in range(count)) for turn in turns))


@given(SEEDS, st.integers(2, 8), st.floats(-1e3, 1e3))
def test_what_all_segments_do_together_moves_none(seed, count, step):
    rng, centroids, sizes = drawn(seed, count)
    order = rng.permutation(count)
    found = match_centroids(segments_at(centroids), centroids[order] + [step, 0, 0], sizes, halved)
    assert found.ids == tuple((order + 1).tolist())
    assert found.scores == pytest.approx([0.0] * count, abs=1e-6)


@given(SEEDS, st.integers(2, 8))
def test_small_moves_keep_every_id(seed, count):
    rng, centroids, sizes = drawn(seed, count)
    gaps = np.linalg.norm(centroids[:, None] - centroids, axis=2)
    assume(gaps[~np.eye(count, dtype=bool)].min() > 0.1)
    step = rng.normal(size=centroids.shape)
    step *= 0.45 * REACH * gaps[~np.eye(count, dtype=bool)].min() / np.linalg.norm(step, axis=1, keepdims=True)
    order = rng.permutation(count)
    found = match_centroids(segments_at(centroids), (centroids + step)[order], sizes, halved)
    assert found.ids == tuple((order + 1).tolist())


def test_a_segment_that_is_far_from_all_is_new_and_an_old_one_retires():
    old = segments_at([[0, 0, 0], [10, 0, 0], [0, 10, 0]], (1, 4, 6), 9)
    new = np.array([[0, 9.5, 0], [400, 400, 400], [0.5, 0, 0]])
    found = match_centroids(old, new, np.array([20, 5, 30]), halved)
    assert found.ids == (6, 9, 1)
    assert found.kept == (True, False, True)
    assert found.scores[1] is None
    assert found.retired == (4,)
    assert found.next_id == 10


def test_one_more_segment_gets_the_next_id():
    old = segments_at([[0, 0, 0], [10, 0, 0]])
    found = match_centroids(old, np.array([[5, 50, 0], [10, 1, 0], [0, 1, 0]]), np.array([5, 30, 40]), halved)
    assert found.ids == (3, 2, 1)


def test_first_ids_go_by_size():
    found = first_ids(np.array([[1.0], [2.0], [0.0]]), np.array([5, 9, 5]))
    assert found.ids == (3, 1, 2)
    assert found.next_id == 4
    assert found.method == "none"


def test_what_does_not_fit_is_refused():
    old = segments_at([[0, 0, 0], [10, 0, 0]])
    with pytest.raises(ValueError, match="the new centroids have 2 features, the old ones 3"):
        match_centroids(old, np.zeros((2, 2)), np.ones(2, int), halved)


def purchases(best=900.0):
    rng = np.random.default_rng(0)
    groups = np.array([(400, 1, 12)] * 4 + [(20, 12, best)])
    return groups[np.arange(1000) % 5] * rng.uniform(0.9, 1.1, (1000, 3)), np.repeat(
        [[0, 0, 0, 0, 1]], 200, axis=0
    ).ravel()


def named(values, labels, old=None, match=None):
    features = [column.name for column in BASIC]
    centroids = np.stack([values[labels == label].mean(axis=0) for label in np.unique(labels)])
    found = match or first_ids(centroids, np.bincount(labels))
    return continue_segments(found, centroids, profile(values, labels, features), BASIC, old=old)


def test_names_stay_with_the_ids_while_they_are_true():
    first = named(*purchases())
    assert first.ids == (1, 2)
    assert first.names == ("lapsed occasional small spenders", "recent frequent big spenders")
    assert first.segments[0].share == pytest.approx(0.8)
    values, labels = purchases(best=1_000.0)
    renamed = first.model_copy(
        update={"segments": (first.segments[0], first.segments[1].model_copy(update={"name": "our best"}))}
    )
    swapped = 1 - labels
    centroids = np.stack([values[swapped == label].mean(axis=0) for label in (0, 1)])
    match = match_centroids(renamed, centroids, np.bincount(swapped), lambda rows: rows / [100, 5, 300])
    second = named(values, swapped, renamed, match)
    assert second.ids == (2, 1)
    assert second.names == ("our best", "lapsed occasional small spenders")
    assert second.columns == ("recency_days", "frequency", "monetary")


def test_a_name_that_is_not_true_any_more_is_replaced_and_the_id_stays():
    first = named(*purchases())
    lying = first.segments[1].model_copy(
        update={"name": "small spenders", "traits": (Trait(feature="monetary", level="low"),)}
    )
    old = first.model_copy(update={"segments": (first.segments[0], lying)})
    values, labels = purchases()
    again = named(values, labels, old, first_ids(np.zeros((2, 3)), np.bincount(labels)))
    assert again.ids == (1, 2)
    assert again.names[1] == "recent frequent big spenders"
