from __future__ import annotations

from pathlib import Path

import numpy as np

from blueprints.sentiment.baselines import read_scores
from components.training.score_text_baselines.component import score_text_baselines


def test_a_real_run_gives_the_scores_of_the_same_seed(run_component, text_chain):
    run = run_component(score_text_baselines, {part: text_chain[part] for part in ("train", "validation", "test")})
    found, same = read_scores(run.folder / "scores"), read_scores(Path(text_chain["baselines"].path))
    assert found.keys() == same.keys()
    assert all(np.allclose(found[name], same[name]) for name in same)
