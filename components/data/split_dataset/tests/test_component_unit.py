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


def test_texts_lose_their_duplicates_and_groups_stay_together(tmp_path):
    words = ("alpha", "bravo", "charlie", "delta", "echo", "foxtrot", "golf", "hotel", "india", "juliett")
    texts = [f"{left} {right}" for left in words for right in words]
    rows = [(text, ("no", "yes")[row // 2 % 2], f"d{row // 2}") for row, text in enumerate(texts)]
    rows += [("Alpha  BRAVO", "no", "d99")]
    (tmp_path / "own.csv").write_text("text,y,d\n" + "".join(",".join(row) + "\n" for row in rows))
    columns = "{name: text, kind: text}, {name: y, kind: category, categories: ['no', 'yes']}, {name: d, kind: text}"
    schema = parse_schema(f"{{target: y, group: d, columns: [{columns}]}}")
    write_snapshot(FileDataset(str(tmp_path / "own.csv"), schema), tmp_path / "whole")
    parts = {part: SimpleNamespace(path=str(tmp_path / part), metadata={}) for part in PARTS}
    split_dataset.python_func(SimpleNamespace(path=str(tmp_path / "whole")), **parts)
    documents = [set(read_snapshot(tmp_path / part).frame["d"]) for part in PARTS]
    assert sum(map(len, documents)) == len(set.union(*documents))
    report = parts["test"].metadata["split"]
    assert report["method"] == "grouped"
    assert report["duplicates"]["repeated"] == 1
    assert sum(report["rows"].values()) == 100
