"""Sentiment: from labelled texts to a registered, evaluated champion."""

from typing import NamedTuple

from kfp import dsl

from components.data.ingest_dataset.component import ingest_dataset
from components.data.split_dataset.component import split_dataset
from components.data.validate_dataset.component import validate_dataset
from components.evaluation.evaluate_text_classifier.component import evaluate_text_classifier
from components.registry.compare_text_classifiers.component import compare_text_classifiers
from components.registry.package_text_classifier.component import package_text_classifier
from components.training.check_text_method.component import check_text_method
from components.training.distill_text_classifier.component import distill_text_classifier
from components.training.finetune_text_classifier.component import finetune_text_classifier
from components.training.quantize_text_classifier.component import quantize_text_classifier
from components.training.score_text_baselines.component import score_text_baselines
from components.training.train_text_head.component import train_text_head
from pipelines.promotion import register_and_promote


class Outputs(NamedTuple):
    """What a run leaves behind."""

    metrics: dsl.Metrics
    data_report: dsl.HTML
    evaluation_report: dsl.HTML
    evaluation: dsl.Artifact
    package: dsl.Model
    version: str
    promote: bool
    reason: str


@dsl.pipeline(  # type: ignore[untyped-decorator]
    name="finetuned-text-classifier", description="Fine-tune the whole encoder; distil it if a student is wanted."
)
def finetuned_text_classifier(
    train: dsl.Input[dsl.Dataset],
    validation: dsl.Input[dsl.Dataset],
    epochs: float,
    learning_rate: float,
    batch_size: int,
    student_layers: int,
    int8_loss_limit: float,
    seed: int,
) -> dsl.Model:
    """Fine-tunes, distils a student where one is wanted, and quantizes what is to serve.

    Args:
        train: Snapshot of the training rows.
        validation: Snapshot of the validation rows.
        epochs: Passes over the training rows at the most.
        learning_rate: Highest learning rate.
        batch_size: Texts in one step.
        student_layers: Layers of the student; 0 serves the teacher.
        int8_loss_limit: Accuracy that int8 may cost.
        seed: Seed of everything that is random.

    Returns:
        The text model that is to serve.
    """
    teacher = finetune_text_classifier(
        train=train,
        validation=validation,
        epochs=epochs,
        learning_rate=learning_rate,
        batch_size=batch_size,
        seed=seed,
    )
    with dsl.If(student_layers > 0, name="a student is wanted"):
        student = distill_text_classifier(
            train=train, validation=validation, teacher=teacher.outputs["model"], layers=student_layers, seed=seed
        )
        small = quantize_text_classifier(
            validation=validation, model=student.outputs["model"], int8_loss_limit=int8_loss_limit
        )
    with dsl.Else(name="the teacher serves"):
        whole = quantize_text_classifier(
            validation=validation, model=teacher.outputs["model"], int8_loss_limit=int8_loss_limit
        )
    return dsl.OneOf(small.outputs["quantized"], whole.outputs["quantized"])


