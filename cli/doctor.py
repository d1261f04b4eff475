"""`blueprints doctor`: what is here, what is missing, and what each missing thing would enable."""

from __future__ import annotations

import os
import shutil
import socket
import sys
from importlib import metadata, util
from pathlib import Path
from typing import NamedTuple

from rich.table import Table

from blueprints.workspace import Workspace
from cli.output import Json, console, print_json


class Check(NamedTuple):
    """One thing that was looked for.

    Attributes:
        name: What.
        found: What was found; empty if nothing.
        enables: What it is for.
        remedy: How to get it.
        required: Whether the demo needs it.
    """

    name: str
    found: str
    enables: str
    remedy: str
    required: bool


_LIBRARIES = (
    ("kfp", "kfp", "pipelines, here and on Kubeflow", "make install", True),
    ("kserve", "kserve", "model servers", "make install", True),
    ("xgboost", "xgboost-cpu", "training and scoring", "make install", True),
    ("mlflow", "mlflow", "registry and tracking", "make install", True),
    ("dvc", "dvc", "data versions (dvc.yaml)", "make install", True),
    ("fairlearn", "fairlearn", "fairness audit and mitigation", "make install", True),
    ("shap", "shap", "plots of global explanations", "make install", True),
    ("sqlalchemy", "sqlalchemy", "decision records", "make install", True),
)
_PROGRAMS = (
    ("kubectl", "rendering manifests, talking to a cluster", "make install", True),
    ("traefik", "the laptop cluster's gateway", "make install", True),
    ("git", "lineage down to the commit", "apt-get install git", True),
    ("chromium", "looking at report pages in tests", "apt-get install chromium", False),
    ("buildah", "building the images without a daemon", "apt-get install buildah", False),
)


def doctor(json: Json = False) -> None:
    """Say what is installed, what is missing, and what each missing thing would enable."""
    checks = [
        _python(),
        *map(_library, _LIBRARIES),
        *map(_program, _PROGRAMS),
        _alibi(),
        _workspace(),
        _port(),
        _kubeconfig(),
    ]
    if json:
        print_json(
            {
                "ready": all(check.found or not check.required for check in checks),
                "checks": [c._asdict() for c in checks],
            }
        )
    else:
        table = Table("", "what", "found", "for", "how to get it", box=None, header_style="bold")
        for check in checks:
            mark = "[green]✓[/]" if check.found else ("[red]✗[/]" if check.required else "[yellow]–[/]")
            table.add_row(
                mark, check.name, check.found or "missing", check.enables, "" if check.found else check.remedy
            )
        console.print(table)
        missing = [check.name for check in checks if check.required and not check.found]
        console.print(f"[red]Missing: {', '.join(missing)}[/]" if missing else "[green]Ready:[/] run `make demo`.")
    if any(check.required and not check.found for check in checks):
        sys.exit(1)


def _python() -> Check:
    version = ".".join(map(str, sys.version_info[:3]))
    supported = (3, 11) <= sys.version_info[:2] < (3, 13)
    return Check("Python", version if supported else "", "everything", "install Python 3.11 or 3.12", True)


def _library(entry: tuple[str, str, str, str, bool]) -> Check:
    module, distribution, enables, remedy, required = entry
    found = metadata.version(distribution) if util.find_spec(module) else ""
    return Check(module, found, enables, remedy, required)


def _program(entry: tuple[str, str, str, bool]) -> Check:
    name, enables, remedy, required = entry
    beside = Path(sys.executable).with_name(name)
    return Check(name, str(beside) if beside.exists() else shutil.which(name) or "", enables, remedy, required)


def _alibi() -> Check:
    python = Path(".venv-alibi/bin/python")
    return Check(
        "alibi (own environment)", str(python) if python.exists() else "", "anchor explanations", "make alibi", False
    )


def _workspace() -> Check:
    root = Workspace.current().root
    parent = next(folder for folder in (root, *root.parents) if folder.exists())
    writable = os.access(parent, os.W_OK)
    return Check("workspace", str(root) if writable else "", "data, models, decisions", f"make {parent} writable", True)


def _port() -> Check:
    with socket.socket() as probe:
        probe.settimeout(0.5)
        free = probe.connect_ex(("127.0.0.1", 8080)) != 0
    return Check(
        "port 8080", "free" if free else "", "the gateway's usual address", "blueprints cluster up --port 8081", False
    )


def _kubeconfig() -> Check:
    path = Path(os.environ.get("KUBECONFIG", Path.home() / ".kube" / "config"))
    return Check("kubeconfig", str(path) if path.exists() else "", "deploying to a cluster", "set KUBECONFIG", False)
