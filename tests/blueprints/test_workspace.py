"""The workspace: everything that is made lies in one folder, unless the environment says otherwise."""

from __future__ import annotations

from pathlib import Path

import pytest

from blueprints.workspace import Workspace

VARIABLES = ("BLUEPRINTS_HOME", "MLFLOW_TRACKING_URI", "DECISIONS_URL", "WAREHOUSE_URL")


@pytest.fixture(autouse=True)
def _bare(monkeypatch, tmp_path):
    for variable in VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.chdir(tmp_path)


def test_it_is_below_the_current_folder_and_stays_there(tmp_path, monkeypatch):
    workspace = Workspace.current()
    monkeypatch.chdir("/")
    assert workspace.root == tmp_path / ".blueprints"


def test_the_environment_names_another_one(tmp_path, monkeypatch):
    monkeypatch.setenv("BLUEPRINTS_HOME", "elsewhere")
    assert Workspace.current().root == tmp_path / "elsewhere"


def test_every_place_is_inside_and_none_is_made_by_looking(tmp_path):
    workspace = Workspace.current()
    places = [getattr(workspace, name) for name, kind in vars(Workspace).items() if isinstance(kind, property)]
    for place in places:
        path = place if isinstance(place, Path) else Path(place.partition(":///")[2])
        assert path.is_relative_to(workspace.root)
    assert len({str(place) for place in places}) == len(places) > 5
    assert not list(tmp_path.iterdir())


def test_stores_may_lie_elsewhere(monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:5000")
    monkeypatch.setenv("DECISIONS_URL", "postgresql://127.0.0.1/decisions")
    monkeypatch.setenv("WAREHOUSE_URL", "postgresql://127.0.0.1/warehouse")
    workspace = Workspace.current()
    assert workspace.tracking_uri == "http://127.0.0.1:5000"
    assert workspace.decisions_url == "postgresql://127.0.0.1/decisions"
    assert workspace.warehouse_url == "postgresql://127.0.0.1/warehouse"


def test_the_warehouse_can_be_opened_as_it_is_named(tmp_path):
    from blueprints.segmentation.warehouse import open_warehouse

    with open_warehouse(Workspace.current().warehouse_url):
        assert (tmp_path / ".blueprints" / "warehouse.duckdb").is_file()
