"""The files of a text model and what they hold: the contract between its training, its package and its servers.

A text model is a folder, and the same files lie in a model package:

- `model.onnx`: inputs `input_ids` and `attention_mask`, int64 of shape (texts, tokens), the mask 1 for tokens and 0 for
  padding; output `logits`, float32 of shape (texts, labels). Both axes are dynamic.
- `tokenizer.json`: the tokenizer (Hugging Face `tokenizers`), special tokens included, without truncation or padding.
- `text_model.json`: a `TextModelConfig`.
"""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

MODEL = "model.onnx"
TOKENIZER = "tokenizer.json"
CONFIG = "text_model.json"

INPUT_IDS = "input_ids"
ATTENTION_MASK = "attention_mask"
LOGITS = "logits"

TEXT = "text"
LABEL = "label"


class TextModelConfig(BaseModel):
    """What has to be known to use a text model.

    Attributes:
        labels: Labels in the order of the logits.
        temperature: What the logits are divided by before the softmax (Guo et al. 2017, "On Calibration of Modern
            Neural Networks").
        max_tokens: Tokens in one window, special tokens included; longer texts are read in overlapping windows.
        overlap: Tokens that a window shares with the one before.
        pad_id: Token id that fills up a batch.
        mask_id: Token id that stands for a hidden token, for explanations.
        precision: Number format of the weights.
        layers: Transformer layers.
        method: How it was trained: whole (`finetuned`), from a teacher (`distilled`), or a linear head on frozen
            embeddings (`frozen`).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    labels: tuple[str, ...] = Field(min_length=2)
    temperature: float = Field(default=1.0, gt=0)
    max_tokens: int = Field(default=256, ge=16, le=512)
    overlap: int = Field(default=64, ge=0)
    pad_id: int = Field(default=0, ge=0)
    mask_id: int = Field(default=103, ge=0)
    precision: Literal["fp32", "int8"] = "fp32"
    layers: int = Field(ge=1)
    method: Literal["finetuned", "distilled", "frozen"]

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        if len(set(self.labels)) != len(self.labels):
            raise ValueError("labels repeat")
        if self.overlap > self.max_tokens // 2:
            raise ValueError("overlap: at most half a window")
        return self
