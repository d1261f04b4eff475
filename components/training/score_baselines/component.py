"""Train the baselines and score the test rows with them."""

from kfp.dsl import Dataset, Input, Output

from components import component


@component
def score_baselines(train: Input[Dataset], test: Input[Dataset], scores: Output[Dataset], seed: int = 7) -> None:
    """Trains a logistic-regression scorecard and LightGBM, and scores the test rows.

    Args:
        train: Snapshot of the training rows.
        test: Snapshot of the test rows.
        scores: Parquet file, one column of scores a baseline.
        seed: Seed of LightGBM.
    """
    from pathlib import Path

    import pandas as pd

    from blueprints.credit_risk.baselines import baseline_scores
    from blueprints.datasets import read_snapshot

    fitting, held_out = read_snapshot(Path(train.path)), read_snapshot(Path(test.path))
    result = baseline_scores(fitting.frame, held_out.frame, fitting.schema, seed=seed)
    pd.DataFrame(result).to_parquet(scores.path)
    scores.metadata["baselines"] = ", ".join(result)
