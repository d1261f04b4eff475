"""The package of a segmentation: it serves what was trained, and says where that comes from."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from blueprints.datasets import get
from blueprints.model_package import REFERENCE, open_package
from blueprints.segmentation.features import FEATURES
from blueprints.segmentation.packaging import package_segmenter
from blueprints.segmentation.partitions import PartitionError
from blueprints.segmentation.preprocessing import ModelFormatError
from blueprints.segmentation.segmenter import WEIGHTS
from tests.purchases import FEBRUARY, MARCH


def test_the_package_serves_what_was_trained(trained, champion, segment_package, summary_of):
    assert open_package(segment_package.folder) == segment_package
    rows = summary_of(MARCH).sample
    assert champion.predict(rows).tolist() == trained.segmenter.predict(rows).tolist()
    assert champion.segments == trained.segmenter.segments
    assert champion.version == segment_package.version
    assert segment_package.signature.model_name == "segmentation"
    assert segment_package.signature.inputs == FEATURES
    segment, confidence = segment_package.signature.outputs
    assert segment.categories == trained.segmenter.segments.names
    assert (confidence.minimum, confidence.maximum) == (0, 1)


def test_the_lineage_says_what_it_was_made_from(trained, segment_package, summary_of, package_of):
    lineage, best = segment_package.lineage, trained.choice.candidate(3)
    assert (lineage.dataset, lineage.dataset_version, lineage.pipeline_run) == ("shop", FEBRUARY.isoformat(), "run-1")
    assert lineage.dataset_sha256 == hashlib.sha256(summary_of(FEBRUARY).to_bytes()).hexdigest()
    assert lineage.parameters == {"k": 3, "tried": [2, 3, 4], "method": "exact"}
    assert lineage.metrics == {
        "silhouette": best.silhouette.value,
        "davies_bouldin": best.davies_bouldin,
        "calinski_harabasz": best.calinski_harabasz,
        "segments": 3,
        "stability": best.stability.value,
    }
    assert set(lineage.packages) >= {"scikit-learn", "skops", "numpy"}
    assert lineage.parent_model == ""
    other = package_of(trained, MARCH, parent_model=segment_package.version).lineage
    assert other.parent_model == segment_package.version
    assert other.dataset_sha256 != lineage.dataset_sha256


def test_the_reference_is_a_sample_with_its_segments(champion, segment_package, package_of, trained):
    reference = segment_package.reference().to_pandas()
    assert list(reference.columns) == [*champion.columns, "segment", "confidence"]
    assert len(reference) == 300
    rows = reference[list(champion.columns)].to_numpy(float)
    # Who bought once has no time between purchases.
    assert np.isnan(rows).any()
    assigned = champion.assign(rows)
    assert reference["segment"].tolist() == np.array(champion.segments.names)[assigned.indices].tolist()
    np.testing.assert_allclose(reference["confidence"], assigned.confidence, atol=1e-5)
    few, same, other = (package_of(trained, reference_rows=50, seed=seed) for seed in (1, 1, 2))
    assert few.reference().num_rows == 50
    assert few.checksums[REFERENCE] == same.checksums[REFERENCE] != other.checksums[REFERENCE]


def test_missing_values_of_the_reference_are_null(segment_package):
    gaps = segment_package.reference()["mean_gap_days"]
    assert gaps.null_count == 100


def test_the_model_card_names_data_segments_and_every_number_that_was_tried(trained, segment_package, package_of):
    card = segment_package.read_bytes("model_card.md").decode()
    for one in trained.segmenter.segments.segments:
        assert f"| {one.id} | {one.name} | {one.size:,} | " in card
    assert "300 customers. Source: purchases in the warehouse. Licence: not stated." in " ".join(card.split())
    for one in trained.choice.candidates:
        assert f"| {one.k} | {one.silhouette} | " in card
    assert "Chosen: 3" in card
    named = package_of(trained, dataset="cdnow").read_bytes("model_card.md").decode()
    assert get("cdnow").source in named
    assert get("cdnow").licence in named


def test_a_choice_without_stability_is_packaged(trained_later, package_of):
    package = package_of(trained_later, MARCH)
    assert "stability" not in package.lineage.metrics
    assert "| 3 |" in package.read_bytes("model_card.md").decode()


def test_what_is_no_model_or_no_summary_is_refused_and_nothing_is_written(trained, summary_of, tmp_path):
    trained.save(tmp_path / "model")
    named = {"dataset": "shop", "run_date": "2025-02-01", "pipeline_run": "run-1"}
    with pytest.raises(PartitionError, match="no partition summary"):
        package_segmenter(tmp_path / "package", tmp_path / "model", b"nothing", **named)
    (tmp_path / "model" / WEIGHTS).write_bytes(b"nothing")
    with pytest.raises(ModelFormatError, match="no skops model"):
        package_segmenter(tmp_path / "package", tmp_path / "model", summary_of(FEBRUARY).to_bytes(), **named)
    (tmp_path / "model" / WEIGHTS).unlink()
    with pytest.raises(ModelFormatError, match="model holds no trained segments: No such file"):
        package_segmenter(tmp_path / "package", tmp_path / "model", summary_of(FEBRUARY).to_bytes(), **named)
    assert not (tmp_path / "package").exists()
