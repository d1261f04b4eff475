"""A warehouse in PostgreSQL: rows come and go by COPY in binary, as Arrow batches (ADBC)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import date
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
    import pyarrow as pa

_SECRET_PARAMETERS = ("password", "sslpassword")
_BYTES_OF_A_VALUE = 32  # about what a value takes in COPY; turns rows of a batch into the driver's hint in bytes


class PostgresWarehouse:
    """A PostgreSQL database, and in it the first schema of the role's search path.

    Each operation has a connection of its own, and a publication is one transaction: nothing has to be cleaned up after
    a failure, whether of the process or of the server. Views keep their grants unless their columns change.

    Args:
        url: `postgresql://user:password@host:port/database`, as libpq takes it.
        wait: Seconds to wait for another publisher, or for readers of what is replaced.

    Raises:
        WarehouseError: The server cannot be reached.
    """

    dialect = "postgresql"

    def __init__(self, url: str, *, wait: float = WAIT_SECONDS) -> None:
        scheme, _, rest = url.partition("://")
        self._url = f"{scheme.partition('+')[0]}://{rest}"
        # Times of day are UTC, whatever the server's own zone is.
        for name, value in (("connect_timeout", "5"), ("options", "-c%20TimeZone%3DUTC")):
            if f"{name}=" not in rest:
                self._url += ("&" if "?" in self._url else "?") + f"{name}={value}"
        self._wait = wait
        with self._connected() as connection, connection.cursor() as cursor:
            cursor.execute("SELECT 1")
            cursor.fetchall()

    def read(self, sql: str, *, rows: int = ROWS) -> Iterator[pa.RecordBatch]:
        """See `Warehouse.read`."""
        with self._connected() as connection, connection.cursor() as cursor:
            schema = cursor.adbc_execute_schema(sql)
            hint = rows * len(schema) * _BYTES_OF_A_VALUE
            cursor.adbc_statement.set_options(**{"adbc.postgresql.batch_size_hint_bytes": str(hint)})
            cursor.execute(sql)
            with cursor.fetch_record_batch() as reader:
                for batch in reader:
                    for start in range(0, batch.num_rows, rows):
                        yield batch.slice(start, rows)

    def publish(
        self, table: str, run_date: date, batches: Iterable[pa.RecordBatch], *, schema: pa.Schema | None = None
    ) -> int:
        """See `Warehouse.publish`."""
        publication = Publication(table, run_date)
        incoming = Incoming(batches, schema)
        with self._transaction(table) as cursor:
            _fill(cursor, publication.staging, incoming)
            _swap(cursor, publication)
        return incoming.rows

    def publish_query(self, table: str, run_date: date, sql: str) -> int:
        """See `Warehouse.publish_query`."""
        publication = Publication(table, run_date)
        with self._transaction(table) as cursor:
            cursor.execute(f"DROP TABLE IF EXISTS {quote(publication.staging)}")
            cursor.execute(f"CREATE TABLE {quote(publication.staging)} AS {sql}")
            check_columns(_columns(cursor, publication.staging))
            cursor.execute(f"SELECT count(*) FROM {quote(publication.staging)}")  # noqa: S608
            rows = int(cursor.fetchall()[0][0])
            _swap(cursor, publication)
        return rows

    def load(self, table: str, batches: Iterable[pa.RecordBatch], *, schema: pa.Schema | None = None) -> int:
        """See `Warehouse.load`."""
        staging = f"{check_table(table)}_staging"
        incoming = Incoming(batches, schema)
        with self._transaction(table) as cursor:
            _fill(cursor, staging, incoming)
            cursor.execute(f"DROP TABLE IF EXISTS {quote(table)}")
            cursor.execute(f"ALTER TABLE {quote(staging)} RENAME TO {quote(table)}")
        return incoming.rows

    def exists(self, table: str) -> bool:
        """See `Warehouse.exists`."""
        with self._connected() as connection, connection.cursor() as cursor:
            return table in _names(cursor)

    def run_dates(self, table: str) -> tuple[date, ...]:
        """See `Warehouse.run_dates`."""
        with self._connected() as connection, connection.cursor() as cursor:
            return tuple(dated_tables(_names(cursor), table))

    def close(self) -> None:
        """See `Warehouse.close`: no connection outlives its operation."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @contextmanager
    def _connected(self) -> Iterator[Any]:
        """A connection of its own; the driver's errors become `WarehouseError`."""
        from adbc_driver_manager import Error
        from adbc_driver_postgresql import dbapi

        try:
            with dbapi.connect(self._url) as connection:
                yield connection
        except Error as error:
            raise WarehouseError(f"PostgreSQL: {without_secrets(str(error), self._url)}") from None

    @contextmanager
    def _transaction(self, table: str) -> Iterator[Any]:
        """A cursor in one transaction, for one publisher of a table at a time."""
        from adbc_driver_manager import Error

        with self._connected() as connection, connection.cursor() as cursor:
            try:
                cursor.execute(f"SET LOCAL lock_timeout = {int(self._wait * 1000)}")
                try:
                    cursor.execute(f"SELECT pg_advisory_xact_lock(hashtext('publish {table}'))::text")
                    cursor.fetchall()  # the driver waits for the answer only here
                except Error as error:
                    if "lock timeout" not in str(error):
                        raise
                    raise WarehouseError(
                        f"PostgreSQL: another publication of {table!r} has not ended within {self._wait:g} s; run one "
                        "after the other"
                    ) from None
                yield cursor
                connection.commit()
            except BaseException:
                _roll_back(connection)
                raise


