from __future__ import annotations

import pytest

from components.data.validate_purchases.component import validate_purchases
from tests.purchases import FEBRUARY


@pytest.mark.usefixtures("warehouse_url")
def test_purchases_are_validated_by_a_real_run(run_component):
    run = run_component(validate_purchases, {}, run_date=FEBRUARY.isoformat())
    assert run.metadata["metrics"]["customers"] == 300
    assert "No check failed" in (run.folder / "report").read_text()
