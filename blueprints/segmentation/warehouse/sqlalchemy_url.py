"""A warehouse behind any SQLAlchemy URL: BigQuery, Snowflake, SQLite.

Rows pass through Python one by one, so for millions of them DuckDB or PostgreSQL is the better place; `publish_query`
keeps them where they are. Where the database has no transactions over DDL (BigQuery, Snowflake), readers may find no
view for the moment of the swap, and a run that dies in it leaves the old rows under another name: the next one for
that date puts them back first.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from blueprints.segmentation.warehouse.interface import ROWS, WarehouseError
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
    import sqlalchemy as sa


class SQLAlchemyWarehouse:
    """A database that SQLAlchemy has a dialect for.

    Args:
        url: SQLAlchemy URL; the driver must be installed.

    Raises:
        WarehouseError: The URL is none of SQLAlchemy's, the driver is absent, or the database cannot be reached.
    """

    def __init__(self, url: str) -> None:
        import sqlalchemy as sa

        try:
            self._engine = _engine(url)
        except ImportError as error:
            raise WarehouseError(f"the warehouse's URL needs a driver that is not installed: {error}") from None
        except (sa.exc.ArgumentError, ValueError):
            # Their messages repeat the URL, and with it the password.
            raise WarehouseError(
                "the warehouse's URL is none of SQLAlchemy's: dialect://user:password@host/name"
            ) from None
        self.dialect: str = self._engine.dialect.name
        with self._begun(write=False):
            pass

    def read(self, sql: str, *, rows: int = ROWS) -> Iterator[pa.RecordBatch]:
        """See `Warehouse.read`. Types are those of the first batch; a column without a value there holds numbers."""
        import sqlalchemy as sa

        with self._begun(write=False) as connection:
            result = connection.execution_options(stream_results=True, max_row_buffer=rows).execute(sa.text(sql))
            names, schema = list(result.keys()), None
            for part in result.partitions(rows):
                batch = _batch(names, part, schema)
                schema = batch.schema
                yield batch

    def publish(
        self, table: str, run_date: date, batches: Iterable[pa.RecordBatch], *, schema: pa.Schema | None = None
    ) -> int:
        """See `Warehouse.publish`."""
        publication = Publication(table, run_date)
        incoming = Incoming(batches, schema)
        with self._begun() as connection:
            self._restore(connection, publication)
            self._fill(connection, publication.staging, incoming)
            self._swap(connection, publication)
        return incoming.rows

    def publish_query(self, table: str, run_date: date, sql: str) -> int:
        """See `Warehouse.publish_query`."""
        import sqlalchemy as sa

        publication = Publication(table, run_date)
        staging = quote(publication.staging)
        with self._begun() as connection:
            self._restore(connection, publication)
            connection.execute(sa.text(f"DROP TABLE IF EXISTS {staging}"))
            connection.execute(sa.text(f"CREATE TABLE {staging} AS {sql}"))
            check_columns(_columns(connection, publication.staging))
            rows = connection.execute(sa.text(f"SELECT count(*) FROM {staging}")).scalar_one()  # noqa: S608
            self._swap(connection, publication)
        return int(rows)

    def load(self, table: str, batches: Iterable[pa.RecordBatch], *, schema: pa.Schema | None = None) -> int:
        """See `Warehouse.load`."""
        import sqlalchemy as sa

        staging = f"{check_table(table)}_staging"
        incoming = Incoming(batches, schema)
        with self._begun() as connection:
            self._fill(connection, staging, incoming)
            connection.execute(sa.text(f"DROP TABLE IF EXISTS {quote(table)}"))
            connection.execute(sa.text(f"ALTER TABLE {quote(staging)} RENAME TO {quote(table)}"))
        return incoming.rows

    def exists(self, table: str) -> bool:
        """See `Warehouse.exists`."""
        import sqlalchemy as sa

        with self._begun(write=False) as connection:
            there = sa.inspect(connection)
            return table in there.get_table_names() or table in there.get_view_names()

    def run_dates(self, table: str) -> tuple[date, ...]:
        """See `Warehouse.run_dates`."""
        import sqlalchemy as sa

        with self._begun(write=False) as connection:
            return tuple(dated_tables(sa.inspect(connection).get_table_names(), table))

    def close(self) -> None:
        """See `Warehouse.close`."""
        self._engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @contextmanager
    def _begun(self, *, write: bool = True) -> Iterator[sa.Connection]:
        """One transaction; the driver's errors become `WarehouseError`."""
        import sqlalchemy as sa

        try:
            with self._engine.connect() as connection:
                if self.dialect == "sqlite":
                    # The driver itself would begin no transaction for DDL.
                    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")
                yield connection
                connection.commit()
        except sa.exc.SQLAlchemyError as error:
            reason = " ".join(str(getattr(error, "orig", None) or error).split())
            where = self._engine.url.render_as_string(hide_password=True)
            raise WarehouseError(f"{where}: {reason}") from None

    def _fill(self, connection: sa.Connection, staging: str, incoming: Incoming) -> None:
        import sqlalchemy as sa

        connection.execute(sa.text(f"DROP TABLE IF EXISTS {quote(staging)}"))
        columns = [sa.Column(field.name, _sql_type(field.type)) for field in incoming.schema]
        new = sa.Table(staging, sa.MetaData(), *columns)
        new.create(connection)
        for batch in incoming:
            if batch.num_rows:
                connection.execute(new.insert(), batch.to_pylist())

    def _swap(self, connection: sa.Connection, publication: Publication) -> None:
        """Puts the staged rows in place of the date's old ones and makes the views over all dates."""
        import sqlalchemy as sa

        there = sa.inspect(connection)
        names, views = there.get_table_names(), there.get_view_names()
        for view in (publication.table, publication.current):
            if view in views:
                connection.execute(sa.text(f"DROP VIEW {quote(view)}"))
        if publication.dated in names:
            rename = f"ALTER TABLE {quote(publication.dated)} RENAME TO {quote(publication.old)}"
            connection.execute(sa.text(rename))
        connection.execute(sa.text(f"ALTER TABLE {quote(publication.staging)} RENAME TO {quote(publication.dated)}"))
        tables = dated_tables([*names, publication.dated], publication.table)
        columns = {name: _columns(connection, name) for name in tables.values()}
        newest = max(tables)
        literal = "'{}'" if self.dialect == "sqlite" else "DATE '{}'"
        for view, chosen in ((publication.table, tables), (publication.current, {newest: tables[newest]})):
            query = view_query(chosen, columns, date_literal=literal)
            connection.execute(sa.text(f"CREATE VIEW {quote(view)} AS {query}"))
        connection.execute(sa.text(f"DROP TABLE IF EXISTS {quote(publication.old)}"))

    def _restore(self, connection: sa.Connection, publication: Publication) -> None:
        """Puts back, or drops, the old rows of a run that died in its swap."""
        import sqlalchemy as sa

        names = sa.inspect(connection).get_table_names()
        if publication.old in names and publication.dated not in names:
            rename = f"ALTER TABLE {quote(publication.old)} RENAME TO {quote(publication.dated)}"
            connection.execute(sa.text(rename))
        elif publication.old in names:
            connection.execute(sa.text(f"DROP TABLE {quote(publication.old)}"))


