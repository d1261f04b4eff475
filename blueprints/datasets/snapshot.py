"""Snapshots: a dataset as it was used, in a folder that says what it is and proves that it was not changed.

`data.parquet`, `schema.yaml` and `snapshot.json`. The same table gives the same bytes and so the same hash, with one
version of pyarrow (which writes its version into every file).
"""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from blueprints.datasets.conform import conform
from blueprints.datasets.download import Progress
from blueprints.datasets.errors import DatasetError
from blueprints.datasets.named import Dataset
from blueprints.datasets.schema_file import dump_schema, parse_schema
from blueprints.schema import TableSchema

if TYPE_CHECKING:
    import pandas as pd

DATA = "data.parquet"
SCHEMA = "schema.yaml"
INFO = "snapshot.json"

_Sha256 = Field(pattern=r"^[0-9a-f]{64}$")


class SnapshotInfo(BaseModel):
    """What a snapshot is.

    Attributes:
        name: Name of the dataset.
        version: Its version.
        part: `all`, or the part of a split: `train`, `validation`, `test`.
        rows: Number of rows.
        sha256: Hash of `data.parquet`: the snapshot's identity.
        schema_sha256: Hash of `schema.yaml`.
        source: Where the data comes from, for people.
        licence: Terms of the data.
        created_from: SHA-256 of the source; for a part, the `sha256` of the whole snapshot.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    version: str
    part: str = "all"
    rows: int = Field(ge=1)
    sha256: str = _Sha256
    schema_sha256: str = _Sha256
    source: str
    licence: str
    created_from: str = _Sha256


@dataclass(frozen=True)
class Snapshot:
    """A verified snapshot in memory.

    Attributes:
        frame: The typed table, see `conform`.
        schema: Its columns and roles.
        info: What it is.
    """

    frame: pd.DataFrame
    schema: TableSchema
    info: SnapshotInfo

    def write_part(self, rows: pd.DataFrame, part: str, folder: Path) -> SnapshotInfo:
        """Writes some of the rows as a snapshot of its own, see `write_snapshot`."""
        data, schema = _parquet(rows, self.schema), dump_schema(self.schema).encode()
        changes = {"part": part, "rows": len(rows), "sha256": _sha256(data), "created_from": self.info.sha256}
        return _write(folder, data, schema, self.info.model_copy(update=changes))


def write_snapshot(dataset: Dataset, folder: Path, *, progress: Progress | None = None) -> SnapshotInfo:
    """Loads a dataset and writes it as a snapshot; the folder appears complete or not at all.

    Args:
        dataset: What to load.
        folder: Where to write. An older snapshot there is replaced.
        progress: Called during a download.

    Raises:
        DatasetError: The data cannot be had, does not fit its schema, or the folder holds something else.
    """
    frame = dataset.load(progress=progress)
    data, schema = _parquet(frame, dataset.schema), dump_schema(dataset.schema).encode()
    info = SnapshotInfo(
        name=dataset.name,
        version=dataset.version,
        rows=len(frame),
        sha256=_sha256(data),
        schema_sha256=_sha256(schema),
        source=dataset.source,
        licence=dataset.licence,
        created_from=dataset.fingerprint(),
    )
    return _write(folder, data, schema, info)


def read_snapshot(folder: Path) -> Snapshot:
    """The snapshot in a folder, verified.

    Raises:
        DatasetError: A file is missing, unreadable or not the one that was written.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        info = SnapshotInfo.model_validate_json((folder / INFO).read_bytes())
        schema_text = (folder / SCHEMA).read_bytes()
        data = (folder / DATA).read_bytes()
    except OSError as error:
        raise DatasetError(f"{folder}: no snapshot: {error.strerror}: {Path(error.filename or '').name}") from error
    except ValidationError as error:
        raise DatasetError(f"{folder / INFO}: not the description of a snapshot") from error
    for name, content, expected in ((DATA, data, info.sha256), (SCHEMA, schema_text, info.schema_sha256)):
        if _sha256(content) != expected:
            raise DatasetError(
                f"{folder / name}: changed since it was written (SHA-256 is not {expected}); make it again"
            )
    schema = parse_schema(schema_text.decode(), origin=str(folder / SCHEMA))
    try:
        frame = pq.read_table(io.BytesIO(data)).to_pandas()
    except pa.ArrowInvalid as error:
        raise DatasetError(f"{folder / DATA}: not readable as Parquet") from error
    return Snapshot(conform(frame, schema, origin=str(folder / DATA)), schema, info)


def _parquet(frame: pd.DataFrame, schema: TableSchema) -> bytes:
    """The table as Parquet, without pandas' own metadata, so that the bytes depend on the values alone."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = [column.name for column in schema.columns]
    table = pa.Table.from_pandas(frame[columns], preserve_index=False).replace_schema_metadata(None)
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd", compression_level=3)
    return buffer.getvalue()


def _write(folder: Path, data: bytes, schema: bytes, info: SnapshotInfo) -> SnapshotInfo:
    folder = folder.resolve()
    if folder.exists() and not (folder / INFO).is_file() and any(folder.iterdir()):
        raise DatasetError(f"{folder}: holds something else than a snapshot; choose another folder")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as temporary:
        new, old = Path(temporary) / "new", Path(temporary) / "old"
        new.mkdir()
        (new / DATA).write_bytes(data)
        (new / SCHEMA).write_bytes(schema)
        (new / INFO).write_text(json.dumps(info.model_dump(), indent=2) + "\n")
        if folder.exists():
            folder.replace(old)
        new.replace(folder)
        shutil.rmtree(old, ignore_errors=True)
    return info


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
