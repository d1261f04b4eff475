"""Train a text classifier as a head on frozen embeddings."""

from kfp.dsl import Dataset, Input, Metrics, Model, Output

from components import component


@component
def train_text_head(
    train: Input[Dataset], validation: Input[Dataset], model: Output[Model], metrics: Output[Metrics]
) -> None:
    """Trains a linear head on frozen MiniLM sentence embeddings: the fast way, without torch.

    Args:
        train: Snapshot of the training rows: one text column, a category as target.
        validation: Snapshot of rows to choose the regularisation with.
        model: The text model in fp32, a folder.
        metrics: Accuracy on the validation rows, regularisation.
    """
    from pathlib import Path

    from blueprints.datasets import read_snapshot
    from blueprints.progress import report_progress
    from blueprints.sentiment.encoder import minilm
    from blueprints.sentiment.examples import Examples
    from blueprints.sentiment.frozen_head import train_frozen_head

    fitting, choosing = (read_snapshot(Path(part.path)) for part in (train, validation))
    trained = train_frozen_head(
        Examples.of(fitting.frame, fitting.schema),
        Examples.of(choosing.frame, choosing.schema),
        minilm(),
        progress=report_progress,
    )
    trained.save(Path(model.path))
    metrics.log_metric("validation_accuracy", trained.validation_accuracy)
    metrics.log_metric("regularisation", trained.regularisation)
    model.metadata.update({"framework": "onnx", "dataset": fitting.info.name, "method": "frozen"})
    model.metadata.update(parameters={"regularisation": trained.regularisation})
