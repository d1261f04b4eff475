"""A laptop cluster of a benchmark's own, driven by the command line as a user would."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from blueprints.workspace import Workspace
from localcluster import daemon
from localcluster.daemon import ClusterState
from localcluster.render import kubectl

PROJECT = Path(__file__).resolve().parents[1]


@contextlib.contextmanager
def laptop_cluster(workspace: Workspace) -> Iterator[ClusterState]:
    """A cluster with a free gateway port, stopped at the end."""
    state = daemon.start(port=0, workspace=workspace)
    try:
        yield state
    finally:
        daemon.stop(workspace=workspace)


def blueprints(workspace: Workspace, *arguments: str, timeout_s: float = 300) -> str:
    """Runs the `blueprints` command in a workspace and returns what it printed.

    Raises:
        RuntimeError: It failed.
    """
    return _run([sys.executable, "-m", "cli.main", *arguments], workspace, timeout_s)


def kubectl_in(workspace: Workspace, *arguments: str, timeout_s: float = 60) -> str:
    """Runs kubectl on the cluster of a workspace and returns what it printed.

    Raises:
        RuntimeError: It failed.
    """
    kubeconfig = workspace.cluster / daemon.KUBECONFIG
    return _run([str(kubectl()), f"--kubeconfig={kubeconfig}", *arguments], workspace, timeout_s)


def overlay_with(folder: Path, patch: str) -> Path:
    """An overlay over `kustomize/overlays/local` with one more patch; returns its folder."""
    folder.mkdir(parents=True, exist_ok=True)
    local = os.path.relpath(PROJECT / "kustomize" / "overlays" / "local", folder.resolve())
    (folder / "patch.yaml").write_text(patch)
    (folder / "kustomization.yaml").write_text(
        "apiVersion: kustomize.config.k8s.io/v1beta1\n"
        f"kind: Kustomization\nresources: [{local}]\npatches: [{{path: patch.yaml}}]\n"
    )
    return folder


def _run(command: list[str], workspace: Workspace, timeout_s: float) -> str:
    environment = {**os.environ, "BLUEPRINTS_HOME": str(workspace.root)}
    done = subprocess.run(
        command, cwd=PROJECT, env=environment, capture_output=True, text=True, timeout=timeout_s, check=False
    )
    if done.returncode:
        words = " ".join(Path(part).name for part in command[:6])
        raise RuntimeError(f"{words} failed: {done.stderr.strip()[-800:] or done.stdout.strip()[-800:]}")
    return done.stdout
