"""How good the models are that the servers run, on the held-out film sentences."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.figures import Figure, figure
from benchmarks.sentiment.material import SEED, STUDENT, TEACHER, Material

if TYPE_CHECKING:
    from blueprints.sentiment.classifier import TextClassifier
    from blueprints.sentiment.examples import Examples


def quality(material: Material) -> dict[str, Figure]:
    """Accuracy of teacher and student as they are served, and what int8 and the smaller model cost."""
    from blueprints.datasets import read_snapshot
    from blueprints.sentiment.classifier import TextClassifier
    from blueprints.sentiment.evaluation import TextEvaluation
    from blueprints.sentiment.examples import Examples

    snapshots = [read_snapshot(material.folder / part) for part in ("validation", "test")]
    validation, rows = (Examples.of(part.frame, part.schema) for part in snapshots)
    models = {
        "teacher": TextClassifier.open(material.folder / f"{TEACHER}-served", threads=2),
        "student": TextClassifier.open(material.folder / f"{STUDENT}-served", threads=2),
        "fp32": TextClassifier.open(material.folder / TEACHER, threads=2),
        "int8": in_int8(material.folder / TEACHER, validation),
        "student fp32": TextClassifier.open(material.folder / STUDENT, threads=2),
    }
    hits = {name: model.classify(rows.texts).argmax(axis=1) == rows.labels for name, model in models.items()}
    accuracy = {name: float(right.mean()) for name, right in hits.items()}
    evaluation = TextEvaluation.model_validate_json((material.folder / f"{TEACHER}-evaluation.json").read_bytes())
    best = evaluation.best_baseline
    linear = evaluation.baselines[best].accuracy.value
    words = f"{len(hits['teacher']):,} held-out film sentences, near-neutral ones included"
    interval = 1.96 * float(np.std(hits["teacher"].astype(int) - hits["student"])) / len(hits["teacher"]) ** 0.5
    precision = _precision(material, TEACHER)
    return {
        "accuracy": figure(
            accuracy["teacher"],
            "fraction",
            f"of the teacher as it is served ({precision}) on {words}, split seed {SEED}; baseline: the best linear "
            f"model, {best}",
            baseline=linear,
            ratio=accuracy["teacher"] / linear,
        ),
        "margin_over_linear": figure(
            accuracy["teacher"] - linear, "fraction", f"accuracy less that of {best}, the best of the linear models"
        ),
        "int8_loss": figure(
            accuracy["fp32"] - accuracy["int8"],
            "fraction",
            f"accuracy of the teacher in fp32 less that in int8, whichever is served ({precision}), the same rows; "
            "baseline: accuracy in fp32",
            baseline=accuracy["fp32"],
        ),
        "student_accuracy": figure(
            accuracy["student"],
            "fraction",
            f"of the student as it is served ({_precision(material, STUDENT)}), the same rows; baseline: its fp32",
            baseline=accuracy["student fp32"],
        ),
        "student_loss": figure(
            accuracy["teacher"] - accuracy["student"],
            "fraction",
            "accuracy of the teacher less that of the student, both as they are served; 95 % interval: "
            f"± {interval:.4f}, paired",
        ),
    }


def in_int8(folder: Path, validation: Examples) -> TextClassifier:
    """A text model in int8 as it would be served, even if it is served in fp32 because int8 loses too much."""
    from blueprints.sentiment.classifier import TextClassifier
    from blueprints.sentiment.served_model import prepare_for_serving

    with tempfile.TemporaryDirectory(prefix="bench-") as scratch:
        prepare_for_serving(folder, validation, Path(scratch), int8_loss_limit=1.0)
        return TextClassifier.open(Path(scratch), threads=2)


def _precision(material: Material, name: str) -> str:
    from blueprints.sentiment.text_model import CONFIG, TextModelConfig

    content = (material.folder / f"{name}-served" / CONFIG).read_bytes()
    return TextModelConfig.model_validate_json(content).precision
