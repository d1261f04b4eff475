"""Fine-tune a text classifier."""

from kfp.dsl import Dataset, Input, Metrics, Model, Output

from components import finetuning_component


@finetuning_component
def finetune_text_classifier(
    train: Input[Dataset],
    validation: Input[Dataset],
    model: Output[Model],
    metrics: Output[Metrics],
    epochs: float = 4.0,
    learning_rate: float = 1e-4,
    batch_size: int = 32,
    seed: int = 7,
) -> None:
    """Fine-tunes the whole of MiniLM with a softmax head; runs where torch is.

    A run that was killed goes on from its last checkpoint when the same training is run again in the same workspace.

    Args:
        train: Snapshot of the training rows: one text column, a category as target.
        validation: Snapshot of rows that decide when to stop.
        model: The text model in fp32, a folder; `encoder/` inside holds what a distillation starts from.
        metrics: Best accuracy on the validation rows, looks at them.
        epochs: Passes over the training rows at the most.
        learning_rate: Highest learning rate.
        batch_size: Texts in one step.
        seed: Seed of head, order and dropout.
    """
    from pathlib import Path

    from blueprints.datasets import read_snapshot
    from blueprints.progress import report_progress
    from blueprints.provenance import installed_versions
    from blueprints.sentiment.checkpoints import kept_checkpoints
    from blueprints.sentiment.encoder import minilm
    from blueprints.sentiment.examples import Examples
    from blueprints.sentiment.finetuning import FineTuningConfig, finetune

    fitting, choosing = (read_snapshot(Path(part.path)) for part in (train, validation))
    examples = Examples.of(fitting.frame, fitting.schema)
    config = FineTuningConfig(epochs=epochs, learning_rate=learning_rate, batch_size=batch_size, seed=seed)
    with kept_checkpoints(config, (fitting.info, choosing.info)) as checkpoints:
        trained = finetune(
            examples,
            Examples.of(choosing.frame, choosing.schema),
            minilm(),
            config,
            checkpoints=checkpoints,
            progress=report_progress,
        )
        trained.save(Path(model.path), examples.names, "finetuned")
    metrics.log_metric("validation_accuracy", max(trained.history))
    metrics.log_metric("looks", len(trained.history))
    model.metadata.update({"framework": "onnx", "dataset": fitting.info.name, "method": "finetuned"})
    model.metadata.update(parameters=config.model_dump(), packages=installed_versions(["torch", "transformers"]))
