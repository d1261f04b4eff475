"""`blueprints data`: datasets and their snapshots."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn

from blueprints.workspace import Workspace
from cli.output import Json, console, known_errors, print_json

app = typer.Typer(help="Datasets: list them, write snapshots.", no_args_is_help=True)


@app.command("list")
def list_datasets(json: Json = False) -> None:
    """List the named datasets."""
    from rich.table import Table

    from blueprints import datasets

    named = [datasets.get(name) for name in datasets.names()]
    if json:
        print_json(
            [{"name": one.name, "version": one.version, "licence": one.licence, "source": one.source} for one in named]
        )
        return
    table = Table(
        "name", "version", "target", "time column", "protected", "licence", "source", box=None, header_style="bold"
    )
    for one in named:
        schema = one.schema
        protected = ", ".join(schema.protected)
        table.add_row(one.name, one.version, schema.target, schema.time or "", protected, one.licence, one.source)
    console.print(table)


@app.command()
def snapshot(
    name: Annotated[str, typer.Argument(help="Name of the dataset.")],
    folder: Annotated[Path | None, typer.Option(help="Where it goes; .blueprints/snapshots/NAME by default.")] = None,
    json: Json = False,
) -> None:
    """Fetch a dataset, verify it and write its snapshot."""
    from blueprints import datasets

    target = folder or Workspace.current().snapshots / name
    with (
        known_errors(),
        Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(),
            console=console,
            transient=True,
            disable=json,
        ) as bars,
    ):
        tasks: dict[str, TaskID] = {}

        def show(what: str, done: int, total: int | None) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what)
            bars.update(tasks[what], completed=done, total=total)

        info = datasets.write_snapshot(datasets.get(name), target, progress=show)
    if json:
        print_json({**info.model_dump(), "folder": str(target)})
    else:
        console.print(f"{info.name} {info.version}: {info.rows:,} rows, sha256 {info.sha256[:12]}…, in {target}")
