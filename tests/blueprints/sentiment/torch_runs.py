"""What tests of fine-tuning have done in the environment that has torch: `python torch_runs.py <what> <folder>`."""

from __future__ import annotations

import json
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from blueprints.sentiment.distillation import DistillationConfig, distil
from blueprints.sentiment.encoder import HEAD_WEIGHT, Encoder
from blueprints.sentiment.finetuning import FineTuningConfig, finetune
from blueprints.sentiment.torch_model import GraphError, check_graph, torch_model
from tests.tiny_encoder import examples, tiny_encoder

CONFIG = FineTuningConfig(epochs=12, learning_rate=5e-3, layer_decay=1.0, batch_size=16, patience=9, max_tokens=32)


def trained(folder: Path, name: str, *, kill_at: int = 0) -> None:
    """Fine-tunes; `kill_at` a step the process kills itself as a machine that fails would."""

    def progress(step: int, steps: int, words: str) -> None:
        if kill_at and step >= kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    result = finetune(
        examples(200),
        examples(80, seed=1),
        tiny_encoder(),
        CONFIG,
        checkpoints=folder / f"{name}-checkpoints",
        progress=progress,
    )
    result.save(folder / name, ("negative", "positive"), "finetuned")
    (folder / f"{name}.json").write_text(json.dumps(result.history))


def first(folder: Path) -> None:
    """One run to its end, and one that is killed in the middle, between two checkpoints."""
    trained(folder, "whole")
    trained(folder, "killed", kill_at=20)


def second(folder: Path) -> None:
    """Goes on with the run that was killed, distils, and stops early."""
    trained(folder, "killed")
    teacher = Encoder.load(folder / "whole" / "encoder")
    settings = {**CONFIG.model_dump(), "student_layers": 1, "texts": 600, "epochs": 4}
    student = distil(examples(200), examples(80, seed=1), teacher, DistillationConfig(**settings))
    student.save(folder / "student", ("negative", "positive"), "distilled")
    still = CONFIG.model_copy(update={"learning_rate": 1e-12, "patience": 2, "epochs": 50.0})
    stopped = finetune(examples(64), examples(80, seed=1), tiny_encoder(), still)
    wrong = replace(teacher, weights={**teacher.weights, HEAD_WEIGHT: teacher.weights[HEAD_WEIGHT] * np.float32(1.1)})
    try:
        check_graph(torch_model(teacher, 2), wrong, [np.array([2, 5, 6, 3])])
        message = ""
    except GraphError as error:
        message = str(error)
    difference = check_graph(torch_model(teacher, 2), teacher, [np.array([2, 5, 6, 3]), np.array([2, 9, 3])])
    found = {"student": student.history, "stopped": stopped.history, "refused": message, "difference": difference}
    (folder / "found.json").write_text(json.dumps(found))


if __name__ == "__main__":
    {"first": first, "second": second}[sys.argv[1]](Path(sys.argv[2]))
