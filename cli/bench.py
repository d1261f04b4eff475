"""`blueprints bench`: the figures of a blueprint, measured here."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table

from cli.output import Json, console, errors, fail, print_json


def bench(
    blueprint: Annotated[str, typer.Argument(help="Name of the blueprint.")] = "credit-risk", json: Json = False
) -> None:
    """Measure a blueprint's figures, each beside its baseline in the same run."""
    if blueprint != "credit-risk":
        raise fail(f"no benchmark of {blueprint!r}; there is credit-risk", code=2)
    from benchmarks.credit_risk import measure

    with errors.status("Measuring") as status:

        def progress(words: str) -> None:
            errors.print(f"[dim]{words}[/]")
            status.update(words)

        figures = measure(progress)
    if json:
        print_json({"figures": figures})
        return
    table = Table("figure", "value", "unit", "baseline", "ratio", "how", box=None, header_style="bold")
    for name, one in figures.items():
        numbers = ["" if value is None else f"{value:g}" for value in (one["baseline"], one["ratio"])]
        table.add_row(name, f"{one['value']:g}", one["unit"], *numbers, one["how"])
    console.print(table)
