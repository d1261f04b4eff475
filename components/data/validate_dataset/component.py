"""Validate: a snapshot is verified and checked, and described for people."""

from kfp.dsl import HTML, Dataset, Input, Metrics, Output

from components import component


@component
def validate_dataset(
    snapshot: Input[Dataset],
    metrics: Output[Metrics],
    report: Output[HTML],
) -> None:
    """Verifies a snapshot's checksums, checks every value against its schema and writes a profile.

    The step fails, with the first rows and columns that do not fit, if the data is not what its schema says.

    Args:
        snapshot: Folder of the snapshot.
        metrics: Rows, columns, event rate, share of missing values and of repeated rows; for texts the share of each
            label and of the rows that a split drops as duplicates.
        report: Profile of every column: missing share, range, distribution, most frequent categories; for texts labels
            by source, lengths, duplicates and examples.
    """
    from pathlib import Path

    from blueprints.datasets import profile, read_snapshot

    checked = profile(read_snapshot(Path(snapshot.path)))
    for name, value in checked.metrics().items():
        metrics.log_metric(name, value)
    Path(report.path).write_text(checked.html(), encoding="utf-8")
