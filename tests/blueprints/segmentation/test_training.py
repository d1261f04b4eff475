"""Trained segments: those that are there, under ids that the last run gave them, finished on all rows."""

from __future__ import annotations

import itertools

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score

from blueprints.segmentation.choose_k import ChoiceReport
from blueprints.segmentation.customers import feature_batches
from blueprints.segmentation.features import BASIC, FEATURES
from blueprints.segmentation.partitions import accumulate, summarize
from blueprints.segmentation.preprocessing import DegenerateDataError, Preprocessing, load_model
from blueprints.segmentation.segmenter import WEIGHTS, Segmenter
from blueprints.segmentation.segments import SEGMENTS, Segments
from blueprints.segmentation.training import CHOICE, PASSES, finish, train_segments, with_sizes
from tests.blueprints.credit_risk.test_reports import Page, is_self_contained
from tests.purchases import FEBRUARY, KINDS, MARCH

NAMES = [column.name for column in FEATURES]


def customers(shop, as_of):
    """Numbers and features of all customers, in order."""
    table = pa.Table.from_batches(feature_batches(shop, as_of, NAMES)).sort_by("customer_id")
    matrix = np.column_stack([table[name].to_numpy().astype(float) for name in NAMES])
    return table["customer_id"].to_numpy(), matrix


def segment_ids(segmenter, shop, as_of):
    return segmenter.ids[segmenter.predict(customers(shop, as_of)[1])]


def test_customers_who_buy_alike_are_one_segment(trained, shop):
    numbers, _ = customers(shop, FEBRUARY)
    assert adjusted_rand_score(numbers % len(KINDS), segment_ids(trained.segmenter, shop, FEBRUARY)) > 0.97
    assert trained.choice.k == 3
    assert trained.match.method == "none"
    assert sorted(trained.segmenter.segments.ids) == [1, 2, 3]
    assert trained.segmenter.segments.next_id == 4
    assert sum(one.size for one in trained.segmenter.segments.segments) == len(numbers)


def test_figures_are_those_of_the_chosen_number(trained, trained_later):
    best = trained.choice.candidate(3)
    sizes = [one.size for one in trained.segmenter.segments.segments]
    assert trained.metrics() == {
        "segments": 3,
        "silhouette": best.silhouette.value,
        "smallest_share": pytest.approx(min(sizes) / 300),
        "stability": best.stability.value,
    }
    assert "stability" not in trained_later.metrics()


def test_a_later_run_carries_segments_on(trained, trained_later, shop):
    assert trained_later.choice.continued
    assert trained_later.match.kept == (True, True, True)
    assert trained_later.segmenter.segments.next_id == 4
    before, after = (segment_ids(one.segmenter, shop, MARCH) for one in (trained, trained_later))
    assert (before == after).mean() > 0.95
    for one in trained_later.segmenter.segments.segments:
        assert one.name == trained.segmenter.segments.name_of(one.id)


def test_a_champion_with_other_features_is_not_continued(trained, shop):
    names = [column.name for column in BASIC]
    basic = summarize(feature_batches(shop, MARCH, names), names, identifier="customer_id")
    found = train_segments(basic, BASIC, previous=trained.segmenter, ks=[3], bootstraps=0)
    assert (found.match.method, found.choice.continued) == ("none", False)
    assert found.segmenter.columns == tuple(names)
    assert sorted(found.segmenter.segments.ids) == [4, 5, 6]
    assert found.match.retired == trained.segmenter.segments.ids


def test_a_sample_is_finished_on_all_rows(trained, shop, summary_of):
    sample = summary_of(FEBRUARY, capacity=60)
    told, passes = [], []

    def all_rows():
        passes.append(1)
        return feature_batches(shop, FEBRUARY, NAMES)

    found = train_segments(
        sample, FEATURES, all_rows=all_rows, ks=[3], bootstraps=0, progress=lambda *step: told.append(step)
    )
    assert found.choice.rows == 60
    assert 2 <= len(passes) <= PASSES
    assert sorted(one.size for one in found.segmenter.segments.segments) == sorted(
        np.bincount(found.segmenter.predict(customers(shop, FEBRUARY)[1])).tolist()
    )
    whole, part = (segment_ids(one.segmenter, shop, FEBRUARY) for one in (trained, found))
    assert adjusted_rand_score(whole, part) > 0.97
    assert [step[:2] for step in told] == [(0, 3), (1, 3), (2, 3), (3, 3)]


def test_rows_that_are_all_in_the_sample_are_not_read_again(summary_of):
    def never():
        raise AssertionError

    train_segments(summary_of(FEBRUARY), FEATURES, all_rows=never, ks=[3], bootstraps=0)


