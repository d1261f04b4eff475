from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import onnxruntime
import pytest

from blueprints.sentiment.encoder import HEAD_BIAS, HEAD_WEIGHT, WORD_EMBEDDINGS
from blueprints.sentiment.encoder_graph import encoder_graph
from blueprints.sentiment.quantization import PRODUCT_RANGE, quantize, quantized
from blueprints.sentiment.text_model import ATTENTION_MASK, INPUT_IDS, LOGITS
from tests.tiny_encoder import tiny_encoder

WINDOWS = list(np.random.default_rng(5).integers(5, 23, (50, 12)))


@pytest.fixture(scope="module")
def encoder():
    """A tiny encoder with a head for three labels."""
    random = np.random.default_rng(1)
    encoder = tiny_encoder()
    head = {HEAD_WEIGHT: random.normal(size=(3, 32)), HEAD_BIAS: random.normal(size=3)}
    return replace(encoder, weights={**encoder.weights, **{name: w.astype(np.float32) for name, w in head.items()}})


def run(model: bytes, ids, mask):
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    return session.run([LOGITS], {INPUT_IDS: ids, ATTENTION_MASK: mask})[0]


def by_the_book(encoder, ids):
    """BERT (Devlin et al. 2019) for one text without padding, one step a line; then mean and head."""
    w, config = encoder.weights, encoder.config
    heads, width = config.num_attention_heads, config.hidden_size // config.num_attention_heads

    def dense(name, x):
        return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    def norm(name, x):
        centred = x - x.mean(axis=-1, keepdims=True)
        scaled = centred / np.sqrt(centred.var(axis=-1, keepdims=True) + config.layer_norm_eps)
        return scaled * w[f"{name}.weight"] + w[f"{name}.bias"]

    x = w[WORD_EMBEDDINGS][ids] + w["embeddings.position_embeddings.weight"][: len(ids)]
    x = norm("embeddings.LayerNorm", x + w["embeddings.token_type_embeddings.weight"][0])
    for layer in range(config.num_hidden_layers):
        name = f"encoder.layer.{layer}"
        query, key, value = (
            dense(f"{name}.attention.self.{part}", x).reshape(len(ids), heads, width).swapaxes(0, 1)
            for part in ("query", "key", "value")
        )
        scores = np.exp(query @ key.swapaxes(1, 2) / math.sqrt(width))
        seen = (scores / scores.sum(axis=-1, keepdims=True)) @ value
        seen = seen.swapaxes(0, 1).reshape(len(ids), config.hidden_size)
        x = norm(f"{name}.attention.output.LayerNorm", dense(f"{name}.attention.output.dense", seen) + x)
        wide = dense(f"{name}.intermediate.dense", x)
        wide = wide * 0.5 * (1 + np.vectorize(math.erf)(wide / math.sqrt(2)))
        x = norm(f"{name}.output.LayerNorm", dense(f"{name}.output.dense", wide) + x)
    return dense("head", x.mean(axis=0))


def test_the_graph_computes_bert_by_the_book(encoder):
    ids = np.array([2, 5, 9, 14, 20, 3])
    found = run(encoder_graph(encoder), ids[None], np.ones((1, 6), np.int64))
    assert np.allclose(found[0], by_the_book(encoder, ids), atol=2e-5)


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_padding_and_neighbours_change_nothing(encoder, precision):
    model = encoder_graph(encoder) if precision == "fp32" else quantize(encoder_graph(encoder), WINDOWS)
    random = np.random.default_rng(2)
    ids = random.integers(5, 23, (4, 12))
    mask = (np.arange(12) < np.array([[12], [7], [3], [1]])).astype(np.int64)
    together = run(model, ids * mask, mask)
    for row, size in enumerate(mask.sum(axis=1)):
        alone = run(model, ids[row : row + 1, :size], mask[row : row + 1, :size])
        assert np.allclose(together[row], alone[0], atol=1e-5)


def test_without_a_head_the_graph_gives_the_embedding():
    encoder = tiny_encoder()
    identity = {HEAD_WEIGHT: np.eye(32, dtype=np.float32), HEAD_BIAS: np.zeros(32, np.float32)}
    ids, mask = np.array([[2, 6, 7, 3]]), np.ones((1, 4), np.int64)
    bare = run(encoder_graph(encoder), ids, mask)
    assert bare.shape == (1, 32)
    same = replace(encoder, weights={**encoder.weights, **identity})
    assert np.allclose(bare, run(encoder_graph(same), ids, mask), atol=1e-6)


def test_int8_is_close_and_small():
    random = np.random.default_rng(3)
    encoder = tiny_encoder(hidden=128)
    head = {HEAD_WEIGHT: random.normal(size=(2, 128)).astype(np.float32), HEAD_BIAS: np.zeros(2, np.float32)}
    model = encoder_graph(replace(encoder, weights={**encoder.weights, **head}))
    small = quantize(model, WINDOWS)
    assert len(small) < 0.4 * len(model)
    ids, mask = random.integers(5, 23, (40, 10)), np.ones((40, 10), np.int64)
    exact, found = run(model, ids, mask), run(small, ids, mask)
    assert np.abs(found - exact).max() < 0.1 * np.abs(exact).max()


def test_no_product_of_int8_weights_can_saturate_16_bits(encoder):
    import onnx
    from onnx import numpy_helper

    graph = onnx.load_model_from_string(quantize(encoder_graph(encoder), WINDOWS)).graph
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    multiplied = [
        weights[node.input[1]] for node in graph.node if node.op_type in ("QAttention", "MatMulIntegerToFloat")
    ]
    assert len(multiplied) == 2 * 4
    assert {weight.dtype for weight in multiplied} == {np.dtype(np.int8)}
    assert max(int(np.abs(weight.astype(int)).max()) for weight in multiplied) == PRODUCT_RANGE
    assert 2 * 255 * PRODUCT_RANGE < 2**15


def test_quantized_values_are_within_half_a_step_and_zeros_stay():
    random = np.random.default_rng(4)
    weights = random.normal(size=(50, 20)).astype(np.float32)
    weights[:, 3] = 0
    values, scales = quantized(weights, 64, axis=0)
    assert scales.shape == (1, 20)
    assert (np.abs(values * scales - weights) <= scales * 0.5001).all()
    assert not values[:, 3].any()
