"""`blueprints bench`: figures, measured here."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table

from cli.output import Json, console, errors, fail, print_json

BENCHMARKS = {
    "credit-risk": "benchmarks.credit_risk",
    "rollout": "benchmarks.rollout",
    "segmentation": "benchmarks.segmentation.benchmark",
    "sentiment": "benchmarks.sentiment.benchmark",
}


def bench(
    blueprint: Annotated[str, typer.Argument(help=f"What to measure: {', '.join(BENCHMARKS)}.")] = "credit-risk",
    json: Json = False,
) -> None:
    """Measure figures, each beside its baseline in the same run."""
    import importlib

    if blueprint not in BENCHMARKS:
        raise fail(f"no benchmark of {blueprint!r}; there is {', '.join(BENCHMARKS)}", code=2)
    measure = importlib.import_module(BENCHMARKS[blueprint]).measure

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
        value, *others = [
            "" if value is None else f"{value:g}" for value in (one["value"], one["baseline"], one["ratio"])
        ]
        table.add_row(name, value, one["unit"], *others, one["how"])
    console.print(table)
