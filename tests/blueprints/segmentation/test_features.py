from __future__ import annotations

from datetime import date, datetime, timedelta

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blueprints.datasets import get
from blueprints.segmentation.features import (
    BASIC,
    FEATURES,
    RICH,
    arrow_schema,
    columns,
    features_sql,
    publish_features,
)
from blueprints.segmentation.transactions import transaction_batches
from blueprints.segmentation.warehouse import WarehouseError, open_warehouse

AS_OF = date(2024, 3, 1)
NAMES = [column.name for column in FEATURES]
FIRST = datetime(2024, 1, 1)  # noqa: DTZ001 - warehouses keep UTC without a zone

purchases = st.lists(
    st.tuples(
        st.integers(1, 4),
        # Around midnight and the date itself, too.
        st.builds(
            lambda day, second: FIRST + timedelta(days=day, seconds=second), st.integers(0, 75), st.integers(0, 86_399)
        ),
        st.integers(1, 9),
        st.integers(0, 99_999).map(lambda cents: cents / 100),
    ),
    max_size=30,
)


def frame_of(rows):
    frame = pd.DataFrame(rows, columns=["customer_id", "purchased_at", "quantity", "amount"])
    return frame.astype(
        {"customer_id": "int64", "purchased_at": "datetime64[us]", "quantity": "int32", "amount": float}
    )


def reference(frame, as_of=AS_OF):
    """The features as pandas computes them, straight from their descriptions."""
    until = pd.Timestamp(as_of)
    known = frame[frame["purchased_at"] < until]
    found = {}
    for customer, rows in known.groupby("customer_id"):
        days = np.sort(rows["purchased_at"].dt.normalize().unique())
        gaps = pd.Series(np.diff(days) / np.timedelta64(1, "D"), dtype=float)
        found[customer] = {
            "recency_days": (until - days[-1]) / pd.Timedelta(days=1),
            "frequency": len(rows),
            "monetary": rows["amount"].sum(),
            "average_amount": rows["amount"].mean(),
            "amount_deviation": rows["amount"].std(),
            "distinct_days": len(days),
            "tenure_days": (until - days[0]) / pd.Timedelta(days=1),
            "mean_gap_days": gaps.mean(),
            "gap_deviation": gaps.std(),
            "average_quantity": rows["quantity"].mean(),
        }
    return pd.DataFrame.from_dict(found, orient="index", columns=NAMES, dtype=float)


def computed(warehouse, as_of=AS_OF, *, rich=True):
    sql = features_sql(as_of, dialect=warehouse.dialect, rich=rich)
    table = pa.Table.from_batches(list(warehouse.read(sql)) or [], schema=arrow_schema(rich=rich))
    frame = table.to_pandas().set_index("customer_id").sort_index().astype(float)
    frame.index.name = None
    return frame


def load(warehouse, frame):
    from blueprints.segmentation.transactions import arrow_schema as raw

    warehouse.load("transactions", transaction_batches(frame), schema=raw())


