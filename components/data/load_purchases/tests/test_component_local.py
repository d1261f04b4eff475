from __future__ import annotations

from blueprints.segmentation.warehouse import open_warehouse
from components.data.load_purchases.component import load_purchases


def test_a_named_dataset_is_loaded_by_a_real_run(run_component, tmp_path, monkeypatch):
    monkeypatch.setenv("WAREHOUSE_URL", f"duckdb:///{tmp_path}/warehouse.duckdb")
    run = run_component(load_purchases, {})
    assert run.value == "1998-07-01"
    assert (run.folder / "name").read_text() == "cdnow"
    with open_warehouse(f"duckdb:///{tmp_path}/warehouse.duckdb") as warehouse:
        assert sum(batch.num_rows for batch in warehouse.read("SELECT 1 FROM transactions")) == 69_659
