from __future__ import annotations

from blueprints.sentiment.classifier import TextClassifier
from components.training.train_text_head.component import train_text_head


def test_a_head_on_real_embeddings_is_trained_by_a_real_run(run_component, text_chain):
    run = run_component(train_text_head, {part: text_chain[part] for part in ("train", "validation")})
    classifier = TextClassifier.open(run.folder / "model")
    assert (classifier.config.method, classifier.config.layers) == ("frozen", 6)
    good, bad = classifier.classify(["a great and funny story", "an awful and dull story"])
    assert good[1] > 0.5 > bad[1]
    assert run.metadata["metrics"]["validation_accuracy"] > 0.75
    assert run.metadata["model"]["method"] == "frozen"
