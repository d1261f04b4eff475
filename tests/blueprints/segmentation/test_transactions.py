"""Purchases on their way into the warehouse, and the date that a run is for."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pandas as pd
import pyarrow as pa
import pytest

from blueprints.segmentation.transactions import arrow_schema, newest_purchase, run_date_of, transaction_batches
from blueprints.segmentation.warehouse import WarehouseError, open_warehouse

NOON = pd.Timestamp("2024-03-10 12:00")


def frame(*times):
    return pd.DataFrame({"customer_id": 1, "purchased_at": list(times), "quantity": 1, "amount": 2.5, "shop": "x"})


@pytest.fixture(params=["duckdb", "postgresql"])
def warehouse(request, new_url):
    with open_warehouse(new_url(request.param)) as opened:
        yield opened


def test_purchases_have_the_columns_of_the_table_in_utc_and_no_others():
    zoned = frame(NOON.tz_localize("Europe/Zurich"), NOON.tz_localize("Europe/Zurich") + pd.Timedelta(hours=1))
    batches = list(transaction_batches(zoned, rows=1))
    assert [batch.num_rows for batch in batches] == [1, 1]
    assert batches[0].schema.equals(arrow_schema())
    assert batches[0].column("purchased_at")[0].as_py() == datetime(2024, 3, 10, 11)  # noqa: DTZ001 - kept without a zone
    with pytest.raises(ValueError, match="purchased_at, quantity, amount; amount is missing"):
        next(transaction_batches(frame(NOON).drop(columns="amount")))


def test_the_newest_purchase_is_found(warehouse):
    warehouse.load("orders", transaction_batches(frame(NOON, NOON + pd.Timedelta(days=2), NOON)))
    assert newest_purchase(warehouse, "orders") == NOON + pd.Timedelta(days=2)


def test_a_missing_or_empty_table_is_told(warehouse):
    with pytest.raises(WarehouseError, match="there is no table 'transactions' of purchases; load them first"):
        newest_purchase(warehouse)
    nothing = pa.RecordBatch.from_pylist([], schema=arrow_schema())
    warehouse.load("transactions", [nothing])
    with pytest.raises(WarehouseError, match="'transactions' holds no purchase"):
        newest_purchase(warehouse)
    with pytest.raises(WarehouseError, match="is no name for a table"):
        newest_purchase(warehouse, 'x" --')


def test_a_run_is_for_the_day_after_the_newest_purchase_unless_a_date_is_given():
    newest = datetime(2024, 2, 28, 23, 59)  # noqa: DTZ001 - warehouses keep UTC without a zone
    assert run_date_of("", newest) == date(2024, 2, 29)
    assert run_date_of("2023-12-31", newest) == date(2023, 12, 31)
    before = datetime.now(UTC).date()
    assert before <= run_date_of("today", newest) <= datetime.now(UTC).date()
    for wrong in ("31.12.2023", "yesterday", "2023-02-30"):
        with pytest.raises(ValueError, match=f"run_date '{wrong}': write it as 2026-01-31, today, or leave it out"):
            run_date_of(wrong, newest)
