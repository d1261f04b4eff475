"""The credit-risk pipeline: one YAML for a cluster, and the same steps run for real on this machine."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from pathlib import Path

import pytest
import yaml

from blueprints.datasets import get
from blueprints.governance.registry import CHALLENGER, CHAMPION, Registry
from blueprints.model_package import open_package
from blueprints.workspace import Workspace
from components import JOBS_IMAGE
from pipelines.credit_risk import credit_risk
from pipelines.local_run import PipelineFailedError, run_locally

STEPS = {
    "ingest-dataset", "validate-dataset", "split-dataset", "train-credit-risk", "score-baselines",
    "evaluate-credit-risk", "backtest-credit-risk", "audit-fairness", "enforce-fairness-gate", "explain-credit-risk",
    "package-credit-risk", "compare-with-champion", "register-model", "promote-model",
}  # fmt: skip
# Few rows to learn from, so that the test rows have two groups that are large enough for the gate.
QUICK = {
    "dataset": "german",
    "trials": 1,
    "test_share": 0.7,
    "backtest_periods": 2,
    "demographic_parity_difference": 1.0,
    "equalized_odds_difference": 1.0,
}


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    from kfp import compiler

    path = tmp_path_factory.mktemp("compiled") / "credit-risk.yaml"
    compiler.Compiler().compile(credit_risk, str(path))
    return yaml.safe_load(path.read_text())


def test_it_compiles_to_one_document_that_kfp_loads(compiled):
    from kfp.components import load_component_from_text

    assert compiled["pipelineInfo"]["name"] == "credit-risk"
    assert load_component_from_text(yaml.safe_dump(compiled)).name == "credit-risk"


def test_every_step_runs_in_the_jobs_image_and_installs_nothing(compiled):
    containers = {name: executor["container"] for name, executor in compiled["deploymentSpec"]["executors"].items()}
    assert {name.removeprefix("exec-") for name in containers} == STEPS
    for container in containers.values():
        assert container["image"] == JOBS_IMAGE
        assert "pip install" not in " ".join([*container.get("command", []), *container.get("args", [])])


def test_parameters_have_the_documented_defaults_and_none_is_a_secret(compiled):
    given = compiled["root"]["inputDefinitions"]["parameters"]
    assert {name: parameter.get("defaultValue") for name, parameter in given.items()} == {
        "dataset": "taiwan",
        "data_uri": "",
        "sql_query": "",
        "schema_yaml": "",
        "test_share": 0.2,
        "validation_share": 0.15,
        "split_seed": 7.0,
        "trials": 12,
        "cost_false_negative": 5.0,
        "cost_false_positive": 1.0,
        "backtest_periods": 6,
        "demographic_parity_difference": 0.15,
        "equalized_odds_difference": 0.15,
        "group_rows": 200.0,
        "mitigation": "none",
        "mitigation_column": "",
        "minimum_auc": 0.6,
        "tolerance": 0.005,
        "registered_model": "credit-risk",
        "tracking_uri": "",
        "seed": 7,
    }
    assert all(parameter["description"] for parameter in given.values())


def test_nothing_is_packaged_before_the_gate_and_nothing_promoted_without_condition(compiled):
    tasks = compiled["root"]["dag"]["tasks"]
    assert "enforce-fairness-gate" in tasks["package-credit-risk"]["dependentTasks"]
    assert "package-credit-risk" in tasks["register-model"]["dependentTasks"]
    assert "promote-model" not in tasks
    (condition,) = (task for task in tasks.values() if "triggerPolicy" in task)
    assert "compare-with-champion" in condition["triggerPolicy"]["condition"]
    assert condition["componentRef"]["name"] == "comp-condition-1"
    assert set(compiled["components"]["comp-condition-1"]["dag"]["tasks"]) == {"promote-model"}


def test_what_changes_the_registry_is_never_taken_from_a_cache(compiled):
    tasks = dict(compiled["root"]["dag"]["tasks"])
    tasks.update(compiled["components"]["comp-condition-1"]["dag"]["tasks"])
    cached = {name for name, task in tasks.items() if task.get("cachingOptions", {}).get("enableCache")}
    assert STEPS - cached == {"compare-with-champion", "register-model", "promote-model"}


def test_a_run_shows_metrics_curves_and_pages_in_the_kubeflow_ui(compiled):
    kinds = Counter(
        artifact["artifactType"]["schemaTitle"]
        for component in compiled["components"].values()
        for artifact in component.get("outputDefinitions", {}).get("artifacts", {}).values()
    )
    assert kinds["system.ClassificationMetrics"] == 1
    assert kinds["system.HTML"] == 5
    assert kinds["system.Metrics"] >= 5


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """An empty workspace, but for the downloaded dataset."""
    get("german").load()
    downloads, root = Workspace.current().downloads, tmp_path_factory.mktemp("home")
    (root / "downloads").mkdir()
    for digest in get("german").carrier.files.values():
        shutil.copyfile(downloads / digest, root / "downloads" / digest)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BLUEPRINTS_HOME", str(root))
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        paths = [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH")]
        patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, paths)))
        yield root


@pytest.fixture(scope="module")
def first(home):
    """The first run, and what happened in it."""
    events = []
    return run_locally(credit_risk, QUICK, home / "runs", on_event=events.append), events


slow = pytest.mark.slow  # A whole run is fourteen processes, four of which import MLflow.


@slow
def test_a_run_ends_with_a_promoted_champion(first, home):
    run, events = first
    registry = Registry()
    champion = registry.by_alias("credit-risk", CHAMPION)
    package = open_package(Path(run.outputs["package"].path))
    assert run.outputs["promote"] is True
    assert run.outputs["reason"].startswith("no champion yet")
    assert (champion.number, champion.package_version) == (run.outputs["version"], package.version)
    (line,) = registry.promotions()
    assert line.by == f"pipeline run {package.lineage.pipeline_run}"
    assert line.reason == run.outputs["reason"]
    assert package.lineage.dataset == "german"
    assert registry.champion("credit-risk").version == package.version
    assert {event.step for event in events if event.kind == "finished"} == STEPS
    assert [event.step for event in events if event.kind == "progress"][-1] in STEPS


@slow
def test_a_run_writes_its_reports_figures_and_log(first):
    run, _ = first
    assert set(run.reports) == {
        f"{page}_report" for page in ("data", "evaluation", "backtest", "fairness", "explanation")
    }
    for page in run.reports.values():
        assert page.suffix == ".html"
        assert page.read_text().startswith("<!doctype html>")
    assert 0.6 < run.outputs["metrics"].metadata["roc_auc"] < 1
    assert "promote-model" in (run.folder / "run.log").read_text()


@slow
def test_a_second_run_uses_the_first_and_keeps_the_champion(first, home):
    registry, events = Registry(), []
    before, log = registry.by_alias("credit-risk", CHAMPION), registry.promotions()
    run = run_locally(credit_risk, QUICK, home / "runs", on_event=events.append)
    cached = {event.step for event in events if event.kind == "cached"}
    assert cached == STEPS - {"compare-with-champion", "register-model", "promote-model"}
    assert {event.step for event in events if event.kind == "started"} == STEPS - cached
    assert run.outputs["metrics"].metadata == first[0].outputs["metrics"].metadata
    assert "it is the champion already" in run.outputs["reason"]
    assert registry.by_alias("credit-risk", CHAMPION) == before
    assert run.outputs["version"] == before.number
    assert registry.promotions() == log


@slow
def test_a_broken_fairness_gate_fails_with_step_reason_and_report_and_registers_nothing(first, home):
    limits = {"demographic_parity_difference": 0.0, "equalized_odds_difference": 0.0}
    arguments = {**QUICK, **limits, "registered_model": "unfair"}
    with pytest.raises(PipelineFailedError) as caught:
        run_locally(credit_risk, arguments, home / "runs")
    message = str(caught.value)
    assert "step 'enforce-fairness-gate' failed: " in message
    assert "the model breaks the fairness gate: " in message
    assert "demographic parity difference is 0." in message
    assert "mitigation=equalized_odds" in message
    pages = [Path(line.removeprefix("Report: ")) for line in message.splitlines() if line.startswith("Report: ")]
    (fairness,) = (page for page in pages if "fairness" in page.name)
    assert "✗" in fairness.read_text()
    registry = Registry()
    assert registry.by_alias("unfair", CHALLENGER) is None
    assert registry.by_alias("unfair", CHAMPION) is None
    assert all(line.name != "unfair" for line in registry.promotions())
