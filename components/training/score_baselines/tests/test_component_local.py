from __future__ import annotations

import pandas as pd

from components.training.score_baselines.component import score_baselines


def test_baselines_are_scored_by_a_real_run_as_in_this_process(run_component, credit_chain):
    run = run_component(score_baselines, {part: credit_chain[part] for part in ("train", "test")})
    scores = pd.read_parquet(run.folder / "scores")
    pd.testing.assert_frame_equal(scores, pd.read_parquet(credit_chain["baselines"].path))
    assert run.metadata["scores"]["baselines"] == ", ".join(scores)
