"""The lock that DVC keeps is in step with the pipeline and the code it names."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import yaml

from blueprints.datasets import names

ROOT = Path(__file__).parents[3]


@pytest.fixture
def lock():
    return yaml.safe_load((ROOT / "dvc.lock").read_text())["stages"]


def test_every_dataset_has_a_snapshot_in_the_lock(lock):
    assert {stage.partition("@")[2] for stage in lock} == set(names())


def test_the_lock_was_made_by_the_present_code(lock):
    for stage in lock.values():
        for dependency in stage["deps"]:
            content = (ROOT / dependency["path"]).read_bytes()
            digest = hashlib.md5(content, usedforsecurity=False).hexdigest()
            assert digest == dependency["md5"], f"{dependency['path']} changed: run `dvc repro` and commit dvc.lock"


def test_dvc_sends_no_statistics():
    assert "analytics = false" in (ROOT / ".dvc" / "config").read_text()
