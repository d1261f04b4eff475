from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from blueprints.datasets import DatasetError
from blueprints.segmentation.warehouse import WarehouseError, open_warehouse
from components.data.load_purchases.component import load_purchases
from tests.purchases import FEBRUARY, SCHEMA, made_up_purchases


@pytest.fixture
def load(tmp_path, monkeypatch):
    """Runs the step on a warehouse of the test's own; gives the date and the name of the purchases."""
    monkeypatch.setenv("WAREHOUSE_URL", f"duckdb:///{tmp_path}/warehouse.duckdb")

    def run(**parameters):
        return load_purchases.python_func(str(tmp_path / "name"), **parameters), (tmp_path / "name").read_text()

    return run


@pytest.fixture
def purchases(tmp_path):
    made_up_purchases(20, until=FEBRUARY).to_csv(tmp_path / "purchases.csv", index=False)
    return {"data_uri": str(tmp_path / "purchases.csv"), "schema_yaml": SCHEMA}


def rows(tmp_path, table="transactions"):
    with open_warehouse(f"duckdb:///{tmp_path}/warehouse.duckdb") as warehouse:
        return sum(batch.num_rows for batch in warehouse.read(f"SELECT * FROM {table}"))  # noqa: S608


def test_own_purchases_are_loaded_under_a_name_of_their_own(load, purchases, tmp_path):
    newest = made_up_purchases(20, until=FEBRUARY)["purchased_at"].max()
    assert load(**purchases) == ((newest.date() + timedelta(days=1)).isoformat(), "own")
    assert load(**purchases, dataset="shop", transactions="orders", run_date="2024-12-24") == ("2024-12-24", "shop")
    assert rows(tmp_path) == rows(tmp_path, "orders") == len(made_up_purchases(20, until=FEBRUARY))


def test_loading_again_replaces_the_table(load, purchases, tmp_path):
    load(**purchases)
    made_up_purchases(5, until=FEBRUARY).to_csv(tmp_path / "purchases.csv", index=False)
    load(**purchases)
    assert rows(tmp_path) == len(made_up_purchases(5, until=FEBRUARY))


def test_purchases_that_are_in_the_warehouse_stay_as_they_are(load, purchases, tmp_path):
    load(**purchases)
    before = rows(tmp_path)
    today = datetime.now(UTC).date()
    day, name = load(dataset="warehouse", run_date="today")
    assert name == "warehouse"
    assert today.isoformat() <= day <= datetime.now(UTC).date().isoformat()
    assert rows(tmp_path) == before
    with pytest.raises(WarehouseError, match="there is no table 'orders' of purchases; load them first"):
        load(dataset="warehouse", transactions="orders")


def test_what_cannot_be_loaded_leaves_the_purchases_of_before(load, purchases, tmp_path):
    load(**purchases)
    before = rows(tmp_path)
    (tmp_path / "purchases.csv").write_text("customer_id,purchased_at,quantity\n1,2024-01-01,2\n")
    with pytest.raises(DatasetError, match="amount"):
        load(**purchases)
    with pytest.raises(DatasetError, match="there is no dataset 'shop'"):
        load(dataset="shop")
    assert rows(tmp_path) == before


def test_a_date_that_is_none_is_refused(load, purchases):
    with pytest.raises(ValueError, match="run_date 'tomorrow': write it as 2026-01-31"):
        load(**purchases, run_date="tomorrow")
