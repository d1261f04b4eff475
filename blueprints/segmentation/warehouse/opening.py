"""From a URL to an open warehouse."""

from __future__ import annotations

from blueprints.segmentation.warehouse.interface import WAIT_SECONDS, Warehouse, WarehouseError


def open_warehouse(url: str, *, read_only: bool = False, wait: float = WAIT_SECONDS) -> Warehouse:
    """Opens the warehouse that a URL names.

    Args:
        url: `duckdb:///relative.duckdb` or `duckdb:////absolute.duckdb`, to which `?memory_limit=512MB&threads=2` may
            be added; `postgresql://user:password@host/database`; or an SQLAlchemy URL, whose driver must be installed.
        read_only: Open a DuckDB file without the right to write: then several processes may read it at once.
        wait: Seconds to wait for another process or another publisher.

    Raises:
        WarehouseError: The URL is none that can be used here, or the database cannot be reached.
    """
    scheme = url.partition(":")[0].partition("+")[0]
    if "://" not in url or not scheme:
        raise WarehouseError(
            "the warehouse's URL has no scheme; give one such as duckdb:///warehouse.duckdb or postgresql://host/name"
        )
    if scheme == "duckdb":
        from blueprints.segmentation.warehouse.duckdb_file import DuckDBWarehouse

        return DuckDBWarehouse(url, read_only=read_only, wait=wait)
    if scheme in {"postgresql", "postgres"}:
        from blueprints.segmentation.warehouse.postgres import PostgresWarehouse

        return PostgresWarehouse(url, wait=wait)
    from blueprints.segmentation.warehouse.sqlalchemy_url import SQLAlchemyWarehouse

    return SQLAlchemyWarehouse(url)
