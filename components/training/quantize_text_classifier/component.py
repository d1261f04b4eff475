"""Make a trained text classifier ready to be served."""

from kfp.dsl import Dataset, Input, Metrics, Model, Output

from components import component


@component
def quantize_text_classifier(
    validation: Input[Dataset],
    model: Input[Model],
    quantized: Output[Model],
    metrics: Output[Metrics],
    int8_loss_limit: float = 0.01,
) -> None:
    """Quantizes a text model to int8, falls back to fp32 if that loses too much, and calibrates its probabilities.

    Args:
        validation: Snapshot of rows that the model has not learned from; some texts also give the scales of int8.
        model: The text model in fp32, a folder.
        quantized: The text model to serve, a folder; fp32 if int8 lost too much.
        metrics: Accuracy on the validation rows in both precisions, the chosen one, temperature, size.
        int8_loss_limit: Accuracy that int8 may lose against fp32 on the validation rows.
    """
    from dataclasses import asdict
    from pathlib import Path

    from blueprints.datasets import read_snapshot
    from blueprints.sentiment.examples import Examples
    from blueprints.sentiment.served_model import prepare_for_serving

    choosing = read_snapshot(Path(validation.path))
    served = prepare_for_serving(
        Path(model.path),
        Examples.of(choosing.frame, choosing.schema),
        Path(quantized.path),
        int8_loss_limit=int8_loss_limit,
    )
    for name, value in asdict(served).items():
        if name != "precision":
            metrics.log_metric(name, value)
    metrics.metadata["precision"] = served.precision
    quantized.metadata.update({**model.metadata, "precision": served.precision})
