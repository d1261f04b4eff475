"""Package the credit-risk scorecard."""

from kfp.dsl import Artifact, Dataset, Input, Model, Output

from components import component


@component
def package_credit_risk(
    train: Input[Dataset],
    model: Input[Model],
    evaluation: Input[Artifact],
    audit: Input[Artifact],
    package: Output[Model],
    pipeline_run: str,
    registered_model: str = "credit-risk",
    tracking_uri: str = "",
    seed: int = 7,
) -> None:
    """Writes the model package: weights, signature, reference sample, lineage, model card and checksums.

    Args:
        train: Snapshot of the training rows.
        model: The trained model.
        evaluation: Figures on the test rows.
        audit: Fairness audit on the test rows.
        package: The model package, a folder.
        pipeline_run: Id of this run.
        registered_model: Name in the registry, to find the parent model.
        tracking_uri: MLflow's store; the environment's if empty.
        seed: Seed of the reference sample.
    """
    from pathlib import Path

    from blueprints.credit_risk.evaluation import Evaluation
    from blueprints.credit_risk.fairness import FairnessAudit
    from blueprints.credit_risk.packaging import package_model
    from blueprints.credit_risk.training import TrainedModel
    from blueprints.datasets import read_snapshot
    from blueprints.governance.registry import CHAMPION, Registry

    training = read_snapshot(Path(train.path))
    champion = Registry(tracking_uri or None).by_alias(registered_model, CHAMPION)
    written = package_model(
        Path(package.path),
        TrainedModel.load(Path(model.path)),
        training.frame,
        training.info,
        Evaluation.model_validate_json(Path(evaluation.path).read_text()),
        FairnessAudit.model_validate_json(Path(audit.path).read_text()),
        pipeline_run=pipeline_run,
        parent_model="" if champion is None else champion.package_version,
        seed=seed,
    )
    package.metadata.update({"package_version": written.version, "package_digest": written.digest})
