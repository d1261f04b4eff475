from __future__ import annotations

from pathlib import Path

from blueprints.sentiment import encoder
from blueprints.sentiment.classifier import TextClassifier
from components.training.train_text_head.component import train_text_head
from tests.tiny_encoder import tiny_encoder


def test_the_model_and_its_figures_are_handed_on(text_chain, artifact, monkeypatch, capsys):
    monkeypatch.setattr(encoder, "minilm", tiny_encoder)
    model, metrics = artifact("model"), artifact("metrics")
    train_text_head.python_func(text_chain["train"], text_chain["validation"], model, metrics)
    assert TextClassifier.open(Path(model.path)).config.layers == 2
    assert metrics.logged.keys() == {"validation_accuracy", "regularisation"}
    assert model.metadata["parameters"] == {"regularisation": metrics.logged["regularisation"]}
    assert (model.metadata["dataset"], model.metadata["method"]) == ("reviews", "frozen")
    assert "texts embedded" in capsys.readouterr().out
