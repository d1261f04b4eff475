"""Fixtures for the tests beside the components."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from kfp import local


@pytest.fixture
def run_locally(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Makes calls of components run for real, as processes of this environment, below `tmp_path`."""
    root = str(Path(__file__).parents[1])
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")])))
    monkeypatch.setattr(local.config.LocalExecutionConfig, "instance", None)
    local.init(local.SubprocessRunner(use_venv=False), pipeline_root=str(tmp_path / "runs"))
    with warnings.catch_warnings():
        # The runner expects "python" in the image's name; there is no image here.
        warnings.simplefilter("ignore", RuntimeWarning)
        yield
