from __future__ import annotations

from types import SimpleNamespace

import pytest

from blueprints.datasets import DatasetError, read_snapshot
from components.data.ingest_dataset.component import ingest_dataset

SCHEMA = "{target: y, columns: [{name: x, kind: number}, {name: y, kind: integer}]}"


@pytest.fixture
def snapshot(tmp_path):
    return SimpleNamespace(path=str(tmp_path / "snapshot"), metadata={})


def test_own_data_becomes_a_snapshot_and_its_description_metadata(tmp_path, snapshot):
    (tmp_path / "own.csv").write_text("x,y\n1,0\n2,1\n")
    ingest_dataset.python_func(snapshot, dataset="mine", data_uri=str(tmp_path / "own.csv"), schema_yaml=SCHEMA)
    stored = read_snapshot(tmp_path / "snapshot")
    assert snapshot.metadata == stored.info.model_dump()
    assert (stored.info.name, stored.info.rows) == ("mine", 2)


def test_own_data_does_not_take_the_name_of_a_named_dataset(tmp_path, snapshot):
    (tmp_path / "own.csv").write_text("x,y\n1,0\n")
    ingest_dataset.python_func(snapshot, data_uri=str(tmp_path / "own.csv"), schema_yaml=SCHEMA)
    assert snapshot.metadata["name"] == "own"


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"dataset": "iris"}, "there is no dataset 'iris'"),
        ({"data_uri": "own.csv"}, "needs a schema"),
        ({"schema_yaml": SCHEMA}, "give a file or a query"),
        ({"data_uri": "own.csv", "sql_query": "SELECT 1", "schema_yaml": SCHEMA}, "a file or a query, not both"),
    ],
)
def test_parameters_that_mean_no_dataset_are_refused(parameters, message, snapshot):
    with pytest.raises(DatasetError, match=message):
        ingest_dataset.python_func(snapshot, **parameters)
