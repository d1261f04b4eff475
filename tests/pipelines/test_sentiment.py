"""The sentiment pipeline: one YAML for a cluster, and the same steps run for real on this machine."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from blueprints.governance.registry import CHAMPION, Registry
from blueprints.model_package import open_package
from blueprints.workspace import Workspace
from components import FINETUNING_IMAGE, JOBS_IMAGE
from pipelines.local_run import run_locally
from pipelines.sentiment import sentiment

ALWAYS = {
    "check-text-method",
    "ingest-dataset", "validate-dataset", "split-dataset", "score-text-baselines", "evaluate-text-classifier",
    "package-text-classifier", "compare-text-classifiers", "register-model", "promote-model",
}  # fmt: skip
WITH_TORCH = {"finetune-text-classifier", "distill-text-classifier"}
SCHEMA = """
target: label
columns:
  - {name: text, kind: text, minimum_length: 3, maximum_length: 80}
  - {name: label, kind: category, categories: [complaint, praise, question]}
"""


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    from kfp import compiler

    path = tmp_path_factory.mktemp("compiled") / "sentiment.yaml"
    compiler.Compiler().compile(sentiment, str(path))
    return yaml.safe_load(path.read_text())


def tasks(compiled):
    """Every task by the component that it runs, those of branches included."""
    dags = [compiled["root"], *compiled["components"].values()]
    found = [task for part in dags for task in part.get("dag", {}).get("tasks", {}).values()]
    return {task["componentRef"]["name"]: task for task in found}


def test_it_compiles_to_one_document_that_kfp_loads(compiled):
    from kfp.components import load_component_from_text

    assert compiled["pipelineInfo"]["name"] == "sentiment"
    assert load_component_from_text(yaml.safe_dump(compiled)).name == "sentiment"


def test_only_what_needs_torch_runs_where_torch_is_and_nothing_is_installed(compiled):
    images = {
        executor["container"]["args"][-1]: executor["container"]["image"]
        for executor in compiled["deploymentSpec"]["executors"].values()
    }
    assert {name for name, image in images.items() if image == FINETUNING_IMAGE} == {
        name.replace("-", "_") for name in WITH_TORCH
    }
    assert set(images.values()) == {FINETUNING_IMAGE, JOBS_IMAGE}
    assert "pip install" not in yaml.safe_dump(compiled["deploymentSpec"])


def test_parameters_have_the_documented_defaults(compiled):
    given = compiled["root"]["inputDefinitions"]["parameters"]
    assert {name: parameter.get("defaultValue") for name, parameter in given.items()} == {
        "dataset": "film_sentences",
        "data_uri": "",
        "sql_query": "",
        "schema_yaml": "",
        "test_share": 0.2,
        "validation_share": 0.1,
        "split_seed": 7.0,
        "method": "frozen",
        "epochs": 4.0,
        "learning_rate": 1e-4,
        "batch_size": 32.0,
        "student_layers": 0.0,
        "int8_loss_limit": 0.01,
        "minimum_accuracy": 0.7,
        "tolerance": 0.02,
        "registered_model": "sentiment",
        "tracking_uri": "",
        "seed": 7.0,
    }
    assert all(parameter["description"] for parameter in given.values())


def test_the_method_and_the_student_decide_what_is_trained(compiled):
    conditions = [task["triggerPolicy"]["condition"] for task in tasks(compiled).values() if "triggerPolicy" in task]
    assert any("--method'] == 'finetuned'" in condition for condition in conditions)
    assert any("--student_layers']) > 0" in condition for condition in conditions)
    assert any("compare-text-classifiers" in condition for condition in conditions)


def test_nothing_runs_before_the_method_is_checked(compiled):
    found = compiled["root"]["dag"]["tasks"]
    assert found["ingest-dataset"]["dependentTasks"] == ["check-text-method"]
    first = [name for name, task in found.items() if not task.get("dependentTasks")]
    assert first == ["check-text-method"]


def test_what_changes_the_registry_is_never_taken_from_a_cache(compiled):
    uncached = {
        name.removeprefix("comp-")
        for name, task in tasks(compiled).items()
        if not task.get("cachingOptions", {}).get("enableCache") and "dag" not in compiled["components"][name]
    }
    assert uncached == {"compare-text-classifiers", "register-model", "promote-model"}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A workspace with the downloads of this one."""
    from blueprints.sentiment.encoder import minilm

    minilm()
    downloads, root = Workspace.current().downloads, tmp_path_factory.mktemp("home")
    (root / "downloads").symlink_to(downloads)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BLUEPRINTS_HOME", str(root))
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        paths = [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH")]
        patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, paths)))
        yield root


@pytest.mark.slow  # A whole run is twelve processes, four of which import MLflow.
@pytest.mark.timeout(300)
def test_own_texts_with_three_labels_become_a_promoted_champion(home):
    rng = np.random.default_rng(0)
    said = {
        "complaint": ("arrived broken", "came late", "was rude", "is far too slow"),
        "praise": ("is lovely", "works perfectly", "made us happy", "is great value"),
        "question": ("costs how much?", "ships when?", "fits which model?", "is sold where?"),
    }
    # Every text with words of its own: a split drops those that are nearly the same.
    words = ["".join(letters) for letters in rng.choice(list("abcdefghijklmnoprstuvw"), (400, 7))]
    labels = rng.choice(list(said), 240)
    texts = [f"The {' '.join(rng.choice(words, 4))} {rng.choice(said[label])}" for label in labels]
    pd.DataFrame({"text": texts, "label": labels}).to_csv(home / "own.csv", index=False)
    arguments = {
        "dataset": "letters",
        "data_uri": str(home / "own.csv"),
        "schema_yaml": SCHEMA,
        "registered_model": "letters",
        "test_share": 0.4,
    }
    steps = []
    run = run_locally(
        sentiment, arguments, home / "runs", on_event=lambda event: steps.append((event.kind, event.step))
    )
    ran = {step.removesuffix("-3") for kind, step in steps if kind == "finished"}
    assert ran == {*ALWAYS, "train-text-head", "quantize-text-classifier"}
    assert run.outputs["promote"] is True
    package = open_package(Path(run.outputs["package"].path))
    champion = Registry().by_alias("letters", CHAMPION)
    assert (champion.number, champion.package_version) == (run.outputs["version"], package.version)
    assert package.signature.outputs[0].categories == ("complaint", "praise", "question")
    assert package.lineage.parameters["method"] == "frozen"
    assert package.lineage.parameters["regularisation"] > 0
    assert package.lineage.dataset == "letters"
    assert run.outputs["metrics"].metadata["accuracy"] > 0.7
    assert set(run.reports) == {"data_report", "evaluation_report"}
    for page in run.reports.values():
        assert page.read_text().startswith("<!doctype html>")
