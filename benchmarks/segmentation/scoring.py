"""Scoring millions of customers: warehouse, model, warehouse."""

from __future__ import annotations

import math
import shutil
import statistics
import time
from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path

import numpy as np

from benchmarks.figures import Figure, figure
from benchmarks.segmentation.data import FEATURES_TABLE, SCORED, write_features
from benchmarks.segmentation.effort import Effort
from benchmarks.segmentation.processes import Found, answer, call

Progress = Callable[[str], None]

RUN_DATE = date(2026, 1, 1)
CLUSTERS = 6

_PLAIN_TABLE = "plain_segments"
_MODEL_ROWS = 50_000
# What one row may take: on the disk in all tables, and in memory in the plain way.
_DISK_BYTES, _PLAIN_BYTES = 120, 700


def scoring_figures(effort: Effort, scratch: Path, progress: Progress) -> dict[str, Figure]:
    """Time and memory of scoring."""
    import psutil  # type: ignore[import-untyped]

    rows, many = effort.score_rows, effort.large_score_rows
    database, model = scratch / "customers.duckdb", scratch / "model"
    progress(f"making {rows:,} customers")
    call("scoring", "make", database=database, rows=rows)
    call("scoring", "train", database=database, folder=model)
    progress(f"scoring {rows:,} customers")
    ours = [call("scoring", "ours", database=database, folder=model) for _ in range(effort.repeats)]
    fits = psutil.virtual_memory().available > rows * _PLAIN_BYTES
    plain_rows = rows if fits else rows // 10
    progress(f"scoring {plain_rows:,} customers the plain way")
    plain = call("scoring", "plain", database=database, folder=model, rows=plain_rows)
    same = call("scoring", "agreement", database=database)
    database.unlink()
    large = None
    if shutil.disk_usage(scratch).free > many * _DISK_BYTES:
        progress(f"making {many:,} customers")
        call("scoring", "make", database=database, rows=many)
        progress(f"scoring {many:,} customers")
        large = call("scoring", "ours", database=database, folder=model)
        database.unlink()
    return figures(rows, many, ours, plain, same, large)


def figures(
    rows: int, many: int, ours: Sequence[Found], plain: Found, same: Found, large: Found | None
) -> dict[str, Figure]:
    """What the runs say; `large` is None if the disk had no room for it."""
    seconds = statistics.median(one["seconds"] for one in ours)
    peak = max(one["peak_mb"] for one in ours)
    scale = rows / plain["rows"]
    scaled = "" if scale == 1 else f", measured with {plain['rows']:,} rows and scaled"
    what = f"{len(SCORED)} features and {CLUSTERS} segments, DuckDB file"
    no_room = f"not measured: the disk has no {many * _DISK_BYTES / 1e9:.0f} GB to spare"
    far: Found = large or {"seconds": math.nan, "peak_mb": math.nan}
    return {
        "score_10m_rows_s": figure(
            seconds,
            "s",
            f"{rows:,} customers, {what}: read, assign (with distance, confidence and name), publish, in a process of "
            f"its own, imports and model loading not counted; median of {len(ours)}, longest "
            f"{max(one['seconds'] for one in ours):.2f}; baseline: pandas, Pipeline.predict, customer and segment "
            f"written back{scaled}",
            baseline=plain["seconds"] * scale,
            ratio=seconds / (plain["seconds"] * scale),
        ),
        "score_10m_peak_mb": figure(
            peak,
            "MB",
            f"most resident memory of these processes; baseline: of the plain one{scaled}",
            baseline=plain["peak_mb"] * scale,
            ratio=peak / (plain["peak_mb"] * scale),
        ),
        "score_10m_agreement": figure(
            same["same"] / same["rows"], "fraction", "share of these rows that Pipeline.predict gives the same segment"
        ),
        "score_100m_rows_s": figure(
            far["seconds"], "s", f"{many:,} customers, else as score_10m_rows_s, once" if large else no_room
        ),
        "score_100m_peak_mb": figure(
            far["peak_mb"],
            "MB",
            "most resident memory of that process; baseline: score_10m_peak_mb" if large else no_room,
            baseline=peak,
            ratio=far["peak_mb"] / peak,
        ),
    }


