"""Packaging: a verified package that answers as the model does, and says where it comes from."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from blueprints.datasets import Snapshot, SnapshotInfo
from blueprints.model_package import open_package
from blueprints.schema import Column, TableSchema
from blueprints.sentiment.classifier import TextClassifier
from blueprints.sentiment.evaluation import evaluate
from blueprints.sentiment.examples import Examples
from blueprints.sentiment.packaging import input_column, output_columns, package_model
from blueprints.sentiment.robustness import measure_robustness
from tests.lexicon_model import write_lexicon_model

TEXTS = ["a good film", "a great and funny story", "an awful film", "dull and boring", "a film", "very cold"]
SCHEMA = TableSchema(
    columns=(
        Column(name="review", kind="text", title="review", description="What somebody wrote.", maximum_length=300),
        Column(name="label", kind="category", categories=("negative", "positive")),
        Column(name="document", kind="text"),
    ),
    target="label",
    group="document",
)
WHOLE = "a" * 64
INFO = SnapshotInfo(
    name="reviews", version="1.2", part="train", rows=60, sha256="b" * 64, schema_sha256="c" * 64, source="a shop",
    licence="CC BY 4.0", created_from=WHOLE,
)  # fmt: skip


def snapshot(schema=SCHEMA) -> Snapshot:
    labels = ["positive", "positive", "negative", "negative", "positive", "negative"] * 10
    frame = pd.DataFrame({"review": TEXTS * 10, "label": labels, "document": [str(place) for place in range(60)]})
    return Snapshot(frame, schema, INFO)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_lexicon_model(tmp_path_factory.mktemp("model"), temperature=1.5)


@pytest.fixture(scope="module")
def evaluation(model):
    classifier, examples = TextClassifier.open(model), Examples.of(snapshot().frame, SCHEMA)
    probabilities = classifier.classify(examples.texts)
    robustness = measure_robustness(examples, probabilities, classifier.classify, rows=20)
    return evaluate(examples, probabilities, {"TF-IDF": probabilities}, robustness, resamples=20)


@pytest.fixture
def write(model, evaluation, tmp_path):
    def run(name="package", given=None, **keywords):
        keywords = {"pipeline_run": "run-7", "reference_rows": 30, **keywords}
        return package_model(tmp_path / name, model, given or snapshot(), evaluation, **keywords)

    return run


def test_the_package_opens_and_answers_as_the_model_does(write, model, tmp_path):
    package = write()
    assert open_package(tmp_path / "package") == package
    np.testing.assert_array_equal(
        TextClassifier.open(package).classify(TEXTS), TextClassifier.open(model).classify(TEXTS)
    )


def test_the_signature_names_the_text_and_a_probability_for_each_label(write):
    signature = write().signature
    (text,) = signature.inputs
    assert (text.name, text.kind, text.description) == ("text", "text", "What somebody wrote.")
    assert (text.minimum_length, text.maximum_length) == (3, 300)
    assert [column.name for column in signature.outputs] == ["label", "probability_negative", "probability_positive"]
    assert signature.outputs[0].categories == ("negative", "positive")


@pytest.mark.parametrize("labels", [("5 stars", "très bien", "n/a"), ("n/a", "N A"), ("x" * 80, "y" * 80)])
def test_any_label_makes_a_column_of_its_own(labels):
    label, *probabilities = output_columns(labels)
    assert label.categories == labels
    assert len({column.name for column in probabilities}) == len(labels)
    assert [column.title for column in probabilities] == [f"probability of {name}" for name in labels]


@pytest.mark.parametrize(
    ("bounds", "longest", "expected"), [({"minimum_length": 0, "maximum_length": 9}, 9, (0, 9)), ({}, 9, (3, 512)),
    ({}, 2000, (3, 2000)), ({"maximum_length": 3000}, 2000, (3, 3000))],
)  # fmt: skip
def test_bounds_are_those_of_the_schema_or_admit_what_was_trained_on(bounds, longest, expected):
    schema = TableSchema(columns=(Column(name="t", kind="text", **bounds), SCHEMA.columns[1]), target="label")
    frame = pd.DataFrame({"t": ["a film", "a" * longest], "label": ["negative", "positive"]})
    column = input_column(Snapshot(frame, schema, INFO))
    assert (column.minimum_length, column.maximum_length) == expected


def test_the_reference_is_a_seeded_sample_of_training_texts_with_their_answers(write, model):
    one, two, other = (write(f"{place}", seed=seed).reference() for place, seed in enumerate((1, 1, 2)))
    assert one.equals(two)
    assert not one.equals(other)
    frame = one.to_pandas()
    probabilities = TextClassifier.open(model).classify(frame["text"])
    np.testing.assert_allclose(frame[["probability_negative", "probability_positive"]], probabilities)
    assert frame["label"].tolist() == [("negative", "positive")[code] for code in probabilities.argmax(axis=1)]
    assert len(frame) == 30


def test_lineage_leads_back_to_run_data_code_training_and_parent(write, evaluation):
    lineage = write(
        parameters={"epochs": 3, "learning_rate": 1e-4}, packages={"torch": "2.13.0"}, parent_model="0123456789ab"
    ).lineage
    assert (lineage.dataset, lineage.dataset_sha256, lineage.pipeline_run) == ("reviews", WHOLE, "run-7")
    assert (lineage.parent_model, lineage.packages["torch"]) == ("0123456789ab", "2.13.0")
    assert {"onnxruntime", "tokenizers"} <= lineage.packages.keys()
    expected = {"epochs": 3, "learning_rate": 1e-4, "method": "frozen", "layers": 1, "precision": "fp32"}
    assert expected.items() <= lineage.parameters.items()
    assert lineage.metrics == evaluation.metrics()


def test_the_model_card_tells_use_data_licence_figures_robustness_and_limits(write, evaluation):
    card = write().read_bytes("model_card.md").decode()
    for words in (
        "(negative, positive)",
        f"snapshot `{WHOLE}`; 60 training rows",
        "Source: a shop. Licence: CC BY 4.0.",
        f"| this model | {evaluation.model.accuracy}",
        "| TF-IDF |",
        "| neighbouring keys |",
        "| negated negative | The film is not bad. |",
        "temperature 1.500",
        "English",
        "Windows of 64 tokens",
    ):
        assert words in card


def test_a_model_of_other_labels_is_refused(write):
    other = Column(name="label", kind="category", categories=("negative", "positive", "mixed"))
    schema = SCHEMA.model_copy(update={"columns": (SCHEMA.columns[0], other, SCHEMA.columns[2])})
    with pytest.raises(ValueError, match="the model answers negative, positive and its training rows are labelled"):
        write(given=snapshot(schema))
