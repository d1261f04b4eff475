from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blueprints.datasets import DatasetError, parse_schema
from blueprints.datasets.conform import conform
from blueprints.datasets.csv_file import read_csv


def load(text, schema):
    return conform(read_csv(text.encode(), origin="loans.csv"), schema, origin="loans.csv")


def test_values_become_typed_columns_in_the_order_of_the_schema(loans_csv, loans_schema):
    frame = load(loans_csv, loans_schema)
    assert list(frame.columns) == [column.name for column in loans_schema.columns]
    assert {name: str(kind) for name, kind in frame.dtypes.items()} == {
        "loan": "int64",
        "applied_at": "datetime64[ns, UTC]",
        "amount": "float64",
        "terms": "float64",
        "sex": "category",
        "guarantor": "category",
        "defaulted": "int8",
    }
    assert frame["amount"].tolist() == [10.5, 20.0, 100.0]
    assert frame["applied_at"].iloc[1] == pd.Timestamp("2024-01-02T08:00:00Z")
    assert list(frame["sex"].cat.categories) == ["female", "male"]


def test_a_category_named_none_is_no_missing_value_but_an_empty_cell_is(loans_csv, loans_schema):
    frame = load(loans_csv, loans_schema)
    assert frame["guarantor"].tolist()[0] == "none"
    assert frame["guarantor"].isna().tolist() == [False, True, False]
    assert np.isnan(frame["terms"].iloc[1])


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("female,none", "f,none", r"row 1, column 'sex': found 'f', expected one of 'female', 'male'"),
        (",10.5,", ",ten,", r"row 1, column 'amount': found 'ten', expected a finite number from 0 to 1,000"),
        (",10.5,", ",inf,", r"row 1, column 'amount': found 'inf'"),
        (",10.5,", ",-1,", r"row 1, column 'amount': found '-1'"),
        (",10.5,", ",,", r"row 1, column 'amount': found nothing"),
        (",1e2,12,", ",1e2,1.5,", r"row 3, column 'terms': found '1.5', expected a whole number .* or nothing"),
        (",1e2,12,", ",1e2,99,", r"row 3, column 'terms': found '99', expected a whole number from 1 to 12"),
        ("2024-01-03", "3 Jan", r"row 3, column 'applied_at': found '3 Jan', expected an ISO 8601"),
        ("\n3,", "\n1,", r"row 3, column 'loan': found '1', expected .* that no other row has"),
        ("none,0,", "none,2,", r"row 1, column 'defaulted': found '2', expected 0 or 1"),
    ],
)
def test_a_value_that_does_not_fit_is_named_with_row_column_and_what_is_accepted(
    old, new, message, loans_csv, loans_schema
):
    with pytest.raises(DatasetError, match=message) as raised:
        load(loans_csv.replace(old, new, 1), loans_schema)
    assert raised.value.count == 1
    assert str(raised.value).startswith("loans.csv: 1 value does not fit the schema")


def test_of_many_values_the_first_five_and_the_count_are_told(loans_schema):
    rows = "".join(f"{row},2024-01-01,-1,1,female,none,0\n" for row in range(1, 101))
    with pytest.raises(DatasetError, match="100 values do not fit the schema, the first 5") as raised:
        load("loan,applied_at,amount,terms,sex,guarantor,defaulted\n" + rows, loans_schema)
    assert [violation.row for violation in raised.value.violations] == [1, 2, 3, 4, 5]


def test_a_missing_column_is_named_beside_those_that_are_there(loans_csv, loans_schema):
    with pytest.raises(DatasetError, match=r"'amount' is missing; there are loan, applied_at, sum"):
        load(loans_csv.replace("amount", "sum"), loans_schema)


def test_a_table_without_rows_is_refused(loans_csv, loans_schema):
    with pytest.raises(DatasetError, match="has no rows"):
        load(loans_csv.splitlines()[0] + "\n", loans_schema)


def test_native_types_are_taken_as_they_are(loans_schema):
    native = pd.DataFrame(
        {
            "loan": [1, 2],
            "applied_at": pd.to_datetime(["2024-01-01", "2024-01-02"]),
            "amount": np.array([1, 2], dtype="float32"),
            "terms": pd.array([3, None], dtype="Int64"),
            "sex": pd.Categorical(["male", "female"]),
            "guarantor": [None, "person"],
            "defaulted": [True, False],
        }
    )
    frame = conform(native, loans_schema, origin="query")
    assert frame["defaulted"].tolist() == [1, 0]
    assert frame["sex"].cat.codes.tolist() == [1, 0]
    assert np.isnan(frame["terms"].iloc[1])


