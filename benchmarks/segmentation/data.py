"""Rows to cluster and tables to score, all made from seeds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from blueprints.segmentation.features import FEATURES
from blueprints.segmentation.transactions import TRANSACTIONS

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

FEATURES_TABLE = "generated_features"
SCORED = tuple(column for column in FEATURES if column.name not in ("amount_deviation", "gap_deviation"))
"""The eight features that are scored."""

_CHUNK = 65_536
_DIFFERENT = 1_000_000


@dataclass(frozen=True)
class Mixture:
    """A mixture of clouds of points.

    Attributes:
        rows: Points.
        features: Dimensions.
        clusters: Clouds.
        apart: Standard deviation of the clouds' centres, where that of a cloud's points is about 1.
        uneven: How much the sizes of the clouds differ, 0 for equal ones to 1.
        spread: How much their widths differ: standard deviation of the logarithm.
        heavy: Whether points lie far out now and then (Student's t with 4 degrees of freedom).
        seed: Seed of everything.
    """

    rows: int
    features: int
    clusters: int
    apart: float
    uneven: float = 0.5
    spread: float = 0.3
    heavy: bool = False
    seed: int = 0

    def points(self) -> NDArray[np.float64]:
        """The points, standardised, shape (rows, features); made in parts, so that little more memory is needed."""
        rng = np.random.default_rng(self.seed)
        centers = rng.normal(0, self.apart, (self.clusters, self.features))
        widths = np.exp(rng.normal(0, self.spread, (self.clusters, self.features)))
        shares = (1 - self.uneven) / self.clusters + self.uneven * rng.dirichlet(np.ones(self.clusters))
        points = np.empty((self.rows, self.features))
        for start in range(0, self.rows, _CHUNK):
            part = points[start : start + _CHUNK]
            own = rng.choice(self.clusters, len(part), p=shares)
            noise = rng.standard_t(4, part.shape) if self.heavy else rng.normal(size=part.shape)
            part[:] = centers[own] + widths[own] * noise
        for feature in range(self.features):
            points[:, feature] -= points[:, feature].mean()
            points[:, feature] /= points[:, feature].std()
        return points


def varied(number: int) -> Mixture:
    """One of many data sets that differ in size, dimension, clusters, overlap, sizes and shapes."""
    rng = np.random.default_rng([20_260, number])
    return Mixture(
        rows=int(np.exp(rng.uniform(np.log(500), np.log(6000)))),
        features=int(rng.integers(2, 11)),
        clusters=int(rng.integers(2, 10)),
        apart=float(rng.uniform(1, 5)),
        uneven=float(rng.uniform(0, 0.9)),
        spread=float(rng.uniform(0, 0.6)),
        heavy=bool(rng.random() < 0.25),
        seed=number,
    )


def write_features(database: Path, rows: int) -> None:
    """Makes a DuckDB file with the features of so many customers of six kinds, in the types that publishing gives.

    What is random is a hash of the customer's number, so the rows are the same on any number of threads. After a
    million customers the same features come again, from which nothing that is measured can profit.
    """
    import duckdb

    # Kinds by how many days they stay away, how often they buy, what they spend, and for how long they are customers.
    kinds = {
        "away": (20, 45, 90, 200, 300, 400),
        "often": (30, 12, 5, 3, 1.5, 1),
        "spend": (60, 25, 40, 15, 35, 12),
        "since": (700, 500, 600, 400, 450, 500),
    }
    levels = {name: f"[{', '.join(map(str, values))}][kind]" for name, values in kinds.items()}
    query = f"""
CREATE TABLE {FEATURES_TABLE} AS
WITH different AS MATERIALIZED (
SELECT customer_id,
       CAST(least(1 + {levels["away"]} * exp(0.5 * z1), 900) AS INTEGER) AS recency_days,
       CAST(ceil(days * (1 + 0.3 * u3)) AS INTEGER) AS frequency,
       round(ceil(days * (1 + 0.3 * u3)) * amount, 2) AS monetary,
       amount AS average_amount,
       CAST(days AS INTEGER) AS distinct_days,
       CAST({levels["since"]} * (0.5 + u4) + 900 * u3 AS INTEGER) AS tenure_days,
       CASE WHEN days > 1 THEN {levels["since"]} * (0.5 + u4) / days END AS mean_gap_days,
       1 + 3 * u4 * u3 AS average_quantity
FROM (
    SELECT *, ceil({levels["often"]} * exp(0.4 * z2)) AS days, round({levels["spend"]} * exp(0.5 * z3), 2) AS amount
    FROM (
        SELECT customer_id, u3, u4, 1 + CAST(floor(6 * u0) AS INTEGER) AS kind,
               sqrt(-2 * ln(u1)) * cos(2 * pi() * u2) AS z1, sqrt(-2 * ln(u1)) * sin(2 * pi() * u2) AS z2,
               sqrt(-2 * ln(u3)) * cos(2 * pi() * u4) AS z3
        FROM (SELECT range AS customer_id, {_uniforms(5)} FROM range({min(rows, _DIFFERENT)}))
    )
)
)
SELECT customer_id + {_DIFFERENT} * block AS customer_id, * EXCLUDE (customer_id, block)
FROM different CROSS JOIN (SELECT range AS block FROM range({-(-rows // _DIFFERENT)}))
WHERE customer_id + {_DIFFERENT} * block < {rows}
"""  # noqa: S608 - names and numbers of ours
    with duckdb.connect(str(database), config={"preserve_insertion_order": False}) as connection:
        connection.execute(query)


def write_transactions(database: Path, rows: int, customers: int) -> None:
    """Makes a DuckDB file with purchases over two years, in no order, of customers of whom few buy much."""
    import duckdb

    query = f"""
CREATE TABLE {TRANSACTIONS} AS
SELECT 1 + CAST(floor({customers} * u0 * u0) AS BIGINT) AS customer_id,
       TIMESTAMP '2024-01-01' + to_seconds(floor(63158400 * u1)) AS purchased_at,
       CAST(1 + floor(4 * u2 * u2) AS INTEGER) AS quantity,
       round(exp(3 + 0.8 * sqrt(-2 * ln(u3)) * cos(2 * pi() * u4)), 2) AS amount
FROM (SELECT {_uniforms(5)} FROM range({rows}))
"""  # noqa: S608 - names and numbers of ours
    with duckdb.connect(str(database), config={"preserve_insertion_order": False}) as connection:
        connection.execute(query)


def _uniforms(count: int) -> str:
    """Columns u0, u1, … of numbers above 0 and below 1, from the column `range`."""
    hashes = (f"(hash(range * {count} + {number}) // 2048 + 0.5) / 9007199254740992" for number in range(count))
    return ", ".join(f"{uniform} AS u{number}" for number, uniform in enumerate(hashes))
