"""Distil a fine-tuned text classifier."""

from kfp.dsl import Dataset, Input, Metrics, Model, Output

from components import finetuning_component


@finetuning_component
def distill_text_classifier(
    train: Input[Dataset],
    validation: Input[Dataset],
    teacher: Input[Model],
    model: Output[Model],
    metrics: Output[Metrics],
    layers: int = 3,
    epochs: float = 3.0,
    learning_rate: float = 4e-4,
    batch_size: int = 32,
    texts: int = 45_000,
    seed: int = 7,
) -> None:
    """Distils a fine-tuned text model into one of fewer layers; runs where torch is.

    Args:
        train: Snapshot of the rows that the teacher learned from.
        validation: Snapshot of rows whose texts decide when to stop.
        teacher: The fine-tuned text model, a folder.
        model: The student in fp32, a folder.
        metrics: Best accuracy on the validation rows, looks at them.
        layers: Layers that the student keeps.
        epochs: Passes over all texts that the teacher answered, at the most.
        learning_rate: Highest learning rate.
        batch_size: Texts in one step.
        texts: Texts that the teacher answers: the training rows', and changed ones until there are so many.
        seed: Seed of order, changed texts and dropout.
    """
    from pathlib import Path

    from blueprints.datasets import read_snapshot
    from blueprints.progress import report_progress
    from blueprints.provenance import installed_versions
    from blueprints.sentiment.checkpoints import kept_checkpoints
    from blueprints.sentiment.distillation import DistillationConfig, distil
    from blueprints.sentiment.encoder import Encoder
    from blueprints.sentiment.examples import Examples
    from blueprints.sentiment.finetuning import ENCODER

    fitting, choosing = (read_snapshot(Path(part.path)) for part in (train, validation))
    examples = Examples.of(fitting.frame, fitting.schema)
    config = DistillationConfig(
        student_layers=layers,
        epochs=epochs,
        learning_rate=learning_rate,
        batch_size=batch_size,
        texts=texts,
        seed=seed,
    )
    taught_encoder = Path(teacher.path) / ENCODER
    with kept_checkpoints(config, (fitting.info, choosing.info), teacher=taught_encoder) as checkpoints:
        trained = distil(
            examples,
            Examples.of(choosing.frame, choosing.schema),
            Encoder.load(taught_encoder),
            config,
            checkpoints=checkpoints,
            progress=report_progress,
        )
        trained.save(Path(model.path), examples.names, "distilled")
    metrics.log_metric("validation_accuracy", max(trained.history))
    metrics.log_metric("looks", len(trained.history))
    model.metadata.update({"framework": "onnx", "dataset": fitting.info.name, "method": "distilled"})
    taught = teacher.metadata.get("parameters", {})
    model.metadata.update(
        parameters={**config.model_dump(), **{f"teacher_{name}": value for name, value in taught.items()}},
        packages=installed_versions(["torch", "transformers"]),
    )