def _engine(url: str) -> sa.Engine:
    import sqlalchemy as sa

    engine = sa.create_engine(url)
    if engine.dialect.name == "sqlite":

        @sa.event.listens_for(engine, "connect")
        def _configure(connection: Any, _record: Any) -> None:
            connection.isolation_level = None  # `_begun` begins
            connection.execute("PRAGMA journal_mode=WAL")  # readers see the old rows during a publication

    return engine


def _batch(names: Sequence[str], rows: Sequence[Any], schema: pa.Schema | None) -> pa.RecordBatch:
    """Rows as Arrow.

    Raises:
        WarehouseError: A value is of another type than those of its column before.
    """
    import pyarrow as pa

    columns = list(zip(*rows, strict=True))
    try:
        if schema is not None:
            arrays = [pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)]
        else:
            arrays = [pa.array(column) for column in columns]
            arrays = [array.cast(pa.float64()) if array.type == pa.null() else array for array in arrays]
    except pa.ArrowInvalid as error:
        raise WarehouseError(f"a column holds values of different types; cast it in the query ({error})") from None
    return pa.record_batch(arrays, names=names)


def _columns(connection: sa.Connection, table: str) -> dict[str, str]:
    import sqlalchemy as sa

    return {
        column["name"]: ""
        if isinstance(column["type"], sa.types.NullType)
        else column["type"].compile(connection.dialect)
        for column in sa.inspect(connection).get_columns(table)
    }


def _sql_type(kind: pa.DataType) -> Any:
    """The SQL type of an Arrow type.

    Raises:
        WarehouseError: There is none.
    """
    import pyarrow as pa
    import sqlalchemy as sa

    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    for fits, sql_type in (
        (pa.types.is_boolean, sa.Boolean()),
        (pa.types.is_int64, sa.BigInteger()),
        (pa.types.is_uint32, sa.BigInteger()),
        (pa.types.is_signed_integer, sa.Integer()),
        (pa.types.is_floating, sa.Double()),
        (pa.types.is_string, sa.String()),
        (pa.types.is_large_string, sa.String()),
        (pa.types.is_date, sa.Date()),
        (pa.types.is_timestamp, sa.DateTime()),
    ):
        if fits(kind):
            return sql_type
    raise WarehouseError(f"values of Arrow's type {kind} cannot be written to this database; cast the column")
