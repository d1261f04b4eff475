"""The HTML report of a text classifier."""

from __future__ import annotations

from typing import TYPE_CHECKING

from blueprints.plotting import confusion_matrix
from blueprints.report import Report
from blueprints.sentiment import plots
from blueprints.sentiment.evaluation import Quality, TextEvaluation
from blueprints.sentiment.robustness import TYPO_RATE, Robustness
from blueprints.sentiment.text_model import TextModelConfig

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_METHODS = {"finetuned": "fine-tuned", "distilled": "distilled", "frozen": "frozen embeddings, linear head"}


def model_words(config: TextModelConfig) -> str:
    """The model in a few words."""
    return f"MiniLM, {_METHODS[config.method]}, {config.layers} layers, {config.precision}"


def evaluation_report(
    evaluation: TextEvaluation,
    probabilities: NDArray[np.floating],
    target: NDArray[np.integer],
    config: TextModelConfig,
) -> str:
    """The evaluation as a page: figures with intervals, calibration, slices, robustness, mistakes."""
    name, model = model_words(config), evaluation.model
    report = Report("Evaluation", f"{name}: {evaluation.rows:,} held-out texts, labels {', '.join(evaluation.labels)}.")
    report.tiles(_tiles(evaluation))
    report.heading("Beside the baselines")
    report.table(
        ("model", "accuracy (95 % interval)", "macro-F1 (95 % interval)", "log loss", "Brier score"),
        [_row(name, model), *(_row(other, quality) for other, quality in evaluation.baselines.items())],
    )
    if evaluation.margin is not None:
        margin = evaluation.margin
        report.verdict(
            f"Over {evaluation.best_baseline}, the best baseline: {margin.value:+.4f} "
            f"({margin.low:+.4f} to {margin.high:+.4f}), on the same rows.",
            good=margin.low > 0,
        )
    report.figure(
        plots.accuracies({name: model.accuracy, **{other: q.accuracy for other, q in evaluation.baselines.items()}})
    )
    report.heading("Labels")
    report.table(
        ("label", "rows", "precision", "recall", "F1"),
        [(one.label, one.rows, one.precision, one.recall, one.f1) for one in evaluation.by_label],
    )
    report.figure(
        confusion_matrix(
            evaluation.confusion, evaluation.labels, evaluation.labels, "Answers by label", "answer", "label"
        )
    )
    report.heading("Calibration")
    report.text(
        f"The logits are divided by a temperature of {config.temperature:.3f}, fitted on validation rows. "
        f"Expected calibration error {model.calibration_error:.4f}, log loss {model.log_loss}, "
        f"Brier score {model.brier}."
    )
    report.figure(plots.calibration(probabilities, target))
    report.heading("Where it is better and worse")
    report.figure(plots.slices(evaluation.slices, model.accuracy))
    report.table(
        ("part", "", "rows", "accuracy (95 % interval)", "best baseline"),
        [(part.by, part.value, part.rows, str(part.accuracy), part.best_baseline) for part in evaluation.slices],
    )
    _robustness(report, evaluation.robustness)
    report.heading("Wrong, and sure of it")
    report.text("The wrong answers with the highest probability; some are mistakes of the labels.")
    return report.table(
        ("text", "label", "answer", "probability"),
        [(one.text, one.label, one.predicted, one.probability) for one in evaluation.mistakes],
    ).html()


def _tiles(evaluation: TextEvaluation) -> list[tuple[str, str]]:
    model = evaluation.model
    tiles = [("accuracy", f"{model.accuracy.value:.4f}")]
    tiles += [(f"accuracy, {one.value}", f"{one.accuracy.value:.4f}") for one in evaluation.sources()[:4]]
    tiles.append(("macro-F1", f"{model.macro_f1.value:.4f}"))
    if evaluation.margin is not None:
        tiles.append(("over the best baseline", f"{100 * evaluation.margin.value:+.1f} points"))
    tiles.append(("calibration error", f"{model.calibration_error:.4f}"))
    return tiles


def _row(name: str, quality: Quality) -> tuple[str, str, str, float, float]:
    return name, str(quality.accuracy), str(quality.macro_f1), quality.log_loss.value, quality.brier.value


def _robustness(report: Report, found: Robustness) -> None:
    report.heading("Robustness")
    report.text(
        f"{found.rows:,} test texts, changed so that their meaning stays; typos hit {TYPO_RATE:.0%} of the letters."
        + (" Beside it small sentences in which one word turns the label, such as “not” and “but”." if found.negation
           else "")
    )  # fmt: skip
    report.figure(plots.robustness(found))
    report.table(
        ("change", "accuracy after it (95 % interval)", "loss (95 % interval)", "answers that change", "example"),
        [
            (one.name, str(one.accuracy), f"{one.loss.value:+.4f} ({one.loss.low:+.4f} to {one.loss.high:+.4f})",
             f"{one.flipped:.1%}", one.example)
            for one in found.perturbations
        ],
    )  # fmt: skip
    if not found.negation:
        report.text("The small sentences need the labels negative and positive; this model has others.")
        return
    report.table(
        ("sentences", "example", "label", "number", "accuracy"),
        [(kind.kind, kind.example, kind.expected, kind.sentences, kind.accuracy) for kind in found.negation],
    )
    if found.turned is not None:
        report.text(f"“not” turns {found.turned:.0%} of the answers to plain sentences that are right without it.")
