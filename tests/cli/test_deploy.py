"""Which objects of an overlay `blueprints deploy` and `delete` mean."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer

from cli.deploy import of_blueprint
from localcluster.render import render

DEV = Path(__file__).parents[2] / "kustomize" / "overlays" / "dev"
BLUEPRINTS = ("credit-risk", "segmentation", "sentiment")


def named(objects):
    return {(item["kind"], item["metadata"]["name"]) for item in objects}


def test_a_blueprint_comes_with_what_all_share_and_without_the_others():
    everything = named(render(DEV))
    parts = {blueprint: named(of_blueprint(blueprint, DEV)) for blueprint in BLUEPRINTS}
    assert set.union(*parts.values()) == everything
    assert set.intersection(*parts.values()) == {("Namespace", "blueprints-dev"), ("NetworkPolicy", "object-storage")}
    for blueprint, found in parts.items():
        assert ("InferenceService", blueprint) in found
        assert len([kind for kind, _ in found if kind == "InferenceService"]) == 1


def test_what_a_component_adds_is_deployed_with_its_blueprint():
    assert ("NetworkPolicy", "credit-risk-decisions-database") in named(of_blueprint("credit-risk", DEV))
    assert ("NetworkPolicy", "credit-risk-decisions-database") not in named(of_blueprint("sentiment", DEV))


def test_an_unknown_blueprint_is_told_with_those_that_there_are(capsys):
    with pytest.raises(typer.Exit):
        of_blueprint("fraud", DEV)
    assert "there is credit-risk, segmentation, sentiment" in " ".join(capsys.readouterr().err.split())
