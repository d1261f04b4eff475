from __future__ import annotations

from blueprints.segmentation.warehouse import open_warehouse
from components.data.publish_customer_features.component import publish_customer_features
from tests.purchases import MARCH


def test_features_are_published_by_a_real_run(run_component, warehouse_url):
    run = run_component(publish_customer_features, {}, run_date=MARCH.isoformat(), rows_per_partition=200)
    assert [(one["part"], one["parts"]) for one in run.value] == [(0, 2), (1, 2)]
    assert run.metadata["metrics"]["customers"] == 300
    with open_warehouse(warehouse_url, read_only=True) as warehouse:
        assert MARCH in warehouse.run_dates("customer_features")
