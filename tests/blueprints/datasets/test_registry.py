"""The real datasets, fetched into the project's own workspace once."""

from __future__ import annotations

import functools

import pytest

from blueprints.datasets import (
    CREDIT,
    SEGMENTATION,
    SENTIMENT,
    DatasetError,
    dump_schema,
    get,
    names,
    parse_schema,
    split,
)
from blueprints.datasets.car_loan import DRIFT_BEGINS
from blueprints.datasets.cdnow import read_purchases


@functools.cache
def loaded(name):
    return get(name).load()


def test_the_default_is_first_and_an_unknown_name_is_refused():
    assert names() == ("taiwan", "car_loan", "german", "film_sentences", "sentences", "cdnow")
    assert (CREDIT[0].name, SENTIMENT[0].name, SEGMENTATION[0].name) == ("taiwan", "film_sentences", "cdnow")
    with pytest.raises(DatasetError, match="there is no dataset 'iris'; there are taiwan, car_loan, german, film_"):
        get("iris")


@pytest.mark.parametrize(
    ("name", "rows", "event_rate"), [("taiwan", 30_000, 0.2212), ("car_loan", 100_000, 0.49987), ("german", 1_000, 0.3)]
)
def test_every_row_fits_its_schema_and_the_event_is_the_default(name, rows, event_rate):
    frame, schema = loaded(name), get(name).schema
    assert len(frame) == rows
    assert frame[schema.target].mean() == pytest.approx(event_rate)
    assert not frame.isna().any().any()


@pytest.mark.parametrize("name", names())
def test_every_column_has_a_title_a_description_and_bounds_or_categories(name):
    schema = get(name).schema
    for column in schema.columns:
        assert column.title
        assert column.description.endswith(".")
        lengths = (column.minimum_length, column.maximum_length)
        bounds = lengths if column.kind == "text" else (column.minimum, column.maximum)
        assert column.kind in {"category", "timestamp"} or None not in bounds
    assert parse_schema(dump_schema(schema)) == schema


@pytest.mark.parametrize("name", names())
def test_every_category_but_documented_gaps_occurs_in_the_data(name):
    frame, schema = loaded(name), get(name).schema
    for column in schema.columns:
        if column.kind == "category":
            assert set(frame[column.name].unique()) == set(column.categories)


def test_taiwan_has_the_published_groups():
    frame = loaded("taiwan")
    assert frame["sex"].value_counts().to_dict() == {"female": 18_112, "male": 11_888}
    assert frame["education"].value_counts()["university"] == 14_030
    marriage = {"single": 15_964, "married": 13_659, "other": 323, "unknown": 54}
    assert frame["marriage"].value_counts().to_dict() == marriage
    first = frame.iloc[0]
    assert (first["repayment_status_sep"], first["bill_amount_sep"], first["payment_amount_aug"]) == (2, 3913, 689)
    assert (first["education"], first["sex"], first["age"]) == ("university", "female", 24)
    assert first["default_next_month"] == 1


def test_german_has_the_published_first_rows():
    frame = loaded("german")
    assert frame["sex"].tolist()[:3] == ["male", "female", "male"]
    assert frame["sex"].value_counts().to_dict() == {"male": 690, "female": 310}
    assert frame["credit_history"].iloc[0] == "critical account or credits at other banks"
    assert frame["default"].tolist()[:3] == [0, 1, 0]


def test_car_loan_is_in_order_of_time_and_drifts_from_the_documented_moment():
    frame = loaded("car_loan")
    assert frame["applied_at"].is_monotonic_increasing
    drifted = frame["applied_at"] >= DRIFT_BEGINS
    assert drifted.idxmax() == 75_000
    before, after = frame[~drifted].tail(5_000), frame[drifted].head(5_000)
    assert after["car_value"].mean() / before["car_value"].mean() > 1.5
    assert (before["previous_loan_repaid"] == "yes").mean() < 0.6 < (after["previous_loan_repaid"] == "yes").mean()


def test_cdnow_has_the_published_purchases_and_no_target():
    frame = loaded("cdnow")
    assert (len(frame), frame["customer_id"].nunique()) == (69_659, 23_570)
    assert (str(frame["purchased_at"].min()), str(frame["purchased_at"].max())) == (
        "1997-01-01 00:00:00+00:00",
        "1998-06-30 00:00:00+00:00",
    )
    assert frame["quantity"].sum() == 167_881
    assert frame["amount"].sum() == pytest.approx(2_500_315.63)
    assert (frame["amount"] == 0).sum() == 80
    assert frame.groupby("customer_id")["purchased_at"].min().max().isoformat() == "1997-03-25T00:00:00+00:00"
    assert get("cdnow").schema.target == ""
    with pytest.raises(DatasetError, match="split: the table has no target"):
        split(frame, get("cdnow").schema)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "the header is ''"),
        (b"customer_id date", "the header is 'customer_id date', expected 'customer_id date number_of_cds dollar_v"),
        (b" customer_id  date number_of_cds  dollar_value\r\n 1 19970101 1\r\n", "line 2 has 3 fields, expected 4"),
    ],
)
def test_a_file_of_purchases_of_another_form_is_refused(content, words):
    with pytest.raises(DatasetError, match=words):
        read_purchases(content, origin="purchases.txt")


def test_a_repaid_car_loan_is_no_default():
    import pandas as pd

    from blueprints.datasets.car_loan import CAR_LOAN

    path = CAR_LOAN.carrier.fetch(CAR_LOAN.files[0])
    repaid = pd.read_csv(path, usecols=["repaid"])["repaid"]
    assert (loaded("car_loan")["default"].iloc[:50_000].to_numpy() == 1 - repaid.to_numpy()).all()
