from __future__ import annotations

import numpy as np
import pytest

from blueprints.segmentation.features import publish_features
from blueprints.segmentation.online_features import OnlineFeatures
from blueprints.segmentation.store_config import StoreConfig, StoreConfigError
from blueprints.segmentation.warehouse import WarehouseError, open_warehouse
from components.deployment.materialize_features.component import materialize_features
from tests.purchases import FEBRUARY, MARCH


@pytest.fixture
def materialize(warehouse_url, artifact, tmp_path, monkeypatch):
    """Runs the step with a store of the test's own."""
    monkeypatch.delenv("FEATURE_STORE_CONFIG", raising=False)
    monkeypatch.setenv("FEATURE_STORE_DATA", str(tmp_path / "store"))
    metrics = artifact("metrics")

    def run(day):
        materialize_features.python_func(day.isoformat(), metrics)
        return metrics.logged["online_customers"]

    return run


def test_the_newest_features_go_online_and_earlier_ones_only_to_the_files(materialize, warehouse_url):
    assert materialize(FEBRUARY) == 300
    assert (OnlineFeatures.open(StoreConfig.current()).read([1, 300]).as_of == np.datetime64("2025-02-01")).all()
    with open_warehouse(warehouse_url) as warehouse:
        publish_features(warehouse, MARCH)
    assert materialize(FEBRUARY) == 0
    assert materialize(MARCH) == 300
    online = OnlineFeatures.open(StoreConfig.current()).read([1, 300, 999])
    assert online.found.tolist() == [True, True, False]
    assert (online.as_of[:2] == np.datetime64("2025-03-01")).all()
    files = sorted(path.name for path in StoreConfig.current().offline.iterdir())
    assert files == ["2025-02-01.parquet", "2025-03-01.parquet"]


def test_what_is_not_published_or_configured_is_told(materialize, monkeypatch):
    with pytest.raises(WarehouseError, match="has no rows of 2025-03-01"):
        materialize(MARCH)
    monkeypatch.setenv("FEATURE_STORE_CONFIG", "nowhere.yaml")
    with pytest.raises(StoreConfigError, match=r"nowhere\.yaml: cannot be read"):
        materialize(FEBRUARY)
