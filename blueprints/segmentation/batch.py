"""A date's batch run: every customer scored, and a report of who is in which segment and who moved."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date

import numpy as np

from blueprints.model_package import ModelPackage
from blueprints.report import Report
from blueprints.segmentation.customers import feature_batches
from blueprints.segmentation.features import FEATURE_TABLE
from blueprints.segmentation.migration import read_migration, read_names
from blueprints.segmentation.partitions import summarize
from blueprints.segmentation.profiles import profile
from blueprints.segmentation.reports import segments_report
from blueprints.segmentation.scoring import SEGMENT_TABLE, score
from blueprints.segmentation.segmenter import Segmenter
from blueprints.segmentation.training import with_sizes
from blueprints.segmentation.transactions import CUSTOMER, TRANSACTIONS
from blueprints.segmentation.warehouse import Warehouse

# Customers that profiles are made from.
_PROFILED = 100_000


@dataclass(frozen=True)
class Done:
    """What a batch run did.

    Attributes:
        metrics: Customers scored, and the share that kept their segment since the last date.
        page: The report.
    """

    metrics: dict[str, float]
    page: str


def score_and_report(
    warehouse: Warehouse,
    package: ModelPackage | None,
    run_date: date,
    *,
    features_table: str = FEATURE_TABLE,
    target_table: str = SEGMENT_TABLE,
    transactions: str = TRANSACTIONS,
    progress: Callable[[int, int, str], None] | None = None,
) -> Done:
    """Scores every customer as of a date and reports on it.

    Args:
        warehouse: Where features are and segments go.
        package: The segmentation that scores; None if there is none, and then nothing is written.
        run_date: The date.
        features_table: Name that the features are published under.
        target_table: Name to publish the segments under.
        transactions: Table of the purchases, which tells who bought in between.
        progress: Called with (customers, customers, words).

    Raises:
        WarehouseError: The features are not there, or the database fails.
    """
    if package is None:
        words = "There is no champion, and the gate did not allow this run's segments: nothing was written."
        return Done({"customers": 0}, Report("Segments", "").verdict(words, good=False).html())
    segmenter = Segmenter.from_package(package)
    earlier = [one for one in warehouse.run_dates(target_table) if one < run_date]

    def tell(done: int) -> None:
        if progress is not None:
            progress(done, done, "customers scored")

    scored = score(
        warehouse,
        segmenter,
        features_table=features_table,
        target_table=target_table,
        run_date=run_date,
        progress=tell,
    )
    migration, names_before = None, None
    if earlier:
        migration = read_migration(warehouse, earlier[-1], run_date, table=target_table, transactions=transactions)
        names_before = read_names(warehouse, earlier[-1], table=target_table)
    metrics: dict[str, float] = {"customers": scored.rows}
    if migration is not None and migration.stayed is not None:
        metrics["kept_segment"] = migration.stayed
    batches = feature_batches(warehouse, run_date, segmenter.columns, table=features_table)
    sample = summarize(batches, segmenter.columns, identifier=CUSTOMER, capacity=_PROFILED).sample
    page = segments_report(
        with_sizes(segmenter.segments, np.array(list(scored.by_segment.values()))),
        profile(sample, segmenter.predict(sample), segmenter.columns, len(segmenter.ids)),
        package.signature.inputs,
        migration=migration,
        names_before=names_before,
    )
    return Done(metrics, page)
