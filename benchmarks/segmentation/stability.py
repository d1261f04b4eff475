"""Whether customers who did nothing keep their segment's id from month to month, on the CDNOW data."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.figures import Figure, figure
from benchmarks.segmentation.choosing import KS
from benchmarks.segmentation.processes import Found, answer, call

if TYPE_CHECKING:
    from blueprints.segmentation.migration import Migration

Progress = Callable[[str], None]

MONTHS = [date(1997 + month // 12, month % 12 + 1, 1) for month in range(1, 19)]
"""First days of the months that have a month of purchases before them; the data ends with June 1998."""

COMPARED = (date(1998, 5, 1), date(1998, 6, 1))

SOME = 5
"""Segments of the second round: the silhouette of these data chooses 2 mostly, whose ids are hard to mix up."""


def stability_figures(scratch: Path, progress: Progress) -> dict[str, Figure]:
    """The share of unchanged customers who keep their id, with as many segments as are chosen and with some more."""
    found = {}
    for ks in (list(KS), [SOME]):
        progress(f"{len(MONTHS)} monthly runs of CDNOW, {ks[0]} to {ks[-1]} segments")
        database = scratch / f"cdnow-{len(ks)}.duckdb"
        found[len(ks)] = call("stability", "run_months", database=database, months=MONTHS, ks=ks)["pairs"]
        database.unlink()
    return figures(found[len(KS)]) | figures(found[1], f"_{SOME}_segments")


def figures(pairs: Sequence[Found], name: str = "") -> dict[str, Figure]:
    """What the pairs of consecutive runs say.

    Args:
        pairs: See `pair_of`.
        name: End of the figures' names.
    """
    first, second = (day.isoformat() for day in COMPARED)
    compared = next(pair for pair in pairs if (pair["before"], pair["after"]) == (first, second))
    kept, renumbered = ([float(pair[way]) for pair in pairs] for way in ("kept", "renumbered"))
    least = pairs[int(np.argmin(kept))]
    among = "of the customers who bought nothing in between, those who keep their segment's id"
    return {
        f"segment_id_stability{name}": figure(
            compared["kept"],
            "fraction",
            f"CDNOW, runs as of {first} and {second} ({_segments(compared)}), the second trained with the first as its "
            f"champion: {among}, {compared['customers']:,} customers; baseline: each run numbered on its own, 1 for "
            "the largest segment",
            baseline=compared["renumbered"],
        ),
        f"segment_id_stability{name}_median": figure(
            statistics.median(kept),
            "fraction",
            f"the same over all {len(pairs)} pairs of consecutive months, each run the champion of the next; baseline: "
            "the median without matching",
            baseline=statistics.median(renumbered),
        ),
        f"segment_id_stability{name}_least": figure(
            min(kept),
            "fraction",
            f"the least of these pairs, {least['before']} to {least['after']} ({_segments(least)}); all customers of "
            "the data come new in January to March 1997; baseline: the same pair without matching",
            baseline=least["renumbered"],
        ),
    }


def run_months(database: str, months: list[str], ks: list[int]) -> Found:
    """Trains and scores month after month; what became of the customers between each two of them.

    Args:
        database: A DuckDB file, which is made.
        months: Dates of the runs.
        ks: Numbers of segments to choose from.
    """
    from blueprints import datasets
    from blueprints.segmentation.customers import feature_batches
    from blueprints.segmentation.features import FEATURE_TABLE, FEATURES, publish_features
    from blueprints.segmentation.matching import first_ids
    from blueprints.segmentation.migration import read_migration
    from blueprints.segmentation.partitions import summarize
    from blueprints.segmentation.scoring import score
    from blueprints.segmentation.training import train_segments
    from blueprints.segmentation.transactions import CUSTOMER, TRANSACTIONS, transaction_batches
    from blueprints.segmentation.warehouse import open_warehouse

    names = [column.name for column in FEATURES]
    previous: Any = None
    numbers: list[dict[int, int]] = []
    pairs: list[Found] = []
    with open_warehouse(f"duckdb:///{database}") as warehouse:
        warehouse.load(TRANSACTIONS, transaction_batches(datasets.get("cdnow").load()))
        days = [date.fromisoformat(month) for month in months]
        for number, day in enumerate(days):
            publish_features(warehouse, day)
            summary = summarize(feature_batches(warehouse, day, names), names, identifier=CUSTOMER)
            trained = train_segments(summary, FEATURES, previous=previous, ks=ks, bootstraps=0)
            segments = trained.segmenter.segments
            score(warehouse, trained.segmenter, features_table=FEATURE_TABLE, run_date=day)
            sizes = np.array([segment.size for segment in segments.segments])
            alone = first_ids(segments.centroids(), sizes)
            numbers.append(dict(zip(segments.ids, alone.ids, strict=True)))
            previous = trained.segmenter
            if number:
                migration = read_migration(warehouse, days[number - 1], day, transactions=TRANSACTIONS)
                pairs.append(pair_of(migration, numbers[-2], numbers[-1]))
    return {"pairs": pairs}


def pair_of(migration: Migration, before: dict[int, int], after: dict[int, int]) -> Found:
    """What became of the unchanged customers.

    Args:
        migration: Between two runs.
        before: By id of the earlier run's segments, the number that they would have without matching.
        after: The same of the later run.
    """
    both = [move for move in migration.moves if move.before is not None and move.after is not None]
    unchanged = sum(move.unchanged for move in both)
    same = sum(move.unchanged for move in both if before[move.before or 0] == after[move.after or 0])
    return {
        "before": str(migration.before),
        "after": str(migration.after),
        "customers": unchanged,
        "segments": [len(before), len(after)],
        "kept": migration.stayed_unchanged,
        "renumbered": same / unchanged if unchanged else 0.0,
    }


def _segments(pair: Found) -> str:
    before, after = pair["segments"]
    return f"{before} and {after} segments" if before != after else f"{after} segments each"


if __name__ == "__main__":
    answer({"run_months": run_months})
