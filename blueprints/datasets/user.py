"""A user's own data behind the same interface: a CSV or Parquet file, or an SQL query, with a schema in YAML."""

from __future__ import annotations

import hashlib
import io
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from blueprints.datasets.conform import conform
from blueprints.datasets.csv_file import read_csv
from blueprints.datasets.download import Progress
from blueprints.datasets.errors import DatasetError
from blueprints.schema import TableSchema

if TYPE_CHECKING:
    import pandas as pd

DATABASE_URL = "BLUEPRINTS_DATABASE_URL"
"""Environment variable that holds the SQLAlchemy URL of a user's database, password included."""


@dataclass(frozen=True)
class FileDataset:
    """A CSV (`.csv`, `.tsv`) or Parquet (`.parquet`, `.pq`) file.

    Attributes:
        location: Path, or the URI of an object store: `s3://bucket/loans.parquet`, `gs://…`, `file://…`. Credentials
            are found as the store's own tools find them.
        schema: Columns and roles; columns that it does not name are left out.
        name: Identifier of the dataset.
        version: The user's own version of it.
        licence: Terms of the data.
        delimiter: Of a CSV file; `.tsv` always means a tab.
    """

    location: str
    schema: TableSchema
    name: str = "own"
    version: str = "1"
    licence: str = ""
    delimiter: str = ","

    @property
    def source(self) -> str:
        """The file's name, without its folder."""
        return Path(self.location).name

    def load(self, *, progress: Progress | None = None) -> pd.DataFrame:  # noqa: ARG002
        """See `Dataset.load`."""
        import pandas as pd

        suffix = Path(self.location).suffix.lower()
        content = self._read()
        if suffix in {".csv", ".tsv"}:
            delimiter = "\t" if suffix == ".tsv" else self.delimiter
            raw = read_csv(content, origin=self.source, delimiter=delimiter)
        elif suffix in {".parquet", ".pq"}:
            try:
                raw = pd.read_parquet(io.BytesIO(content))
            except (OSError, ValueError) as error:
                raise DatasetError(f"{self.source}: not readable as Parquet: {str(error).splitlines()[0]}") from error
        else:
            raise DatasetError(f"{self.source}: expected a file that ends in .csv, .tsv, .parquet or .pq")
        return conform(raw, self.schema, origin=self.source)

    def fingerprint(self) -> str:
        """SHA-256 of the file."""
        return hashlib.sha256(self._read()).hexdigest()

    def _read(self) -> bytes:
        from pyarrow import fs

        try:
            if "://" not in self.location:
                return Path(self.location).read_bytes()
            store, path = fs.FileSystem.from_uri(self.location)
            with store.open_input_stream(path) as stream:
                return bytes(stream.read())
        except (OSError, ValueError) as error:
            raise DatasetError(f"{self.location}: cannot be read: {error}") from error


@dataclass(frozen=True)
class QueryDataset:
    """The rows of an SQL query.

    Attributes:
        query: One SELECT; its result columns carry the schema's names.
        schema: Columns and roles; columns that it does not name are left out.
        name: Identifier of the dataset.
        version: The user's own version of it.
        licence: Terms of the data.
        url_variable: Environment variable with the SQLAlchemy URL. The URL itself is never written anywhere.
    """

    query: str
    schema: TableSchema
    name: str = "own"
    version: str = "1"
    licence: str = ""
    url_variable: str = DATABASE_URL

    @property
    def source(self) -> str:
        """The query, with the variable that names its database."""
        return f"SQL query on {self.url_variable}: {self.query}"

    def load(self, *, progress: Progress | None = None) -> pd.DataFrame:  # noqa: ARG002
        """See `Dataset.load`."""
        import pandas as pd
        import sqlalchemy

        url = os.environ.get(self.url_variable)
        if not url:
            raise DatasetError(
                f"set the environment variable {self.url_variable} to the SQLAlchemy URL of the database"
            )
        try:
            engine = sqlalchemy.create_engine(url)
        except (sqlalchemy.exc.ArgumentError, ImportError) as error:
            # The message of ArgumentError repeats the URL, so it is not passed on.
            missing = f" ({error})" if isinstance(error, ImportError) else ""
            raise DatasetError(f"{self.url_variable} is no SQLAlchemy URL that can be used here{missing}") from None
        try:
            with engine.connect() as connection:
                raw = pd.read_sql_query(sqlalchemy.text(self.query), connection)
        except sqlalchemy.exc.SQLAlchemyError as error:
            reason = str(getattr(error, "orig", None) or error).splitlines()[0]
            raise DatasetError(
                f"SQL query failed on {engine.url.render_as_string(hide_password=True)}: {reason}"
            ) from error
        finally:
            engine.dispose()
        return conform(raw, self.schema, origin="SQL query")

    def fingerprint(self) -> str:
        """SHA-256 of the query: the rows themselves are pinned by the snapshot's own hash."""
        return hashlib.sha256(self.query.encode()).hexdigest()
