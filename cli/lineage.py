"""`blueprints lineage`: from a decision or a model back to run, data and code."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.tree import Tree

from blueprints.workspace import Workspace
from cli.output import Json, console, escape, fail, known_errors, print_json

if TYPE_CHECKING:
    from blueprints.credit_risk.decisions import RecordedDecision


def lineage(
    name: Annotated[str, typer.Argument(help="A decision_id, or the version of a model package.")],
    json: Json = False,
) -> None:
    """Print the way back: decision, model version, pipeline run, data snapshot, git commit."""
    with known_errors():
        record = _decision(name)
        origin = _origin_of_model(name) if record is None else record.lineage
        if origin is None:
            raise fail(
                f"{name!r} is neither a recorded decision ({Workspace.current().decisions_url}) nor a registered model "
                "package; DECISIONS_URL and MLFLOW_TRACKING_URI say where to look"
            )
        version = name if record is None else record.decision.model_version
        registered = _registered(version)
    if json:
        print_json(
            {
                "decision": None if record is None else asdict(record.decision),
                "model_version": version,
                "registered": registered,
                "lineage": origin,
            }
        )
        return
    _print(record, version, registered, origin)


def _decision(name: str) -> RecordedDecision | None:
    from blueprints.credit_risk.decisions import DecisionStore

    store = DecisionStore(Workspace.current().decisions_url)
    try:
        return store.read(name)
    finally:
        store.close()


def _origin_of_model(version: str) -> dict[str, Any] | None:
    from blueprints.governance.registry import Registry

    registry = Registry()
    model = registry.by_package_version(version)
    if model is None:
        return None
    folder = Workspace.current().models / model.name / model.package_version
    return registry.fetch(model, folder).lineage.model_dump(mode="json")


def _registered(version: str) -> dict[str, str] | None:
    from blueprints.governance.registry import Registry

    model = Registry().by_package_version(version)
    return None if model is None else {"name": model.name, "number": model.number, "run_id": model.run_id}


def _print(
    record: RecordedDecision | None, version: str, registered: dict[str, str] | None, origin: dict[str, Any]
) -> None:
    model = f"model package [bold]{escape(version)}[/]"
    if registered is not None:
        model += f", {escape(registered['name'])} version {registered['number']}, MLflow run {registered['run_id']}"
    if record is None:
        tree = branch = Tree(model)
    else:
        decision, output = record.decision, record.decision.output
        tree = Tree(
            f"decision [bold]{escape(decision.decision_id)}[/]: {escape(str(output.get('decision')))} at "
            f"{output.get('probability_of_default', 0):.4f}, {escape(decision.time)}"
        )
        branch = tree.add(model)
    run = branch.add(f"pipeline run [bold]{escape(origin['pipeline_run'] or 'unknown')}[/], {origin['created_at']}")
    dataset = escape(f"{origin['dataset']} {origin['dataset_version']}")
    data = run.add(f"data snapshot [bold]{origin['dataset_sha256'][:12]}[/]: {dataset}")
    dirty = " [yellow](with uncommitted changes)[/]" if origin["git_dirty"] else ""
    data.add(f"git commit [bold]{origin['git_commit'][:12] or 'unknown'}[/]{dirty}")
    console.print(tree)
