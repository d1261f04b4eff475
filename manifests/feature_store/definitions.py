"""What `feast apply` finds: the entity and the feature view, made from the blueprint's own features."""

from __future__ import annotations

from pathlib import Path

from blueprints.segmentation.feature_store import define
from blueprints.segmentation.store_config import StoreConfig

customer, customer_features = define(StoreConfig.read(Path(__file__).parent / "feature_store.yaml").offline)
