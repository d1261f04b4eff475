"""From a trained and evaluated text classifier to a model package."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from blueprints.model_package import Lineage, ModelPackage, Signature, write_package
from blueprints.provenance import installed_versions, trace_lineage
from blueprints.schema import Column
from blueprints.sentiment import MODEL_NAME
from blueprints.sentiment.classifier import TextClassifier, model_files
from blueprints.sentiment.evaluation import TextEvaluation
from blueprints.sentiment.examples import Examples
from blueprints.sentiment.reports import model_words
from blueprints.sentiment.text_model import LABEL, TEXT, TextModelConfig

if TYPE_CHECKING:
    from blueprints.datasets import Snapshot, SnapshotInfo

SHORTEST, LONGEST = 3, 512
"""Characters of a text where the schema of the data says nothing and training texts are no longer."""

_PACKAGES = ("onnxruntime", "onnx", "tokenizers", "scikit-learn", "numpy", "ml-deployment-blueprints")


def package_model(
    folder: Path,
    model: Path,
    training: Snapshot,
    evaluation: TextEvaluation,
    *,
    pipeline_run: str,
    parameters: Mapping[str, Any] | None = None,
    packages: Mapping[str, str] | None = None,
    parent_model: str = "",
    reference_rows: int = 1000,
    seed: int = 0,
) -> ModelPackage:
    """Writes the model package of a text classifier.

    Args:
        folder: Where it shall lie; must not exist, or be empty.
        model: Folder of the text model.
        training: Snapshot that it was trained on; a sample becomes the reference.
        evaluation: Figures on the test rows.
        pipeline_run: Id of the run that made it.
        parameters: How it was trained, beside what `text_model.json` says, which prevails.
        packages: Versions of libraries that shaped the weights in other environments than this one, such as torch.
        parent_model: Version of the champion at that time.
        reference_rows: Size of the reference sample.
        seed: Seed of the sample.

    Raises:
        ValueError: The model and the training rows have different labels.
    """
    import pyarrow as pa

    sample = training.frame.sample(n=min(reference_rows, len(training.frame)), random_state=seed)
    examples, classifier = Examples.of(sample, training.schema), TextClassifier.open(model, threads=2)
    config = classifier.config
    if config.labels != examples.names:
        raise ValueError(
            f"the model answers {', '.join(config.labels)} and its training rows are labelled "
            f"{', '.join(examples.names)}; package it with the snapshot that it was trained on"
        )
    probabilities = classifier.classify(examples.texts)
    outputs = output_columns(config.labels)
    reference = pa.table(
        {
            TEXT: examples.texts,
            LABEL: [config.labels[code] for code in probabilities.argmax(axis=1)],
            **{column.name: values for column, values in zip(outputs[1:], probabilities.T, strict=True)},
        }
    )
    lineage = trace_lineage(
        training.info,
        pipeline_run=pipeline_run,
        parameters={**(parameters or {}), **config.model_dump(mode="json", exclude={"pad_id", "mask_id"})},
        metrics=evaluation.metrics(),
        packages={**installed_versions(_PACKAGES), **(packages or {})},
        parent_model=parent_model,
    )
    return write_package(
        folder,
        files=model_files(model),
        signature=Signature(model_name=MODEL_NAME, inputs=(input_column(training),), outputs=outputs),
        lineage=lineage,
        reference=reference,
        model_card=model_card(config, lineage, training.info, evaluation),
    )


def input_column(training: Snapshot) -> Column:
    """The one input, under the name that requests have, with the words and bounds of the data's text column."""
    (column,) = (one for one in training.schema.features() if one.kind == "text")
    longest = max(LONGEST, int(training.frame[column.name].str.len().max()))
    return column.model_copy(
        update={
            "name": TEXT,
            "minimum_length": SHORTEST if column.minimum_length is None else column.minimum_length,
            "maximum_length": longest if column.maximum_length is None else column.maximum_length,
            "nullable": False,
        }
    )


def output_columns(labels: tuple[str, ...]) -> tuple[Column, ...]:
    """The label, and a probability for each label, named by it or, where names would repeat, by its number."""
    names = [re.sub("[^a-z0-9]", "_", label.lower())[:48] for label in labels]
    if len(set(names)) != len(names):
        names = [str(number) for number in range(len(labels))]
    return (
        Column(name=LABEL, kind="category", title="label", description="The likeliest label.", categories=labels),
        *(
            Column(
                name=f"probability_{name}",
                kind="number",
                title=f"probability of {label}",
                description=f"Calibrated probability that the text is {label}.",
                minimum=0,
                maximum=1,
            )
            for name, label in zip(names, labels, strict=True)
        ),
    )


def model_card(config: TextModelConfig, lineage: Lineage, data: SnapshotInfo, evaluation: TextEvaluation) -> str:
    """The model card (Mitchell et al., 2019) as Markdown."""
    model, robust = evaluation.model, evaluation.robustness
    baselines = "".join(
        f"| {name} | {quality.accuracy} | {quality.macro_f1} |\n" for name, quality in evaluation.baselines.items()
    )
    parts = "\n".join(
        f"| {part.by}: {part.value} | {part.rows:,} | {part.accuracy} |"
        for part in evaluation.slices
        if part.by != "characters"
    )
    changes = "\n".join(
        f"| {one.name} | {one.accuracy} | {one.loss.value:+.4f} | {one.flipped:.1%} |" for one in robust.perturbations
    )
    kinds = "\n".join(
        f"| {kind.kind} | {kind.example} | {kind.sentences} | {kind.accuracy:.1%} |" for kind in robust.negation
    )
    suite = f"\n| small sentences | example | number | accuracy |\n|---|---|---|---|\n{kinds}\n" if kinds else ""
    return f"""# Model card: {MODEL_NAME}

The label of a short text ({", ".join(config.labels)}) with calibrated probabilities: {model_words(config)}.

## Intended use
Sorting and counting short English texts like those of its training data: reviews, comments, messages.
Not for judging the person who wrote a text, for texts in other languages (the tokenizer reads them, the labels mean
nothing there), or for decisions about people. Irony, quotations and mixed opinions get one label all the same.

## Data
`{lineage.dataset}` {lineage.dataset_version}, snapshot `{lineage.dataset_sha256}`; {data.rows:,} training rows.
Source: {data.source}. Licence: {data.licence}.
The encoder is all-MiniLM-L6-v2 (Apache-2.0), trained on English texts.

## Performance on {evaluation.rows:,} held-out texts
| model | accuracy (95 % interval) | macro-F1 (95 % interval) |
|---|---|---|
| this model | {model.accuracy} | {model.macro_f1} |
{baselines}
Log loss {model.log_loss.value:.4f}, Brier score {model.brier.value:.4f}, expected calibration error
{model.calibration_error:.4f} (temperature {config.temperature:.3f}, fitted on validation rows).

| part | rows | accuracy (95 % interval) |
|---|---|---|
{parts}

## Robustness on {robust.rows:,} changed texts
| change that keeps the meaning | accuracy after it (95 % interval) | loss | answers that change |
|---|---|---|---|
{changes}
{suite}
## Limits
Windows of {config.max_tokens} tokens: of longer texts the windows' logits are averaged. A probability near
1/{len(config.labels)} means that the text gives no ground for a label; there is no neutral one unless it was trained.
"""
