"""The registry: versions that point to packages, aliases, and a log that explains them. One SQLite store for all."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from blueprints.governance.registry import CHALLENGER, CHAMPION, Registry, RegistryError
from blueprints.model_package import PackageError
from blueprints.workspace import Workspace


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    return Workspace(tmp_path_factory.mktemp("workspace"))


@pytest.fixture(scope="module")
def registry(workspace):
    return Registry(f"sqlite:///{workspace.root / 'mlflow.db'}", workspace)


@pytest.fixture(scope="module")
def packages(make_credit_package, tmp_path_factory):
    return [make_credit_package(tmp_path_factory.mktemp("packages") / str(seed), seed) for seed in (1, 2)]


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    page = tmp_path_factory.mktemp("pages") / "evaluation"
    page.write_text("<h1>Evaluation</h1>", encoding="utf-8")
    return {"evaluation": page}


@pytest.fixture
def name(request):
    """A registered model of the test's own."""
    return request.node.name.replace("_", "-")[:60]


def client(registry):
    from mlflow import MlflowClient

    return MlflowClient(registry._uri, registry._uri)


def test_a_package_is_logged_with_figures_reports_and_data_and_becomes_challenger(
    registry, workspace, packages, pages, name
):
    registered = registry.log_and_register(name, packages[0], reports=pages)
    assert (registered.name, registered.number, registered.package_version) == (name, "1", packages[0].version)
    assert registry.by_alias(name, CHALLENGER) == registry.by_number(name, "1") == registered
    assert registry.by_alias(name, CHAMPION) is None
    run = client(registry).get_run(registered.run_id)
    assert run.info.status == "FINISHED"
    assert (run.data.tags["pipeline_run"], run.data.tags["git_commit"]) == ("test-run", "0" * 40)
    (data,) = run.inputs.dataset_inputs
    assert (data.dataset.name, data.dataset.digest) == ("synthetic", "0" * 36)
    kept = workspace.registry_artifacts
    assert [path.read_text() for path in kept.rglob("reports/evaluation.html")] == ["<h1>Evaluation</h1>"]
    (copy,) = kept.rglob("package/SHA256SUMS")
    assert copy.read_bytes() == (packages[0].folder / "SHA256SUMS").read_bytes()


def test_registering_twice_is_one_version_and_moves_only_the_alias(registry, packages, name):
    first, other, again = (registry.log_and_register(name, packages[i], reports={}) for i in (0, 1, 0))
    assert (first.number, other.number) == ("1", "2")
    assert again == first
    assert registry.by_alias(name, CHALLENGER) == first
    assert len(client(registry).search_model_versions(f"name = '{name}'")) == 2


def test_a_registered_package_is_found_by_its_version(registry, packages, name):
    registry.log_and_register(name, packages[0], reports={})
    assert registry.by_package_version(packages[0].version).package_version == packages[0].version
    assert registry.by_package_version("no such one") is None


def test_promotion_moves_the_alias_and_writes_one_line(registry, packages, name):
    model = registry.log_and_register(name, packages[0], reports={})
    before = len(registry.promotions())
    line = registry.promote(model, by="a test", reason='it "won" by 3 €\nover two lines')
    assert registry.by_alias(name, CHAMPION) == model
    assert registry.promotions()[before:] == [line]
    assert (line.number, line.previous, line.by, line.reason) == (
        "1", "", "a test", 'it "won" by 3 €\nover two lines',
    )  # fmt: skip
    assert registry.promote(model, by="a test", reason="again") is None
    assert len(registry.promotions()) == before + 1


def test_the_log_only_grows_and_is_the_same_to_the_next_process(registry, workspace, packages, name):
    models = [registry.log_and_register(name, package, reports={}) for package in packages]
    log = workspace.promotions
    grown = log.read_bytes() if log.exists() else b""
    for model in (models[0], models[1], models[0]):
        registry.promote(model, by="a test", reason="to and fro")
        now = log.read_bytes()
        assert now.startswith(grown)
        assert now.count(b"\n") == grown.count(b"\n") + 1
        grown = now
    mine = [line for line in Registry(registry._uri, workspace).promotions() if line.name == name]
    assert [(line.previous, line.number) for line in mine] == [("", "1"), ("1", "2"), ("2", "1")]
    assert [line.at for line in mine] == sorted(line.at for line in mine)


