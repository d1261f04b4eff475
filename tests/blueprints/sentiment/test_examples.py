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


def test_targets_are_the_labels_or_as_sure_as_people_were():
    found = Examples.of(FRAME, parse_schema(SCHEMA))
    assert found.targets(0).tolist() == [[1, 0], [0, 1], [0, 1]]
    soft = found.targets(2.0)
    assert np.allclose(soft.sum(axis=1), 1)
    assert (soft.argmax(axis=1) == found.labels).all()
    assert soft[1, 1] > soft[2, 1] > 0.5
    assert soft[2, 1] == pytest.approx(1 / (1 + np.exp(-1)))


def test_a_table_without_valence_has_sure_targets():
    schema = SCHEMA.replace("  - {name: valence, kind: number}\n", "")
    assert Examples.of(FRAME.drop(columns="valence"), parse_schema(schema)).targets(2.0)[2].tolist() == [0, 1]


@pytest.mark.parametrize("changes", [{"group": None}, {"target": "valence"}])
def test_a_table_without_one_text_column_and_a_category_is_refused(changes):
    schema = parse_schema(SCHEMA).model_copy(update=changes)
    with pytest.raises(ValueError, match="one text column and a category"):
        Examples.of(FRAME, schema)
