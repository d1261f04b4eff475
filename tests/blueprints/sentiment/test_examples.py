from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from blueprints.datasets import parse_schema
from blueprints.sentiment.examples import Examples

SCHEMA = """
target: label
group: document
columns:
  - {name: text, kind: text}
  - {name: label, kind: category, categories: [negative, positive]}
  - {name: valence, kind: number}
  - {name: document, kind: text}
"""
FRAME = pd.DataFrame(
    {
        "text": ["so dull", "so warm", "fine"],
        "label": ["negative", "positive", "positive"],
        "valence": [-2.0, 3.0, 0.5],
        "document": ["a", "b", "b"],
    }
)


def test_labels_are_positions_in_the_schema_and_the_group_is_no_text_to_learn_from():
    found = Examples.of(FRAME, parse_schema(SCHEMA))
    assert found.texts == ["so dull", "so warm", "fine"]
    assert found.labels.tolist() == [0, 1, 1]
    assert found.names == ("negative", "positive")


def test_a_table_without_a_target_teaches_nothing():
    schema = parse_schema(SCHEMA.replace("target: label", ""))
    with pytest.raises(ValueError, match="the table has no target"):
        Examples.of(FRAME, schema)


def test_targets_are_the_labels_or_as_sure_as_people_were():
    found = Examples.of(FRAME, parse_schema(SCHEMA))
    assert found.targets(0).tolist() == [[1, 0], [0, 1], [0, 1]]
    soft = found.targets(2.0)
    assert np.allclose(soft.sum(axis=1), 1)
    assert (soft.argmax(axis=1) == found.labels).all()
    assert soft[1, 1] > soft[2, 1] > 0.5
    assert soft[2, 1] == pytest.approx(1 / (1 + np.exp(-1)))


def test_where_the_valence_is_missing_or_contradicts_the_label_the_label_counts():
    schema = parse_schema(SCHEMA.replace("kind: number", "kind: number, nullable: true"))
    for doubtful in (None, np.nan, 0.0, -3.0):
        frame = FRAME.assign(valence=pd.Series([-2.0, doubtful, 0.5], dtype="Float64"))
        targets = Examples.of(frame, schema).targets(2.0)
        assert targets[1].tolist() == [0, 1]
        assert 0.5 < targets[0, 0] < 1
        assert np.isfinite(targets).all()
    missing = FRAME.assign(valence=pd.Series([None] * 3, dtype="Float64"))
    assert Examples.of(missing, schema).targets(2.0).tolist() == [[1, 0], [0, 1], [0, 1]]


@pytest.mark.parametrize(
    ("valence", "words"),
    [([2.0, -3.0, -0.5], "3 of 3 signs contradict"), ([-2.0, 40.0, 1.0], "-4 to 4"), ([-2.0, np.inf, 1.0], "-4 to 4")],
)
def test_a_column_that_means_something_else_is_no_target(valence, words):
    found = Examples.of(FRAME.assign(valence=valence), parse_schema(SCHEMA))
    with pytest.raises(ValueError, match=words):
        found.targets(2.0)
    assert found.targets(0).tolist() == [[1, 0], [0, 1], [0, 1]]


def test_a_valence_that_is_no_number_is_left_alone():
    schema = SCHEMA.replace("{name: valence, kind: number}", "{name: valence, kind: category, categories: [mild, hot]}")
    assert Examples.of(FRAME.assign(valence=["mild", "hot", "mild"]), parse_schema(schema)).valence is None


def test_a_table_without_valence_has_sure_targets():
    schema = SCHEMA.replace("  - {name: valence, kind: number}\n", "")
    assert Examples.of(FRAME.drop(columns="valence"), parse_schema(schema)).targets(2.0)[2].tolist() == [0, 1]


@pytest.mark.parametrize("changes", [{"group": None}, {"target": "valence"}])
def test_a_table_without_one_text_column_and_a_category_is_refused(changes):
    schema = parse_schema(SCHEMA).model_copy(update=changes)
    with pytest.raises(ValueError, match="one text column and a category"):
        Examples.of(FRAME, schema)
