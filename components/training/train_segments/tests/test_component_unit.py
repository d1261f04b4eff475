from __future__ import annotations

import json
from pathlib import Path

import pytest

from blueprints.governance.registry import Registry
from blueprints.model_package import open_package
from blueprints.segmentation.partitions import PartitionError, PartitionSummary
from blueprints.segmentation.segments import SEGMENTS, Segments
from blueprints.workspace import Workspace
from components.training.train_segments.component import train_segments
from tests.purchases import FEBRUARY

pytestmark = pytest.mark.usefixtures("in_registry_home", "warehouse_url")


@pytest.fixture
def train(segment_chain, artifact):
    def run(**parameters):
        outputs = [artifact(name) for name in ("model", "summary", "evaluation", "metrics", "report")]
        train_segments.python_func(
            FEBRUARY.isoformat(),
            [segment_chain[name] for name in ("first_part", "second_part")],
            *outputs,
            **{"maximum_segments": 3, "bootstraps": 0, **parameters},
        )
        return outputs

    return run


def segments(model):
    return Segments.model_validate_json((Path(model.path) / SEGMENTS).read_bytes())


def test_all_outputs_speak_of_one_model(segment_chain):
    chosen = json.loads(Path(segment_chain["evaluation"].path).read_text())
    assert (chosen["k"], [one["k"] for one in chosen["candidates"]]) == (3, [2, 3, 4])
    logged = segment_chain["metrics"].logged
    assert logged["segments"] == len(segments(segment_chain["model"])) == 3
    assert logged["silhouette"] == chosen["candidates"][1]["silhouette"]["value"]
    assert logged["smallest_share"] == pytest.approx(1 / 3, abs=0.02)
    assert PartitionSummary.from_bytes(Path(segment_chain["summary"].path).read_bytes()).rows == 300
    assert "How many segments" in Path(segment_chain["report"].path).read_text()


@pytest.mark.usefixtures("segment_chain")
def test_every_number_of_segments_is_logged_with_its_plots():
    from mlflow import MlflowClient

    client = MlflowClient(Workspace.current().tracking_uri)
    experiment = client.get_experiment_by_name("blueprints")
    (run,) = client.search_runs(
        [experiment.experiment_id], "tags.mlflow.runName = 'chained-segments-choice-2025-02-01'"
    )
    assert [one.step for one in client.get_metric_history(run.info.run_id, "silhouette")] == [2, 3, 4]
    plots = [one.path for one in client.list_artifacts(run.info.run_id, "plots")]
    assert plots == ["plots/knee.png", "plots/projection.png", "plots/silhouettes.png"]


def test_ids_of_the_champion_are_carried_on(train, segment_package, segment_chain, capsys):
    registry = Registry()
    model = registry.log_and_register("segments-before", open_package(Path(segment_package.path)), reports={})
    registry.promote(model, by="a test", reason="first")
    again, *_, report = train(registered_model="segments-before")
    assert set(segments(again).ids) == set(segments(segment_chain["model"]).ids)
    assert segments(again).next_id == 4
    assert "The segments of the last run go on" in Path(report.path).read_text()
    assert "progress: 3/3 done" in capsys.readouterr().out


def test_what_makes_no_segments_is_refused(train, artifact):
    with pytest.raises(ValueError, match="give numbers of clusters of 2 or more"):
        train(minimum_segments=1)
    with pytest.raises(ValueError, match="give numbers of clusters of 2 or more"):
        train(minimum_segments=5, maximum_segments=4)
    broken = artifact("broken")
    Path(broken.path).write_bytes(b"nothing")
    with pytest.raises(PartitionError, match="no partition summary"):
        train_segments.python_func(FEBRUARY.isoformat(), [broken], *[artifact("none")] * 5)
