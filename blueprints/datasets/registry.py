"""The named datasets."""

from __future__ import annotations

from blueprints.datasets.car_loan import CAR_LOAN
from blueprints.datasets.errors import DatasetError
from blueprints.datasets.german import GERMAN
from blueprints.datasets.named import NamedDataset
from blueprints.datasets.taiwan import TAIWAN

CREDIT = (TAIWAN, CAR_LOAN, GERMAN)
"""Datasets for credit risk; the first is the default."""

_BY_NAME = {dataset.name: dataset for dataset in CREDIT}


def names() -> tuple[str, ...]:
    """Names of all datasets."""
    return tuple(_BY_NAME)


def get(name: str) -> NamedDataset:
    """The dataset of that name.

    Raises:
        DatasetError: There is none.
    """
    if name not in _BY_NAME:
        raise DatasetError(f"there is no dataset {name!r}; there are {', '.join(_BY_NAME)}")
    return _BY_NAME[name]
