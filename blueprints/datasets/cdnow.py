"""CDNOW: every purchase of 23,570 customers of a music shop, from their first one in early 1997 to June 1998.

All of them bought for the first time in the first quarter of 1997. Dates are days (taken as midnight UTC), 80 purchases
cost nothing (free offers), and 255 rows repeat an earlier one: two equal purchases on one day, so they stay.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from blueprints.datasets.carriers import LIFETIMES
from blueprints.datasets.errors import DatasetError
from blueprints.datasets.named import NamedDataset

if TYPE_CHECKING:
    import pandas as pd

HEADER = ("customer_id", "date", "number_of_cds", "dollar_value")
LAST_DAY = datetime(1998, 6, 30, tzinfo=UTC)
"""The last day of the data."""


def read_purchases(content: bytes, *, origin: str) -> pd.DataFrame:
    """A file of purchases: columns with white space between them, a header first.

    Raises:
        DatasetError: The header or a line has another form.
    """
    import pandas as pd

    header, *rows = [tuple(line.split()) for line in content.decode("ascii").splitlines() if line.strip()] or [()]
    if header != HEADER:
        raise DatasetError(f"{origin}: the header is {' '.join(header)!r}, expected {' '.join(HEADER)!r}")
    for number, row in enumerate(rows, start=2):
        if len(row) != len(HEADER):
            raise DatasetError(f"{origin}: line {number} has {len(row)} fields, expected {len(HEADER)}")
    return pd.DataFrame(rows, columns=list(HEADER))


def prepare(tables: list[pd.DataFrame]) -> pd.DataFrame:
    """The table with the names of the blueprint's purchases."""
    (raw,) = tables
    day = raw["date"].str
    names = {"number_of_cds": "quantity", "dollar_value": "amount"}
    return raw.rename(columns=names).assign(purchased_at=day[:4] + "-" + day[4:6] + "-" + day[6:])


CDNOW = NamedDataset(
    name="cdnow",
    version="1.0.0",
    title="Purchases at CDNOW",
    source="Fader & Hardie (2001), CDNOW master data; file from the package lifetimes 0.11.3",
    licence="MIT",
    carrier=LIFETIMES,
    files=tuple(LIFETIMES.files),
    prepare=prepare,
    read=read_purchases,
)
