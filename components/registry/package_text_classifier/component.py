"""Package a text classifier."""

from kfp.dsl import Artifact, Dataset, Input, Model, Output

from components import component


@component
def package_text_classifier(
    train: Input[Dataset],
    model: Input[Model],
    evaluation: Input[Artifact],
    package: Output[Model],
    pipeline_run: str,
    method: str = "frozen",
    registered_model: str = "sentiment",
    tracking_uri: str = "",
    seed: int = 7,
) -> None:
    """Writes the model package: ONNX, tokenizer, signature, reference sample, lineage, model card and checksums.

    Args:
        train: Snapshot of the training rows.
        model: The text model, a folder. Its metadata `parameters` (how it was trained) and `packages` (versions of
            libraries that only the training had, such as torch) go into the lineage.
        evaluation: Figures on the test rows.
        package: The model package, a folder.
        pipeline_run: Id of this run.
        method: `frozen` or `finetuned`: how the model was to be trained. Any other word is refused: a pipeline takes
            the branch of `frozen` for it.
        registered_model: Name in the registry, to find the parent model.
        tracking_uri: MLflow's store; the environment's if empty.
        seed: Seed of the reference sample.
    """
    from pathlib import Path

    from blueprints.datasets import read_snapshot
    from blueprints.governance.registry import CHAMPION, Registry
    from blueprints.sentiment.evaluation import TextEvaluation
    from blueprints.sentiment.packaging import package_model

    if method not in ("frozen", "finetuned"):
        raise ValueError(f"method {method!r}: must be 'frozen' or 'finetuned'")
    champion = Registry(tracking_uri or None).by_alias(registered_model, CHAMPION)
    written = package_model(
        Path(package.path),
        Path(model.path),
        read_snapshot(Path(train.path)),
        TextEvaluation.model_validate_json(Path(evaluation.path).read_text()),
        pipeline_run=pipeline_run,
        # On its way through KFP's metadata every number became a float.
        parameters={
            name: int(value) if isinstance(value, float) and value.is_integer() else value
            for name, value in model.metadata.get("parameters", {}).items()
        },
        packages=model.metadata.get("packages"),
        parent_model="" if champion is None else champion.package_version,
        seed=seed,
    )
    package.metadata.update({"package_version": written.version, "package_digest": written.digest})
