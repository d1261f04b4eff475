"""Every customer's segment: features out of the warehouse, segments back into it, in memory that does not grow."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from blueprints.segmentation.features import features_of
from blueprints.segmentation.transactions import CUSTOMER
from blueprints.segmentation.warehouse import Warehouse
from blueprints.segmentation.warehouse.publication import check_columns, quote

if TYPE_CHECKING:
    import pyarrow as pa

    from blueprints.segmentation.segmenter import Segmenter

SEGMENT_TABLE = "customer_segments"
"""The published segments, see `Warehouse.publish`."""

BATCH_ROWS = 122_880
"""Rows of a batch: one of DuckDB's row groups."""

# Batches that wait between two steps; more would not be faster.
_WAITING = 2

Progress = Callable[[int], None]
"""Told how many customers are scored so far."""

_Item = TypeVar("_Item")


@dataclass(frozen=True)
class Scored:
    """What was written.

    Attributes:
        rows: Customers scored.
        by_segment: Customers of each segment, by its id, in the order of the model's segments.
    """

    rows: int
    by_segment: dict[int, int]


def score(
    warehouse: Warehouse,
    segmenter: Segmenter,
    *,
    features_table: str,
    run_date: date,
    target_table: str = SEGMENT_TABLE,
    rows: int = BATCH_ROWS,
    progress: Progress | None = None,
) -> Scored:
    """Assigns every customer to a segment and publishes the result for the run date, replacing an earlier one.

    Published are `customer_id`, `segment_id`, `segment_name`, `distance` (to the segment's centroid, in standardised
    space), `confidence` (simplified silhouette, 0 to 1) and `model_version`. Reading, computing and writing run at the
    same time, and a few batches are all that is in memory. If anything fails, the segments of before stay.

    Args:
        warehouse: Where features are and segments go.
        segmenter: The model.
        features_table: Published features, of which those of `run_date` are scored, or a table that holds one row a
            customer.
        run_date: The date that features and segments belong to.
        target_table: Name to publish the segments under.
        rows: Rows of a batch.
        progress: Called after each batch.

    Raises:
        WarehouseError: The features are not there or lack a column, or the database fails.
        ValueError: A feature is infinite.
    """
    counts = np.zeros(len(segmenter.ids), np.int64)
    build = _Builder(segmenter)

    def assigned(features: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in features:
            built = build(batch, counts)
            if progress is not None:
                progress(int(counts.sum()))
            yield built

    check_columns([CUSTOMER, *segmenter.columns])
    names = ", ".join(quote(name) for name in (CUSTOMER, *segmenter.columns))
    source = features_of(warehouse, features_table, run_date)
    query = f"SELECT {names} FROM {quote(source)}"  # noqa: S608 - checked names
    with (
        closing(_ahead(warehouse.read(query, rows=rows))) as features,
        closing(_ahead(assigned(features))) as segments,
    ):
        written = warehouse.publish(target_table, run_date, segments, schema=build.schema)
    return Scored(written, dict(zip(segmenter.ids.tolist(), counts.tolist(), strict=True)))


class _Builder:
    """Turns batches of features into batches of segments."""

    def __init__(self, segmenter: Segmenter) -> None:
        import pyarrow as pa

        self._segmenter = segmenter
        self._ids = segmenter.ids.astype(np.int32)
        # Texts are written as positions in these, which costs a third of writing them out.
        self._names = pa.array([segment.name for segment in segmenter.segments.segments], pa.string())
        self._version = pa.array([segmenter.version], pa.string())
        text = pa.dictionary(pa.int32(), pa.string())
        self.schema = pa.schema(
            {
                CUSTOMER: pa.int64(),
                "segment_id": pa.int32(),
                "segment_name": text,
                "distance": pa.float32(),
                "confidence": pa.float32(),
                "model_version": text,
            }
        )

    def __call__(self, batch: pa.RecordBatch, counts: np.ndarray[tuple[int], np.dtype[np.int64]]) -> pa.RecordBatch:
        """The segments of a batch; adds to the counts of the segments."""
        import pyarrow as pa

        columns = [batch.column(name).to_numpy(zero_copy_only=False) for name in self._segmenter.columns]
        found = self._segmenter.assign_columns(columns)
        counts += np.bincount(found.indices, minlength=len(counts))
        nearest = found.distances[np.arange(len(found.indices)), found.indices]
        only = pa.array(np.zeros(len(found.indices), np.int32))
        return pa.record_batch(
            [
                batch.column(CUSTOMER).cast(pa.int64()),
                pa.array(self._ids[found.indices]),
                pa.DictionaryArray.from_arrays(pa.array(found.indices), self._names),
                pa.array(nearest),
                pa.array(found.confidence),
                pa.DictionaryArray.from_arrays(only, self._version),
            ],
            schema=self.schema,
        )


def _ahead(source: Iterator[_Item]) -> Generator[_Item, None, None]:
    """The items of a source that a thread of its own reads ahead; closing it ends the thread."""
    waiting: queue.Queue[tuple[_Item | None, BaseException | None]] = queue.Queue(_WAITING)
    given_up = threading.Event()

    def put(item: _Item | None, error: BaseException | None) -> bool:
        while not given_up.is_set():
            try:
                waiting.put((item, error), timeout=0.1)
            except queue.Full:
                continue
            return True
        return False

    def read() -> None:
        try:
            for item in source:
                if not put(item, None):
                    return
        except BaseException as error:  # noqa: BLE001 - belongs to whoever waits for the items
            put(None, error)
        else:
            put(None, StopIteration())

    thread = threading.Thread(target=read, name="read-ahead", daemon=True)

    def items() -> Generator[_Item, None, None]:
        thread.start()
        try:
            while True:
                item, error = waiting.get()
                if isinstance(error, StopIteration):
                    return
                if error is not None:
                    raise error
                yield item  # type: ignore[misc]
        finally:
            given_up.set()
            thread.join()

    return items()
