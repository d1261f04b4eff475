"""What MLflow keeps of a segmentation: the champion to carry on, and every number of segments with its plots."""

from __future__ import annotations

import pytest

from blueprints.governance.registry import Registry
from blueprints.model_package import PackageError
from blueprints.segmentation.tracking import champion_segmenter, log_choice
from blueprints.workspace import Workspace


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    """A workspace of this module's own: making MLflow's schema takes seconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BLUEPRINTS_HOME", str(tmp_path_factory.mktemp("home")))
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        yield Workspace.current()


def test_the_segments_of_the_last_run_are_the_champions(workspace, segment_package):
    assert champion_segmenter("nobody") is None
    registry = Registry()
    model = registry.log_and_register("segments", segment_package, reports={})
    assert champion_segmenter("segments") is None
    registry.promote(model, by="a test", reason="first")
    found = champion_segmenter("segments", workspace.tracking_uri)
    assert found.version == segment_package.version
    assert found.segments.ids == (1, 2, 3)


def test_a_champion_of_another_blueprint_is_refused(workspace, credit_package):
    registry = Registry(workspace.tracking_uri)
    registry.promote(registry.log_and_register("loans", credit_package, reports={}), by="a test", reason="first")
    with pytest.raises(PackageError, match=r"segments\.json"):
        champion_segmenter("loans")


def test_every_number_of_segments_is_a_step_and_the_plots_are_kept(workspace, trained):
    from mlflow import MlflowClient

    run_id = log_choice("segments", "2025-02-01", trained)
    client = MlflowClient(workspace.tracking_uri)
    run = client.get_run(run_id)
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "segments-choice-2025-02-01"
    assert run.data.params == {"segments": "3", "run_date": "2025-02-01", "method": "exact", "rows": "300"}
    for figure in ("silhouette", "calinski_harabasz", "davies_bouldin", "inertia", "stability"):
        assert [one.step for one in client.get_metric_history(run_id, figure)] == [2, 3, 4]
    logged = {one.step: one.value for one in client.get_metric_history(run_id, "silhouette")}
    assert logged == {one.k: one.silhouette.value for one in trained.choice.candidates}
    plots = {path.name: path.read_bytes() for path in workspace.registry_artifacts.rglob(f"{run_id}/artifacts/plots/*")}
    assert set(plots) == {"knee.png", "silhouettes.png", "projection.png"}
    assert all(content.startswith(b"\x89PNG") for content in plots.values())


def test_without_bootstraps_no_stability_is_logged(workspace, trained_later):
    from mlflow import MlflowClient

    run_id = log_choice("segments", "2025-03-01", trained_later)
    assert "stability" not in MlflowClient(workspace.tracking_uri).get_run(run_id).data.metrics
