"""Package segments."""

from kfp.dsl import Dataset, Input, Model, Output

from components import component


@component
def package_segmentation(
    run_date: str,
    model: Input[Model],
    summary: Input[Dataset],
    package: Output[Model],
    pipeline_run: str,
    dataset: str = "cdnow",
    registered_model: str = "segmentation",
    tracking_uri: str = "",
    seed: int = 7,
) -> None:
    """Writes the model package: pipeline, segments, signature, reference sample, lineage, model card and checksums.

    Args:
        run_date: Date of the features.
        model: The fitted pipeline and the segments, a folder.
        summary: Summary of the customers.
        package: The model package, a folder.
        pipeline_run: Id of this run.
        dataset: Where the purchases come from.
        registered_model: Name in the registry, to find the parent model.
        tracking_uri: MLflow's store; the environment's if empty.
        seed: Seed of the reference sample.
    """
    from pathlib import Path

    from blueprints.governance.registry import CHAMPION, Registry
    from blueprints.segmentation.packaging import package_segmenter

    champion = Registry(tracking_uri or None).by_alias(registered_model, CHAMPION)
    written = package_segmenter(
        Path(package.path),
        Path(model.path),
        Path(summary.path).read_bytes(),
        dataset=dataset,
        run_date=run_date,
        pipeline_run=pipeline_run,
        parent_model="" if champion is None else champion.package_version,
        seed=seed,
    )
    package.metadata.update({"package_version": written.version, "package_digest": written.digest})
