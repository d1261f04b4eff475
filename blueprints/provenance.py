"""Where a model comes from, as far as this process can tell: its lineage."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from blueprints.model_package import Lineage

if TYPE_CHECKING:
    from blueprints.datasets import SnapshotInfo


def trace_lineage(
    dataset: SnapshotInfo,
    *,
    pipeline_run: str,
    parameters: Mapping[str, Any],
    metrics: Mapping[str, float],
    packages: Mapping[str, str],
    parent_model: str = "",
) -> Lineage:
    """The lineage of a model that is packaged now, by this code.

    Args:
        dataset: Snapshot that it was trained on; of a part of a split, the whole snapshot's hash is kept.
        pipeline_run: Id of the run that made it.
        parameters: Training parameters.
        metrics: Figures on the held-out data.
        packages: Versions of the libraries that shaped the weights, see `installed_versions`.
        parent_model: Version of the champion at that time.
    """
    commit, dirty = git_state()
    return Lineage(
        created_at=datetime.now(UTC),
        git_commit=commit,
        git_dirty=dirty,
        dataset=dataset.name,
        dataset_version=dataset.version,
        dataset_sha256=dataset.sha256 if dataset.part == "all" else dataset.created_from,
        pipeline_run=pipeline_run,
        parameters=dict(parameters),
        metrics=dict(metrics),
        packages=dict(packages),
        parent_model=parent_model,
    )


def installed_versions(names: Iterable[str]) -> dict[str, str]:
    """Versions of those of the packages that are installed here."""
    versions = {}
    for name in names:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


def git_state() -> tuple[str, bool]:
    """Commit of the code, and whether tracked files differ from it; empty outside a repository.

    An image has no repository: its build writes the commit into `GIT_COMMIT`.
    """
    if built_from := os.environ.get("GIT_COMMIT"):
        return built_from, False

    def git(*arguments: str) -> str:
        # In this file's folder: the current one may lie in another repository.
        done = subprocess.run(
            ["git", *arguments], cwd=Path(__file__).parent, capture_output=True, text=True, check=True, timeout=30
        )
        return done.stdout.strip()

    try:
        return git("rev-parse", "HEAD"), bool(git("status", "--porcelain", "--untracked-files=no"))
    except (OSError, subprocess.SubprocessError):
        return "", False
