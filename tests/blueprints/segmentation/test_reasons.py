"""Reasons for a segment: they add up, and say in words what the figures say."""

from __future__ import annotations

import numpy as np
import pytest

from blueprints.segmentation.features import BASIC
from blueprints.segmentation.preprocessing import Preprocessing, fitted_pipeline
from blueprints.segmentation.reasons import give_reasons
from blueprints.segmentation.segmenter import Segmenter
from blueprints.segmentation.segments import Segment, Segments

NAMES = tuple(column.name for column in BASIC)
CENTROIDS = np.array([[10.0, 12, 900], [300, 1, 20], [100, 4, 100]])
TITLES = ("recent big spenders", "lapsed one-time buyers", "average customers")


@pytest.fixture(scope="module")
def segmenter():
    learned = Preprocessing(
        NAMES,
        medians=np.array([90.0, 3, 60]),
        logged=np.array([False, True, True]),
        means=np.array([100.0, 1.5, 4]),
        scales=np.array([100.0, 1, 1.5]),
    )
    segments = [
        Segment(id=1 + place, name=name, size=1, share=0.1, centroid=dict(zip(NAMES, centroid, strict=True)))
        for place, (name, centroid) in enumerate(zip(TITLES, CENTROIDS.tolist(), strict=True))
    ]
    pipeline = fitted_pipeline(learned, learned.transform(CENTROIDS))
    return Segmenter(pipeline, Segments(segments=tuple(segments), next_id=4))


def test_what_speaks_most_for_the_segment_comes_first_and_all_adds_up(segmenter):
    (found,) = give_reasons(segmenter, np.array([[12.0, 12, 200]]), BASIC)
    assert (found.position, found.next_position) == (0, 2)
    contributions = [reason.contribution for reason in found.reasons]
    assert contributions == sorted(contributions, reverse=True)
    assert sum(contributions) == pytest.approx(found.margin, rel=1e-12)
    assert {reason.feature: reason.text for reason in found.reasons} == {
        "recency_days": "days since the last purchase: 12, typical for 'recent big spenders' (centroid 10) "
        "rather than 'average customers' (centroid 100)",
        "frequency": "number of purchases: 12, typical for 'recent big spenders' (centroid 12) "
        "rather than 'average customers' (centroid 4)",
        "monetary": "amount spent: 200, typical for 'average customers' (centroid 100) "
        "rather than 'recent big spenders' (centroid 900)",
    }
    assert (found.reasons[-1].feature, found.reasons[-1].contribution < 0) == ("monetary", True)


def test_a_missing_value_is_told_with_what_stands_for_it(segmenter):
    (found,) = give_reasons(segmenter, np.array([[12.0, np.nan, 900]], np.float32), BASIC)
    (missing,) = [reason for reason in found.reasons if reason.feature == "frequency"]
    assert missing.value is None
    assert missing.text.startswith("number of purchases: not known, taken as 3, typical for 'average customers'")


def test_a_feature_that_tells_nothing_is_told_so(segmenter):
    between = (CENTROIDS[0, 0] + CENTROIDS[2, 0]) / 2
    (found,) = give_reasons(segmenter, np.array([[between, 12, 900]]), BASIC)
    (even,) = [reason for reason in found.reasons if reason.feature == "recency_days"]
    assert even.contribution == pytest.approx(0, abs=1e-12)
    (same,) = give_reasons(
        Segmenter(fitted_pipeline(segmenter.preprocessing, np.array([[0.0, 0, 0], [0, 1, 1]])), _two(segmenter)),
        np.array([[12.0, 1, 2]]),
        BASIC,
    )
    (even,) = [reason for reason in same.reasons if reason.contribution == 0]
    assert even.text == (
        "days since the last purchase: 12, as near to 'recent big spenders' (centroid 10) "
        "as to 'lapsed one-time buyers' (centroid 300)"
    )


def _two(segmenter):
    return segmenter.segments.model_copy(update={"segments": segmenter.segments.segments[:2]})
