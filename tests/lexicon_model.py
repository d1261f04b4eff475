"""A text model that can be checked by hand: every word has a weight, a text's logits are the sums of its words'.

It is an ordinary text model folder, with a tokenizer of whole words; unknown words weigh nothing.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from blueprints.model_package import Lineage, ModelPackage, Signature, write_package
from blueprints.schema import Column
from blueprints.sentiment.classifier import config_file, model_files
from blueprints.sentiment.text_model import (
    ATTENTION_MASK,
    CONFIG,
    INPUT_IDS,
    LABEL,
    LOGITS,
    MODEL,
    TEXT,
    TOKENIZER,
    TextModelConfig,
)

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
WEIGHTS = {
    "good": 2.0,
    "great": 3.0,
    "moving": 1.0,
    "funny": 1.5,
    "warm": 1.0,
    "bad": -2.0,
    "awful": -3.0,
    "dull": -1.0,
    "cold": -1.0,
    "boring": -1.5,
    **dict.fromkeys(("the", "a", "film", "is", "was", "and", "not", "very", "story"), 0.0),
}
LABELS = ("negative", "positive")


def write_lexicon_model(folder: Path, *, labels: tuple[str, ...] = LABELS, bias: float = 0.0, **config: object) -> Path:
    """Writes the folder; more labels than two have logits of zero, `bias` makes another version."""
    words = [*SPECIAL, *WEIGHTS]
    table = np.zeros((len(words), len(labels)), np.float32)
    for row, weight in enumerate(WEIGHTS.values(), start=len(SPECIAL)):
        table[row, 1] = weight
    axes = ["texts", "tokens"]
    graph = helper.make_graph(
        [
            helper.make_node("Gather", ["table", INPUT_IDS], ["words"]),
            helper.make_node("Cast", [ATTENTION_MASK], ["shown"], to=TensorProto.FLOAT),
            helper.make_node("Unsqueeze", ["shown", "last"], ["column"]),
            helper.make_node("Mul", ["words", "column"], ["seen"]),
            helper.make_node("ReduceSum", ["seen", "second"], ["sums"], keepdims=0),
            helper.make_node("Add", ["sums", "bias"], [LOGITS]),
        ],
        "lexicon",
        [helper.make_tensor_value_info(name, TensorProto.INT64, axes) for name in (INPUT_IDS, ATTENTION_MASK)],
        [helper.make_tensor_value_info(LOGITS, TensorProto.FLOAT, ["texts", len(labels)])],
        [
            numpy_helper.from_array(table, "table"),
            numpy_helper.from_array(np.array([-1], np.int64), "last"),
            numpy_helper.from_array(np.array([1], np.int64), "second"),
            numpy_helper.from_array(np.array([bias, *[0] * (len(labels) - 1)], np.float32), "bias"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    tokenizer = Tokenizer(models.WordLevel({word: code for code, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", None, [("[CLS]", 2), ("[SEP]", 3)])
    settings = {"max_tokens": 64, "overlap": 16, "mask_id": 4, "layers": 1, "method": "frozen", **config}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MODEL).write_bytes(model.SerializeToString())
    (folder / TOKENIZER).write_text(tokenizer.to_str())
    (folder / CONFIG).write_bytes(config_file(TextModelConfig(labels=labels, **settings)))
    return folder


def lexicon_package(folder: Path, **settings: object) -> ModelPackage:
    """A model package of a lexicon model."""
    model = write_lexicon_model(folder.with_name(f"{folder.name}-model"), **settings)
    labels = settings.get("labels", LABELS)
    return write_package(
        folder,
        files=model_files(model),
        signature=Signature(
            model_name="sentiment",
            inputs=(Column(name=TEXT, kind="text", minimum_length=3, maximum_length=512),),
            outputs=(
                Column(name=LABEL, kind="category", categories=labels),
                *(Column(name=f"probability_{label}", kind="number", minimum=0, maximum=1) for label in labels),
            ),
        ),
        lineage=Lineage(
            created_at=datetime(2026, 1, 1, tzinfo=UTC), dataset="words", dataset_version="1", dataset_sha256="0" * 64
        ),
        reference=pa.table({TEXT: ["a good film"], LABEL: ["positive"], "probability_positive": [0.88]}),
        model_card="# A lexicon for tests\n",
    )
