"""Evaluate a text classifier on held-out texts."""

from kfp.dsl import HTML, Artifact, ClassificationMetrics, Dataset, Input, Metrics, Model, Output

from components import component


@component
def evaluate_text_classifier(
    test: Input[Dataset],
    model: Input[Model],
    baselines: Input[Dataset],
    evaluation: Output[Artifact],
    metrics: Output[Metrics],
    confusion: Output[ClassificationMetrics],
    report: Output[HTML],
    robustness_rows: int = 300,
    seed: int = 7,
) -> None:
    """Measures accuracy, calibration, slices and robustness with bootstrap intervals, beside the baselines.

    Args:
        test: Snapshot of the test rows.
        model: The text model, a folder.
        baselines: Probabilities of the baselines for the same rows.
        evaluation: All figures as JSON.
        metrics: The headline figures.
        confusion: Confusion matrix for the Kubeflow UI.
        report: The evaluation as a page.
        robustness_rows: Test rows whose texts are changed to see what the model makes of them.
        seed: Seed of bootstrap, sample and typos.
    """
    from pathlib import Path

    import numpy as np

    from blueprints.datasets import read_snapshot
    from blueprints.sentiment.baselines import read_scores
    from blueprints.sentiment.classifier import TextClassifier
    from blueprints.sentiment.evaluation import evaluate, row_groups
    from blueprints.sentiment.examples import Examples
    from blueprints.sentiment.reports import evaluation_report
    from blueprints.sentiment.robustness import measure_robustness

    held_out = read_snapshot(Path(test.path))
    examples = Examples.of(held_out.frame, held_out.schema)
    classifier = TextClassifier.open(Path(model.path), threads=2)
    probabilities = classifier.classify(examples.texts)
    result = evaluate(
        examples,
        probabilities,
        read_scores(Path(baselines.path)),
        measure_robustness(examples, probabilities, classifier.classify, rows=robustness_rows, seed=seed),
        frame=held_out.frame,
        groups=row_groups(held_out.frame, held_out.schema),
        tokens=np.array([len(text.offsets) for text in classifier.encode(examples.texts)]),
        seed=seed,
    )
    Path(evaluation.path).write_text(result.model_dump_json(indent=2))
    Path(report.path).write_text(
        evaluation_report(result, probabilities, examples.labels, classifier.config), encoding="utf-8"
    )
    for name, value in result.metrics().items():
        metrics.log_metric(name, value)
    confusion.log_confusion_matrix(list(examples.names), result.confusion)
