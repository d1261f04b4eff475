"""Model packages for benchmarks, made by the pipeline's own functions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from blueprints.credit_risk.training import TrainedModel
    from blueprints.datasets import Split
    from blueprints.model_package import ModelPackage
    from blueprints.schema import TableSchema


def write_package(
    folder: Path, dataset: str, split: Split, model: TrainedModel, schema: TableSchema, *, resamples: int = 50
) -> ModelPackage:
    """Evaluates, audits and packages a trained credit model."""
    from blueprints import datasets
    from blueprints.credit_risk.evaluation import evaluate
    from blueprints.credit_risk.fairness import FairnessGate, audit
    from blueprints.credit_risk.packaging import package_model

    target = split.test[schema.target].to_numpy()
    evaluation = evaluate(model.margins(split.test), target, model.policy, {}, resamples=resamples)
    fairness = audit(split.test, model.probabilities(split.test), model.policy.threshold, schema, FairnessGate())
    snapshot = folder.with_name(f"{folder.name}-snapshot")
    info = datasets.write_snapshot(datasets.get(dataset), snapshot)
    return package_model(folder, model, split.train, info, evaluation, fairness, pipeline_run="benchmark")


def train_package(folder: Path, dataset: str, seed: int) -> ModelPackage:
    """Trains with one setting, for benchmarks that are not about the model; other seeds give other versions."""
    from blueprints import datasets
    from blueprints.credit_risk.training import TrainingConfig, train

    data = datasets.get(dataset)
    split = datasets.split(data.load(), data.schema, validation_share=0.15, seed=seed)
    model = train(split.train, split.validation, data.schema, TrainingConfig(trials=1, seed=seed))
    return write_package(folder, dataset, split, model, data.schema)
