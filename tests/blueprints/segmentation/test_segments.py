from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from blueprints.segmentation.segments import LONGEST, Segment, Segments, Trait


def segment(identifier, name=None, **changes):
    values = {"size": 10, "share": 0.5, "centroid": {"recency_days": 30.0, "monetary": 12.5}} | changes
    return Segment(id=identifier, name=name or f"segment {identifier}", **values)


def test_segments_survive_json_in_the_order_of_the_centroids():
    made = Segments(segments=(segment(7, traits=(Trait(feature="monetary", level="low"),)), segment(3)), next_id=9)
    again = Segments.model_validate_json(made.model_dump_json())
    assert again == made
    assert again.ids == (7, 3)
    assert again.names == ("segment 7", "segment 3")
    assert again.columns == ("recency_days", "monetary")
    assert len(again) == 2
    np.testing.assert_array_equal(again.centroids(), [[30, 12.5], [30, 12.5]])


def test_a_name_is_found_by_its_id():
    made = Segments(segments=(segment(1), segment(2, "big spenders")), next_id=3)
    assert made.name_of(2) == "big spenders"
    with pytest.raises(KeyError):
        made.name_of(3)


@pytest.mark.parametrize(
    ("parts", "next_id", "words"),
    [
        ((segment(1), segment(1, "other")), 3, "ids repeat"),
        ((segment(1, "same"), segment(2, "same")), 3, "names repeat"),
        ((segment(1), segment(5)), 5, "must be above"),
        ((segment(1), segment(2, centroid={"monetary": 1.0, "recency_days": 2.0})), 3, "same features"),
        ((segment(1),), 3, "at least 2"),
    ],
)
def test_what_contradicts_itself_is_refused(parts, next_id, words):
    with pytest.raises(ValidationError, match=words):
        Segments(segments=parts, next_id=next_id)


@pytest.mark.parametrize(
    "changes",
    [{"centroid": {"a": float("nan")}}, {"centroid": {}}, {"share": 1.2}, {"size": -1}, {"name": "n" * (LONGEST + 1)}],
)
def test_a_segment_has_a_finite_centroid_a_share_and_a_short_name(changes):
    with pytest.raises(ValidationError):
        Segment(**({"id": 1, "name": "n", "size": 1, "share": 0.1, "centroid": {"a": 1.0}} | changes))