def test_what_is_saved_is_the_same_model(trained, shop, tmp_path):
    trained.save(tmp_path / "model")
    assert {path.name for path in (tmp_path / "model").iterdir()} == {WEIGHTS, SEGMENTS, CHOICE}
    segments = Segments.model_validate_json((tmp_path / "model" / SEGMENTS).read_bytes())
    loaded = Segmenter(load_model((tmp_path / "model" / WEIGHTS).read_bytes()), segments)
    assert (segment_ids(loaded, shop, MARCH) == segment_ids(trained.segmenter, shop, MARCH)).all()
    assert ChoiceReport.model_validate_json((tmp_path / "model" / CHOICE).read_bytes()) == trained.choice


def test_the_report_shows_what_was_tried_and_whether_segments_go_on(trained, trained_later):
    page, later = (Page(one.report()) for one in (trained, trained_later))
    assert is_self_contained(page)
    assert page.tags.count("svg") == len(trained.plots) == 3
    assert {"2", "3", "4", "chosen"} <= set(page.cells)
    assert later.cells.count("chosen") == 1
    assert "The segments of the last run go on" in trained_later.report()
    assert "The segments of the last run go on" not in trained.report()


def test_customers_who_cannot_be_told_apart_are_refused(summary_of):
    rows = {"customer_id": list(range(50)), **{name: [1.0] * 50 for name in NAMES}}
    alike = summarize([pa.record_batch(rows)], NAMES, identifier="customer_id")
    with pytest.raises(DegenerateDataError, match="column 'recency_days' is 1 in every row; leave it out"):
        train_segments(alike, FEATURES)
    with pytest.raises(ValueError, match="log: no column is named 'income'"):
        train_segments(summary_of(FEBRUARY), FEATURES, log=["income"])


PLAIN = Preprocessing(
    columns=("a", "b"), medians=np.zeros(2), logged=np.zeros(2, bool), means=np.zeros(2), scales=np.ones(2)
)


def points(rows, seed):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(rows, 2)) + rng.choice([0.0, 6.0], (rows, 2))


def in_batches(rows, cuts):
    return [pa.record_batch({"a": part[:, 0], "b": part[:, 1]}) for part in np.split(rows, sorted(cuts))]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 1_000), st.lists(st.integers(0, 200), max_size=5))
def test_passes_never_make_clusters_worse_however_rows_are_cut(seed, cuts):
    rows = points(200, seed)
    start = rows[:4]
    inertias = [
        accumulate(in_batches(rows, []), PLAIN, finish(lambda: in_batches(rows, []), PLAIN, start, passes=count)[0])
        for count in range(4)
    ]
    for before, after in itertools.pairwise(inertias):
        assert after.inertia <= before.inertia * (1 + 1e-5)
    whole, counts = finish(lambda: in_batches(rows, []), PLAIN, start)
    parts, same = finish(lambda: in_batches(rows, cuts), PLAIN, start)
    np.testing.assert_allclose(parts, whole, atol=1e-4)
    assert counts.tolist() == same.tolist()
    assert counts.sum() == 200


def test_passes_reach_what_k_means_reaches_and_then_stop():
    rows, passes = points(2_000, 1), []

    def all_rows():
        passes.append(1)
        return in_batches(rows, [700])

    start = np.array([[0.0, 0.0], [0.0, 6.0], [6.0, 0.0], [6.0, 6.0]]) + 1.0
    centers, counts = finish(all_rows, PLAIN, start, passes=50)
    expected = KMeans(4, init=start, n_init=1).fit(rows)
    np.testing.assert_allclose(centers, expected.cluster_centers_, atol=1e-2)
    assert np.abs(counts - np.bincount(expected.labels_)).max() <= 5
    assert len(passes) < 10


def test_a_centroid_without_rows_stays_where_it_is():
    centers, counts = finish(lambda: in_batches(points(100, 0), []), PLAIN, np.array([[0.0, 0.0], [900.0, 900.0]]))
    assert centers[1].tolist() == [900, 900]
    assert counts.tolist() == [100, 0]


def test_sizes_of_all_customers_replace_those_of_the_sample(trained):
    old = trained.segmenter.segments
    new = with_sizes(old, np.array([1_000, 3_000, 0]))
    assert [one.size for one in new.segments] == [1_000, 3_000, 0]
    assert [one.share for one in new.segments] == [0.25, 0.75, 0]
    assert (new.ids, new.names, new.next_id) == (old.ids, old.names, old.next_id)
    assert [one.share for one in with_sizes(old, np.zeros(3, int)).segments] == [0, 0, 0]
