"""The gate: clear segments, none of outliers alone, and no break with the ids that people know."""

from __future__ import annotations

import numpy as np
import pytest

from blueprints.model_package import PackageError
from blueprints.segmentation.comparison import compare
from blueprints.segmentation.features import BASIC
from blueprints.segmentation.packaging import package_segmenter
from blueprints.segmentation.partitions import summarize
from blueprints.segmentation.segmenter import Segmenter
from blueprints.segmentation.training import train_segments
from tests.purchases import MARCH


@pytest.fixture(scope="module")
def sample(summary_of):
    return summary_of(MARCH).sample


@pytest.fixture(scope="module")
def later(trained_later, package_of):
    return package_of(trained_later, MARCH)


@pytest.fixture(scope="module")
def renumbered(trained_later, package_of):
    """The same segments under ids that nobody knows."""
    old = trained_later.segmenter.segments
    others = tuple(one.model_copy(update={"id": one.id + 10}) for one in old.segments)
    return package_of(trained_later, MARCH, segments=old.model_copy(update={"segments": others, "next_id": 20}))


def test_a_first_segmentation_is_judged_by_itself(segment_package, sample):
    verdict = compare(segment_package, None, sample)
    assert verdict.promote
    assert (verdict.challenger, verdict.champion, verdict.kept) == (segment_package.version, "", None)
    assert verdict.silhouette == segment_package.lineage.metrics["silhouette"]
    assert verdict.reason.startswith(f"silhouette {verdict.silhouette:.3f}, the smallest segment has 33")
    assert verdict.reason.endswith("no champion yet")


def test_every_refusal_is_named(segment_package, sample):
    verdict = compare(segment_package, None, sample, minimum_silhouette=0.95, minimum_share=0.4)
    assert not verdict.promote
    assert f"the silhouette {verdict.silhouette:.3f} is below 0.95; the smallest segment has 33" in verdict.reason
    assert "less than 40.00%" in verdict.reason


def test_customers_of_a_run_that_carries_on_keep_their_segment(segment_package, later, sample):
    verdict = compare(later, segment_package, sample)
    old, new = Segmenter.from_package(segment_package), Segmenter.from_package(later)
    expected = np.mean(old.ids[old.predict(sample)] == new.ids[new.predict(sample)])
    assert verdict.promote
    assert verdict.champion == segment_package.version
    assert verdict.kept == expected > 0.95
    assert f"{expected:.1%} of the customers keep their segment" in verdict.reason


def test_a_break_with_the_ids_is_refused_unless_it_is_wanted(segment_package, renumbered, sample):
    verdict = compare(renumbered, segment_package, sample)
    assert (verdict.promote, verdict.kept) == (False, 0)
    assert "only 0.0% of the customers keep their segment, less than 50%: look at the report" in verdict.reason
    assert compare(renumbered, segment_package, sample, minimum_kept=0).promote


def test_a_back_fill_becomes_no_champion(segment_package, later, sample):
    verdict = compare(segment_package, later, sample)
    assert not verdict.promote
    assert verdict.kept > 0.95
    assert "the champion knows purchases up to 2025-03-01, this run only up to 2025-02-01" in verdict.reason
    assert "a back-fill is scored with the champion" in verdict.reason


def test_the_champion_itself_is_not_compared(segment_package, sample):
    verdict = compare(segment_package, segment_package, sample)
    assert (verdict.promote, verdict.kept) == (True, None)
    assert "it is the champion already" in verdict.reason


def test_a_champion_with_other_features_is_not_compared(segment_package, summary_of, sample, tmp_path):
    import pyarrow as pa

    whole = summary_of(MARCH)
    rows = pa.record_batch({"row": np.arange(300)} | dict(zip(whole.columns, whole.sample.T, strict=True)))
    basic = summarize([rows], [column.name for column in BASIC], identifier="row")
    train_segments(basic, BASIC, ks=[3], bootstraps=0).save(tmp_path / "model")
    champion = package_segmenter(
        tmp_path / "package", tmp_path / "model", basic.to_bytes(),
        dataset="shop", run_date="2025-01-01", pipeline_run="run-2", columns=BASIC,
    )  # fmt: skip
    verdict = compare(segment_package, champion, sample)
    assert (verdict.promote, verdict.kept) == (True, None)
    assert "the champion has other features, so ids begin anew" in verdict.reason


def test_another_blueprint_is_no_champion(segment_package, credit_package, sample):
    with pytest.raises(PackageError, match=r"no file 'segments\.json' in this model package"):
        compare(segment_package, credit_package, sample)
