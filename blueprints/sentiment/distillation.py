"""Distils a fine-tuned encoder into one of fewer layers. Import this module only where torch is (`make finetuning`).

The student starts as some of the teacher's layers and learns to answer as the teacher does (Hinton et al. 2015,
"Distilling the Knowledge in a Neural Network") and to see in a text what the teacher's head sees. There is more to
learn than the examples tell: the teacher also answers for changed texts (Jiao et al. 2020, "TinyBERT"). It answers
once, so that the student can look at its answers again and again.
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
from safetensors.torch import load_file, save_file
from torch import nn

from blueprints.sentiment.changed_texts import with_changed
from blueprints.sentiment.encoder import Encoder
from blueprints.sentiment.examples import Examples
from blueprints.sentiment.finetuning import SAMPLE, FineTuningConfig, Trained, token_windows
from blueprints.sentiment.text_reader import Ids
from blueprints.sentiment.torch_model import answers, check_graph, forward, pad, predict_logits, to_encoder, torch_model
from blueprints.sentiment.torch_training import Look, fit

Progress = Callable[[int, int, str], None]

_LAYER = "encoder.layer."
_ANSWERS = "answers.safetensors"


class DistillationConfig(FineTuningConfig):
    """What a distillation may be told, beside what a fine-tuning may.

    Attributes:
        epochs: Passes over all texts that the teacher answered.
        student_layers: Layers that the student keeps, spread over the teacher's.
        texts: Texts that the teacher answers: those of the training rows, and changed ones until there are so many.
        softness: What both models' logits are divided by before they are compared.
        label_weight: Weight of the labels beside the teacher's answers, on unchanged texts.
        state_weight: Weight of what the head sees.
    """

    epochs: float = Field(default=3.0, gt=0, le=200)
    learning_rate: float = Field(default=4e-4, gt=0, lt=1)
    layer_decay: float = Field(default=1.0, gt=0, le=1)
    student_layers: int = Field(default=3, ge=1)
    texts: int = Field(default=45_000, ge=0)
    softness: float = Field(default=2.0, gt=0)
    label_weight: float = Field(default=0.2, ge=0)
    state_weight: float = Field(default=1.0, ge=0)


def distil(
    training: Examples,
    validation: Examples,
    teacher: Encoder,
    config: DistillationConfig,
    *,
    checkpoints: Path | None = None,
    progress: Progress | None = None,
) -> Trained:
    """Trains a student of fewer layers; it ends as it was when it answered most like the teacher.

    Args:
        training: What to learn from; the rows that the teacher learned from.
        validation: Whose texts decide when to stop.
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
    texts = with_changed(rows, config.texts, config.max_tokens, np.random.default_rng(config.seed))
    right, seen = _kept_answers(checkpoints, master, texts, pad_id, progress)
    spread = seen[: len(rows)].var(dim=0).mean().clamp_min(torch.finfo(torch.float32).tiny)
    targets = torch.from_numpy(training.targets(config.sharpness).astype(np.float32))
    wanted = torch.log_softmax(torch.from_numpy(predict_logits(master, choosing, pad_id)), dim=-1)

    def loss(batch: NDArray[np.intp]) -> Any:
        logits, pooled = forward(student, *pad([texts[position] for position in batch], pad_id))
        like = nn.functional.kl_div(
            nn.functional.log_softmax(logits / config.softness, dim=-1),
            nn.functional.softmax(right[batch] / config.softness, dim=-1),
            reduction="batchmean",
        )
        apart = ((pooled - seen[batch]) ** 2).mean() / spread
        labelled = torch.from_numpy(batch < len(rows))
        own = nn.functional.cross_entropy(logits, targets[np.minimum(batch, len(rows) - 1)], reduction="none")
        own = (own * labelled).mean()
        return config.softness**2 * like + config.state_weight * apart + config.label_weight * own

    def look() -> Look:
        found = torch.log_softmax(torch.from_numpy(predict_logits(student, choosing, pad_id)), dim=-1)
        unlike = float((wanted.exp() * (wanted - found)).sum(dim=-1).mean())
        return Look(float((found.argmax(dim=-1).numpy() == validation.labels).mean()), -unlike)

    lengths = [len(window) for window in texts]
    history = fit(student, lengths, loss, look, config.schedule, checkpoints=checkpoints, progress=progress)
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


def _kept_answers(
    checkpoints: Path | None, master: Any, texts: list[Ids], pad_id: int, progress: Progress | None
) -> tuple[Any, Any]:
    """What the teacher says to all texts; from the checkpoints, if it has been asked before."""
    file = None if checkpoints is None else checkpoints / _ANSWERS
    if file is not None and file.is_file():
        kept = load_file(file)
        return kept["logits"], kept["pooled"]
    logits, pooled = answers(master, texts, pad_id, progress=progress)
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        temporary = file.with_name(f".{file.name}")
        save_file({"logits": logits, "pooled": pooled}, temporary)
        temporary.replace(file)
    return logits, pooled


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