def test_promotions_at_the_same_time_leave_a_log_that_explains_the_alias(registry, workspace, packages, name):
    models = [registry.log_and_register(name, package, reports={}) for package in packages]
    start = threading.Barrier(4)

    def promote(model):
        start.wait()
        Registry(registry._uri, workspace).promote(model, by="a test", reason="a race")

    threads = [threading.Thread(target=promote, args=(model,)) for model in models * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines = [line for line in registry.promotions() if line.name == name]
    assert lines[-1].number == registry.by_alias(name, CHAMPION).number
    # Each line starts where the one before it ended.
    assert [line.previous for line in lines] == ["", *(line.number for line in lines[:-1])]


def test_a_promotion_that_was_interrupted_is_completed_by_a_retry(registry, packages, name, monkeypatch):
    from mlflow import MlflowClient

    model = registry.log_and_register(name, packages[0], reports={})
    with monkeypatch.context() as broken:
        broken.setattr(MlflowClient, "set_registered_model_alias", lambda *_: (_ for _ in ()).throw(OSError("power")))
        with pytest.raises(OSError, match="power"):
            registry.promote(model, by="a test", reason="first")
    assert registry.by_alias(name, CHAMPION) is None
    assert registry.promote(model, by="a test", reason="retry").previous == ""
    assert registry.by_alias(name, CHAMPION) == model


def test_figures_of_several_steps_and_files_are_logged_as_one_run(registry, workspace):
    figures = {2: {"silhouette": 0.5, "inertia": 90.0}, 3: {"silhouette": 0.7}}
    files = {"plots/knee.png": b"\x89PNG", "notes.txt": b"three"}
    run_id = registry.log_run("choice-1", figures, files, parameters={"k": 3}, experiment="choices")
    run = client(registry).get_run(run_id)
    assert (run.info.status, run.info.run_name, run.data.params) == ("FINISHED", "choice-1", {"k": "3"})
    history = client(registry).get_metric_history(run_id, "silhouette")
    assert [(one.step, one.value) for one in history] == [(2, 0.5), (3, 0.7)]
    assert [one.step for one in client(registry).get_metric_history(run_id, "inertia")] == [2]
    kept = workspace.registry_artifacts / "choices" / run_id / "artifacts"
    assert {path.relative_to(kept).as_posix(): path.read_bytes() for path in kept.rglob("*") if path.is_file()} == files
    bare = registry.log_run("choice-2", {}, {}, experiment="choices")
    assert client(registry).get_run(bare).info.experiment_id == run.info.experiment_id


def test_a_run_that_cannot_be_logged_whole_is_marked_as_failed(registry):
    with pytest.raises(ValueError, match="null byte"):
        registry.log_run("choice-3", {1: {"silhouette": 0.5}}, {"a\0b": b""}, experiment="failing")
    experiment = client(registry).get_experiment_by_name("failing")
    (run,) = client(registry).search_runs([experiment.experiment_id])
    assert run.info.status == "FAILED"


def test_a_fetched_package_is_a_verified_copy(registry, packages, name, tmp_path):
    model = registry.log_and_register(name, packages[0], reports={})
    fetched = registry.fetch(model, tmp_path / "here")
    assert (fetched.version, fetched.folder) == (packages[0].version, tmp_path / "here")
    assert registry.fetch(model, tmp_path / "here") == fetched
    # The registry still has its own.
    assert registry.fetch(model, tmp_path / "there").version == fetched.version
    assert sorted(path.name for path in tmp_path.iterdir()) == ["here", "there"]


def test_a_package_that_was_changed_in_the_registry_is_refused_and_not_kept(registry, packages, name, tmp_path):
    model = registry.log_and_register(name, packages[0], reports={})
    stored = Path(model.source.removeprefix("file://"))
    with (stored / "model_card.md").open("a") as card:
        card.write("changed")
    with pytest.raises(PackageError, match=r"model_card\.md does not match its checksum"):
        registry.fetch(model, tmp_path / "here")
    assert not list(tmp_path.iterdir())


def test_another_intact_package_in_its_place_is_refused_and_not_kept(registry, packages, name, tmp_path):
    import shutil

    model = registry.log_and_register(name, packages[0], reports={})
    stored = Path(model.source.removeprefix("file://"))
    shutil.rmtree(stored)
    shutil.copytree(packages[1].folder, stored)
    with pytest.raises(RegistryError, match=f"is package {packages[0].version}, not {packages[1].version}"):
        registry.fetch(model, tmp_path / "here")
    assert not list(tmp_path.iterdir())


def test_a_folder_that_holds_another_package_is_not_taken_for_this_one(registry, packages, name, tmp_path):
    models = [registry.log_and_register(name, package, reports={}) for package in packages]
    registry.fetch(models[0], tmp_path / "here")
    with pytest.raises(RegistryError, match="delete the folder and fetch again"):
        registry.fetch(models[1], tmp_path / "here")


def test_the_champion_is_fetched_into_the_workspace(registry, workspace, packages, name):
    with pytest.raises(RegistryError, match=f"no champion of '{name}'.* make one with: blueprints run"):
        registry.champion(name)
    registry.promote(registry.log_and_register(name, packages[0], reports={}), by="a test", reason="first")
    package = registry.champion(name)
    assert package.version == packages[0].version
    assert package.folder.is_relative_to(workspace.models)


@pytest.mark.parametrize("number", ["99", "one", ""])
def test_an_unknown_number_is_refused_in_words(registry, packages, number):
    registry.log_and_register("unknown-number", packages[0], reports={})
    with pytest.raises(RegistryError, match=f"no version '{number}' of model 'unknown-number'"):
        registry.by_number("unknown-number", number)


def test_a_model_that_was_never_registered_has_no_alias(registry):
    assert registry.by_alias("never-registered", CHAMPION) is None


def test_a_registry_leaves_environment_and_current_folder_alone(registry, packages, pages, name, tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    model = registry.log_and_register(name, packages[0], reports=pages)
    registry.promote(model, by="a test", reason="first")
    registry.champion(name)
    assert "MLFLOW_TRACKING_URI" not in os.environ
    assert not list(tmp_path.iterdir())
