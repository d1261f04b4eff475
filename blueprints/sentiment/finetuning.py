"""Fine-tunes the whole encoder with a softmax head. Import this module only where torch is (`make finetuning`)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from torch import nn

from blueprints.sentiment.encoder import Encoder
from blueprints.sentiment.encoder_graph import encoder_graph, write_text_model
from blueprints.sentiment.examples import Examples
from blueprints.sentiment.text_model import TextModelConfig
from blueprints.sentiment.text_reader import Ids
from blueprints.sentiment.torch_model import check_graph, forward, pad, predict_logits, to_encoder, torch_model
from blueprints.sentiment.torch_training import Look, Schedule, fit

Progress = Callable[[int, int, str], None]

ENCODER = "encoder"
"""Folder of the trained encoder below that of the text model."""

SAMPLE = 256
"""Validation texts that graph and torch are compared on."""


class FineTuningConfig(BaseModel):
    """What a fine-tuning run may be told.

    Attributes:
        epochs: Passes over the training rows at the most.
        learning_rate: Highest rate of the topmost layer.
        layer_decay: What the rate is multiplied with from each layer to the one below.
        batch_size: Texts in one step.
        max_tokens: Tokens of a text that are read in training, and of a window when it serves, special ones included.
        sharpness: How steeply a text's `valence` turns into the share of its label, see `Examples.targets`.
        evaluations: Looks at the validation rows an epoch.
        patience: Looks without a better accuracy after which training stops.
        seed: Seed of head, order and dropout.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    epochs: float = Field(default=4.0, gt=0, le=100)
    learning_rate: float = Field(default=1e-4, gt=0, lt=1)
    layer_decay: float = Field(default=0.9, gt=0, le=1)
    batch_size: int = Field(default=32, ge=1, le=1024)
    max_tokens: int = Field(default=256, ge=8, le=512)
    sharpness: float = Field(default=2.0, ge=0)
    evaluations: int = Field(default=2, ge=1)
    patience: int = Field(default=4, ge=1)
    seed: int = Field(default=7, ge=0)

    @property
    def schedule(self) -> Schedule:
        """How long and how fast is learned."""
        return Schedule(**{name: getattr(self, name) for name in Schedule.__dataclass_fields__})


@dataclass(frozen=True)
class Trained:
    """A trained encoder.

    Attributes:
        encoder: Encoder and head.
        history: Accuracy at each look at the validation rows, 0 to 1.
        max_tokens: Tokens of a text that it read, and of the windows that it will.
    """

    encoder: Encoder
    history: list[float]
    max_tokens: int

    def save(self, folder: Path, labels: tuple[str, ...], method: Literal["finetuned", "distilled"]) -> None:
        """Writes the text model in fp32, and beside it, in `encoder/`, what training can go on from."""
        shape = self.encoder.config
        config = TextModelConfig(
            labels=labels,
            max_tokens=self.max_tokens,
            overlap=self.max_tokens // 4,
            pad_id=shape.pad_token_id,
            layers=shape.num_hidden_layers,
            method=method,
        )
        write_text_model(folder, encoder_graph(self.encoder), self.encoder.tokenizer, config)
        self.encoder.save(folder / ENCODER)


def finetune(
    training: Examples,
    validation: Examples,
    encoder: Encoder,
    config: FineTuningConfig,
    *,
    checkpoints: Path | None = None,
    progress: Progress | None = None,
) -> Trained:
    """Trains encoder and head together on the cross-entropy; the word embeddings stay as they are.

    Args:
        training: What to learn from.
        validation: What decides when to stop.
        encoder: Where to start from.
        config: Settings.
        checkpoints: Folder to keep the state in and to go on from; of this run and these rows alone.
        progress: Called with (step, steps, words).

    Raises:
        GraphError: The ONNX graph of what was trained answers otherwise than torch.
    """
    torch.manual_seed(config.seed)
    model = torch_model(encoder, len(training.names))
    pad_id = encoder.config.pad_token_id
    rows, choosing = (token_windows(part.texts, encoder, config.max_tokens) for part in (training, validation))
    targets = torch.from_numpy(training.targets(config.sharpness).astype(np.float32))

    def loss(batch: NDArray[np.intp]) -> object:
        logits, _ = forward(model, *pad([rows[row] for row in batch], pad_id))
        return nn.functional.cross_entropy(logits, targets[batch])

    def look() -> Look:
        found = predict_logits(model, choosing, pad_id).argmax(axis=1)
        accuracy = float((found == validation.labels).mean())
        return Look(accuracy, accuracy)

    lengths = [len(row) for row in rows]
    history = fit(model, lengths, loss, look, config.schedule, checkpoints=checkpoints, progress=progress)
    trained = to_encoder(model, encoder.tokenizer, encoder.config)
    check_graph(model, trained, choosing[:SAMPLE])
    return Trained(trained, history, config.max_tokens)


def token_windows(texts: list[str], encoder: Encoder, max_tokens: int) -> list[Ids]:
    """Token ids of texts, special tokens included, cut off after `max_tokens`."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_buffer(encoder.tokenizer)
    tokenizer.enable_truncation(max_tokens)
    return [np.array(encoding.ids, np.int64) for encoding in tokenizer.encode_batch(texts)]
