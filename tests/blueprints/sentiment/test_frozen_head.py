from __future__ import annotations

import numpy as np
import pytest

from blueprints.sentiment.classifier import TextClassifier
from blueprints.sentiment.examples import Examples
from blueprints.sentiment.frozen_head import train_frozen_head
from blueprints.sentiment.served_model import prepare_for_serving
from blueprints.sentiment.temperature import log_loss
from tests.tiny_encoder import examples, tiny_encoder


@pytest.fixture(scope="module")
def trained():
    return train_frozen_head(examples(300), examples(100, seed=1), tiny_encoder(hidden=128))


def test_a_head_learns_and_the_saved_model_answers_as_it_says(trained, tmp_path):
    trained.save(tmp_path)
    validation = examples(100, seed=1)
    found = TextClassifier.open(tmp_path).classify(validation.texts)
    assert (found.argmax(axis=1) == validation.labels).mean() == pytest.approx(trained.validation_accuracy)
    assert trained.validation_accuracy > 0.75
    assert trained.config.method == "frozen"


def test_the_same_rows_give_the_same_model(trained, tmp_path):
    again = train_frozen_head(examples(300), examples(100, seed=1), tiny_encoder(hidden=128))
    for name, model in (("one", trained), ("other", again)):
        model.save(tmp_path / name)
    assert (tmp_path / "one" / "model.onnx").read_bytes() == (tmp_path / "other" / "model.onnx").read_bytes()


def test_more_than_two_labels_are_told_apart(tmp_path):
    source = examples(400)
    names = ("none", "bad", "good")
    plain = ["the film is a story", "a story and a film", "the music was the music", "actors and the ending"] * 40
    texts, labels = source.texts + plain, np.concatenate([source.labels + 1, np.zeros(160, np.int64)])
    three = Examples(texts, labels, names)
    train_frozen_head(three, three, tiny_encoder(hidden=128)).save(tmp_path)
    classifier = TextClassifier.open(tmp_path)
    assert classifier.config.labels == names
    assert (classifier.classify(texts).argmax(axis=1) == labels).mean() > 0.9


def test_rows_without_one_of_the_labels_are_refused():
    source = examples(50)
    with pytest.raises(ValueError, match="each of the labels negative, positive"):
        train_frozen_head(
            Examples(source.texts, np.zeros(50, np.int64), source.names), source, tiny_encoder(hidden=128)
        )


def test_the_served_model_is_int8_and_calibrated(trained, tmp_path):
    trained.save(tmp_path / "trained")
    validation = examples(200, seed=2)
    served = prepare_for_serving(tmp_path / "trained", validation, tmp_path / "served", int8_loss_limit=0.05)
    classifier = TextClassifier.open(tmp_path / "served")
    assert (served.precision, classifier.config.precision) == ("int8", "int8")
    assert classifier.config.temperature == pytest.approx(served.temperature)
    found = classifier.classify(validation.texts, batch=1)
    assert (found.argmax(axis=1) == validation.labels).mean() == pytest.approx(served.accuracy_int8)
    logits = np.log(found)
    assert log_loss(logits, validation.labels) <= min(log_loss(logits * t, validation.labels) for t in (0.5, 2.0))


def test_int8_that_loses_too_much_is_not_served(trained, tmp_path, monkeypatch):
    trained.save(tmp_path / "trained")
    backwards = trained.encoder.weights | {
        name: -array for name, array in trained.encoder.weights.items() if name.startswith("head.")
    }
    wrong = type(trained)(type(trained.encoder)(trained.encoder.config, b"", backwards), trained.config, 1.0, 0.0)
    from blueprints.sentiment import served_model
    from blueprints.sentiment.encoder_graph import encoder_graph

    monkeypatch.setattr(served_model, "quantize", lambda *_: encoder_graph(wrong.encoder))
    served = prepare_for_serving(tmp_path / "trained", examples(100, seed=2), tmp_path / "served")
    assert served.accuracy_int8 < 0.5 < served.accuracy_fp32
    assert (served.precision, TextClassifier.open(tmp_path / "served").config.precision) == ("fp32", "fp32")
    assert (tmp_path / "served" / "model.onnx").read_bytes() == (tmp_path / "trained" / "model.onnx").read_bytes()
    other = Examples(["a film"], np.array([0]), ("bad", "good"))
    with pytest.raises(ValueError, match="'bad', 'good'"):
        prepare_for_serving(tmp_path / "trained", other, tmp_path / "served")
