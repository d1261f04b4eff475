"""One interface to the warehouse that holds features and segments: DuckDB, PostgreSQL, or an SQLAlchemy URL."""

from blueprints.segmentation.warehouse.interface import Warehouse, WarehouseError
from blueprints.segmentation.warehouse.opening import open_warehouse

__all__ = ["Warehouse", "WarehouseError", "open_warehouse"]