@pytest.fixture(scope="module", params=["duckdb", "postgresql"])
def warehouse(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("features")
    url = f"duckdb:///{folder}/w.duckdb"
    if request.param == "postgresql":
        url = request.getfixturevalue("postgres").new_database()
    with open_warehouse(url) as opened:
        yield opened


@settings(max_examples=40, deadline=None)
@given(purchases, st.randoms(use_true_random=False))
def test_features_are_those_of_pandas_in_any_order_of_rows_and_know_no_future(warehouse, rows, random):
    frame = frame_of(rows)
    expected = reference(frame)
    shuffled = list(rows)
    random.shuffle(shuffled)
    until = datetime.combine(AS_OF, datetime.min.time())
    past = frame_of([row for row in shuffled if row[1] < until])
    for table in (frame, past):
        load(warehouse, table)
        rich, basic = computed(warehouse), computed(warehouse, rich=False)
        pd.testing.assert_frame_equal(rich, expected, check_index_type=False, rtol=1e-9, atol=1e-6)
        pd.testing.assert_frame_equal(basic, expected[NAMES[:3]], check_index_type=False, rtol=1e-9)


def test_a_purchase_at_midnight_counts_from_the_next_date_on(warehouse):
    load(warehouse, frame_of([(1, datetime(2024, 3, 1), 1, 5.0), (2, datetime(2024, 2, 29, 23, 59, 59), 1, 5.0)]))  # noqa: DTZ001
    assert computed(warehouse).index.tolist() == [2]
    assert computed(warehouse)["recency_days"].tolist() == [1]
    assert computed(warehouse, date(2024, 3, 2)).index.tolist() == [1, 2]


def test_purchases_with_a_missing_or_impossible_value_do_not_count(warehouse):
    from blueprints.segmentation.transactions import arrow_schema as raw

    good = [(1, FIRST, 1, 5.0), (2, FIRST, 0, 0.0)]
    wrong = [
        (None, FIRST, 1, 1.0),
        (1, None, 1, 1.0),
        (1, FIRST, None, 1.0),
        (1, FIRST, 1, None),
        (2, FIRST, -1, 1.0),
        (2, FIRST, 1, -9.0),
        (2, FIRST, 1, float("inf")),
        (3, FIRST, 1, float("nan")),
    ]
    found = []
    for rows in (good, good + wrong):
        arrays = [pa.array(values, field.type) for values, field in zip(zip(*rows, strict=True), raw(), strict=True)]
        warehouse.load("transactions", [pa.record_batch(arrays, schema=raw())])
        found.append((computed(warehouse), computed(warehouse, rich=False)))
    for before, after in zip(*found, strict=True):
        pd.testing.assert_frame_equal(after, before)
    for column in FEATURES:
        values = found[1][0][column.name].dropna()
        assert (values >= column.minimum).all()


def test_deviations_keep_their_digits_where_amounts_are_large_and_alike(warehouse):
    load(warehouse, frame_of([(1, FIRST, 1, 1e9 + step / 100) for step in range(5)]))
    assert computed(warehouse)["amount_deviation"].item() == pytest.approx(np.std(np.arange(5) / 100, ddof=1), rel=1e-5)


def test_times_with_a_zone_are_read_as_utc(postgres):
    url = postgres.new_database()
    import psycopg

    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("ALTER ROLE postgres SET TimeZone = 'America/New_York'")
        connection.execute(
            "CREATE TABLE transactions AS SELECT 1::bigint AS customer_id, 1 AS quantity, 1.0::float8 AS amount, "
            "TIMESTAMPTZ '2024-02-29 22:00:00-05' AS purchased_at"
        )
    with open_warehouse(url) as warehouse:
        assert computed(warehouse).empty
        assert computed(warehouse, date(2024, 3, 2))["recency_days"].tolist() == [1]
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("ALTER ROLE postgres RESET TimeZone")


def test_cdnow_has_the_published_customers_and_the_same_features_everywhere(tmp_path, postgres):
    frame = get("cdnow").load()
    found = {}
    for url in (f"duckdb:///{tmp_path}/w.duckdb", postgres.new_database()):
        with open_warehouse(url) as warehouse:
            load(warehouse, frame)
            assert publish_features(warehouse, date(1998, 7, 1)) == 23_570
            assert publish_features(warehouse, date(1997, 1, 10), rich=False, table="early_features") > 0
            (newest,) = warehouse.run_dates("customer_features")
            assert newest == date(1998, 7, 1)
            found[warehouse.dialect] = computed(warehouse, newest)
    first = found["duckdb"]
    pd.testing.assert_frame_equal(first, found["postgresql"], rtol=1e-9)
    assert first["monetary"].sum() == pytest.approx(2_500_315.63)
    assert first["frequency"].sum() == 69_659
    assert (first["frequency"] == 1).sum() == 11_908
    bare = frame.assign(purchased_at=frame["purchased_at"].dt.tz_localize(None))
    some = bare[bare["customer_id"] <= 300]
    pd.testing.assert_frame_equal(
        first.loc[:300], reference(some, date(1998, 7, 1)), rtol=1e-9, atol=1e-9, check_index_type=False
    )


def test_the_columns_describe_what_the_query_gives():
    assert columns(rich=False) == BASIC
    assert columns() == (*BASIC, *RICH)
    assert arrow_schema().names == ["customer_id", *NAMES]
    for column in FEATURES:
        assert column.title
        assert column.description.endswith(".")


def test_other_databases_and_other_names_are_refused():
    with pytest.raises(ValueError, match="written for DuckDB and PostgreSQL, not for 'sqlite'"):
        features_sql(AS_OF, dialect="sqlite")
    with pytest.raises(WarehouseError, match="is no name for a table"):
        features_sql(AS_OF, dialect="duckdb", transactions="x; DROP TABLE y")


def test_purchases_without_a_column_are_refused():
    with pytest.raises(ValueError, match=r"purchases need the columns customer_id, .*; amount is missing"):
        list(transaction_batches(frame_of([]).drop(columns="amount")))
