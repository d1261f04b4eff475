"""A small table of loans with known properties, and a scorecard trained on it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from blueprints.credit_risk.training import TrainedModel, TrainingConfig, train
from blueprints.schema import Column, TableSchema

LOANS = TableSchema(
    columns=(
        Column(name="income", kind="number", title="Income", unit="EUR", minimum=0, nullable=True),
        Column(name="amount", kind="integer", title="Amount", minimum=0),
        Column(name="purpose", kind="category", title="Purpose", categories=("car", "house", "business")),
        Column(name="region", kind="category", title="Region", categories=("north", "south"), nullable=True),
        Column(name="sex", kind="category", title="Sex", categories=("female", "male")),
        Column(name="age", kind="integer", title="Age", minimum=18, maximum=90),
        Column(name="defaulted", kind="integer"),
    ),
    target="defaulted",
    protected=("sex", "age"),
)
DATED_LOANS = LOANS.model_copy(
    update={"columns": (*LOANS.columns, Column(name="applied_at", kind="timestamp")), "time": "applied_at"}
)


@pytest.fixture(scope="session")
def loans_schema() -> TableSchema:
    """Loans without a time."""
    return LOANS


@pytest.fixture(scope="session")
def dated_loans_schema() -> TableSchema:
    """Loans with a time."""
    return DATED_LOANS


@pytest.fixture(scope="session")
def make_loans() -> Callable[..., pd.DataFrame]:
    """Makes loans, typed as `conform` types them; `bias` is what a region that follows the sex adds to the risk."""

    def make(rows: int, seed: int = 0, bias: float = 0.0) -> pd.DataFrame:
        rng = np.random.default_rng(seed)
        male = rng.random(rows) < 0.5
        south = np.where(rng.random(rows) < 0.9, male, ~male)
        income = rng.lognormal(8, 0.5, rows)
        amount = rng.integers(100, 10_000, rows)
        purpose = rng.integers(0, 3, rows)
        risk = -3 - 2 * (np.log(income) - 8) + amount / 2_500 + 1.5 * (purpose == 2) + bias * south - bias / 2
        table = {
            "income": np.where(rng.random(rows) < 0.1, np.nan, income),
            "amount": amount,
            "purpose": pd.Categorical.from_codes(purpose, ["car", "house", "business"]),
            "region": pd.Categorical.from_codes(np.where(rng.random(rows) < 0.05, -1, south), ["north", "south"]),
            "sex": pd.Categorical.from_codes(male.astype(int), ["female", "male"]),
            "age": rng.integers(18, 91, rows),
            "defaulted": (risk + rng.logistic(size=rows) > 0).astype(np.int8),
            "applied_at": pd.date_range("2024-01-01", periods=rows, freq="h", tz="UTC").as_unit("ns"),
        }
        return pd.DataFrame(table)

    return make


@pytest.fixture(scope="session")
def loans_model(make_loans: Callable[..., pd.DataFrame]) -> TrainedModel:
    """A scorecard trained on loans of seeds 1 and 2."""
    return train(make_loans(1_500, 1), make_loans(600, 2), LOANS, TrainingConfig(trials=1, max_rounds=120))
