from __future__ import annotations

import pytest

from blueprints.segmentation.warehouse import WarehouseError, open_warehouse
from components.data.publish_customer_features.component import publish_customer_features
from tests.purchases import FEBRUARY, MARCH


@pytest.fixture
def publish(warehouse_url, artifact):
    metrics = artifact("metrics")

    def run(day=MARCH, **parameters):
        return publish_customer_features.python_func(day.isoformat(), metrics, **parameters)

    run.metrics = metrics.logged
    return run


def dates(url):
    with open_warehouse(url, read_only=True) as warehouse:
        return warehouse.run_dates("customer_features")


@pytest.mark.parametrize(("rows", "parts"), [(5_000_000, 1), (300, 1), (299, 2), (100, 3), (1, 300)])
def test_no_partition_has_more_customers_than_asked_for(publish, rows, parts):
    made = publish(rows_per_partition=rows)
    assert made == [{"run_date": "2025-03-01", "part": part, "parts": parts} for part in range(parts)]
    assert publish.metrics == {"customers": 300}


def test_a_date_is_published_beside_the_others_and_replaced_when_it_is_repeated(publish, warehouse_url):
    for _ in range(2):
        publish()
        assert dates(warehouse_url) == (FEBRUARY, MARCH)


def test_what_cannot_be_done_is_told_and_publishes_nothing(publish, warehouse_url):
    with pytest.raises(ValueError, match="rows_per_partition is 0: give 1 or more"):
        publish(rows_per_partition=0)
    with pytest.raises(WarehouseError, match="orders"):
        publish(transactions="orders")
    assert dates(warehouse_url) == (FEBRUARY,)
