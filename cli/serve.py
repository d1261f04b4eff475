"""`blueprints serve`: a service on this machine, from the manifests that ship."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from blueprints.workspace import Workspace
from cli.output import Json, console, fail, known_errors, print_json

if TYPE_CHECKING:
    from localcluster.state import ServiceState

PROJECT = Path(__file__).resolve().parents[1]
LOCAL_OVERLAY = PROJECT / "kustomize" / "overlays" / "local"


def serve(
    blueprint: Annotated[str, typer.Argument(help="Name of the blueprint, such as credit-risk.")],
    port: Annotated[int, typer.Option(help="First of four ports; 0 takes free ones.", min=0, max=65532)] = 8080,
    overlay: Annotated[Path, typer.Option(help="kustomize overlay that describes the service.")] = LOCAL_OVERLAY,
    package: Annotated[Path | None, typer.Option(help="Model package; the registry's champion by default.")] = None,
    model: Annotated[str | None, typer.Option(help="Registered model; the blueprint's name by default.")] = None,
    detach: Annotated[bool, typer.Option("--detach", help="Return as soon as it is ready.")] = False,
    stop: Annotated[bool, typer.Option("--stop", help="Stop it.")] = False,
    status: Annotated[bool, typer.Option("--status", help="Show whether it runs, and where.")] = False,
    json: Json = False,
) -> None:
    """Serve a blueprint's champion on this machine, until Ctrl-C."""
    from localcluster import background

    if stop:
        with known_errors():
            stopped = background.stop(blueprint)
        console.print(f"{blueprint}: {'stopped' if stopped else 'was not running'}")
        return
    if status:
        state = background.status(blueprint)
        if json:
            print_json(None if state is None else state.model_dump(mode="json"))
        elif state is None:
            console.print(f"{blueprint}: not running")
        else:
            show(state)
        if state is None:
            raise typer.Exit(3)
        return
    with known_errors():
        folder = package or champion_folder(model or blueprint)
        if detach or json:
            with console.status(f"Starting {blueprint}") if not json else contextlib.nullcontext():
                started = background.start(blueprint, overlay, model_dir=folder, port=port)
            if json:
                print_json(started.model_dump(mode="json"))
            else:
                show(started)
                console.print(f"Stop it with: blueprints serve {blueprint} --stop")
            return
        with contextlib.suppress(KeyboardInterrupt, asyncio.CancelledError):
            asyncio.run(_foreground(blueprint, overlay, folder, port))
    console.print(f"{blueprint}: stopped")


def champion_folder(model: str) -> Path:
    """The champion's package in this workspace, verified."""
    from blueprints.governance.registry import Registry

    return Registry().champion(model).folder


def show(state: ServiceState) -> None:
    """Prints where a service answers and how its processes are."""
    console.print(f"[bold]{state.name}[/] is running (process {state.pid})")
    for part, url in state.urls.items():
        console.print(f"  {part:<16} {url}")
    for process in state.processes:
        restarts = f", restarted {process.restarts} times" if process.restarts else ""
        console.print(f"  [dim]{process.name}: {process.state}{restarts}; log {process.log}[/]")


async def _foreground(blueprint: str, overlay: Path, folder: Path, port: int) -> None:
    from localcluster.service import LocalService

    service = LocalService.from_overlay(
        blueprint,
        overlay,
        model_dir=folder,
        port=port,
        workspace=Workspace.current(),
        on_event=lambda event: console.print(f"[dim]{event.process}: {event.message}[/]"),
    )
    async with service:
        await service.wait_ready()
        console.print(f"[green]Ready.[/] Model package {folder}")
        for part, url in service.urls.items():
            console.print(f"  {part:<16} {url}")
        console.print(f"  documentation    {service.urls.get('transformer', service.urls['predictor'])}/docs")
        console.print("Ctrl-C stops it.")
        await service.run()
    raise fail("the service ended by itself; see its logs")
