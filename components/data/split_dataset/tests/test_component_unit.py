from __future__ import annotations

from types import SimpleNamespace

import pytest

from blueprints.datasets import FileDataset, parse_schema, read_snapshot, write_snapshot
from components.data.split_dataset.component import split_dataset

PARTS = ("train", "validation", "test")
COLUMNS = "columns: [{name: x, kind: integer}, {name: t, kind: timestamp}, {name: y, kind: integer}]"


def run(tmp_path, schema, **parameters):
    rows = "".join(f"{row},2024-01-{row:02d},{row % 2}\n" for row in range(1, 21))
    (tmp_path / "own.csv").write_text("x,t,y\n" + rows)
    whole = write_snapshot(FileDataset(str(tmp_path / "own.csv"), parse_schema(schema)), tmp_path / "whole")
    parts = {part: SimpleNamespace(path=str(tmp_path / part), metadata={}) for part in PARTS}
    split_dataset.python_func(SimpleNamespace(path=str(tmp_path / "whole")), **parts, **parameters)
    return whole, parts, {part: read_snapshot(tmp_path / part) for part in PARTS}


@pytest.mark.parametrize(("schema", "method"), [("target: y\n", "stratified"), ("target: y\ntime: t\n", "time-aware")])
def test_the_parts_are_snapshots_that_make_up_the_whole_and_say_how(schema, method, tmp_path):
    whole, parts, snapshots = run(tmp_path, schema + COLUMNS)
    assert sorted(x for snapshot in snapshots.values() for x in snapshot.frame["x"]) == list(range(1, 21))
    for part in PARTS:
        metadata = parts[part].metadata
        assert (metadata["part"], metadata["created_from"]) == (part, whole.sha256)
        assert metadata["split"]["method"] == method
        assert metadata["split"]["rows"] == {"train": 12, "validation": 4, "test": 4}


def test_shares_are_parameters(tmp_path):
    _, _, snapshots = run(tmp_path, "target: y\n" + COLUMNS, test_share=0.4, validation_share=0.1)
    assert [len(snapshots[part].frame) for part in PARTS] == [10, 2, 8]
