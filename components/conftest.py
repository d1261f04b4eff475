"""Fixtures for the tests beside the components."""

from __future__ import annotations

import json
import os
import shutil
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_type_hints

import numpy as np
import pandas as pd
import pytest
from kfp import dsl, local

from blueprints.datasets import FileDataset, parse_schema, write_snapshot

Artifacts = dict[str, SimpleNamespace]

LOANS = """
target: defaulted
protected: [sex]
columns:
  - {name: income, kind: number, title: income, unit: EUR, minimum: 0, nullable: true}
  - {name: amount, kind: integer, title: amount, unit: EUR, minimum: 0}
  - {name: purpose, kind: category, title: purpose, categories: [car, house, business]}
  - {name: sex, kind: category, title: sex, categories: [female, male]}
  - {name: defaulted, kind: integer, minimum: 0, maximum: 1}
"""

REVIEWS = """
target: label
group: document
columns:
  - {name: text, kind: text, title: review, minimum_length: 3, maximum_length: 200}
  - {name: label, kind: category, categories: [negative, positive]}
  - {name: source, kind: category, categories: [film, shop]}
  - {name: document, kind: text}
"""


@pytest.fixture
def run_locally(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Makes calls of components run for real, as processes of this environment, below `tmp_path`."""
    root = str(Path(__file__).parents[1])
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")])))
    monkeypatch.setattr(local.config.LocalExecutionConfig, "instance", None)
    local.init(local.SubprocessRunner(use_venv=False), pipeline_root=str(tmp_path / "runs"))
    with warnings.catch_warnings():
        # The runner expects "python" in the image's name; there is no image here.
        warnings.simplefilter("ignore", RuntimeWarning)
        yield


@pytest.fixture
def run_component(run_locally: None, tmp_path: Path) -> Callable[..., SimpleNamespace]:  # noqa: ARG001
    """Runs one component for real.

    Called with the component, its input artifacts by name and its parameters; gives the folder with its outputs, the
    value that it returned and the metadata of its output artifacts by name.
    """

    def run(component: Any, inputs: Artifacts, **parameters: Any) -> SimpleNamespace:
        kinds = get_type_hints(component.python_func)

        @dsl.pipeline
        def alone():  # type: ignore[no-untyped-def]  # noqa: ANN202 - KFP reads annotations, and these are texts
            imported = {
                name: dsl.importer(artifact_uri=artifact.path, artifact_class=kinds[name]).output
                for name, artifact in inputs.items()
            }
            component(**imported, **parameters)

        alone()
        (folder,) = (tmp_path / "runs").glob(f"*/{component.name}")
        said = json.loads((folder / "executor_output.json").read_text())
        return SimpleNamespace(
            folder=folder,
            value=said.get("parameterValues", {}).get("Output"),
            metadata={name: made["artifacts"][0]["metadata"] for name, made in said.get("artifacts", {}).items()},
        )

    return run


def stand_in(path: Path, **metadata: Any) -> SimpleNamespace:
    """An artifact as the function of a component sees it; `logged` holds what it was told."""
    logged: dict[str, Any] = {}
    return SimpleNamespace(
        path=str(path),
        metadata=dict(metadata),
        logged=logged,
        log_metric=logged.__setitem__,
        log_roc_curve=lambda *curve: logged.update(roc_curve=curve),
        log_confusion_matrix=lambda *matrix: logged.update(confusion_matrix=matrix),
    )


@pytest.fixture
def artifact(tmp_path: Path) -> Callable[[str], SimpleNamespace]:
    """Makes an output artifact below `tmp_path`."""
    return lambda name: stand_in(tmp_path / name)


@pytest.fixture(scope="session")
def credit_chain(tmp_path_factory: pytest.TempPathFactory) -> Artifacts:
    """Outputs of the credit-risk components on 1,200 made-up loans, by name, for the components that come after them.

    Men pay less often than women of equal figures, so a strict fairness gate has something to find.
    """
    from components.data.split_dataset.component import split_dataset
    from components.evaluation.audit_fairness.component import audit_fairness
    from components.evaluation.evaluate_credit_risk.component import evaluate_credit_risk
    from components.training.score_baselines.component import score_baselines
    from components.training.train_credit_risk.component import train_credit_risk

    folder = tmp_path_factory.mktemp("chain")
    rng = np.random.default_rng(0)
    male, amount = rng.random(1_200) < 0.5, rng.integers(100, 10_000, 1_200)
    risk = amount / 2_500 + 2 * male - 5
    loans = pd.DataFrame(
        {
            "income": np.where(rng.random(1_200) < 0.1, np.nan, 3_000 - 800 * male + rng.normal(0, 300, 1_200)).round(),
            "amount": amount,
            "purpose": rng.choice(["car", "house", "business"], 1_200),
            "sex": np.where(male, "male", "female"),
            "defaulted": (risk + rng.logistic(size=1_200) > 0).astype(int),
        }
    )
    loans.to_csv(folder / "loans.csv", index=False)
    write_snapshot(FileDataset(str(folder / "loans.csv"), parse_schema(LOANS), name="loans"), folder / "snapshot")
    made: Artifacts = {}

    def artifacts(*names: str) -> list[SimpleNamespace]:
        return [made.setdefault(name, stand_in(folder / name)) for name in names]

    parts = artifacts("train", "validation", "test")
    split_dataset.python_func(*artifacts("snapshot"), *parts, test_share=0.4, validation_share=0.2)
    train_credit_risk.python_func(*parts[:2], *artifacts("model", "training_metrics"), trials=1)
    score_baselines.python_func(*artifacts("train", "test", "baselines"))
    evaluate_credit_risk.python_func(
        *artifacts("test", "model", "baselines", "evaluation", "metrics", "curves", "evaluation_report")
    )
    audit_fairness.python_func(
        *artifacts("test", "model", "audit", "audit_metrics", "fairness_report"),
        demographic_parity_difference=1.0,
        equalized_odds_difference=1.0,
    )
    return made


@pytest.fixture(scope="session")
def registry_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace whose registry all tests share: making its schema takes seconds. Names of models keep them apart."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture
def in_registry_home(registry_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes `registry_home` the workspace, of this process and of those that it starts."""
    monkeypatch.setenv("BLUEPRINTS_HOME", str(registry_home))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.fixture(scope="session")
def credit_package(
    credit_chain: Artifacts, registry_home: Path, tmp_path_factory: pytest.TempPathFactory
) -> SimpleNamespace:
    """The model package of `credit_chain`."""
    from components.registry.package_credit_risk.component import package_credit_risk

    package = stand_in(tmp_path_factory.mktemp("package") / "package")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BLUEPRINTS_HOME", str(registry_home))
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        inputs = (credit_chain[name] for name in ("train", "model", "evaluation", "audit"))
        package_credit_risk.python_func(*inputs, package, pipeline_run="run-1")
    return package


@pytest.fixture(scope="session")
def text_chain(tmp_path_factory: pytest.TempPathFactory) -> Artifacts:
    """Outputs of the components for text classifiers on 400 made-up reviews, by name.

    Instead of a trained model stands one that adds up the weights of words; one review in ten is labelled wrongly.
    """
    from components.data.split_dataset.component import split_dataset
    from components.evaluation.evaluate_text_classifier.component import evaluate_text_classifier
    from components.training.score_text_baselines.component import score_text_baselines
    from tests.lexicon_model import write_lexicon_model

    folder = tmp_path_factory.mktemp("texts")
    rng = np.random.default_rng(0)
    words = {"positive": ["good", "great", "funny", "warm"], "negative": ["bad", "awful", "dull", "cold"]}
    said = rng.choice(["negative", "positive"], 400)
    # Every text with words of its own: a split drops those that are nearly the same.
    others = ["".join(letters) for letters in rng.choice(list("abcdefghijklmnoprstuvw"), (600, 7))]
    reviews = pd.DataFrame(
        {
            "text": [f"{' '.join(rng.choice(others, 4))} {rng.choice(words[label])} story" for label in said],
            "label": np.where(rng.random(400) < 0.1, np.where(said == "positive", "negative", "positive"), said),
            "source": rng.choice(["film", "shop"], 400),
            "document": [f"d{place}" for place in range(400)],
        }
    )
    reviews.to_csv(folder / "reviews.csv", index=False)
    dataset = FileDataset(str(folder / "reviews.csv"), parse_schema(REVIEWS), name="reviews")
    write_snapshot(dataset, folder / "snapshot")
    made: Artifacts = {}

    def artifacts(*names: str) -> list[SimpleNamespace]:
        return [made.setdefault(name, stand_in(folder / name)) for name in names]

    split_dataset.python_func(*artifacts("snapshot", "train", "validation", "test"), test_share=0.4)
    (model,) = artifacts("model")
    model.metadata.update(parameters={"epochs": 3.0, "learning_rate": 0.5}, packages={"torch": "2.13.0"})
    write_lexicon_model(Path(model.path))
    score_text_baselines.python_func(*artifacts("train", "validation", "test", "baselines"))
    evaluate_text_classifier.python_func(
        *artifacts("test", "model", "baselines", "evaluation", "metrics", "confusion", "evaluation_report"),
        robustness_rows=20,
    )
    return made


@pytest.fixture(scope="session")
def text_package(
    text_chain: Artifacts, registry_home: Path, tmp_path_factory: pytest.TempPathFactory
) -> SimpleNamespace:
    """The model package of `text_chain`."""
    from components.registry.package_text_classifier.component import package_text_classifier

    package = stand_in(tmp_path_factory.mktemp("text-package") / "package")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BLUEPRINTS_HOME", str(registry_home))
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        inputs = (text_chain[name] for name in ("train", "model", "evaluation"))
        package_text_classifier.python_func(*inputs, package, pipeline_run="run-1")
    return package


@pytest.fixture(scope="session")
def segment_chain(registry_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Artifacts:
    """Outputs of the segmentation components on the purchases of 300 made-up customers, by name.

    They are as of `tests.purchases.FEBRUARY`, and later purchases are there too; `warehouse` is the DuckDB file.
    """
    from components.data.load_purchases.component import load_purchases
    from components.data.publish_customer_features.component import publish_customer_features
    from components.data.summarize_customers.component import summarize_customers
    from components.training.train_segments.component import train_segments
    from tests.purchases import FEBRUARY, SCHEMA, made_up_purchases

    folder = tmp_path_factory.mktemp("customers")
    made: Artifacts = {"warehouse": stand_in(folder / "warehouse.duckdb")}
    made_up_purchases().to_parquet(folder / "purchases.parquet")

    def artifacts(*names: str) -> list[SimpleNamespace]:
        return [made.setdefault(name, stand_in(folder / name)) for name in names]

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BLUEPRINTS_HOME", str(registry_home))
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        patch.setenv("WAREHOUSE_URL", f"duckdb:///{folder}/warehouse.duckdb")
        day = load_purchases.python_func(
            str(folder / "name"),
            data_uri=str(folder / "purchases.parquet"),
            schema_yaml=SCHEMA,
            run_date=FEBRUARY.isoformat(),
        )
        partitions = publish_customer_features.python_func(day, *artifacts("features_metrics"), rows_per_partition=150)
        summaries = artifacts("first_part", "second_part")
        for partition, summary in zip(partitions, summaries, strict=True):
            summarize_customers.python_func(partition, summary)
        train_segments.python_func(
            day,
            summaries,
            *artifacts("model", "summary", "evaluation", "metrics", "report"),
            maximum_segments=4,
            bootstraps=2,
            registered_model="chained-segments",
        )
    return made


@pytest.fixture
def warehouse_url(segment_chain: Artifacts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """URL of the test's own copy of the warehouse of `segment_chain`; WAREHOUSE_URL names it."""
    shutil.copyfile(segment_chain["warehouse"].path, tmp_path / "warehouse.duckdb")
    monkeypatch.setenv("WAREHOUSE_URL", f"duckdb:///{tmp_path}/warehouse.duckdb")
    return os.environ["WAREHOUSE_URL"]


@pytest.fixture(scope="session")
def segment_package(
    segment_chain: Artifacts, registry_home: Path, tmp_path_factory: pytest.TempPathFactory
) -> SimpleNamespace:
    """The model package of `segment_chain`."""
    from components.registry.package_segmentation.component import package_segmentation
    from tests.purchases import FEBRUARY

    package = stand_in(tmp_path_factory.mktemp("segment-package") / "package")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BLUEPRINTS_HOME", str(registry_home))
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        package_segmentation.python_func(
            FEBRUARY.isoformat(),
            segment_chain["model"],
            segment_chain["summary"],
            package,
            pipeline_run="run-1",
            dataset="shop",
        )
    return package
