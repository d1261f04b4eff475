"""The segmenter: scikit-learn's answers in single precision, with explanations that add up."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blueprints.model_package import Lineage, ModelPackage, PackageError, Signature, write_package
from blueprints.schema import Column
from blueprints.segmentation.preprocessing import (
    ModelFormatError,
    Preprocessing,
    centers_of,
    dump_model,
    fit_preprocessing,
    fitted_pipeline,
)
from blueprints.segmentation.segmenter import WEIGHTS, Segmenter
from blueprints.segmentation.segments import SEGMENTS, Segment, Segments


def feature_rows(count: int, features: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    rows = rng.lognormal(2, 1, (count, features)) * np.where(rng.random((count, features)) < 0.1, -1, 1)
    rows[:, 0] += 1_700_000_000
    rows[rng.random((count, features)) < 0.05] = np.nan
    return rows


def segmenter_of(count: int, features: int, k: int, seed: int) -> tuple[Segmenter, object, np.ndarray]:
    rows = feature_rows(count, features, seed)
    columns = [f"f{position}" for position in range(features)]
    learned = fit_preprocessing(rows, columns, log=columns[1::2])
    pipeline = fitted_pipeline(learned, learned.transform(rows[:k]) * 0.7)
    return Segmenter(pipeline, segments_of(pipeline, columns)), pipeline, rows


def segments_of(pipeline, columns) -> Segments:
    centroids = Preprocessing.of(pipeline, columns).inverse(centers_of(pipeline))
    return Segments(
        segments=tuple(
            Segment(id=7 + 2 * i, name=f"segment {i}", size=1, share=0.1, centroid=dict(zip(columns, c, strict=True)))
            for i, c in enumerate(centroids.tolist())
        ),
        next_id=100,
    )


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 9), st.integers(2, 9), st.integers(0, 50), st.sampled_from(["C", "F"]))
def test_segments_are_those_of_the_pipeline_but_for_ties(features, k, seed, order):
    segmenter, pipeline, rows = segmenter_of(300, features, k, seed)
    expected, found = pipeline.predict(rows), segmenter.predict(np.asarray(rows, order=order))
    distances = pipeline.transform(rows)
    at = np.arange(len(rows))
    np.testing.assert_allclose(distances[at, found], distances[at, expected], rtol=1e-4, atol=1e-4)
    assert (found == expected).mean() > 0.99


def test_distances_and_confidence_are_those_of_the_standardised_space():
    segmenter, pipeline, rows = segmenter_of(20_000, 6, 5, 0)
    assignment = segmenter.assign(rows)
    distances = np.sort(pipeline.transform(rows), axis=1)
    np.testing.assert_array_equal(assignment.indices, segmenter.predict(rows))
    np.testing.assert_allclose(assignment.distances, pipeline.transform(rows), rtol=1e-3, atol=2e-3)
    np.testing.assert_allclose(assignment.confidence, 1 - distances[:, 0] / distances[:, 1], atol=2e-3)
    assert assignment.distances.dtype == assignment.confidence.dtype == np.float32
    assert segmenter.ids[assignment.indices].min() >= 7


def test_a_row_at_a_centroid_is_certain():
    segmenter, _, _ = segmenter_of(500, 3, 4, 0)
    assignment = segmenter.assign(segmenter.segments.centroids())
    assert assignment.indices.tolist() == [0, 1, 2, 3]
    assert assignment.confidence == pytest.approx(1, abs=1e-2)


def test_two_identical_centroids_leave_no_confidence_at_them():
    columns = ("a", "b")
    learned = Preprocessing(columns, np.zeros(2), np.zeros(2, bool), np.zeros(2), np.ones(2))
    pipeline = fitted_pipeline(learned, np.array([[0, 0], [1, 1]]))
    pipeline[-1].cluster_centers_[:] = 0
    assignment = Segmenter(pipeline, segments_of(pipeline, columns)).assign(np.zeros((1, 2)))
    assert assignment.confidence.tolist() == [0.0]


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 6), st.integers(2, 6), st.integers(0, 50))
def test_contributions_sum_to_the_margin_over_the_runner_up(features, k, seed):
    segmenter, pipeline, rows = segmenter_of(200, features, k, seed)
    explained = segmenter.explain(rows)
    squared = np.sort(pipeline.transform(rows) ** 2, axis=1)
    np.testing.assert_array_equal(explained.contributions.sum(axis=1), explained.margins)
    np.testing.assert_allclose(explained.margins, squared[:, 1] - squared[:, 0], rtol=1e-6, atol=1e-8)
    np.testing.assert_array_equal(explained.indices, pipeline.predict(rows))
    assert (explained.margins >= 0).all()
    assert (explained.indices != explained.runner_up).all()


def test_rows_that_come_as_arrow_columns_of_any_number_type_give_the_same():
    segmenter, pipeline, rows = segmenter_of(500, 3, 4, 1)
    whole = np.nan_to_num(rows).astype(np.int64)
    np.testing.assert_array_equal(segmenter.predict_columns(list(whole.T)), pipeline.predict(whole.astype(float)))
    np.testing.assert_array_equal(segmenter.assign_columns(list(rows.T)).indices, segmenter.predict(rows))


def test_no_rows_give_no_segments():
    segmenter, _, rows = segmenter_of(100, 3, 4, 1)
    assert segmenter.predict(rows[:0]).shape == (0,)
    assert segmenter.assign(rows[:0]).distances.shape == (0, 4)
    assert segmenter.explain(rows[:0]).contributions.shape == (0, 3)


def test_rows_that_do_not_fit_are_refused_by_name():
    segmenter, _, rows = segmenter_of(100, 3, 4, 1)
    with pytest.raises(ValueError, match=r"not \(rows, 3\): f0, f1, f2"):
        segmenter.predict(rows[:, :2])
    rows[50, 1] = np.inf
    with pytest.raises(ValueError, match="column 'f1' holds infinite values"):
        segmenter.assign(rows)


def test_segments_that_do_not_fit_the_pipeline_are_refused():
    segmenter, pipeline, _ = segmenter_of(100, 3, 4, 1)
    fewer = segmenter.segments.model_copy(update={"segments": segmenter.segments.segments[:3]})
    with pytest.raises(ModelFormatError, match="4 centroids, not 3 segments"):
        Segmenter(pipeline, fewer)


def package_of(folder: Path, segmenter: Segmenter, weights: bytes, names: list[str]) -> ModelPackage:
    columns = tuple(Column(name=name, kind="number", nullable=True) for name in names)
    return write_package(
        folder,
        files={WEIGHTS: weights, SEGMENTS: segmenter.segments.model_dump_json().encode()},
        signature=Signature(
            model_name="segmentation", inputs=columns, outputs=(Column(name="segment", kind="integer"),)
        ),
        lineage=Lineage(
            created_at=datetime(2026, 1, 1, tzinfo=UTC), dataset="test", dataset_version="1", dataset_sha256="0" * 64
        ),
        reference=pa.table({name: [0.0] for name in [*names, "segment"]}),
        model_card="# test\n",
    )


def test_a_segmenter_comes_from_a_verified_package(tmp_path):
    segmenter, pipeline, rows = segmenter_of(300, 3, 4, 1)
    package = package_of(tmp_path / "good", segmenter, dump_model(pipeline), ["f0", "f1", "f2"])
    loaded = Segmenter.from_package(package)
    assert (loaded.version, loaded.columns, loaded.segments) == (package.version, segmenter.columns, segmenter.segments)
    np.testing.assert_array_equal(loaded.predict(rows), segmenter.predict(rows))


def test_packages_with_other_features_or_broken_weights_are_refused(tmp_path):
    segmenter, pipeline, _ = segmenter_of(300, 3, 4, 1)
    other = package_of(tmp_path / "other", segmenter, dump_model(pipeline), ["f0", "f2", "f1"])
    with pytest.raises(PackageError, match="other features than signature"):
        Segmenter.from_package(other)
    broken = package_of(tmp_path / "broken", segmenter, b"nothing", ["f0", "f1", "f2"])
    with pytest.raises(PackageError, match="no skops model"):
        Segmenter.from_package(broken)


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 9), st.integers(0, 50), st.sampled_from([1, 2, 64, 65]))
def test_a_few_rows_are_answered_as_many_are(features, seed, few):
    segmenter, _, rows = segmenter_of(300, features, 4, seed)
    together, apart = segmenter.assign(rows), segmenter.assign(rows[:few])
    np.testing.assert_allclose(apart.distances, together.distances[:few], rtol=1e-4, atol=2e-3)
    np.testing.assert_allclose(apart.confidence, together.confidence[:few], atol=2e-3)
    assert (apart.indices == together.indices[:few]).mean() > 0.9


@pytest.mark.parametrize("count", [3, 300])
@pytest.mark.parametrize("value", [np.inf, -np.inf, 1e300])
def test_a_value_that_is_too_far_out_is_refused_by_its_column(count, value):
    segmenter, _, rows = segmenter_of(count, 3, 2, 0)
    rows[1, 2] = value
    with pytest.raises(ValueError, match="'f2' holds infinite values"):
        segmenter.assign(rows)
