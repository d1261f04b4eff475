from __future__ import annotations

from pathlib import Path

import pytest

from blueprints.segmentation.transactions import transaction_batches
from blueprints.segmentation.warehouse import open_warehouse
from components.data.validate_purchases.component import validate_purchases
from tests.purchases import FEBRUARY, made_up_purchases


@pytest.fixture
def validate(tmp_path, monkeypatch, artifact):
    """Validates made-up purchases of which the first ones have other values."""
    url = f"duckdb:///{tmp_path}/warehouse.duckdb"
    monkeypatch.setenv("WAREHOUSE_URL", url)
    metrics, report = artifact("metrics"), artifact("report")

    def run(*, table="transactions", parameters=None, **changes):
        frame = made_up_purchases(30)
        for name, values in changes.items():
            frame.loc[: len(values) - 1, name] = values
        with open_warehouse(url) as warehouse:
            warehouse.load(table, transaction_batches(frame))
        validate_purchases.python_func(FEBRUARY.isoformat(), metrics, report, **(parameters or {}))

    run.metrics, run.report = metrics.logged, Path(report.path)
    return run


def test_sound_purchases_pass_and_figures_are_logged(validate):
    validate()
    known = made_up_purchases(30, until=FEBRUARY)
    assert validate.metrics == {"rows": len(made_up_purchases(30)), "counted_rows": len(known), "customers": 30}
    assert "No check failed" in validate.report.read_text()


def test_wrong_values_fail_the_step_which_leaves_its_report(validate):
    with pytest.raises(ValueError, match="2 rows: Amounts below 0"):
        validate(amount=[-1.0, -2.0])
    assert validate.metrics["negative_amount"] == 2
    assert "Amounts below 0" in validate.report.read_text()


def test_a_tolerance_lets_few_of_them_pass(validate):
    validate(amount=[-1.0, -2.0], parameters={"tolerance": 0.1})
    assert validate.metrics["negative_amount"] == 2
    with pytest.raises(ValueError, match="from 0 to 1"):
        validate(parameters={"tolerance": 2.0})


def test_another_table_can_be_named(validate):
    validate(table="orders", parameters={"transactions": "orders"})
    assert "Purchases in orders" in validate.report.read_text()