def test_a_number_is_no_timestamp(loans_csv, loans_schema):
    raw = read_csv(loans_csv.encode(), origin="x").assign(applied_at=20240101)
    with pytest.raises(DatasetError, match=r"row 1, column 'applied_at': found 20240101"):
        conform(raw, loans_schema, origin="x")


NUMBERS = parse_schema(
    """
    target: y
    columns:
      - {name: x, kind: number, minimum: -10, maximum: 10, nullable: true}
      - {name: y, kind: integer}
    """
)


@given(st.lists(st.one_of(st.floats(), st.none(), st.text(max_size=5)), min_size=1, max_size=20))
@settings(deadline=None)
def test_a_table_either_fits_exactly_or_every_misfit_is_counted(values):
    def fits(value):
        texts = {"", "na", "n/a", "nan", "<na>", "nat", "null", "none"}
        if value is None or (isinstance(value, str) and value.strip().lower() in texts):
            return True
        number = pd.to_numeric(value.strip() if isinstance(value, str) else value, errors="coerce")
        return (isinstance(value, float) and np.isnan(value)) or bool(-10 <= number <= 10)

    raw = pd.DataFrame({"x": pd.Series(values, dtype=object), "y": 0})
    misfits = [row for row, value in enumerate(values, start=1) if not fits(value)]
    if misfits:
        with pytest.raises(DatasetError) as raised:
            conform(raw, NUMBERS, origin="x")
        assert raised.value.count == len(misfits)
        assert [violation.row for violation in raised.value.violations] == misfits[:5]
    else:
        assert conform(raw, NUMBERS, origin="x")["x"].dropna().between(-10, 10).all()


TEXTS = parse_schema(
    """
    target: topic
    columns:
      - {name: text, kind: text, minimum_length: 3, maximum_length: 8}
      - {name: topic, kind: category, categories: [billing, other]}
    """
)


def test_texts_are_stripped_and_kept_as_they_are_and_labels_are_categories():
    emoji = "\U0001f600" * 3
    raw = pd.DataFrame({"text": ["  a  b ", "none", "null", emoji], "topic": ["billing"] * 4})
    frame = conform(raw, TEXTS, origin="x")
    assert frame["text"].tolist() == ["a  b", "none", "null", emoji]
    assert frame["topic"].dtype == pd.CategoricalDtype(["billing", "other"])


@pytest.mark.parametrize(
    ("text", "topic", "message"),
    [
        ("  ", "billing", "column 'text': found nothing, expected a text of 3 to 8 characters"),
        (None, "billing", "column 'text': found nothing, expected a text of 3 to 8 characters"),
        ("ab", "billing", r"column 'text': found 'ab' \(2 characters\), expected a text of 3 to 8 characters"),
        ("x" * 900, "billing", r"column 'text': found 'x+…' \(900 characters\), expected a text of 3 to 8 characters"),
        (7, "billing", "column 'text': found 7, expected a text of 3 to 8 characters"),
        ("abc", "bills", "column 'topic': found 'bills', expected one of 'billing', 'other'"),
        ("abc", "", "column 'topic': found nothing, expected one of 'billing', 'other'"),
    ],
)
def test_a_text_or_label_that_does_not_fit_is_named(text, topic, message):
    raw = pd.DataFrame({"text": ["fine", text], "topic": ["other", topic]})
    with pytest.raises(DatasetError, match=f"row 2, {message}"):
        conform(raw, TEXTS, origin="x")


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ("{name: text, kind: text}, {name: y, kind: integer}", "target 'y' of the texts must be of kind 'category'"),
        ("{name: text, kind: text}, {name: y, kind: category, categories: [a]}", "with two or more labels"),
        ("{name: x, kind: number}, {name: y, kind: category, categories: [a, b]}", "must be of kind 'integer'"),
        (
            "{name: text, kind: text}, {name: more, kind: text}, {name: y, kind: category, categories: [a, b]}",
            "columns 'text', 'more' are texts; keep the one to classify",
        ),
        (
            "{name: text, kind: text, nullable: true}, {name: y, kind: category, categories: [a, b]}",
            "text 'text' must not be nullable",
        ),
    ],
)
def test_a_schema_of_texts_that_cannot_be_learned_from_is_refused(columns, message):
    with pytest.raises(DatasetError, match=message):
        parse_schema(f"{{target: y, columns: [{columns}]}}")
