"""An encoder of two small random layers over thirty words, and texts that it can learn to tell apart."""

from __future__ import annotations

import numpy as np
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from blueprints.sentiment.encoder import Encoder, EncoderConfig
from blueprints.sentiment.examples import Examples

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
POSITIVE, NEGATIVE = ("good", "great", "funny", "warm"), ("bad", "awful", "dull", "cold")
NEUTRAL = ("the", "a", "film", "story", "is", "was", "and", "actors", "ending", "music")
NAMES = ("negative", "positive")


def tiny_encoder(*, layers: int = 2, hidden: int = 32, seed: int = 0) -> Encoder:
    """The encoder, without a head."""
    words = (*SPECIAL, *POSITIVE, *NEGATIVE, *NEUTRAL)
    config = EncoderConfig(
        vocab_size=len(words),
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=4,
        intermediate_size=2 * hidden,
        max_position_embeddings=64,
        layer_norm_eps=1e-12,
    )
    tokenizer = Tokenizer(models.WordLevel({word: place for place, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    random = np.random.default_rng(seed)
    shapes = {
        "embeddings.word_embeddings.weight": (len(words), hidden),
        "embeddings.position_embeddings.weight": (64, hidden),
        "embeddings.token_type_embeddings.weight": (2, hidden),
    }
    norms = ["embeddings.LayerNorm"]
    for layer in range(layers):
        name = f"encoder.layer.{layer}"
        for part in ("self.query", "self.key", "self.value", "output.dense"):
            shapes |= {f"{name}.attention.{part}.weight": (hidden, hidden), f"{name}.attention.{part}.bias": (hidden,)}
        shapes |= {f"{name}.intermediate.dense.weight": (2 * hidden, hidden)}
        shapes |= {f"{name}.intermediate.dense.bias": (2 * hidden,)}
        shapes |= {f"{name}.output.dense.weight": (hidden, 2 * hidden), f"{name}.output.dense.bias": (hidden,)}
        norms += [f"{name}.attention.output.LayerNorm", f"{name}.output.LayerNorm"]
    weights = {name: random.normal(scale=0.2, size=shape).astype(np.float32) for name, shape in shapes.items()}
    for name in norms:
        weights |= {f"{name}.weight": np.ones(hidden, np.float32), f"{name}.bias": np.zeros(hidden, np.float32)}
    return Encoder(config, tokenizer.to_str().encode(), weights)


def examples(count: int, *, seed: int = 0) -> Examples:
    """Texts of two to eight words, one of which decides the label."""
    random = np.random.default_rng(seed)
    labels = random.integers(2, size=count)
    texts = []
    for label in labels:
        words = [*random.choice(NEUTRAL, random.integers(1, 8)), random.choice(POSITIVE if label else NEGATIVE)]
        texts.append(" ".join(random.permutation(words)))
    return Examples(texts, labels.astype(np.int64), NAMES)
