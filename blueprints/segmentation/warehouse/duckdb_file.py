"""A warehouse in one DuckDB file: nothing to install, and fast enough for a hundred million customers."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import parse_qsl, unquote, urlsplit

from blueprints.segmentation.warehouse.interface import ROWS, WAIT_SECONDS, WarehouseError
from blueprints.segmentation.warehouse.publication import (
    Incoming,
    Publication,
    check_columns,
    check_table,
    dated_tables,
    quote,
    view_query,
)

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

SETTINGS = ("memory_limit", "threads")
"""What a URL may set."""

MEMORY_LIMIT, STREAMING_LIMIT = "1GB", "400MB"
"""Of DuckDB itself, and while rows stream into a table, unless the URL sets one limit for both.

What needs more goes to disk. Rows that have passed are not asked for again, so more buffers would only be filled.
"""

_INCOMING = "incoming_rows"
_publishers: defaultdict[Path, threading.Lock] = defaultdict(threading.Lock)


class DuckDBWarehouse:
    """A DuckDB file. One process writes it at a time, and no other may have it open then.

    Every operation has a connection of its own, and a publication is one transaction: it is there whole or not at all,
    also after a kill or a power failure. What does not fit into the memory limit goes to a folder beside the file.

    Args:
        url: `duckdb:///relative.duckdb` or `duckdb:////absolute.duckdb`; settings after `?`, see `SETTINGS`.
        read_only: Without the right to write; several processes may read.
        wait: Seconds to wait for another process or publisher.

    Raises:
        WarehouseError: The URL does not fit, or the file cannot be opened.
    """

    dialect = "duckdb"

    def __init__(self, url: str, *, read_only: bool = False, wait: float = WAIT_SECONDS) -> None:
        self._path, settings = _parse(url)
        self._wait = wait
        if not read_only:
            self._path.parent.mkdir(parents=True, exist_ok=True)
        self._connection = _connect(self._path, settings, read_only, wait)
        self._limited = "memory_limit" in settings

    def read(self, sql: str, *, rows: int = ROWS) -> Iterator[pa.RecordBatch]:
        """See `Warehouse.read`."""
        with self._cursor() as cursor:
            yield from cursor.sql(sql).to_arrow_reader(rows)

    def publish(
        self, table: str, run_date: date, batches: Iterable[pa.RecordBatch], *, schema: pa.Schema | None = None
    ) -> int:
        """See `Warehouse.publish`."""
        publication = Publication(table, run_date)
        incoming = Incoming(batches, schema)
        with self._transaction() as cursor:
            self._fill(cursor, publication.staging, incoming)
            self._swap(cursor, publication)
        return incoming.rows

    def publish_query(self, table: str, run_date: date, sql: str) -> int:
        """See `Warehouse.publish_query`."""
        publication = Publication(table, run_date)
        with self._transaction() as cursor:
            cursor.execute(f"CREATE OR REPLACE TABLE {quote(publication.staging)} AS {sql}")
            check_columns(_columns(cursor, publication.staging))
            rows = cursor.execute(f"SELECT count(*) FROM {quote(publication.staging)}").fetchall()[0][0]  # noqa: S608
            self._swap(cursor, publication)
        return int(rows)

    def load(self, table: str, batches: Iterable[pa.RecordBatch], *, schema: pa.Schema | None = None) -> int:
        """See `Warehouse.load`."""
        staging = f"{check_table(table)}_staging"
        incoming = Incoming(batches, schema)
        with self._transaction() as cursor:
            self._fill(cursor, staging, incoming)
            cursor.execute(f"DROP TABLE IF EXISTS {quote(table)}")
            cursor.execute(f"ALTER TABLE {quote(staging)} RENAME TO {quote(table)}")
        return incoming.rows

    def exists(self, table: str) -> bool:
        """See `Warehouse.exists`."""
        with self._cursor() as cursor:
            return table in _names(cursor)

    def run_dates(self, table: str) -> tuple[date, ...]:
        """See `Warehouse.run_dates`."""
        with self._cursor() as cursor:
            return tuple(dated_tables(_names(cursor), table))

    def close(self) -> None:
        """See `Warehouse.close`."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _fill(self, cursor: duckdb.DuckDBPyConnection, staging: str, incoming: Incoming) -> None:
        """Writes the batches to a new table, which DuckDB pulls from Python without a copy."""
        import duckdb

        cursor.register(_INCOMING, incoming.reader())
        try:
            with self._few_buffers():
                cursor.execute(f"CREATE OR REPLACE TABLE {quote(staging)} AS SELECT * FROM {_INCOMING}")  # noqa: S608
        except duckdb.Error:
            if incoming.error is not None:
                raise incoming.error from None
            raise
        cursor.unregister(_INCOMING)

    @contextmanager
    def _few_buffers(self) -> Iterator[None]:
        """Lets DuckDB give buffers back and take no more, unless the URL has set a limit."""
        self._limit(STREAMING_LIMIT)
        try:
            yield
        finally:
            self._limit(MEMORY_LIMIT)

    def _limit(self, memory: str) -> None:
        # On a connection of its own: that of a transaction which has failed takes no statement any more.
        if not self._limited:
            with self._connection.cursor() as cursor:
                cursor.execute(f"SET memory_limit = '{memory}'")

    def _swap(self, cursor: duckdb.DuckDBPyConnection, publication: Publication) -> None:
        """Puts the staged rows in place of the date's old ones and makes the views over all dates."""
        cursor.execute(f"DROP TABLE IF EXISTS {quote(publication.dated)}")
        cursor.execute(f"ALTER TABLE {quote(publication.staging)} RENAME TO {quote(publication.dated)}")
        tables = dated_tables(_names(cursor), publication.table)
        columns = {name: _columns(cursor, name) for name in tables.values()}
        newest = max(tables)
        for view, chosen in ((publication.table, tables), (publication.current, {newest: tables[newest]})):
            query = view_query(chosen, columns, date_literal="DATE '{}'")
            cursor.execute(f"CREATE OR REPLACE VIEW {quote(view)} AS {query}")

    @contextmanager
    def _cursor(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A connection of its own, closed afterwards; DuckDB's errors become `WarehouseError`."""
        import duckdb

        try:
            with self._connection.cursor() as cursor:
                yield cursor
        except duckdb.Error as error:
            raise WarehouseError(f"{self._path.name}: {_first_lines(error)}") from error

    @contextmanager
    def _transaction(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """One transaction on a connection of its own, for one publisher at a time."""
        lock = _publishers[self._path]
        if not lock.acquire(timeout=self._wait):
            raise WarehouseError(
                f"{self._path.name}: another publication has not ended within {self._wait:g} s; run one after the other"
            )
        try:
            with self._cursor() as cursor:
                cursor.begin()
                try:
                    yield cursor
                except BaseException:
                    cursor.rollback()
                    raise
                cursor.commit()
        finally:
            lock.release()


def _parse(url: str) -> tuple[Path, dict[str, Any]]:
    parts = urlsplit(url)
    settings: dict[str, Any] = dict(parse_qsl(parts.query))
    if unknown := sorted(settings.keys() - set(SETTINGS)):
        raise WarehouseError(f"{url}: DuckDB's URL may set {', '.join(SETTINGS)}, not {', '.join(unknown)}")
    if parts.netloc or len(parts.path) < 2:
        raise WarehouseError(
            f"{url}: give three slashes and a path to DuckDB's file, such as duckdb:///warehouse.duckdb; "
            "an absolute path begins with a fourth slash"
        )
    return Path(unquote(parts.path[1:])).resolve(), settings


def _connect(path: Path, settings: dict[str, Any], read_only: bool, wait: float) -> duckdb.DuckDBPyConnection:
    """Opens the file, as soon as no other process has it open."""
    import duckdb

    if read_only and not path.exists():
        raise WarehouseError(f"{path}: there is no such file to read")
    # Order would have to be kept in memory, and no table here has one.
    config: dict[str, Any] = {
        "preserve_insertion_order": False,
        "autoinstall_known_extensions": False,
        "memory_limit": MEMORY_LIMIT,
    }
    deadline = time.monotonic() + wait
    while True:
        try:
            return duckdb.connect(str(path), read_only=read_only, config=config | settings)
        except duckdb.IOException as error:
            locked = "could not set lock" in str(error).lower()
            if locked and time.monotonic() < deadline:
                time.sleep(min(0.2, wait / 10))
                continue
            words = f"another process has had it open for {wait:g} s; end that, or try later" if locked else ""
            raise WarehouseError(f"{path}: {words or _first_lines(error)}") from error
        except duckdb.Error as error:
            raise WarehouseError(f"{path}: cannot be opened: {_first_lines(error)}") from error


def _names(cursor: duckdb.DuckDBPyConnection) -> list[str]:
    query = (
        "SELECT table_name FROM information_schema.tables "
        "WHERE table_catalog = current_database() AND table_schema = current_schema()"
    )
    return [name for (name,) in cursor.execute(query).fetchall()]


def _columns(cursor: duckdb.DuckDBPyConnection, table: str) -> dict[str, str]:
    query = (
        "SELECT column_name, data_type FROM information_schema.columns WHERE table_catalog = current_database() "
        "AND table_schema = current_schema() AND table_name = ? ORDER BY ordinal_position"
    )
    return dict(cursor.execute(query, [table]).fetchall())


def _first_lines(error: Exception) -> str:
    return " ".join(str(error).split("\n\n")[0].split())
