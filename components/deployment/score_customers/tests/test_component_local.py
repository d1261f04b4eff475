from __future__ import annotations

import pytest

from blueprints.segmentation.warehouse import open_warehouse
from components.deployment.score_customers.component import score_customers
from tests.purchases import FEBRUARY


@pytest.mark.usefixtures("in_registry_home")
def test_customers_are_scored_by_a_real_run(run_component, segment_package, warehouse_url):
    run = run_component(score_customers, {"package": segment_package}, run_date=FEBRUARY.isoformat(), promote=True)
    assert run.metadata["metrics"]["customers"] == 300
    assert "300 customers in 3 segments" in (run.folder / "report").read_text()
    with open_warehouse(warehouse_url, read_only=True) as warehouse:
        assert warehouse.run_dates("customer_segments") == (FEBRUARY,)
