"""Fixtures for every test: a small, real model package, databases that are thrown away."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import xgboost
from numpy.typing import NDArray

from blueprints.credit_risk.scorer import POLICY, WEIGHTS, Calibration, CreditScorer, Policy, feature_types
from blueprints.model_package import Lineage, ModelPackage, Signature, write_package
from blueprints.schema import Column
from tests.online_stores import empty_store  # noqa: F401 - a fixture
from tests.postgres_server import Cluster, running_cluster
from tests.redis_server import RedisServer, running_redis

CREDIT_COLUMNS = (
    Column(name="credit_limit", kind="number", title="Credit limit", unit="NTD", minimum=10_000, maximum=1_000_000),
    Column(name="age_of_account", kind="integer", title="Age of the account", unit="months", minimum=0, maximum=600),
    Column(name="late_payments", kind="integer", title="Late payments in the last year", minimum=0, maximum=12),
    Column(
        name="education",
        kind="category",
        title="Education",
        categories=("graduate school", "university", "high school", "other"),
    ),
    Column(name="housing", kind="category", title="Housing", categories=("own", "rent", "free")),
    Column(
        name="utilisation",
        kind="number",
        title="Share of the limit in use",
        description="Statement balance over credit limit.",
        minimum=0,
        maximum=2,
        nullable=True,
    ),
)


def credit_features(rows: int, seed: int) -> NDArray[np.float32]:
    """Feature rows that fit `CREDIT_COLUMNS`, categories as codes, a tenth of the utilisation missing."""
    rng = np.random.default_rng(seed)
    return np.column_stack(
        [
            rng.uniform(10_000, 1_000_000, rows).round(),
            rng.integers(0, 601, rows),
            rng.integers(0, 13, rows),
            rng.integers(0, 4, rows),
            rng.integers(0, 3, rows),
            np.where(rng.random(rows) < 0.1, np.nan, rng.uniform(0, 2, rows)),
        ]
    ).astype(np.float32)


def _defaults(features: NDArray[np.float32], seed: int) -> NDArray[np.int64]:
    limit, months, late, education, housing, used = features.T
    risk = (
        late / 4 + np.nan_to_num(used, nan=0.8) - limit / 5e5 - months / 400 + (housing == 1) + (education == 2) * 0.5
    )
    return (risk + np.random.default_rng(seed).normal(size=len(risk)) > 2).astype(np.int64)


# Folders whose tests tell how long things take.
ALONE = [Path(__file__).parent / name for name in ("benchmarks", "localcluster")]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks what must not run beside other tests."""
    for item in items:
        if any(item.path.is_relative_to(folder) for folder in ALONE):
            item.add_marker(pytest.mark.alone)


@pytest.fixture(scope="session")
def make_credit_package() -> Callable[[Path, int], ModelPackage]:
    """Writes a small credit model package to a folder, trained with a seed: other seeds give other versions."""

    def make(folder: Path, seed: int = 0) -> ModelPackage:
        features = credit_features(2_000, seed)
        names = [column.name for column in CREDIT_COLUMNS]
        matrix = xgboost.DMatrix(
            features, _defaults(features, seed), feature_names=names, feature_types=feature_types(CREDIT_COLUMNS)
        )
        parameters = {"objective": "binary:logistic", "max_depth": 3, "tree_method": "hist", "seed": seed, "nthread": 1}
        booster = xgboost.train(parameters, matrix, 40)
        policy = Policy(
            threshold=0.3,
            cost_false_negative=5,
            cost_false_positive=1,
            calibration=Calibration(
                method="platt", margins=(-6, -2, 0, 2, 6), probabilities=(0.01, 0.1, 0.4, 0.8, 0.99)
            ),
        )
        reference = pa.table(
            {
                **{
                    column.name: pa.array([column.categories[int(code)] for code in values])
                    if column.kind == "category"
                    else pa.array(values, from_pandas=True)
                    for column, values in zip(CREDIT_COLUMNS, features[:200].T, strict=True)
                },
                "probability_of_default": policy.calibration(
                    booster.inplace_predict(features[:200], predict_type="margin", validate_features=False)
                ),
            }
        )
        return write_package(
            folder,
            files={
                WEIGHTS: bytes(booster.save_raw("ubj")),
                POLICY: policy.model_dump_json().encode(),
            },
            signature=Signature(
                model_name="credit-risk",
                inputs=CREDIT_COLUMNS,
                outputs=(Column(name="probability_of_default", kind="number", minimum=0, maximum=1),),
            ),
            lineage=Lineage(
                created_at=datetime(2026, 1, 1, tzinfo=UTC),
                git_commit="0" * 40,
                dataset="synthetic",
                dataset_version="1",
                dataset_sha256="0" * 64,
                pipeline_run="test-run",
            ),
            reference=reference,
            model_card="# A model for tests\n",
        )

    return make


@pytest.fixture(scope="session")
def credit_package(
    tmp_path_factory: pytest.TempPathFactory, make_credit_package: Callable[[Path, int], ModelPackage]
) -> ModelPackage:
    """A small, real, verified credit model package."""
    return make_credit_package(tmp_path_factory.mktemp("package") / "credit-risk", 0)


@pytest.fixture(scope="session")
def credit_scorer(credit_package: ModelPackage) -> CreditScorer:
    """The scorer of `credit_package`."""
    return CreditScorer(credit_package)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Cluster]:
    """A throw-away PostgreSQL server."""
    yield from running_cluster()


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A throw-away Redis server."""
    yield from running_redis(tmp_path_factory.mktemp("redis"))
