from __future__ import annotations

from pathlib import Path

from blueprints.datasets import read_snapshot
from blueprints.sentiment.classifier import TextClassifier
from blueprints.sentiment.examples import Examples
from blueprints.sentiment.frozen_head import train_frozen_head
from components.training.quantize_text_classifier.component import quantize_text_classifier
from tests.tiny_encoder import tiny_encoder


def test_a_real_run_makes_a_model_to_serve(run_component, text_chain, artifact):
    snapshots = [read_snapshot(Path(text_chain[part].path)) for part in ("train", "validation")]
    model = artifact("model")
    train_frozen_head(*(Examples.of(part.frame, part.schema) for part in snapshots), tiny_encoder()).save(
        Path(model.path)
    )
    inputs = {"validation": text_chain["validation"], "model": model}
    run = run_component(quantize_text_classifier, inputs, int8_loss_limit=1.0)
    config = TextClassifier.open(run.folder / "quantized").config
    assert run.metadata["metrics"]["temperature"] == config.temperature
    assert run.metadata["quantized"]["precision"] == config.precision == "int8"
