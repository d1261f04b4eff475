from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from blueprints.sentiment.classifier import TextClassifier
from blueprints.sentiment.encoder import HEAD_BIAS, HEAD_WEIGHT
from components.training.distill_text_classifier.component import distill_text_classifier
from pipelines.local_run import steps_in_their_environments
from tests.tiny_encoder import tiny_encoder

PYTHON = Path(__file__).parents[4] / ".venv-finetuning" / "bin" / "python"


@pytest.mark.slow  # torch starts
@pytest.mark.skipif(not PYTHON.is_file(), reason="needs torch: make finetuning")
def test_a_student_is_distilled_by_a_real_run(run_component, text_chain, artifact):
    teacher, encoder = artifact("teacher"), tiny_encoder(layers=3)
    head = {HEAD_WEIGHT: np.ones((2, 32), np.float32), HEAD_BIAS: np.zeros(2, np.float32)}
    replace(encoder, weights={**encoder.weights, **head}).save(Path(teacher.path) / "encoder")
    inputs = {"train": text_chain["train"], "validation": text_chain["validation"], "teacher": teacher}
    with steps_in_their_environments():
        run = run_component(distill_text_classifier, inputs, layers=2, epochs=1.0)
    config = TextClassifier.open(run.folder / "model").config
    assert (config.method, config.layers) == ("distilled", 2)
    assert not (run.folder / "model" / "checkpoints").exists()
    assert run.metadata["model"]["method"] == "distilled"
