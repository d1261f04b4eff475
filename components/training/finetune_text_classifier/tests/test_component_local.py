from __future__ import annotations

from pathlib import Path

import pytest

from blueprints.sentiment.classifier import TextClassifier
from blueprints.sentiment.encoder import Encoder
from components.training.finetune_text_classifier.component import finetune_text_classifier
from pipelines.local_run import steps_in_their_environments

PYTHON = Path(__file__).parents[4] / ".venv-finetuning" / "bin" / "python"


@pytest.mark.slow  # torch starts, and the whole of MiniLM takes a few steps
@pytest.mark.skipif(not PYTHON.is_file(), reason="needs torch: make finetuning")
def test_minilm_is_fine_tuned_by_a_real_run(run_component, text_chain):
    inputs = {part: text_chain[part] for part in ("train", "validation")}
    with steps_in_their_environments():
        run = run_component(finetune_text_classifier, inputs, epochs=1.0, batch_size=16, seed=1)
    config = TextClassifier.open(run.folder / "model").config
    assert (config.method, config.layers, config.precision) == ("finetuned", 6, "fp32")
    assert Encoder.load(run.folder / "model" / "encoder").config.num_hidden_layers == 6
    assert not list(run.folder.rglob("state.json"))
    assert run.metadata["metrics"]["validation_accuracy"] > 0.6
    assert run.metadata["model"]["method"] == "finetuned"
