"""Int8 with constant scales: close to fp32, and the same answer whoever stands beside a text."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blueprints.sentiment import quantization
from blueprints.sentiment.classifier import TextClassifier
from blueprints.sentiment.encoder import HEAD_BIAS, HEAD_WEIGHT
from blueprints.sentiment.encoder_graph import encoder_graph
from blueprints.sentiment.quantization import activation_ranges, quantize
from blueprints.sentiment.text_model import ATTENTION_MASK, INPUT_IDS, LOGITS, TextModelConfig
from tests.tiny_encoder import NAMES, NEGATIVE, NEUTRAL, POSITIVE, tiny_encoder

CONFIG = TextModelConfig(labels=NAMES, layers=2, method="frozen", precision="int8")


def with_head(encoder):
    head = {HEAD_WEIGHT: np.random.default_rng(1).normal(size=(2, 32)), HEAD_BIAS: np.zeros(2)}
    return replace(encoder, weights={**encoder.weights, **{name: w.astype(np.float32) for name, w in head.items()}})


@pytest.fixture(scope="module")
def encoder():
    return with_head(tiny_encoder())


@pytest.fixture(scope="module")
def windows():
    random = np.random.default_rng(2)
    return [np.array([2, *random.integers(5, 23, size), 3]) for size in random.integers(1, 14, 100)]


@pytest.fixture(scope="module")
def classifier(encoder, windows):
    return TextClassifier(quantize(encoder_graph(encoder), windows), encoder.tokenizer, CONFIG)


def logits(model, windows):
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    feeds = [{INPUT_IDS: window[None], ATTENTION_MASK: np.ones_like(window)[None]} for window in windows]
    return np.concatenate([session.run([LOGITS], feed)[0] for feed in feeds])


words = st.lists(st.sampled_from([*POSITIVE, *NEGATIVE, *NEUTRAL]), min_size=1, max_size=40)


@settings(deadline=None)
@given(st.lists(words.map(" ".join), min_size=2, max_size=8))
def test_an_int8_answer_does_not_depend_on_its_neighbours_or_on_padding(classifier, texts):
    windows = [text.windows[0] for text in classifier.encode(texts)]
    together = classifier.logits(windows)
    for row, window in enumerate(windows):
        assert np.allclose(together[row], classifier.logits([window])[0], atol=1e-4)


def test_ranges_are_those_of_what_is_multiplied(encoder, windows):
    ranges = activation_ranges(encoder_graph(encoder), windows)
    assert len(ranges) == 2 * 4
    for name, (low, high) in ranges.items():
        assert low.shape == high.shape == ((64,) if name.endswith("gelu") else (32,))
        assert (low <= high).all()
    gelu = ranges["encoder.layer.0.gelu"][0]
    assert -0.171 < gelu.min() < 0  # the least that Gelu gives
    assert all(
        (ranges[name][0] <= low).all()
        for name, (low, _) in activation_ranges(encoder_graph(encoder), windows[:5]).items()
    )


def test_channels_that_are_far_larger_than_others_take_no_steps_from_them(encoder, windows, monkeypatch):
    weights = {name: array.copy() for name, array in encoder.weights.items()}
    for layer in ("encoder.layer.0.attention", "encoder.layer.1.attention"):
        # Large when it is attended to, and made small again where it is multiplied: in fp32 nothing changes.
        weights[f"{layer}.self.value.weight"][3] *= 100
        weights[f"{layer}.self.value.bias"][3] *= 100
        weights[f"{layer}.output.dense.weight"][:, 3] /= 100
    model = encoder_graph(replace(encoder, weights=weights))
    exact, found = logits(model, windows), logits(quantize(model, windows), windows)
    monkeypatch.setattr(quantization, "_floored", np.ones_like)  # all channels taken for alike
    unmoved = logits(quantize(model, windows), windows)
    assert np.abs(found - exact).mean() < np.abs(unmoved - exact).mean() / 3


def test_texts_that_nobody_saw_are_answered_as_closely(encoder, windows):
    model = encoder_graph(encoder)
    small = quantize(model, windows[:50])
    exact, found = logits(model, windows), logits(small, windows)
    assert np.abs(found - exact)[50:].max() < 0.1 * np.abs(exact).max()


def test_quantization_needs_texts(encoder):
    with pytest.raises(ValueError, match="there are none"):
        quantize(encoder_graph(encoder), [])
