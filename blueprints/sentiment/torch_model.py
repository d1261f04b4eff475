"""The encoder with its head in torch, for training. Import this module only where torch is (`make finetuning`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from transformers import BertConfig, BertModel

from blueprints.sentiment.encoder import HEAD_BIAS, HEAD_WEIGHT, Encoder, EncoderConfig
from blueprints.sentiment.encoder_graph import encoder_graph
from blueprints.sentiment.text_model import ATTENTION_MASK, INPUT_IDS, LOGITS
from blueprints.sentiment.text_reader import Ids

Progress = Callable[[int, int, str], None]

_BUCKET = 50
"""Batches that are sorted by length together."""

TOLERANCE = 1e-3
"""Largest absolute difference of a logit between torch and the ONNX graph."""

_UNUSED = ("pooler.", "embeddings.position_ids")


class GraphError(Exception):
    """The ONNX graph does not answer as the model that it was made from."""


def torch_model(encoder: Encoder, labels: int) -> Any:
    """A module with `encoder` (BERT) and `head` (linear), see `forward`; word embeddings stay as they are.

    Args:
        encoder: Where the weights come from; its head is used if it has one for as many labels.
        labels: Number of labels.
    """
    config = BertConfig(**encoder.config.model_dump())
    bert = BertModel(config, add_pooling_layer=False)
    weights = {name: torch.from_numpy(np.array(array)) for name, array in encoder.weights.items()}
    head = nn.Linear(encoder.config.hidden_size, labels)
    if HEAD_WEIGHT in weights and len(weights[HEAD_WEIGHT]) == labels:
        head.load_state_dict({"weight": weights[HEAD_WEIGHT], "bias": weights[HEAD_BIAS]})
    else:
        nn.init.normal_(head.weight, std=0.02)
        nn.init.zeros_(head.bias)
    known = {n: w for n, w in weights.items() if n not in (HEAD_WEIGHT, HEAD_BIAS) and not n.startswith(_UNUSED)}
    missing, unexpected = bert.load_state_dict(known, strict=False)
    if unexpected or [name for name in missing if not name.startswith(_UNUSED)]:
        raise ValueError(f"the weights do not fit the encoder: missing {missing}, unexpected {unexpected}")
    bert.embeddings.word_embeddings.weight.requires_grad = False
    return nn.ModuleDict({"encoder": bert, "head": head})


def forward(model: Any, ids: Any, mask: Any, *, dropout: float = 0.1) -> tuple[Any, Any]:
    """Logits, shape (texts, labels), and what the head sees of each text, shape (texts, hidden_size), both float32."""
    vectors = model["encoder"](input_ids=ids, attention_mask=mask).last_hidden_state
    pooled = mean_of_tokens(vectors.float(), mask)
    return model["head"](nn.functional.dropout(pooled, dropout, training=model.training)).float(), pooled


def mean_of_tokens(hidden: Any, mask: Any) -> Any:
    """Mean of the token vectors that the mask shows, shape (texts, hidden_size)."""
    shown = mask.unsqueeze(-1).to(hidden.dtype)
    return (hidden * shown).sum(1) / shown.sum(1)


def to_encoder(model: Any, tokenizer: bytes, config: EncoderConfig) -> Encoder:
    """What was trained, as arrays."""
    weights = {name: tensor.detach().numpy().copy() for name, tensor in model["encoder"].state_dict().items()}
    weights |= {f"head.{name}": tensor.detach().numpy().copy() for name, tensor in model["head"].state_dict().items()}
    return Encoder(config, tokenizer, {name: array for name, array in weights.items() if array.dtype == np.float32})


def pad(windows: Sequence[Ids], pad_id: int) -> tuple[Any, Any]:
    """Token ids and mask of a batch, both int64 of shape (windows, tokens)."""
    ids = torch.full((len(windows), max(map(len, windows))), pad_id)
    mask = torch.zeros_like(ids)
    for row, window in enumerate(windows):
        ids[row, : len(window)] = torch.from_numpy(window)
        mask[row, : len(window)] = 1
    return ids, mask


def shuffled_batches(lengths: Sequence[int], size: int, random: np.random.Generator) -> list[NDArray[np.intp]]:
    """Batches in random order that each hold texts of like length, so that little is padded."""
    order = random.permutation(len(lengths))
    batches = []
    for start in range(0, len(order), size * _BUCKET):
        bucket = sorted(order[start : start + size * _BUCKET], key=lambda position: lengths[position])
        batches += [np.array(bucket[first : first + size]) for first in range(0, len(bucket), size)]
    return [batches[position] for position in random.permutation(len(batches))]


def answers(
    model: Any, windows: Sequence[Ids], pad_id: int, *, batch: int = 64, progress: Progress | None = None
) -> tuple[Any, Any]:
    """What `forward` gives for windows, without dropout, in their order.

    Args:
        model: See `torch_model`.
        windows: Token ids.
        pad_id: Id of the token that fills up.
        batch: Windows in one call.
        progress: Called with (windows, all windows, words).
    """
    order = sorted(range(len(windows)), key=lambda position: len(windows[position]))
    logits = torch.empty(len(windows), model["head"].out_features)
    pooled = torch.empty(len(windows), model["head"].in_features)
    model.eval()
    with torch.inference_mode():
        for start in range(0, len(order), batch):
            part = order[start : start + batch]
            logits[part], pooled[part] = forward(model, *pad([windows[position] for position in part], pad_id))
            if progress is not None and start // batch % 20 == 0:
                progress(start + len(part), len(order), "texts answered")
    return logits, pooled


def predict_logits(model: Any, windows: Sequence[Ids], pad_id: int) -> NDArray[np.float32]:
    """Logits of windows without dropout, shape (windows, labels)."""
    logits: NDArray[np.float32] = answers(model, windows, pad_id)[0].numpy()
    return logits


def check_graph(model: Any, encoder: Encoder, windows: Sequence[Ids]) -> float:
    """Compares the ONNX graph of what was trained with torch.

    Returns:
        Largest absolute difference of the logits.

    Raises:
        GraphError: It is above `TOLERANCE`.
    """
    import onnxruntime

    session = onnxruntime.InferenceSession(encoder_graph(encoder), providers=["CPUExecutionProvider"])
    ids, mask = (tensor.numpy() for tensor in pad(windows, encoder.config.pad_token_id))
    (found,) = session.run([LOGITS], {INPUT_IDS: ids, ATTENTION_MASK: mask})
    worst = float(np.abs(found - predict_logits(model, windows, encoder.config.pad_token_id)).max())
    if not worst <= TOLERANCE:
        raise GraphError(f"the ONNX graph's logits differ from torch's by {worst:.2g}; at most {TOLERANCE} is allowed")
    return worst


def trained_parameters(model: Any) -> Iterator[tuple[str, Any]]:
    """Name and tensor of everything that training changes."""
    return ((name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad)


def has_bfloat16() -> bool:
    """Whether this processor multiplies matrices of bfloat16 itself; without, they are slower than float32."""
    flags = Path("/proc/cpuinfo")
    return flags.is_file() and "avx512_bf16" in flags.read_text()
