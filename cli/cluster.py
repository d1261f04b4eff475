"""`blueprints cluster`: the laptop's stand-in for a cluster."""

from __future__ import annotations

import contextlib
import time
from typing import Annotated

import typer
from rich.live import Live

from cli.output import Json, console, known_errors, print_json
from cli.status import cluster_view, snapshot
from cli.target import target

app = typer.Typer(help="A Kubernetes stand-in on this machine: API, controllers, gateway.", no_args_is_help=True)

_REFRESH_S = 1.0


@app.command()
def up(
    port: Annotated[
        int | None,
        typer.Option(help="Port of the gateway; 0 takes a free one. The last one, at first 8080.", min=0, max=65535),
    ] = None,
    json: Json = False,
) -> None:
    """Start the cluster in the background; one that is up is left alone."""
    from localcluster import daemon

    begun = time.monotonic()
    with known_errors():
        state = daemon.status()
        running = state is not None
        if state is None:
            state = daemon.start(port=port)
    if json:
        print_json(state.model_dump(mode="json"))
        return
    ignored = f"; --port {port} counts from the next start on" if port not in (None, state.gateway_port) else ""
    console.print(
        f"[green]The cluster is up[/] already (process {state.pid}){ignored}"
        if running
        else f"[green]The cluster is up[/] after {time.monotonic() - begun:.1f} s"
    )
    console.print(
        f"  gateway     {state.gateway}  [dim](services answer at http://<service>.localhost:{state.gateway_port})[/]"
    )
    console.print(f"  API server  {state.server}")
    console.print(f"  use it      export KUBECONFIG={state.kubeconfig}", soft_wrap=True)
    console.print("  stop it     blueprints cluster down")


@app.command()
def down(
    purge: Annotated[bool, typer.Option("--purge", help="Forget its objects too.")] = False, json: Json = False
) -> None:
    """Stop the cluster and every process that it runs; its objects come back with the next start."""
    import shutil

    from blueprints.workspace import Workspace
    from localcluster import daemon

    with contextlib.nullcontext() if json else console.status("Stopping"):
        stopped = daemon.stop()
    if purge:
        shutil.rmtree(Workspace.current().cluster, ignore_errors=True)
    if json:
        print_json({"stopped": stopped})
        return
    console.print(f"The cluster {'is down' if stopped else 'was not up'}{'; its objects are gone' if purge else ''}")


@app.command()
def status(
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Keep showing it, until Ctrl-C.")] = False,
    json: Json = False,
) -> None:
    """Show what runs in the cluster: services, traffic, processes."""
    from localcluster import daemon

    where = target()
    state = daemon.status()
    if json:
        services, pods = snapshot(where)
        print_json(
            {
                "cluster": None if state is None else state.model_dump(mode="json"),
                "services": [service.as_json() for service in services],
                "pods": [pod.as_json() for pod in pods],
            }
        )
        return
    if not watch:
        console.print(cluster_view(where, state))
        return
    with Live(cluster_view(where, state), console=console, auto_refresh=False, screen=console.is_terminal) as live:
        try:
            while True:
                time.sleep(_REFRESH_S)
                live.update(cluster_view(where, daemon.status()), refresh=True)
        except KeyboardInterrupt:
            return
