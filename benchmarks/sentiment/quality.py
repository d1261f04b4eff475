"""How good the models are that the servers run, on the held-out film sentences."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from benchmarks.figures import Figure, figure
from benchmarks.sentiment.material import SEED, STUDENT, TEACHER, Material


def quality(material: Material) -> dict[str, Figure]:
    """Accuracy of teacher and student as they are served, and what int8 and the smaller model cost."""
    from blueprints.sentiment.evaluation import TextEvaluation

    hits = {
        "teacher": _hits(material, f"{TEACHER}-served"),
        "student": _hits(material, f"{STUDENT}-served"),
        "fp32": _hits(material, TEACHER),
        "student fp32": _hits(material, STUDENT),
    }
    accuracy = {name: float(right.mean()) for name, right in hits.items()}
    evaluation = TextEvaluation.model_validate_json((material.folder / f"{TEACHER}-evaluation.json").read_bytes())
    best = evaluation.best_baseline
    linear = evaluation.baselines[best].accuracy.value
    rows = f"{len(hits['teacher']):,} held-out film sentences, near-neutral ones included"
    interval = 1.96 * float(np.std(hits["teacher"] - hits["student"])) / len(hits["teacher"]) ** 0.5
    precision = _precision(material, TEACHER)
    return {
        "accuracy": figure(
            accuracy["teacher"],
            "fraction",
            f"of the teacher as it is served ({precision}) on {rows}, split seed {SEED}; baseline: the best linear "
            f"model, {best}",
            baseline=linear,
            ratio=accuracy["teacher"] / linear,
        ),
        "margin_over_linear": figure(
            accuracy["teacher"] - linear, "fraction", f"accuracy less that of {best}, the best of the linear models"
        ),
        "int8_loss": figure(
            accuracy["fp32"] - accuracy["teacher"],
            "fraction",
            f"accuracy of the teacher in fp32 less its accuracy as it is served ({precision}), the same rows; "
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


def _hits(material: Material, folder: str) -> NDArray[np.float64]:
    from blueprints.datasets import read_snapshot
    from blueprints.sentiment.classifier import TextClassifier
    from blueprints.sentiment.examples import Examples

    test = read_snapshot(material.folder / "test")
    examples = Examples.of(test.frame, test.schema)
    found = TextClassifier.open(material.folder / folder, threads=2).classify(examples.texts).argmax(axis=1)
    return np.asarray(found == examples.labels, np.float64)


def _precision(material: Material, name: str) -> str:
    from blueprints.sentiment.text_model import CONFIG, TextModelConfig

    content = (material.folder / f"{name}-served" / CONFIG).read_bytes()
    return TextModelConfig.model_validate_json(content).precision
