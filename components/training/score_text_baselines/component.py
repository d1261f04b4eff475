"""Train linear text classifiers and score the test rows with them."""

from kfp.dsl import Dataset, Input, Output

from components import component


@component
def score_text_baselines(
    train: Input[Dataset],
    validation: Input[Dataset],
    test: Input[Dataset],
    scores: Output[Dataset],
    seed: int = 7,
) -> None:
    """Trains TF-IDF with logistic regression and with a linear SVM, and scores the test rows.

    Args:
        train: Snapshot of the training rows: one text column, a category as target.
        validation: Snapshot of rows to choose the regularisation with.
        test: Snapshot of the test rows.
        scores: Parquet file, one column of probabilities a baseline and label.
        seed: Seed of the SVM's solver.
    """
    from pathlib import Path

    from blueprints.datasets import read_snapshot
    from blueprints.sentiment.baselines import baseline_scores, write_scores
    from blueprints.sentiment.examples import Examples

    snapshots = (read_snapshot(Path(part.path)) for part in (train, validation, test))
    parts = [Examples.of(snapshot.frame, snapshot.schema) for snapshot in snapshots]
    result = baseline_scores(*parts, seed=seed)
    write_scores(result, parts[0].names, Path(scores.path))
    scores.metadata["baselines"] = ", ".join(result)
