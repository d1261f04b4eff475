"""Features as they stream out of the warehouse: all customers, or parts that are disjoint and leave nobody out."""

from __future__ import annotations

from datetime import date

import pyarrow as pa
import pytest

from blueprints.segmentation.customers import feature_batches
from blueprints.segmentation.warehouse import WarehouseError, open_warehouse

DAY = date(2024, 1, 31)
IDS = [*range(-7, 40), 2**62, -(2**62)]


@pytest.fixture(params=["duckdb", "postgresql"])
def warehouse(request, new_url):
    features = {
        "customer_id": pa.array(IDS, pa.int64()),
        "monetary": [float(one % 5) for one in IDS],
        "frequency": pa.array([1] * len(IDS), pa.int32()),
        "mean_gap_days": [None if one % 2 else 3.5 for one in IDS],
    }
    with open_warehouse(new_url(request.param)) as opened:
        opened.publish("customer_features", DAY, [pa.record_batch(features)])
        yield opened


def read(warehouse, columns=("mean_gap_days", "monetary"), **options):
    return pa.Table.from_batches(feature_batches(warehouse, DAY, columns, **options))


def test_all_customers_come_with_the_chosen_features_in_order(warehouse):
    found = read(warehouse)
    assert found.column_names == ["customer_id", "mean_gap_days", "monetary"]
    assert sorted(found["customer_id"].to_pylist()) == sorted(IDS)
    rows = {one["customer_id"]: one for one in found.to_pylist()}
    assert rows[-7]["mean_gap_days"] is None
    assert rows[2] == {"customer_id": 2, "mean_gap_days": 3.5, "monetary": 2.0}


@pytest.mark.parametrize("parts", [1, 2, 7])
def test_parts_are_disjoint_and_leave_nobody_out(warehouse, parts):
    found = [
        one
        for part in range(parts)
        for batch in feature_batches(warehouse, DAY, ["monetary"], part=part, parts=parts)
        for one in batch.column("customer_id").to_pylist()
    ]
    assert sorted(found) == sorted(IDS)


def test_what_is_not_there_is_told_before_the_first_row(warehouse):
    with pytest.raises(ValueError, match="part 2 of 2: parts are numbered from 0 to 1"):
        feature_batches(warehouse, DAY, ["monetary"], part=2, parts=2)
    with pytest.raises(WarehouseError, match="has no rows of 2024-02-29, only of 2024-01-31"):
        feature_batches(warehouse, date(2024, 2, 29), ["monetary"])
    with pytest.raises(WarehouseError, match="there is no table 'nothing' of features"):
        feature_batches(warehouse, DAY, ["monetary"], table="nothing")
    with pytest.raises(WarehouseError, match="is no name for a column"):
        feature_batches(warehouse, DAY, ['monetary" FROM secrets --'])
    with pytest.raises(WarehouseError, match="recency_days"):
        read(warehouse, ["recency_days"])
