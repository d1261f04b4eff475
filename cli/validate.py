"""`blueprints validate`: every overlay built and held against schemas, a cluster's rules and our policies."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from cli.output import Json, console, escape, fail, known_errors, print_json

if TYPE_CHECKING:
    from localcluster.validation import Report

_KUSTOMIZE = Path("kustomize")


def validate(
    overlays: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Folders with a kustomization.yaml; by default every overlay, and components no overlay uses."
        ),
    ] = None,
    crds: Annotated[
        Path | None,
        typer.Option(envvar="CRDS", help="Folder of CustomResourceDefinitions to hold custom kinds against as well."),
    ] = None,
    json: Json = False,
) -> None:
    """Check every manifest as a cluster would, and stricter; exit code 1 if something is wrong."""
    from localcluster.schemas.validators import Schemas
    from localcluster.validation import validate_all, validate_overlay

    if crds is not None and not crds.is_dir():
        raise fail(f"{crds}: no such folder; name one with CustomResourceDefinitions, or leave --crds and CRDS out")
    schemas, reports = Schemas(crds), []
    with known_errors():
        found: Iterable[Report] = (
            (validate_overlay(overlay, schemas) for overlay in overlays)
            if overlays
            else validate_all(_KUSTOMIZE, schemas)
        )
        for report in found:
            reports.append(report)
            if not json:
                _show(report)
    if json:
        print_json({"valid": not any(report.findings for report in reports), "overlays": [*map(asdict, reports)]})
    if any(report.findings for report in reports):
        raise typer.Exit(1)


def _show(report: Report) -> None:
    if not report.findings:
        console.print(f"[green]✓[/] [bold]{escape(report.overlay)}[/]: {report.objects} objects")
        return
    table = Table("object", "field", "what is wrong", title_justify="left", expand=True)
    table.title = (
        f"[red]✗[/] [bold]{escape(report.overlay)}[/]: {report.objects} objects, {len(report.findings)} findings"
    )
    for finding in report.findings:
        table.add_row(escape(finding.item), escape(finding.path), escape(finding.message))
    console.print(table)
