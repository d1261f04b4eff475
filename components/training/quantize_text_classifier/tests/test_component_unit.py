from __future__ import annotations

from pathlib import Path

import pytest

from blueprints.datasets import read_snapshot
from blueprints.sentiment.classifier import TextClassifier
from blueprints.sentiment.examples import Examples
from blueprints.sentiment.frozen_head import train_frozen_head
from components.training.quantize_text_classifier.component import quantize_text_classifier
from tests.tiny_encoder import tiny_encoder


@pytest.fixture
def trained(text_chain, artifact):
    snapshots = [read_snapshot(Path(text_chain[part].path)) for part in ("train", "validation")]
    parts = [Examples.of(snapshot.frame, snapshot.schema) for snapshot in snapshots]
    model = artifact("model")
    train_frozen_head(*parts, tiny_encoder()).save(Path(model.path))
    model.metadata["method"] = "frozen"
    return model


@pytest.mark.parametrize(("limit", "precision"), [(1.0, "int8"), (-1.0, "fp32")])
def test_the_limit_decides_the_precision_that_is_served(text_chain, trained, artifact, limit, precision):
    quantized, metrics = artifact("quantized"), artifact("metrics")
    quantize_text_classifier.python_func(text_chain["validation"], trained, quantized, metrics, int8_loss_limit=limit)
    assert TextClassifier.open(Path(quantized.path)).config.precision == precision
    assert metrics.logged.keys() == {"accuracy_fp32", "accuracy_int8", "temperature", "megabytes"}
    assert quantized.metadata == {"method": "frozen", "precision": precision}
