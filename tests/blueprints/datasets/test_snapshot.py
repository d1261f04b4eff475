from __future__ import annotations

import json
import os
import subprocess
import sys

import pandas as pd
import pytest

from blueprints.datasets import DatasetError, FileDataset, read_snapshot, split, write_snapshot


@pytest.fixture
def loans(tmp_path, loans_csv, loans_schema):
    (tmp_path / "loans.csv").write_text(loans_csv)
    return FileDataset(str(tmp_path / "loans.csv"), loans_schema, name="loans", licence="CC0-1.0")


def content(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_snapshot_gives_back_the_typed_table_its_schema_and_what_it_is(loans, tmp_path):
    info = write_snapshot(loans, tmp_path / "snapshot")
    snapshot = read_snapshot(tmp_path / "snapshot")
    pd.testing.assert_frame_equal(snapshot.frame, loans.load())
    assert snapshot.schema == loans.schema
    assert snapshot.info == info
    assert (info.name, info.version, info.part, info.rows, info.licence) == ("loans", "1", "all", 3, "CC0-1.0")
    assert info.created_from == loans.fingerprint()


def test_the_same_data_gives_the_same_bytes_in_another_process_too(loans, tmp_path, loans_csv):
    write_snapshot(loans, tmp_path / "one")
    script = (
        "import sys; from pathlib import Path; from blueprints.datasets import *;"
        "schema = read_snapshot(Path(sys.argv[2])).schema;"
        "write_snapshot(FileDataset(sys.argv[1], schema, name='loans', licence='CC0-1.0'), Path(sys.argv[3]))"
    )
    command = [sys.executable, "-c", script, loans.location, str(tmp_path / "one"), str(tmp_path / "two")]
    subprocess.run(command, check=True, env={**os.environ, "PYTHONHASHSEED": "1"})
    assert content(tmp_path / "one") == content(tmp_path / "two")


def test_another_value_gives_another_hash(loans, tmp_path, loans_csv, loans_schema):
    one = write_snapshot(loans, tmp_path / "one")
    (tmp_path / "loans.csv").write_text(loans_csv.replace("10.5", "10.6"))
    assert write_snapshot(loans, tmp_path / "one").sha256 != one.sha256


@pytest.mark.parametrize("name", ["data.parquet", "schema.yaml"])
def test_a_changed_file_is_refused(name, loans, tmp_path):
    write_snapshot(loans, tmp_path / "snapshot")
    file = tmp_path / "snapshot" / name
    file.write_bytes(file.read_bytes() + b" ")
    with pytest.raises(DatasetError, match=f"{name}: changed since it was written"):
        read_snapshot(tmp_path / "snapshot")


@pytest.mark.parametrize("name", ["data.parquet", "schema.yaml", "snapshot.json"])
def test_a_missing_file_is_refused(name, loans, tmp_path):
    write_snapshot(loans, tmp_path / "snapshot")
    (tmp_path / "snapshot" / name).unlink()
    with pytest.raises(DatasetError, match=f"no snapshot: No such file or directory: {name}"):
        read_snapshot(tmp_path / "snapshot")


def test_a_description_with_unknown_fields_is_refused(loans, tmp_path):
    write_snapshot(loans, tmp_path / "snapshot")
    file = tmp_path / "snapshot" / "snapshot.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "more": 1}))
    with pytest.raises(DatasetError, match="not the description of a snapshot"):
        read_snapshot(tmp_path / "snapshot")


def test_data_that_does_not_fit_leaves_the_older_snapshot_untouched(loans, tmp_path, loans_csv):
    write_snapshot(loans, tmp_path / "snapshot")
    before = content(tmp_path / "snapshot")
    (tmp_path / "loans.csv").write_text(loans_csv.replace("female", "f"))
    with pytest.raises(DatasetError, match=r"loans\.csv: 2 values"):
        write_snapshot(loans, tmp_path / "snapshot")
    assert content(tmp_path / "snapshot") == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["loans.csv", "snapshot"]


def test_a_folder_with_something_else_is_not_replaced(loans, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(DatasetError, match="holds something else than a snapshot"):
        write_snapshot(loans, tmp_path)


def test_parts_of_a_split_are_snapshots_that_name_the_whole(loans, tmp_path):
    whole = write_snapshot(loans, tmp_path / "whole")
    snapshot = read_snapshot(tmp_path / "whole")
    parts = split(snapshot.frame, snapshot.schema, test_share=0.34, validation_share=0.33)
    snapshot.write_part(parts.test, "test", tmp_path / "test")
    test = read_snapshot(tmp_path / "test")
    assert (test.info.part, test.info.rows, test.info.created_from) == ("test", 1, whole.sha256)
    pd.testing.assert_frame_equal(test.frame, parts.test.reset_index(drop=True))
