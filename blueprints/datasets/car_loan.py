"""Synthetic car loans: 100,000 applications in time order, January 2018 to August 2019, with a drift in the data.

The carrier splits them into a reference half, an analysis half and the outcomes of the latter. Its target `repaid` is
1 for a repaid loan; the event here is the default, so it is turned round. The predictions of the carrier's own model
are left out. Timestamps have no zone in the file and are taken as UTC.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from blueprints.datasets.carriers import NANNYML
from blueprints.datasets.named import NamedDataset

if TYPE_CHECKING:
    import pandas as pd

DRIFT_BEGINS = datetime(2019, 3, 31, 3, tzinfo=UTC)
"""From here on (row 75,001) cars cost 64 % more on average, four in five applicants repaid a previous loan (55 %
before) and one in a hundred earns above 60K (ten before). Found in the data: the means are flat on either side."""

SALARY = {"0 - 20K €": "up to 20K", "20K - 40K €": "20K to 40K", "40K - 60K €": "40K to 60K", "60K+ €": "above 60K"}
PREVIOUS_LOAN_REPAID = {"False": "no", "True": "yes"}
DEFAULT = {"1": "0", "1.0": "0", "0": "1", "0.0": "1"}


def prepare(tables: list[pd.DataFrame]) -> pd.DataFrame:
    """Both halves in one table, with labels for people and the default as event."""
    import pandas as pd

    reference, analysis, outcomes = tables
    raw = pd.concat([reference, analysis.merge(outcomes, on="id", validate="one_to_one")], ignore_index=True)
    names = {"id": "loan_id", "timestamp": "applied_at", "size_of_downpayment": "down_payment"}
    return raw.rename(columns=names).assign(
        salary_range=raw["salary_range"].map(SALARY),
        previous_loan_repaid=raw["repaid_loan_on_prev_car"].map(PREVIOUS_LOAN_REPAID),
        default=raw["repaid"].map(DEFAULT),
    )


CAR_LOAN = NamedDataset(
    name="car_loan",
    version="1.0.0",
    title="Car loans with a drift",
    source="Synthetic car loan data of NannyML; files from the package nannyml 0.13.1",
    licence="Apache-2.0",
    carrier=NANNYML,
    files=tuple(NANNYML.files),
    prepare=prepare,
)