def without_secrets(message: str, url: str) -> str:
    """A driver's message in one line, without the password of the URL in any spelling."""
    try:
        parts = urlsplit(url)
        secrets = {parts.password or ""} | {
            value for name, value in parse_qsl(parts.query) if name in _SECRET_PARAMETERS
        }
    except ValueError:
        return "the URL is malformed; write special characters of the password as %XX"
    # An unescaped @ or / in a password moves the rest of it to where the driver looks for a host or a port.
    between = re.search(r"://[^:@/]*:(.*)@", url)
    secrets |= set(re.split(r"[@/:?#]", between[1])) if between else set()
    words = " ".join(message.split())
    for secret in sorted(secrets | {unquote(secret) for secret in secrets}, key=len, reverse=True):
        if secret:
            words = words.replace(secret, "***")
    return words


def _roll_back(connection: Any) -> None:
    from adbc_driver_manager import Error

    with suppress(Error):  # the server may be gone, and the transaction with it
        connection.rollback()


def _fill(cursor: Any, staging: str, incoming: Incoming) -> None:
    """Writes the batches to a new table by COPY."""
    from adbc_driver_manager import Error

    cursor.execute(f"DROP TABLE IF EXISTS {quote(staging)}")
    try:
        cursor.adbc_ingest(staging, _decoded(incoming), mode="create")
    except Error:
        if incoming.error is not None:
            raise incoming.error from None
        raise
    if incoming.error is not None:
        raise incoming.error


def _decoded(incoming: Incoming) -> pa.RecordBatchReader:
    """The batches with dictionaries as plain values, which COPY needs."""
    import pyarrow as pa

    fields = [
        field.with_type(field.type.value_type) if pa.types.is_dictionary(field.type) else field
        for field in incoming.schema
    ]
    schema = pa.schema(fields)
    if schema.equals(incoming.schema):
        return incoming.reader()
    return pa.RecordBatchReader.from_batches(schema, (batch.cast(schema) for batch in incoming))


def _swap(cursor: Any, publication: Publication) -> None:
    """Puts the staged rows in place of the date's old ones and makes the views over all dates.

    Views first, then tables, which is the order that readers lock them in: no deadlock. A view holds on to a table
    whatever it is called, so it is made of the staged rows before these get their name.
    """
    tables = dated_tables([*_names(cursor), publication.dated], publication.table)
    tables[publication.run_date] = publication.staging
    columns = {name: _columns(cursor, name) for name in tables.values()}
    newest = max(tables)
    for view, chosen in ((publication.table, tables), (publication.current, {newest: tables[newest]})):
        query = view_query(chosen, columns, date_literal="DATE '{}'")
        before = list(_columns(cursor, view).items())
        if before != [("run_date", "date"), *columns[tables[newest]].items()][: len(before)]:
            cursor.execute(f"DROP VIEW {quote(view)}")
        cursor.execute(f"CREATE OR REPLACE VIEW {quote(view)} AS {query}")
    cursor.execute(f"DROP TABLE IF EXISTS {quote(publication.dated)}")
    cursor.execute(f"ALTER TABLE {quote(publication.staging)} RENAME TO {quote(publication.dated)}")


def _names(cursor: Any) -> list[str]:
    cursor.execute("SELECT table_name::text FROM information_schema.tables WHERE table_schema = current_schema()")
    return [name for (name,) in cursor.fetchall()]


def _columns(cursor: Any, table: str) -> dict[str, str]:
    cursor.execute(
        "SELECT a.attname::text, format_type(a.atttypid, a.atttypmod) FROM pg_attribute a JOIN pg_class c ON "
        "c.oid = a.attrelid WHERE c.relnamespace = current_schema()::regnamespace AND c.relname = $1 AND a.attnum > 0 "
        "AND NOT a.attisdropped ORDER BY a.attnum",
        [table],
    )
    return dict(cursor.fetchall())
