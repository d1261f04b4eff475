"""Features of customers out of millions of purchases, beside pandas."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.figures import Figure, figure
from benchmarks.segmentation.data import write_transactions
from benchmarks.segmentation.effort import Effort
from benchmarks.segmentation.processes import Found, answer, call

if TYPE_CHECKING:
    import pandas as pd

Progress = Callable[[str], None]

AS_OF = date(2025, 11, 1)
_PLAIN_TABLE = "plain_features"
_SETS = {"basic": "recency, frequency, monetary", "rich": "all ten features, with deviations, distinct days and gaps"}


def rfm_figures(effort: Effort, scratch: Path, progress: Progress) -> dict[str, Figure]:
    """Time and memory of computing and publishing features.

    Raises:
        RuntimeError: Both ways do not give the same features.
    """
    database = scratch / "purchases.duckdb"
    progress(f"making {effort.transactions:,} purchases")
    call("rfm", "make", database=database, rows=effort.transactions, customers=effort.customers)
    result: dict[str, Figure] = {}
    for name in _SETS:
        progress(f"{name} features, SQL and pandas")
        ours = [call("rfm", "ours", database=database, rich=name == "rich") for _ in range(effort.repeats)]
        plain = call("rfm", "plain", database=database, rich=name == "rich")
        differing = call("rfm", "difference", database=database)
        if differing["rows"]:
            raise RuntimeError(f"{name}: {differing['rows']:,} customers have other features in pandas")
        result |= figures(name, effort, ours, plain)
    database.unlink()
    return result


def figures(name: str, effort: Effort, ours: Sequence[Found], plain: Found) -> dict[str, Figure]:
    """What the runs with one set of features say."""
    seconds, peak = statistics.median(one["seconds"] for one in ours), max(one["peak_mb"] for one in ours)
    return {
        f"rfm_10m_s_{name}": figure(
            seconds,
            "s",
            f"{_SETS[name]}: {effort.transactions:,} purchases of {effort.customers:,} customers in a DuckDB file, "
            f"published there, in a process of its own; median of {len(ours)}; baseline: read into pandas, grouped, "
            "written back, once; both give the same figures",
            baseline=plain["seconds"],
            ratio=seconds / plain["seconds"],
        ),
        f"rfm_10m_peak_mb_{name}": figure(
            peak,
            "MB",
            "most resident memory of these processes; baseline: of the one with pandas",
            baseline=plain["peak_mb"],
            ratio=peak / plain["peak_mb"],
        ),
    }


def make(database: str, rows: int, customers: int) -> Found:
    """Writes the purchases."""
    write_transactions(Path(database), rows, customers)
    return {}


def ours(database: str, rich: bool) -> Found:
    """Computes and publishes features as the blueprint does."""
    import duckdb  # noqa: F401

    from blueprints.segmentation.features import publish_features
    from blueprints.segmentation.warehouse import open_warehouse

    begun = time.perf_counter()
    with open_warehouse(f"duckdb:///{database}") as warehouse:
        rows = publish_features(warehouse, AS_OF, rich=rich)
    return {"seconds": time.perf_counter() - begun, "rows": rows}


def plain(database: str, rich: bool) -> Found:
    """Computes and writes the same features with pandas."""
    import duckdb

    from blueprints.segmentation.transactions import TRANSACTIONS

    begun = time.perf_counter()
    with duckdb.connect(database) as connection:
        columns = "customer_id, purchased_at, quantity, amount" if rich else "customer_id, purchased_at, amount"
        frame = connection.execute(f"SELECT {columns} FROM {TRANSACTIONS}").df()  # noqa: S608
        found = pandas_features(frame, rich=rich)
        connection.register("found", found)
        connection.execute(f"CREATE OR REPLACE TABLE {_PLAIN_TABLE} AS SELECT * FROM found")  # noqa: S608
    return {"seconds": time.perf_counter() - begun, "rows": len(found)}


def pandas_features(frame: pd.DataFrame, *, rich: bool) -> pd.DataFrame:
    """The features of `features_sql` as one would write them in pandas."""
    import pandas as pd

    until = pd.Timestamp(AS_OF)
    frame = frame[frame["purchased_at"] < until]
    frame = frame.assign(day=frame["purchased_at"].dt.normalize())
    customers = frame.groupby("customer_id")
    amounts = customers["amount"]
    found = pd.DataFrame(
        {
            "recency_days": (until - customers["day"].max()).dt.days,
            "frequency": amounts.size(),
            "monetary": amounts.sum(),
        }
    )
    if rich:
        days = frame[["customer_id", "day"]].drop_duplicates().sort_values(["customer_id", "day"])
        visits = days.groupby("customer_id")["day"]
        gaps = visits.diff().dt.days.groupby(days["customer_id"])
        found = found.assign(
            average_amount=amounts.mean(),
            amount_deviation=amounts.std(),
            distinct_days=visits.size(),
            tenure_days=(until - visits.min()).dt.days,
            mean_gap_days=gaps.mean(),
            gap_deviation=gaps.std(),
            average_quantity=customers["quantity"].mean(),
        )
    return found.reset_index()


def difference(database: str) -> Found:
    """How many customers have other features in one table than in the other."""
    import duckdb

    from blueprints.segmentation.features import FEATURE_TABLE

    with duckdb.connect(database, read_only=True) as connection:
        names = [row[0] for row in connection.execute(f"DESCRIBE {_PLAIN_TABLE}").fetchall()]
        other = " OR ".join(
            f"(ours.{name} IS NULL) <> (plain.{name} IS NULL OR isnan(plain.{name}::DOUBLE)) "
            f"OR abs(ours.{name} - plain.{name}) > 1e-6 * greatest(1, abs(ours.{name}))"
            for name in names[1:]
        )
        query = f"""
SELECT count(*) FROM {FEATURE_TABLE}_current AS ours FULL JOIN {_PLAIN_TABLE} AS plain USING (customer_id)
WHERE ours.frequency IS NULL OR plain.frequency IS NULL OR {other}
"""  # noqa: S608 - names of ours
        row = connection.execute(query).fetchone()
    return {"rows": row[0] if row else 0}


if __name__ == "__main__":
    answer({"make": make, "ours": ours, "plain": plain, "difference": difference})
