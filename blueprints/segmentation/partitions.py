"""Clustering what does not fit in memory: parts are summarised one by one, and the summaries merge.

A summary has the moments of every feature and a sample of rows. The sampled rows are those whose identifiers have the
smallest hashes (bottom-k sampling, Cohen and Kaplan, 2007): that sample is uniform, and it is the same however the
table is cut into parts and in whatever order the parts come. Centroids found on it are then moved by passes of Lloyd's
algorithm over all parts, whose sums add up exactly.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from functools import reduce
from typing import TYPE_CHECKING, Literal, Self

import numpy as np
from numpy.typing import NDArray

from blueprints.segmentation.moments import Moments, signed_log
from blueprints.segmentation.nearest_centroid import ClusterSums, NearestCentroid
from blueprints.segmentation.preprocessing import DegenerateDataError, Preprocessing

if TYPE_CHECKING:
    import pyarrow as pa

SAMPLE_ROWS = 50_000
"""Rows that a summary keeps."""

_HASH, _DESCRIPTION = "sample_hash", b"partition_summary"
_UINT64 = np.uint64


class PartitionError(ValueError):
    """Batches or summaries do not fit together."""


@dataclass(frozen=True)
class PartitionSummary:
    """What is known of the rows of one or more parts.

    Attributes:
        columns: Names of the features, in order.
        capacity: Most rows that are sampled.
        seed: Seed of the hashes; summaries merge only if they have the same.
        rows: Rows in all.
        raw: Moments of the features.
        logarithms: Moments of their signed logarithms.
        hashes: Hashes of the sampled rows, ascending, uint64 of shape (sampled,).
        sample: The sampled rows, in the features' own units, NaN where missing, shape (sampled, features).
    """

    columns: tuple[str, ...]
    capacity: int
    seed: int
    rows: int
    raw: Moments
    logarithms: Moments
    hashes: NDArray[np.uint64]
    sample: NDArray[np.float64]

    @classmethod
    def empty(cls, columns: Sequence[str], *, capacity: int = SAMPLE_ROWS, seed: int = 0) -> Self:
        """The summary of no rows."""
        nothing = np.empty((0, len(columns)))
        return cls(
            columns=tuple(columns),
            capacity=capacity,
            seed=seed,
            rows=0,
            raw=Moments.of(nothing),
            logarithms=Moments.of(nothing),
            hashes=np.empty(0, np.uint64),
            sample=nothing,
        )

    def merged(self, other: PartitionSummary) -> PartitionSummary:
        """The summary of the rows of both.

        Raises:
            PartitionError: They have other columns, another seed or another capacity.
        """
        for name in ("columns", "capacity", "seed"):
            ours, theirs = getattr(self, name), getattr(other, name)
            if ours != theirs:
                raise PartitionError(f"summaries with {name} {ours} and {theirs} do not merge; make them alike")
        hashes = np.concatenate([self.hashes, other.hashes])
        kept = np.argsort(hashes, kind="stable")[: self.capacity]
        return PartitionSummary(
            columns=self.columns,
            capacity=self.capacity,
            seed=self.seed,
            rows=self.rows + other.rows,
            raw=self.raw.merged(other.raw),
            logarithms=self.logarithms.merged(other.logarithms),
            hashes=hashes[kept],
            sample=np.concatenate([self.sample, other.sample])[kept],
        )

    def preprocessing(self, *, log: Sequence[str] | Literal["auto"] = "auto") -> Preprocessing:
        """How feature rows become points: moments of all rows, medians of the sample.

        Raises:
            DegenerateDataError: A column is empty, infinite or constant, or there are fewer than two rows.
        """
        medians = np.zeros(len(self.columns))
        for position, (name, column) in enumerate(zip(self.columns, self.sample.T, strict=True)):
            there = column[~np.isnan(column)]
            if len(there):
                medians[position] = np.median(there)
            elif self.raw.counts[position]:
                raise DegenerateDataError(
                    f"column {name!r} is missing in all {len(column):,} sampled rows; leave it out or sample more"
                )
        return Preprocessing.from_moments(self.columns, medians, self.raw, self.logarithms, log=log)

    def to_bytes(self) -> bytes:
        """The summary as Parquet."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        description = {
            "capacity": self.capacity,
            "seed": self.seed,
            "rows": self.rows,
            **{
                name: {part: values.tolist() for part, values in asdict(moments).items()}
                for name, moments in (("raw", self.raw), ("logarithms", self.logarithms))
            },
        }
        arrays = [pa.array(self.hashes), *(pa.array(column) for column in np.ascontiguousarray(self.sample.T))]
        table = pa.Table.from_arrays(arrays, names=[_HASH, *self.columns])
        sink = pa.BufferOutputStream()
        pq.write_table(table.replace_schema_metadata({_DESCRIPTION: json.dumps(description)}), sink)
        return bytes(sink.getvalue())

    @classmethod
    def from_bytes(cls, content: bytes) -> Self:
        """The summary that `to_bytes` wrote.

        Raises:
            PartitionError: The bytes are none.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            table = pq.read_table(pa.BufferReader(content))
            description = json.loads((table.schema.metadata or {})[_DESCRIPTION])
            raw, logarithms = (
                Moments(**{part.name: np.array(description[name][part.name]) for part in fields(Moments)})
                for name in ("raw", "logarithms")
            )
            columns = [name for name in table.column_names if name != _HASH]
            return cls(
                columns=tuple(columns),
                capacity=int(description["capacity"]),
                seed=int(description["seed"]),
                rows=int(description["rows"]),
                raw=raw,
                logarithms=logarithms,
                hashes=table[_HASH].to_numpy(),
                sample=np.stack([table[name].to_numpy() for name in columns], axis=1),
            )
        except (pa.ArrowInvalid, KeyError, TypeError, ValueError) as error:
            raise PartitionError("the bytes are no partition summary; write it with to_bytes") from error


def summarize(
    batches: Iterable[pa.RecordBatch],
    columns: Sequence[str],
    *,
    identifier: str,
    capacity: int = SAMPLE_ROWS,
    seed: int = 0,
) -> PartitionSummary:
    """Summarises rows as they stream by; memory is that of a batch and of the sample.

    Args:
        batches: Rows with the identifier and the features.
        columns: Names of the features, in order.
        identifier: Column with the row's integer identifier, unique over all parts.
        capacity: Most rows to sample.
        seed: Seed of the hashes.

    Raises:
        PartitionError: A batch lacks a column, or an identifier is missing.
    """
    total = PartitionSummary.empty(columns, capacity=capacity, seed=seed)
    for batch in batches:
        # In column order, in which sums over rows are fastest.
        features = np.stack(feature_columns(batch, columns)).T
        hashes = _hashes(batch, identifier, seed)
        limit = total.hashes[-1] if len(total.hashes) == capacity else None
        kept = slice(None) if limit is None else hashes < limit
        part = PartitionSummary(
            columns=total.columns,
            capacity=capacity,
            seed=seed,
            rows=batch.num_rows,
            raw=Moments.of(features),
            logarithms=Moments.of(signed_log(features)),
            hashes=hashes[kept],
            sample=np.asarray(features[kept], np.float64),
        )
        total = total.merged(part)
    return total


def merge(summaries: Iterable[PartitionSummary]) -> PartitionSummary:
    """The summary of the rows of all.

    Raises:
        PartitionError: There is none, or they do not fit together.
    """
    parts = list(summaries)
    if not parts:
        raise PartitionError("there is no summary to merge; summarise one part at least")
    return reduce(PartitionSummary.merged, parts)


def accumulate(
    batches: Iterable[pa.RecordBatch], preprocessing: Preprocessing, centers: NDArray[np.float64]
) -> ClusterSums:
    """One pass of Lloyd's algorithm over a part; the sums of all parts give the next centroids and the inertia.

    Args:
        batches: Rows with the features.
        preprocessing: How feature rows become points.
        centers: Centroids, shape (k, features).

    Raises:
        PartitionError: A batch lacks a column.
    """
    finder = NearestCentroid(preprocessing, centers)
    total = ClusterSums(np.zeros(len(centers), np.int64), np.zeros(centers.shape), 0.0)
    for batch in batches:
        total = total.merged(finder.sums(feature_columns(batch, preprocessing.columns)))
    return total


def feature_columns(batch: pa.RecordBatch, columns: Sequence[str]) -> list[NDArray[np.floating]]:
    """Features of a batch as arrays, NaN where a value is missing, without a copy where none is.

    Raises:
        PartitionError: The batch lacks a column.
    """
    arrays = []
    for name in columns:
        if name not in batch.schema.names:
            raise PartitionError(f"no column is named {name!r}; there are {', '.join(batch.schema.names)}")
        values = batch.column(name).to_numpy(zero_copy_only=False)
        arrays.append(values if values.dtype.kind == "f" else values.astype(np.float64))
    return arrays


def _hashes(batch: pa.RecordBatch, identifier: str, seed: int) -> NDArray[np.uint64]:
    """Hashes of identifiers by SplitMix64 (Steele, Lea and Flood, 2014)."""
    if identifier not in batch.schema.names:
        raise PartitionError(f"no column is named {identifier!r}; there are {', '.join(batch.schema.names)}")
    column = batch.column(identifier)
    if column.null_count:
        raise PartitionError(f"column {identifier!r} has missing values; every row needs its identifier")
    values = column.to_numpy(zero_copy_only=False)
    if values.dtype.kind not in "iu":
        raise PartitionError(f"column {identifier!r} is of type {column.type}; identifiers are integers")
    offset = 0x9E3779B97F4A7C15 + seed * 0xD1342543DE82EF95
    state: NDArray[np.uint64] = values.astype(np.int64).view(_UINT64) + _UINT64(offset % 2**64)
    state = (state ^ (state >> _UINT64(30))) * _UINT64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> _UINT64(27))) * _UINT64(0x94D049BB133111EB)
    return np.asarray(state ^ (state >> _UINT64(31)))
