"""What a dataset is, and the named ones whose files are pinned."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from blueprints.datasets.conform import conform
from blueprints.datasets.csv_file import read_csv
from blueprints.datasets.download import Carrier, Progress
from blueprints.datasets.schema_file import parse_schema
from blueprints.schema import TableSchema

if TYPE_CHECKING:
    import pandas as pd


class ReadTable(Protocol):
    """Reads a file into a table whose values are all texts."""

    def __call__(self, content: bytes, *, origin: str) -> pd.DataFrame:
        """The table in the file's bytes; `origin` is the file's name for errors."""


class Dataset(Protocol):
    """A table that can be loaded, typed and checked: a named dataset or a user's own."""

    @property
    def name(self) -> str:
        """Identifier: lower case with underscores."""

    @property
    def version(self) -> str:
        """Changes whenever loading would give another table."""

    @property
    def source(self) -> str:
        """Where the data comes from, for people."""

    @property
    def licence(self) -> str:
        """Terms of the data; empty if not known."""

    @property
    def schema(self) -> TableSchema:
        """Columns and roles."""

    def load(self, *, progress: Progress | None = None) -> pd.DataFrame:
        """The table that `conform` gives for the schema.

        Args:
            progress: Called during a download.

        Raises:
            DatasetError: The data cannot be had or does not fit the schema.
        """

    def fingerprint(self) -> str:
        """SHA-256 of what the table is made from."""


@dataclass(frozen=True)
class NamedDataset:
    """A public dataset, pinned by hash.

    Attributes:
        name: Identifier, also of its schema `schemas/<name>.yaml`.
        version: Changes with the files, the schema or the preparation.
        title: The dataset in plain words.
        source: Who published the data, and the package that carries it.
        licence: Licence of the data.
        carrier: The package that holds the files.
        files: Paths of the files inside the carrier, in the order that `prepare` takes.
        prepare: Renames and recodes the raw tables (all values texts) to the schema's columns and labels.
        read: Reads one file.
    """

    name: str
    version: str
    title: str
    source: str
    licence: str
    carrier: Carrier
    files: tuple[str, ...]
    prepare: Callable[[list[pd.DataFrame]], pd.DataFrame]
    read: ReadTable = read_csv

    @cached_property
    def schema(self) -> TableSchema:
        """Columns and roles, from the YAML file beside the code."""
        file = resources.files("blueprints.datasets") / "schemas" / f"{self.name}.yaml"
        return parse_schema(file.read_text(encoding="utf-8"), origin=f"schemas/{self.name}.yaml")

    def load(self, *, progress: Progress | None = None) -> pd.DataFrame:
        """See `Dataset.load`. The first call downloads; later calls use the verified cache."""
        paths = [self.carrier.fetch(file, progress=progress) for file in self.files]
        raw = [
            self.read(path.read_bytes(), origin=Path(file).name) for path, file in zip(paths, self.files, strict=True)
        ]
        return conform(self.prepare(raw), self.schema, origin=Path(self.files[0]).name)

    def fingerprint(self) -> str:
        """SHA-256 over the pinned hashes of the files."""
        return hashlib.sha256("\n".join(self.carrier.files[file] for file in self.files).encode()).hexdigest()


def decode_one_hot(frame: pd.DataFrame, prefix: str, labels: dict[str, str]) -> pd.Series[str]:
    """One categorical column from indicator columns.

    Args:
        frame: Raw table; `<prefix>_<code>` holds the text "1" where the row has that code.
        prefix: Common start of the indicator columns.
        labels: Label of each code.

    Returns:
        The label per row; "" (missing) where no indicator is set.
    """
    import pandas as pd

    decoded = pd.Series("", index=frame.index, dtype=object)
    for code, label in labels.items():
        decoded = decoded.mask(frame[f"{prefix}_{code}"] == "1", label)
    return decoded