def make(database: str, rows: int) -> Found:
    """Writes the features."""
    write_features(Path(database), rows)
    return {}


def train(database: str, folder: str) -> Found:
    """Trains a model on a sample of them."""
    from blueprints.segmentation.partitions import summarize
    from blueprints.segmentation.training import train_segments
    from blueprints.segmentation.transactions import CUSTOMER
    from blueprints.segmentation.warehouse import open_warehouse

    names = [column.name for column in SCORED]
    query = f"SELECT {CUSTOMER}, {', '.join(names)} FROM {FEATURES_TABLE} WHERE {CUSTOMER} < {_MODEL_ROWS}"  # noqa: S608
    with open_warehouse(f"duckdb:///{database}", read_only=True) as warehouse:
        summary = summarize(warehouse.read(query), names, identifier=CUSTOMER)
    train_segments(summary, SCORED, ks=[CLUSTERS], bootstraps=0).save(Path(folder))
    return {}


def ours(database: str, folder: str) -> Found:
    """Scores every customer as the blueprint does."""
    import duckdb  # noqa: F401
    import pyarrow as pa  # noqa: F401

    from blueprints.segmentation.preprocessing import load_model
    from blueprints.segmentation.scoring import score
    from blueprints.segmentation.segmenter import WEIGHTS, Segmenter
    from blueprints.segmentation.segments import SEGMENTS, Segments
    from blueprints.segmentation.warehouse import open_warehouse

    segments = Segments.model_validate_json((Path(folder) / SEGMENTS).read_text())
    segmenter = Segmenter(load_model((Path(folder) / WEIGHTS).read_bytes()), segments, version="benchmark")
    begun = time.perf_counter()
    with open_warehouse(f"duckdb:///{database}") as warehouse:
        scored = score(warehouse, segmenter, features_table=FEATURES_TABLE, run_date=RUN_DATE)
    return {"seconds": time.perf_counter() - begun, "rows": scored.rows}


def plain(database: str, folder: str, rows: int) -> Found:
    """Scores the first customers as one would with pandas."""
    import duckdb
    import pandas as pd

    from blueprints.segmentation.preprocessing import load_model
    from blueprints.segmentation.segmenter import WEIGHTS
    from blueprints.segmentation.transactions import CUSTOMER

    pipeline = load_model((Path(folder) / WEIGHTS).read_bytes())
    names = [column.name for column in SCORED]
    begun = time.perf_counter()
    with duckdb.connect(database) as connection:
        frame = connection.execute(f"SELECT * FROM {FEATURES_TABLE} WHERE {CUSTOMER} < {rows}").df()  # noqa: S608
        labels = pipeline.predict(frame[names].to_numpy(np.float64))
        connection.register("labelled", pd.DataFrame({CUSTOMER: frame[CUSTOMER], "segment": labels}))
        connection.execute(f"CREATE OR REPLACE TABLE {_PLAIN_TABLE} AS SELECT * FROM labelled")  # noqa: S608
    return {"seconds": time.perf_counter() - begun, "rows": len(frame)}


def agreement(database: str) -> Found:
    """How many customers have the same segment both ways, whatever its number is called."""
    import duckdb

    from blueprints.segmentation.scoring import SEGMENT_TABLE
    from blueprints.segmentation.transactions import CUSTOMER

    query = f"""
SELECT segment, segment_id, count(*) FROM {_PLAIN_TABLE} JOIN {SEGMENT_TABLE}_current USING ({CUSTOMER})
GROUP BY ALL
"""  # noqa: S608 - names of ours
    with duckdb.connect(database, read_only=True) as connection:
        counts = connection.execute(query).fetchall()
    return same_segments(counts)


def same_segments(counts: Sequence[tuple[int, int, int]]) -> Found:
    """Rows whose two names of a segment go together, of rows by both names: each first name has its most frequent."""
    most: dict[int, int] = {}
    for first, _, rows in counts:
        most[first] = max(most.get(first, 0), rows)
    return {"same": sum(most.values()), "rows": sum(rows for *_, rows in counts)}


if __name__ == "__main__":
    answer({"make": make, "train": train, "ours": ours, "plain": plain, "agreement": agreement})
