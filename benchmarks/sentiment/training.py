"""Trains teacher and student with the pipeline's defaults; runs where torch is.

    .venv-finetuning/bin/python -m benchmarks.sentiment.training FOLDER

FOLDER has the snapshots `train` and `validation`, and gets the folders `teacher` and `student`: text models in fp32
with the encoder beside them. A run that was interrupted is gone on with.
"""

from __future__ import annotations

import sys
from pathlib import Path

from blueprints.datasets import read_snapshot
from blueprints.progress import report_progress
from blueprints.sentiment.distillation import DistillationConfig, distil
from blueprints.sentiment.encoder import minilm
from blueprints.sentiment.examples import Examples
from blueprints.sentiment.finetuning import FineTuningConfig, finetune


def main() -> None:
    """Trains both."""
    folder = Path(sys.argv[1])
    snapshots = [read_snapshot(folder / part) for part in ("train", "validation")]
    training, validation = (Examples.of(part.frame, part.schema) for part in snapshots)
    checkpoints = folder / "checkpoints"
    teacher = finetune(
        training,
        validation,
        minilm(),
        FineTuningConfig(),
        checkpoints=checkpoints / "teacher",
        progress=report_progress,
    )
    teacher.save(folder / "teacher", training.names, "finetuned")
    student = distil(
        training,
        validation,
        teacher.encoder,
        DistillationConfig(),
        checkpoints=checkpoints / "student",
        progress=report_progress,
    )
    student.save(folder / "student", training.names, "distilled")


if __name__ == "__main__":
    main()
