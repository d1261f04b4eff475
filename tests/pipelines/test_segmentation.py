"""The segmentation pipeline: one YAML for a cluster, and the same steps run for real on this machine."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from sklearn.metrics import adjusted_rand_score

from blueprints.governance.registry import CHAMPION, Registry
from blueprints.model_package import open_package
from blueprints.segmentation.online_features import OnlineFeatures
from blueprints.segmentation.store_config import StoreConfig
from blueprints.segmentation.warehouse import open_warehouse
from blueprints.workspace import Workspace
from components import JOBS_IMAGE
from pipelines.local_run import PipelineFailedError, run_locally
from pipelines.segmentation import segmentation
from tests.purchases import FEBRUARY, KINDS, MARCH, SCHEMA, made_up_purchases

CUSTOMERS = 150
STEPS = {
    "load-purchases", "validate-purchases", "publish-customer-features", "summarize-customers", "train-segments",
    "package-segmentation", "compare-segmentations", "register-model", "promote-model", "score-customers",
    "materialize-features",
}  # fmt: skip


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    from kfp import compiler

    path = tmp_path_factory.mktemp("compiled") / "segmentation.yaml"
    compiler.Compiler().compile(segmentation, str(path))
    return yaml.safe_load(path.read_text())


def tasks(compiled):
    """Every task by its name, those of branches and loops included."""
    dags = [compiled["root"], *compiled["components"].values()]
    return {name: task for part in dags for name, task in part.get("dag", {}).get("tasks", {}).items()}


def test_it_compiles_to_one_document_that_kfp_loads(compiled):
    from kfp.components import load_component_from_text

    assert compiled["pipelineInfo"]["name"] == "segmentation"
    assert load_component_from_text(yaml.safe_dump(compiled)).name == "segmentation"


def test_every_step_runs_in_the_jobs_image_and_nothing_is_installed(compiled):
    executors = compiled["deploymentSpec"]["executors"].values()
    assert {executor["container"]["args"][-1].replace("_", "-") for executor in executors} == STEPS
    assert {executor["container"]["image"] for executor in executors} == {JOBS_IMAGE}
    assert "pip install" not in yaml.safe_dump(compiled["deploymentSpec"])


def test_parameters_have_the_documented_defaults(compiled):
    given = compiled["root"]["inputDefinitions"]["parameters"]
    assert {name: parameter.get("defaultValue") for name, parameter in given.items()} == {
        "dataset": "cdnow",
        "data_uri": "",
        "sql_query": "",
        "schema_yaml": "",
        "transactions": "transactions",
        "run_date": "",
        "tolerance": 0.0,
        "rows_per_partition": 5_000_000.0,
        "sample_rows": 50_000.0,
        "minimum_segments": 2.0,
        "maximum_segments": 10.0,
        "bootstraps": 10.0,
        "minimum_silhouette": 0.2,
        "minimum_share": 0.001,
        "minimum_kept": 0.5,
        "registered_model": "segmentation",
        "tracking_uri": "",
        "seed": 7.0,
    }
    assert all(parameter["description"] for parameter in given.values())


def test_no_parameter_is_left_unused(compiled):
    used = {
        one["componentInputParameter"]
        for task in compiled["root"]["dag"]["tasks"].values()
        for one in task.get("inputs", {}).get("parameters", {}).values()
        if "componentInputParameter" in one
    }
    assert used == set(compiled["root"]["inputDefinitions"]["parameters"])


def test_customers_are_summarised_in_one_loop_and_what_it_collects_is_trained_on(compiled):
    (loop,) = (task for task in tasks(compiled).values() if "parameterIterator" in task)
    inside = compiled["components"][loop["componentRef"]["name"]]
    assert set(inside["dag"]["tasks"]) == {"summarize-customers"}
    assert loop["parameterIterator"]["items"]["inputParameter"].startswith("pipelinechannel--publish-customer-features")
    assert "publish-customer-features" in loop["dependentTasks"]
    training = compiled["root"]["dag"]["tasks"]["train-segments"]["inputs"]["artifacts"]["summaries"]
    assert training["taskOutputArtifact"]["producerTask"].startswith("for-loop")
    declared = compiled["components"]["comp-train-segments"]["inputDefinitions"]["artifacts"]["summaries"]
    assert declared["isArtifactList"] is True


def test_no_features_before_the_purchases_are_checked_and_nothing_online_before_customers_are_scored(compiled):
    found = compiled["root"]["dag"]["tasks"]
    assert [name for name, task in found.items() if not task.get("dependentTasks")] == ["load-purchases"]
    assert "validate-purchases" in found["publish-customer-features"]["dependentTasks"]
    assert "register-model" in found["score-customers"]["dependentTasks"]
    assert "score-customers" in found["materialize-features"]["dependentTasks"]


def test_only_the_gate_promotes(compiled):
    (branch,) = (task for task in tasks(compiled).values() if "triggerPolicy" in task)
    assert "compare-segmentations" in branch["triggerPolicy"]["condition"]
    assert set(compiled["components"][branch["componentRef"]["name"]]["dag"]["tasks"]) == {"promote-model"}


def test_no_step_is_ever_taken_from_a_cache(compiled):
    assert set(tasks(compiled)) >= STEPS
    cached = {name for name, task in tasks(compiled).items() if task.get("cachingOptions", {}).get("enableCache")}
    assert not cached & STEPS


def test_a_run_shows_metrics_and_pages_in_the_kubeflow_ui(compiled):
    kinds = [
        artifact["artifactType"]["schemaTitle"]
        for name, component in compiled["components"].items()
        if "executorLabel" in component
        for artifact in component.get("outputDefinitions", {}).get("artifacts", {}).values()
    ]
    assert kinds.count("system.HTML") == 3
    assert kinds.count("system.Metrics") == 6
    assert set(compiled["root"]["outputDefinitions"]["artifacts"]) == {
        "metrics", "data_report", "choice_report", "segments_report", "evaluation", "package",
    }  # fmt: skip


def slow(test):
    """A whole run is twelve processes, five of which import MLflow and one Feast."""
    return pytest.mark.slow(pytest.mark.timeout(400)(test))


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """An empty workspace; warehouse, registry and feature store are files in it."""
    root = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BLUEPRINTS_HOME", str(root))
        for variable in ("MLFLOW_TRACKING_URI", "WAREHOUSE_URL", "FEATURE_STORE_CONFIG", "FEATURE_STORE_DATA"):
            patch.delenv(variable, raising=False)
        paths = [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH")]
        patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, paths)))
        yield root


def run(home, frame, on_event=lambda _: None, **changes):
    """A run on a frame of purchases."""
    frame.to_parquet(home / "purchases.parquet")
    arguments = {
        "data_uri": str(home / "purchases.parquet"),
        "schema_yaml": SCHEMA,
        "dataset": "shop",
        "registered_model": "shop",
        "rows_per_partition": 100,
        "maximum_segments": 4,
        "bootstraps": 2,
    }
    return run_locally(segmentation, arguments | changes, home / "runs", on_event=on_event)


def published():
    """What is in the warehouse for every date."""
    query = "SELECT run_date, customer_id, segment_id, segment_name FROM customer_segments ORDER BY 1, 2"
    with open_warehouse(Workspace.current().warehouse_url, read_only=True) as warehouse:
        frame = pd.concat([batch.to_pandas() for batch in warehouse.read(query)], ignore_index=True)
    return frame.astype({"run_date": str})


@pytest.fixture(scope="module")
def first(home):
    """The first month, what happened in it, and what was published then."""
    events = []
    made = run(home, made_up_purchases(CUSTOMERS, until=FEBRUARY), events.append)
    return made, events, published()


@pytest.fixture(scope="module")
def second(home, first):
    """The second month, and what was published then."""
    made = run(home, made_up_purchases(CUSTOMERS), run_date=MARCH.isoformat())
    return made, published()


@slow
def test_a_first_run_promotes_its_segments_and_scores_everyone(first):
    made, events, segments = first
    assert {event.step for event in events if event.kind == "finished"} >= STEPS - {"summarize-customers"}
    assert made.outputs["promote"] is True
    assert "no champion yet" in made.outputs["reason"]
    package = open_package(Path(made.outputs["package"].path))
    champion = Registry().by_alias("shop", CHAMPION)
    assert (champion.number, champion.package_version) == (made.outputs["version"], package.version)
    assert (package.lineage.dataset, package.lineage.dataset_version) == ("shop", "2025-02-01")
    assert made.outputs["metrics"].metadata["segments"] == 3
    # Without a date, the run is for the day after the newest purchase.
    assert set(segments["run_date"]) == {"2025-02-01"}
    assert segments["customer_id"].tolist() == list(range(1, CUSTOMERS + 1))
    kinds = segments["customer_id"] % len(KINDS)
    assert adjusted_rand_score(kinds, segments["segment_id"]) == 1


@slow
def test_the_customers_were_summarised_in_partitions(first):
    made, _, _ = first
    package = open_package(Path(made.outputs["package"].path))
    assert len(list(made.folder.rglob("summarize-customers*/summary"))) == 2
    assert f"{CUSTOMERS} customers" in package.read_bytes("model_card.md").decode()


@slow
def test_a_run_writes_its_reports(first, second):
    for made, *_ in (first, second):
        assert set(made.reports) == {"data_report", "choice_report", "segments_report"}
        for page in made.reports.values():
            assert page.read_text().startswith("<!doctype html>")
    assert "Moves" not in first[0].reports["segments_report"].read_text()
    assert "Moves from 2025-02-01 to 2025-03-01" in second[0].reports["segments_report"].read_text()
    assert "The segments of the last run go on" in second[0].reports["choice_report"].read_text()


@slow
def test_ids_and_names_stay_from_month_to_month(first, second):
    made, segments = second
    assert made.outputs["promote"] is True
    assert "of the customers keep their segment" in made.outputs["reason"]
    before, after = (rows.set_index("customer_id") for _, rows in segments.groupby("run_date"))
    assert before.reset_index()[list(first[2])].equals(first[2])
    assert (before["segment_id"] == after["segment_id"]).mean() > 0.95
    names = [rows.groupby("segment_id")["segment_name"].first().to_dict() for rows in (before, after)]
    assert names[0] == names[1]
    package = open_package(Path(made.outputs["package"].path))
    assert package.lineage.parent_model == open_package(Path(first[0].outputs["package"].path)).version


@slow
def test_the_features_of_the_newest_month_are_online(second):
    online = OnlineFeatures.open(StoreConfig.current()).read([1, CUSTOMERS, CUSTOMERS + 1])
    assert online.found.tolist() == [True, True, False]
    assert (online.as_of[:2] == np.datetime64("2025-03-01")).all()


@slow
def test_a_date_that_is_run_again_leaves_the_same_segments(home, second):
    made = run(home, made_up_purchases(CUSTOMERS), run_date=MARCH.isoformat())
    assert published().equals(second[1])
    assert made.outputs["metrics"].metadata == second[0].outputs["metrics"].metadata
    assert "Moves from 2025-02-01 to 2025-03-01" in made.reports["segments_report"].read_text()


@slow
def test_purchases_that_fail_their_checks_leave_segments_and_champion_as_they_were(home, second):
    before, champion = published(), Registry().by_alias("shop", CHAMPION)
    broken = made_up_purchases(CUSTOMERS)
    broken.loc[:4, "quantity"] = -1
    events = []
    with pytest.raises(PipelineFailedError) as caught:
        # The schema of the file would refuse them before the warehouse does.
        run(home, broken, events.append, run_date=MARCH.isoformat(), schema_yaml=SCHEMA.replace(", minimum: 0", ""))
    message = str(caught.value)
    assert "step 'validate-purchases' failed: ValueError: 5 rows: Quantities below 0" in message
    (report,) = (line.removeprefix("Report: ") for line in message.splitlines() if line.startswith("Report: "))
    assert "Quantities below 0" in Path(report).read_text()
    assert {event.step for event in events if event.kind == "started"} == {"load-purchases", "validate-purchases"}
    assert published().equals(before)
    assert Registry().by_alias("shop", CHAMPION) == champion
