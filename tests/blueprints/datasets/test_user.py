from __future__ import annotations

import pandas as pd
import pytest
import sqlalchemy

from blueprints.datasets import DatasetError, FileDataset, QueryDataset, parse_schema


@pytest.fixture
def csv_dataset(tmp_path, loans_csv, loans_schema):
    (tmp_path / "loans.csv").write_text(loans_csv)
    return FileDataset(str(tmp_path / "loans.csv"), loans_schema)


@pytest.fixture
def database(tmp_path, csv_dataset, monkeypatch):
    url = f"sqlite:///{tmp_path / 'loans.db'}"
    engine = sqlalchemy.create_engine(url)
    frame = csv_dataset.load()
    frame.assign(applied_at=frame["applied_at"].map(lambda time: time.isoformat())).to_sql("loans", engine, index=False)
    engine.dispose()
    monkeypatch.setenv("BLUEPRINTS_DATABASE_URL", url)


def test_parquet_and_tsv_and_uri_give_the_same_table_as_csv(tmp_path, csv_dataset, loans_csv, loans_schema):
    expected = csv_dataset.load()
    expected.to_parquet(tmp_path / "loans.parquet")
    (tmp_path / "loans.tsv").write_text(loans_csv.replace('"a, quoted"', "a").replace(",", "\t"))
    for location in (tmp_path / "loans.parquet", tmp_path / "loans.tsv", f"file://{tmp_path}/loans.csv"):
        pd.testing.assert_frame_equal(FileDataset(str(location), loans_schema).load(), expected)


def test_a_query_gives_the_same_table(csv_dataset, loans_schema, database):
    dataset = QueryDataset("SELECT * FROM loans ORDER BY loan", loans_schema)
    pd.testing.assert_frame_equal(dataset.load(), csv_dataset.load())


def test_a_query_that_fails_names_the_database_and_the_reason(loans_schema, database):
    with pytest.raises(DatasetError, match=r"SQL query failed on sqlite:///.*no such table: missing"):
        QueryDataset("SELECT * FROM missing", loans_schema).load()


def test_a_query_without_its_variable_says_which_to_set(loans_schema, monkeypatch):
    monkeypatch.delenv("BLUEPRINTS_DATABASE_URL", raising=False)
    with pytest.raises(DatasetError, match="set the environment variable BLUEPRINTS_DATABASE_URL"):
        QueryDataset("SELECT 1", loans_schema).load()


@pytest.mark.parametrize("url", ["no url with secret", "missingdriver://user:secret@host/db"])
def test_a_url_that_cannot_be_used_is_refused_without_showing_its_password(url, loans_schema, monkeypatch):
    monkeypatch.setenv("BLUEPRINTS_DATABASE_URL", url)
    with pytest.raises(DatasetError, match="BLUEPRINTS_DATABASE_URL is no SQLAlchemy URL") as raised:
        QueryDataset("SELECT 1", loans_schema).load()
    assert "secret" not in str(raised.value)


def test_values_of_a_query_are_checked_like_those_of_a_file(loans_schema, database):
    query = "SELECT loan, applied_at, -amount AS amount, terms, sex, guarantor, defaulted FROM loans"
    with pytest.raises(DatasetError, match=r"SQL query: 3 values .*\n  row 1, column 'amount': found -10\.5"):
        QueryDataset(query, loans_schema).load()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("loans.parquet", b"PAR1 but not", r"loans\.parquet: not readable as Parquet"),
        ("loans.xlsx", b"", r"loans\.xlsx: expected a file that ends in"),
        ("absent.csv", None, r"absent\.csv: cannot be read: .*No such file"),
    ],
)
def test_an_unreadable_file_is_one_clear_error(name, content, message, tmp_path, loans_schema):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DatasetError, match=message):
        FileDataset(str(tmp_path / name), loans_schema).load()


XY = "[{name: x, kind: number}, {name: y, kind: integer}]"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("target: [", r"own\.yaml: not readable as YAML"),
        ("just text", "expected a mapping"),
        ("target: y\ncolumns: []", "not a valid table schema:\n  columns: "),
        ("target: z\ncolumns: " + XY, "no column is named 'z'"),
        ("target: x\ncolumns: " + XY, "target 'x' must be of kind 'integer'"),
        ("target: y\nprotect: []\ncolumns: " + XY, "protect: Extra inputs"),
    ],
)
def test_a_schema_that_is_wrong_is_one_clear_error(text, message):
    with pytest.raises(DatasetError, match=message):
        parse_schema(text, origin="own.yaml")
