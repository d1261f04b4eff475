"""Names and SQL that every warehouse publishes with, and the checks of what is to be written."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING

from blueprints.segmentation.warehouse.interface import WarehouseError

if TYPE_CHECKING:
    import pyarrow as pa

RUN_DATE = "run_date"
CURRENT = "_current"

_TABLE = re.compile(r"[a-z][a-z0-9_]{0,40}")
_COLUMN = re.compile(r"[a-z][a-z0-9_]{0,62}")
_RESERVED = re.compile(r".*(_\d{8}|_current|_staging|_old)")


def check_table(table: str) -> str:
    """The name, if a table or view may be called so.

    Raises:
        WarehouseError: It may not.
    """
    if not _TABLE.fullmatch(table):
        raise WarehouseError(
            f"{table!r} is no name for a table: give lower-case letters, digits and underscores, a letter first, "
            "at most 41 characters"
        )
    if _RESERVED.fullmatch(table):
        raise WarehouseError(
            f"{table!r} is no name for a table: endings such as _20240131, _current, _staging and _old belong to what "
            "publishing makes"
        )
    return table


@dataclass(frozen=True)
class Publication:
    """Names of what publishing a table for a run date makes.

    Attributes:
        table: The view over all dates.
        run_date: The date.
    """

    table: str
    run_date: date

    def __post_init__(self) -> None:
        check_table(self.table)
        if isinstance(self.run_date, datetime):
            raise WarehouseError(f"a run date is a date without a time of day, not {self.run_date.isoformat()}")

    @property
    def dated(self) -> str:
        """The table that holds the rows."""
        return f"{self.table}_{self.run_date:%Y%m%d}"

    @property
    def staging(self) -> str:
        """Where rows are written before anyone may see them."""
        return f"{self.dated}_staging"

    @property
    def old(self) -> str:
        """What `dated` is called while it is being replaced."""
        return f"{self.dated}_old"

    @property
    def current(self) -> str:
        """The view of the newest date."""
        return self.table + CURRENT


def dated_tables(names: Iterable[str], table: str) -> dict[date, str]:
    """The tables that were published for a view, by their date, ascending."""
    pattern = re.compile(re.escape(table) + r"_(\d{8})")
    found = {}
    for name in names:
        if match := pattern.fullmatch(name):
            try:
                found[datetime.strptime(match[1], "%Y%m%d").date()] = name  # noqa: DTZ007 - a date has no zone
            except ValueError:
                continue
    return dict(sorted(found.items()))


def view_query(tables: Mapping[date, str], columns: Mapping[str, Mapping[str, str]], *, date_literal: str) -> str:
    """The SELECT over published tables: the columns of the newest, `run_date` first.

    Args:
        tables: Table of each date, ascending.
        columns: SQL type of each column, by table; empty where the database tells none. What an older table lacks is
            null, what it has of another type is cast.
        date_literal: How the database writes a date, with `{}` for its ISO form.
    """
    newest = columns[list(tables.values())[-1]]
    parts = []
    for run_date, table in tables.items():
        chosen = [f"{date_literal.format(run_date.isoformat())} AS {RUN_DATE}"]
        for name, kind in newest.items():
            there = columns[table].get(name)
            value = "NULL" if there is None else quote(name)
            cast = f"CAST({value} AS {kind})" if kind and there != kind else value
            chosen.append(f"{cast} AS {quote(name)}")
        parts.append(f"SELECT {', '.join(chosen)} FROM {quote(table)}")  # noqa: S608 - checked names
    return " UNION ALL ".join(parts)


def quote(name: str) -> str:
    """A checked name as SQL."""
    return f'"{name}"'


def check_columns(names: Iterable[str]) -> None:
    """Checks the columns that are to be published.

    Raises:
        WarehouseError: A name is none for a column, occurs twice, or is the one that publishing adds.
    """
    seen: set[str] = set()
    for name in names:
        if not _COLUMN.fullmatch(name) or name in seen:
            why = "occurs twice" if name in seen else "is no name for a column: give lower-case letters, digits and _"
            raise WarehouseError(f"column {name!r} {why}")
        if name == RUN_DATE:
            raise WarehouseError(f"column {RUN_DATE!r} is added when rows are published; leave it out of them")
        seen.add(name)
    if not seen:
        raise WarehouseError("rows without columns cannot be written")


class Incoming:
    """Batches on their way into a table: counted, all of one schema, and what their source raises is kept.

    Args:
        batches: The rows.
        schema: Their schema, for the case that there is no batch.

    Raises:
        WarehouseError: There is neither a batch nor a schema, or the columns do not fit.
    """

    def __init__(self, batches: Iterable[pa.RecordBatch], schema: pa.Schema | None) -> None:
        source = iter(batches)
        self._first = next(source, None)
        self._source = source
        if schema is None and self._first is not None:
            schema = self._first.schema
        if schema is None:
            raise WarehouseError("there are no rows to write, and no schema that says which columns they would have")
        self.schema: pa.Schema = schema
        self.rows = 0
        self.error: BaseException | None = None
        check_columns(self.schema.names)

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        try:
            if self._first is not None:
                yield self._checked(self._first)
            for batch in self._source:
                yield self._checked(batch)
        except GeneratorExit:
            raise
        except BaseException as error:
            # A database that pulls the batches would tell it as an error of its own.
            self.error = error
            raise

    def reader(self) -> pa.RecordBatchReader:
        """The batches for a database that pulls them."""
        import pyarrow as pa

        return pa.RecordBatchReader.from_batches(self.schema, iter(self))

    def _checked(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        if not batch.schema.equals(self.schema):
            raise WarehouseError(
                f"all batches must have the columns {_columns(self.schema)}; one has {_columns(batch.schema)}"
            )
        self.rows += batch.num_rows
        return batch


def _columns(schema: pa.Schema) -> str:
    return ", ".join(f"{field.name} {field.type}" for field in schema)
