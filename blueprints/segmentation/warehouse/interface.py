"""What a warehouse does for the blueprint, whichever database it is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import date
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

if TYPE_CHECKING:
    import pyarrow as pa

ROWS = 131_072
"""Most rows of one batch, unless another number is asked for."""

WAIT_SECONDS = 60.0
"""How long a publisher waits for another one, or for readers who hold what it replaces."""


class WarehouseError(Exception):
    """The warehouse cannot be reached, or refuses what is asked; the message never holds a password."""


class Warehouse(Protocol):
    """A database with tables of purchases, features and segments. Use it in a `with` statement.

    What is published for a run date is one table, `<table>_<YYYYMMDD>`. Two views are over them: `<table>` has the rows
    of all dates, with the column `run_date` first, and `<table>_current` those of the newest. Readers see the rows from
    before a publication or those after it, never a mix, and the old ones if it fails at any moment.

    Attributes:
        dialect: `duckdb`, `postgresql`, or the name that SQLAlchemy gives the database.
    """

    dialect: str

    def read(self, sql: str, *, rows: int = ROWS) -> Iterator[pa.RecordBatch]:
        """The rows of a query, streamed: memory does not grow with their number.

        Args:
            sql: One SELECT.
            rows: Most rows of one batch.

        Raises:
            WarehouseError: The query fails.
        """

    def publish(
        self, table: str, run_date: date, batches: Iterable[pa.RecordBatch], *, schema: pa.Schema | None = None
    ) -> int:
        """Publishes rows for a run date, in place of those that were published for it before.

        Args:
            table: Name of the views: lower case, digits and underscores, at most 41 characters.
            run_date: The date that the rows belong to.
            batches: The rows, all of one schema.
            schema: Their schema; only needed if there may be no batch at all.

        Returns:
            How many rows were written.

        Raises:
            WarehouseError: A name or a column does not fit, another run publishes the same table, or the database
                fails. What iterating over `batches` raises comes through as it is.
        """

    def publish_query(self, table: str, run_date: date, sql: str) -> int:
        """Publishes the rows of a query; they never leave the warehouse.

        Args:
            table: See `publish`.
            run_date: See `publish`.
            sql: One SELECT.

        Returns:
            How many rows were written.

        Raises:
            WarehouseError: See `publish`.
        """

    def load(self, table: str, batches: Iterable[pa.RecordBatch], *, schema: pa.Schema | None = None) -> int:
        """Replaces a whole table, such as the raw purchases, and makes it where it is not there.

        Args:
            table: See `publish`.
            batches: See `publish`.
            schema: See `publish`.

        Returns:
            How many rows were written.

        Raises:
            WarehouseError: See `publish`.
        """

    def exists(self, table: str) -> bool:
        """Whether there is a table or a view of that name."""

    def run_dates(self, table: str) -> tuple[date, ...]:
        """Dates that something is published for, ascending."""

    def close(self) -> None:
        """Closes every connection."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
