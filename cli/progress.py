"""Progress of a pipeline run on the terminal."""

from __future__ import annotations

from typing import Any

from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from blueprints.workspace import Workspace
from cli.output import console, escape, known_errors
from pipelines.local_run import Event, LocalRun, run_locally


def run_with_progress(pipeline: Any, arguments: dict[str, Any], *, use_cache: bool, quiet: bool = False) -> LocalRun:
    """Runs a pipeline here and shows each step as it goes; `quiet` shows nothing."""
    total = _steps(pipeline.pipeline_spec, pipeline.pipeline_spec.root)
    progress = Progress(
        SpinnerColumn(finished_text="[green]✓[/]"),
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        TextColumn("[dim]{task.fields[words]}[/]"),
        TimeElapsedColumn(),
        console=console,
        disable=quiet,
        redirect_stdout=False,
        redirect_stderr=False,
    )
    with known_errors(), progress:
        steps: dict[str, Any] = {}

        def show(event: Event) -> None:
            if event.kind in ("started", "cached"):
                place = len(steps) + 1
                label = f"{place:>2}/{max(place, total)} {event.step}"
                steps[event.step] = progress.add_task(escape(label), total=None, words="")
            if event.kind == "progress":
                progress.update(steps[event.step], total=event.total, completed=event.done, words=escape(event.words))
            elif event.kind in ("finished", "cached"):
                progress.update(steps[event.step], total=1, completed=1)
                if event.kind == "cached":
                    progress.update(steps[event.step], words="unchanged, taken from an earlier run")

        return run_locally(pipeline, arguments, Workspace.current().runs, use_cache=use_cache, on_event=show)


def _steps(spec: Any, component: Any) -> int:
    """Steps of a pipeline or of a part of it; of branches those of the shortest one."""
    if not component.HasField("dag"):
        return 1
    parts = [
        (task.component_ref.name, _steps(spec, spec.components[task.component_ref.name]))
        for task in component.dag.tasks.values()
    ]
    branches = all(name.startswith("comp-condition-") for name, _ in parts) and len(parts) > 1
    return min(steps for _, steps in parts) if branches else sum(steps for _, steps in parts)