@dsl.pipeline(  # type: ignore[untyped-decorator]
    name="sentiment", description="Train, quantize, evaluate, package and register a text classifier."
)
def sentiment(
    dataset: str = "film_sentences",
    data_uri: str = "",
    sql_query: str = "",
    schema_yaml: str = "",
    test_share: float = 0.2,
    validation_share: float = 0.1,
    split_seed: int = 7,
    method: str = "frozen",
    epochs: float = 4.0,
    learning_rate: float = 1e-4,
    batch_size: int = 32,
    student_layers: int = 0,
    int8_loss_limit: float = 0.01,
    minimum_accuracy: float = 0.7,
    tolerance: float = 0.02,
    registered_model: str = "sentiment",
    tracking_uri: str = "",
    seed: int = 7,
) -> Outputs:
    """Trains, quantizes, evaluates, packages, compares, registers and promotes a text classifier.

    Args:
        dataset: Name of a dataset, or of the user's own data.
        data_uri: CSV or Parquet file of the user's own data; empty for a named dataset.
        sql_query: The user's own data as one SELECT; BLUEPRINTS_DATABASE_URL says where.
        schema_yaml: Schema of the user's own data.
        test_share: Share of the rows that is held out.
        validation_share: Share of the rows for early stopping, quantization and temperature.
        split_seed: Seed of the split. Keep it: a champion must not have learned from the texts that a challenger is
            compared on.
        method: `frozen` trains a head on frozen embeddings and needs no torch; `finetuned` trains the whole encoder.
        epochs: Passes over the training rows at the most, if fine-tuned.
        learning_rate: Highest learning rate, if fine-tuned.
        batch_size: Texts in one step, if fine-tuned.
        student_layers: Layers of a student that is distilled from the fine-tuned model; 0 serves the model itself.
            A frozen encoder has no student.
        int8_loss_limit: Accuracy on validation rows that int8 may cost; beyond it fp32 is served.
        minimum_accuracy: Least accuracy of any champion.
        tolerance: Loss of accuracy that a promotion may cost at the most.
        registered_model: Name in the registry.
        tracking_uri: MLflow's store; the environment's if empty.
        seed: Seed of everything else that is random.

    Returns:
        Reports, figures, the model package and the gate's verdict.
    """
    checked = check_text_method(method=method, student_layers=student_layers)
    ingested = ingest_dataset(dataset=dataset, data_uri=data_uri, sql_query=sql_query, schema_yaml=schema_yaml).after(
        checked
    )
    validated = validate_dataset(snapshot=ingested.outputs["snapshot"])
    parts = split_dataset(
        snapshot=ingested.outputs["snapshot"],
        test_share=test_share,
        validation_share=validation_share,
        seed=split_seed,
    ).after(validated)
    train, validation, test = (parts.outputs[part] for part in ("train", "validation", "test"))
    baselines = score_text_baselines(train=train, validation=validation, test=test, seed=seed)
    with dsl.If(method == "finetuned", name="the whole encoder learns"):
        finetuned = finetuned_text_classifier(
            train=train,
            validation=validation,
            epochs=epochs,
            learning_rate=learning_rate,
            batch_size=batch_size,
            student_layers=student_layers,
            int8_loss_limit=int8_loss_limit,
            seed=seed,
        )
    with dsl.Else(name="only a head learns"):
        head = train_text_head(train=train, validation=validation)
        frozen = quantize_text_classifier(
            validation=validation, model=head.outputs["model"], int8_loss_limit=int8_loss_limit
        )
    model = dsl.OneOf(finetuned.output, frozen.outputs["quantized"])
    evaluated = evaluate_text_classifier(test=test, model=model, baselines=baselines.outputs["scores"], seed=seed)
    packaged = package_text_classifier(
        train=train,
        model=model,
        evaluation=evaluated.outputs["evaluation"],
        pipeline_run=dsl.PIPELINE_JOB_ID_PLACEHOLDER,
        method=method,
        registered_model=registered_model,
        tracking_uri=tracking_uri,
        seed=seed,
    )
    compared = compare_text_classifiers(
        test=test,
        package=packaged.outputs["package"],
        registered_model=registered_model,
        minimum_accuracy=minimum_accuracy,
        tolerance=tolerance,
        tracking_uri=tracking_uri,
        seed=seed,
    )
    reports = {"evaluation_report": evaluated.outputs["report"]}
    registered = register_and_promote(compared, packaged.outputs["package"], reports, registered_model, tracking_uri)
    return Outputs(
        metrics=evaluated.outputs["metrics"],
        data_report=validated.outputs["report"],
        evaluation_report=evaluated.outputs["report"],
        evaluation=evaluated.outputs["evaluation"],
        package=packaged.outputs["package"],
        version=registered.output,
        promote=compared.outputs["Output"],
        reason=compared.outputs["reason"],
    )
