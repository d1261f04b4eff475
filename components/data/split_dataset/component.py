"""Split: a snapshot becomes train, validation and test."""

from kfp.dsl import Dataset, Input, Output

from components import component


@component
def split_dataset(
    snapshot: Input[Dataset],
    train: Output[Dataset],
    validation: Output[Dataset],
    test: Output[Dataset],
    test_share: float = 0.2,
    validation_share: float = 0.2,
    seed: int = 7,
) -> None:
    """Divides a snapshot by time where rows have one, stratified by the target otherwise.

    Texts lose their duplicates, and similar texts and rows of one group stay on one side.

    Args:
        snapshot: Folder of the snapshot to divide.
        train: Snapshot to learn from. Metadata of all three: that of the snapshot, and `split`, the report that says
            which way the rows were divided, with rows, event rate or labels and time span of each part.
        validation: Snapshot for early stopping, calibration and the threshold.
        test: Snapshot held out to the end.
        test_share: Share of rows for test, above 0.
        validation_share: Share of rows for validation, above 0.
        seed: Seed of the draw; without effect on a split by time.
    """
    import logging
    from pathlib import Path

    from blueprints.datasets import read_snapshot, split

    whole = read_snapshot(Path(snapshot.path))
    parts = split(whole.frame, whole.schema, test_share=test_share, validation_share=validation_share, seed=seed)
    for name, rows, artifact in (
        ("train", parts.train, train),
        ("validation", parts.validation, validation),
        ("test", parts.test, test),
    ):
        info = whole.write_part(rows, name, Path(artifact.path))
        artifact.metadata.update(info.model_dump(), split=parts.report.model_dump())
    log = logging.getLogger("split_dataset")
    log.info("%s: %s", parts.report.method, parts.report.reason)
    if parts.report.duplicates:
        log.info("%d of %d rows dropped as duplicates", parts.report.duplicates.dropped, parts.report.duplicates.rows)
