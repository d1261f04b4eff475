"""Distils a fine-tuned encoder into one of fewer layers. Import this module only where torch is (`make finetuning`).

The student starts as some of the teacher's layers and learns to answer as the teacher does (Hinton et al. 2015,
"Distilling the Knowledge in a Neural Network") and to see what it sees after the layers that were kept (Sanh et al.
2019, "DistilBERT"). The teacher also labels changed texts, so that there is more to learn from than there are
examples: without some words, parts of them, and two joined to one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import nn

from blueprints.sentiment.encoder import Encoder
from blueprints.sentiment.examples import Examples
from blueprints.sentiment.finetuning import SAMPLE, FineTuningConfig, Trained, token_windows
from blueprints.sentiment.text_reader import Ids
from blueprints.sentiment.torch_model import check_graph, forward, pad, predict_logits, to_encoder, torch_model
from blueprints.sentiment.torch_training import fit

Progress = Callable[[int, int, str], None]

_LAYER = "encoder.layer."


class DistillationConfig(FineTuningConfig):
    """What a distillation may be told, beside what a fine-tuning may.

    Attributes:
        student_layers: Layers that the student keeps, spread over the teacher's.
        softness: What both models' logits are divided by before they are compared.
        label_weight: Weight of the labels beside the teacher's answers, on unchanged texts.
        state_weight: Weight of the token vectors after each kept layer.
        changed: Share of texts that are changed.
    """

    epochs: float = Field(default=6.0, gt=0, le=200)
    learning_rate: float = Field(default=2e-4, gt=0, lt=1)
    layer_decay: float = Field(default=1.0, gt=0, le=1)
    student_layers: int = Field(default=3, ge=1)
    softness: float = Field(default=2.0, gt=0)
    label_weight: float = Field(default=0.2, ge=0)
    state_weight: float = Field(default=1.0, ge=0)
    changed: float = Field(default=0.5, ge=0, le=1)


def distil(
    training: Examples,
    validation: Examples,
    teacher: Encoder,
    config: DistillationConfig,
    *,
    checkpoints: Path | None = None,
    progress: Progress | None = None,
) -> Trained:
    """Trains a student of fewer layers.

    Args:
        training: What to learn from; the rows that the teacher learned from.
        validation: What decides when to stop.
        teacher: A fine-tuned encoder with its head.
        config: Settings.
        checkpoints: Folder to keep the state in and to go on from; of this run and these rows alone.
        progress: Called with (step, steps, words).

    Raises:
        ValueError: The student would not be smaller than the teacher.
        GraphError: The ONNX graph of what was trained answers otherwise than torch.
    """
    torch.manual_seed(config.seed)
    kept = kept_layers(teacher.config.num_hidden_layers, config.student_layers)
    smaller = _student(teacher, kept)
    labels, pad_id = len(training.names), teacher.config.pad_token_id
    master, student = torch_model(teacher, labels).eval().requires_grad_(False), torch_model(smaller, labels)
    rows, choosing = (token_windows(part.texts, teacher, config.max_tokens) for part in (training, validation))
    targets = torch.from_numpy(training.targets(config.sharpness).astype(np.float32))

    def loss(batch: NDArray[np.intp]) -> Any:
        random = np.random.default_rng(int(torch.randint(2**31, ())))
        changed = random.random(len(batch)) < config.changed
        texts = [
            change(rows[row], rows[random.integers(len(rows))], config.max_tokens, random) if alter else rows[row]
            for row, alter in zip(batch, changed, strict=True)
        ]
        ids, mask = pad(texts, pad_id)
        with torch.no_grad():
            right, seen = forward(master, ids, mask)
        logits, states = forward(student, ids, mask)
        answers = nn.functional.kl_div(
            nn.functional.log_softmax(logits.float() / config.softness, dim=-1),
            nn.functional.softmax(right.float() / config.softness, dim=-1),
            reduction="batchmean",
        )
        shown = mask.unsqueeze(-1)
        pairs = zip(states[1:], (seen[layer + 1] for layer in kept), strict=True)
        apart = sum((((mine - its).float() * shown) ** 2).sum() for mine, its in pairs)
        apart = apart / (shown.sum() * smaller.config.hidden_size * len(kept))
        own = nn.functional.cross_entropy(logits.float(), targets[batch], reduction="none")
        own = (own * torch.from_numpy(~changed)).mean()
        return config.softness**2 * answers + config.state_weight * apart + config.label_weight * own

    def accuracy() -> float:
        found = predict_logits(student, choosing, pad_id).argmax(axis=1)
        return float((found == validation.labels).mean())

    lengths = [len(row) for row in rows]
    history = fit(student, lengths, loss, accuracy, config.schedule, checkpoints=checkpoints, progress=progress)
    trained = to_encoder(student, smaller.tokenizer, smaller.config)
    check_graph(student, trained, choosing[:SAMPLE])
    return Trained(trained, history, config.max_tokens)


def kept_layers(layers: int, student_layers: int) -> tuple[int, ...]:
    """The teacher's layers that a student starts with: spread evenly, the first and the last among them.

    Raises:
        ValueError: There are not more layers than are to be kept.
    """
    if student_layers >= layers:
        raise ValueError(f"student_layers: {student_layers} is not less than the teacher's {layers} layers")
    if student_layers == 1:
        return (layers - 1,)
    return tuple(int(place) for place in np.linspace(0, layers - 1, student_layers))


def change(window: Ids, other: Ids, max_tokens: int, random: np.random.Generator) -> Ids:
    """A text like this one: without some tokens, a part of it, or joined with another; special tokens stay."""
    first, inner, last = window[:1], window[1:-1], window[-1:]
    way = random.integers(3)
    if way == 0:
        inner = inner[random.random(len(inner)) > 0.15]
    elif way == 1:
        size = random.integers(min(4, len(inner)), len(inner) + 1)
        start = random.integers(len(inner) - size + 1)
        inner = inner[start : start + size]
    else:
        inner = np.concatenate([inner, other[1:-1]])
    return np.concatenate([first, inner[: max_tokens - 2], last])


def _student(teacher: Encoder, kept: tuple[int, ...]) -> Encoder:
    """The teacher with some of its layers only."""
    weights = {name: array for name, array in teacher.weights.items() if not name.startswith(_LAYER)}
    for new, old in enumerate(kept):
        start = f"{_LAYER}{old}."
        weights |= {
            f"{_LAYER}{new}.{name.removeprefix(start)}": array
            for name, array in teacher.weights.items()
            if name.startswith(start)
        }
    config = teacher.config.model_copy(update={"num_hidden_layers": len(kept)})
    return replace(teacher, config=config, weights=weights)
