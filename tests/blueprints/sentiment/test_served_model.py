from __future__ import annotations

import numpy as np

from blueprints.sentiment.classifier import TextClassifier
from blueprints.sentiment.frozen_head import train_frozen_head
from blueprints.sentiment.served_model import CALIBRATION, calibration_windows, prepare_for_serving
from tests.tiny_encoder import examples, tiny_encoder


def test_what_is_served_answers_a_text_alike_in_any_batch(tmp_path):
    head = train_frozen_head(examples(200), examples(80, seed=1), tiny_encoder())
    head.save(tmp_path / "trained")
    validation = examples(100, seed=2)
    served = prepare_for_serving(tmp_path / "trained", validation, tmp_path / "served", int8_loss_limit=1.0)
    classifier = TextClassifier.open(tmp_path / "served")
    assert served.precision == "int8"
    alone = classifier.classify(validation.texts, batch=1)
    assert np.allclose(classifier.classify(validation.texts, batch=32), alone, atol=1e-4)


def test_a_bounded_sample_of_all_texts_gives_the_ranges(tmp_path):
    train_frozen_head(examples(200), examples(80, seed=1), tiny_encoder()).save(tmp_path)
    reader = TextClassifier.open(tmp_path)
    assert len(calibration_windows(reader, ["good film"] * 10)) == 10
    texts = ["good film"] * 2000 + ["the awful cold story"] * 1000
    lengths = [len(window) for window in calibration_windows(reader, texts)]
    assert len(lengths) == CALIBRATION
    assert 0.25 < np.mean(np.array(lengths) == 6) < 0.4
