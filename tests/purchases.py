"""Made-up purchases of customers who are plainly of three kinds, and go on buying in the same way."""

from __future__ import annotations

from datetime import date

import numpy as np
import pandas as pd

FIRST, FEBRUARY, MARCH = date(2024, 6, 1), date(2025, 2, 1), date(2025, 3, 1)
"""Day of the first purchases, and two dates that a run may be for."""

KINDS = ("regular", "occasional", "once")
"""A kind a customer: number i is of the kind `KINDS[i % 3]`."""

SCHEMA = """
columns:
  - {name: customer_id, kind: integer}
  - {name: purchased_at, kind: timestamp}
  - {name: quantity, kind: integer, minimum: 0}
  - {name: amount, kind: number, minimum: 0}
"""

# Days between purchases, items, price of an item.
_HABITS = {"regular": (6, 12, 5.0), "occasional": (35, 0.1, 200.0), "once": (10_000, 4, 4.0)}


def made_up_purchases(customers: int = 300, *, until: date = MARCH, seed: int = 0) -> pd.DataFrame:
    """Purchases before a date, in order of time; those before an earlier date are the same.

    Args:
        customers: How many buy, numbered from 1.
        until: The date.
        seed: Seed of everything that is drawn.
    """
    rows = []
    days = (until - FIRST).days
    for customer in range(1, customers + 1):
        rng = np.random.default_rng((seed, customer))
        gap, items, price = _HABITS[KINDS[customer % 3]]
        day = int(rng.integers(0, 30))
        while day < days:
            quantity = 1 + int(rng.poisson(items))
            amount = round(quantity * price * float(rng.lognormal(0, 0.2)), 2)
            at = pd.Timestamp(FIRST) + pd.Timedelta(days=day, hours=int(rng.integers(24)))
            rows.append((customer, at, quantity, amount))
            day += 1 + int(rng.poisson(gap))
    frame = pd.DataFrame(rows, columns=["customer_id", "purchased_at", "quantity", "amount"])
    return frame.sort_values(["purchased_at", "customer_id"], ignore_index=True)
