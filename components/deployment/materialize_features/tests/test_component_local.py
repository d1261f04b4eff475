from __future__ import annotations

import pytest

from components.deployment.materialize_features.component import materialize_features
from tests.purchases import FEBRUARY


@pytest.mark.usefixtures("warehouse_url")
def test_features_go_online_by_a_real_run(run_component, tmp_path, monkeypatch):
    monkeypatch.delenv("FEATURE_STORE_CONFIG", raising=False)
    monkeypatch.setenv("FEATURE_STORE_DATA", str(tmp_path / "store"))
    run = run_component(materialize_features, {}, run_date=FEBRUARY.isoformat())
    assert run.metadata["metrics"]["online_customers"] == 300
    assert (tmp_path / "store" / "online.db").is_file()
