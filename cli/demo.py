"""`blueprints demo`: a blueprint's whole loop on one machine, from raw data to an explained answer."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.demos import Answer, Demo, Service, load
from cli.deploy import LOCAL_OVERLAY, apply, of_blueprint, pinned
from cli.output import console, escape, known_errors
from cli.target import target

if TYPE_CHECKING:
    from pipelines.local_run import LocalRun


def demo(
    blueprint: Annotated[str, typer.Argument(help="Name of the blueprint.")] = "credit-risk",
    keep: Annotated[bool, typer.Option("--keep", help="Leave the cluster running.")] = False,
    port: Annotated[int, typer.Option(help="Port of the gateway; 0 takes a free one.", min=0, max=65535)] = 8080,
) -> None:
    """Train, register, deploy and explain: the whole loop, here."""
    shown = load(blueprint)
    begun = time.monotonic()
    # A closed terminal or a polite kill ends the demo as Ctrl-C does, and with it the cluster.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    from cli.progress import run_with_progress
    from localcluster import daemon
    from localcluster.ports import refuse_taken
    from pipelines import load as pipeline_of

    cluster = daemon.status()
    with known_errors():
        if cluster is None and port:
            refuse_taken(port, "the gateway")
    console.rule(f"[bold]{shown.title}")
    console.print(f"[bold]1  {shown.training}[/] (the pipeline that Kubeflow runs, on this machine)")
    run = run_with_progress(pipeline_of(blueprint), {}, use_cache=True)
    console.print("[bold]2  Deploy the champion[/] (the manifests that ship, on the laptop cluster)")
    keep = keep or cluster is not None
    try:
        with known_errors():
            from blueprints.governance.registry import Registry

            package = Registry().champion(blueprint)
            if cluster is None:
                with console.status("Starting the cluster"):
                    started = time.monotonic()
                    cluster = daemon.start(port=port)
                console.print(f"  cluster up after {time.monotonic() - started:.1f} s")
            started = time.monotonic()
            services = apply(target(), pinned(of_blueprint(blueprint, LOCAL_OVERLAY)))
            parts = ", ".join(dict.fromkeys(part for service in services for part in service.parts))
            console.print(f"  {parts} ready after {time.monotonic() - started:.1f} s")
        console.print(f"[bold]3  {shown.asking}[/]")
        service = Service(blueprint, f"http://{blueprint}.localhost:{cluster.gateway_port}")
        answer = shown.ask(package, service)
        _show(run, shown, package.version, answer, service, keep=keep)
    finally:
        if not keep:
            daemon.stop()
    console.print(f"[dim]{time.monotonic() - begun:.0f} s in all.[/]")


def _show(run: LocalRun, demo: Demo, version: str, answer: Answer, service: Service, *, keep: bool) -> None:
    console.print()
    console.print(demo.figures(Path(run.outputs["evaluation"].path)))
    verdict = "promoted" if run.outputs["promote"] else "not promoted"
    console.print(f"  Gate: {verdict}: {escape(run.outputs['reason'])}")
    console.print(f"  Champion: model package [bold]{version}[/]")
    console.print(answer.shown)
    console.print("[bold]Reports[/]")
    for name, page in run.reports.items():
        console.print(f"  {name.removesuffix('_report'):<12} {page.as_uri()}", soft_wrap=True)
    running = (
        "" if keep else f" [dim](stopped again; KEEP=1 make demo BLUEPRINT={service.model} leaves them running)[/]"
    )
    console.print(f"[bold]Endpoints[/]{running}")
    commands = [("documentation", f"{service.url}/docs"), *answer.commands]
    if keep:
        commands.append(("look", ".venv/bin/blueprints cluster status --watch"))
        commands.append(("stop", ".venv/bin/blueprints cluster down"))
    for name, command in commands:
        console.print(f"  {name:<13} {escape(command)}", soft_wrap=True)


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt
