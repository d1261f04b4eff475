"""`blueprints rollout`: a candidate takes traffic step by step, watched, and is promoted or rolled back."""

from __future__ import annotations

import getpass
import os
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from cli.output import Json, console, fail, known_errors, print_json
from cli.target import Context, target

if TYPE_CHECKING:
    from blueprints.governance.registry import Registry
    from blueprints.governance.rollout.adapters.assembly import ServiceRollout
    from blueprints.governance.rollout.config import RolloutConfig
    from blueprints.governance.rollout.state import State
    from blueprints.governance.rollout.summary import ArmFigures, Summary

app = typer.Typer(help="Canary rollouts: start, watch, steer.", no_args_is_help=True)

EXIT_CODES = {"promoted": 0, "rolled_back": 4, "aborted": 5, "failed": 6}
"""What a command that works until the end returns; 1 is an error, 3 that there is nothing to work at."""

Service = Annotated[str, typer.Argument(help="The stable InferenceService.")]
Namespace = Annotated[
    str | None, typer.Option("--namespace", "-n", help="Its namespace; found by itself if only one has it.")
]
Prometheus = Annotated[
    str, typer.Option(help="URL of a Prometheus to read; the pods' own /metrics by default.", envvar="PROMETHEUS_URL")
]

_PATIENCE_S = 10
_COLOURS = {"promoted": "green", "rolled_back": "red", "failed": "red", "aborted": "yellow", "paused": "yellow"}


@app.command()
def start(
    service: Service,
    package: Annotated[
        str, typer.Option(help="The candidate's model package: version, alias, number or storage URI.")
    ] = "challenger",
    config: Annotated[Path | None, typer.Option(help="YAML: steps, waits, limits, error levels.")] = None,
    steps: Annotated[str | None, typer.Option(help="Weights in percent instead, as 5,25,50,100.")] = None,
    wait: Annotated[float | None, typer.Option(help="Least seconds at each of --steps.")] = None,
    namespace: Namespace = None,
    context: Context = None,
    prometheus: Prometheus = "",
    json: Json = False,
) -> None:
    """Make the candidate and work at its rollout to the end. Ctrl-C leaves it where it is: `resume` goes on."""
    with known_errors():
        rollout = _rollout(service, namespace, context, prometheus)
        rollout.start(package, _config(config, steps, wait, laptop=context is None), by=getpass.getuser())
    _work(rollout, json)


@app.command()
def status(
    service: Service,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Go on until the rollout is over.")] = False,
    namespace: Namespace = None,
    context: Context = None,
    json: Json = False,
) -> None:
    """Show a rollout: weights, figures, verdict; whoever works at it."""
    with known_errors():
        rollout = _rollout(service, namespace, context)
        state = _state(rollout)
        if json:
            print_json(_as_json(state) | {"engine": _engine(rollout)})
            return
        if not watch:
            console.print(view(state, _engine(rollout)))
            return
        with Live(view(state, _engine(rollout)), console=console, refresh_per_second=2) as live:
            while not state.phase.over:
                time.sleep(1)
                state = _state(rollout)
                live.update(view(state, _engine(rollout)))


@app.command()
def pause(service: Service, namespace: Namespace = None, context: Context = None, json: Json = False) -> None:
    """Stop at the present weight. A candidate that is shown to be worse is rolled back still."""
    _order("pause", service, namespace, context, json, works=False)


@app.command()
def resume(
    service: Service,
    namespace: Namespace = None,
    context: Context = None,
    prometheus: Prometheus = "",
    json: Json = False,
) -> None:
    """Go on with a paused rollout, or with one whose engine is gone: takes over as soon as its lease has expired."""
    with known_errors():
        rollout = _rollout(service, namespace, context, prometheus)
        paused = _state(rollout).phase == "paused"
    if paused:
        _order("resume", service, namespace, context, json, prometheus=prometheus)
    else:
        _work(rollout, json)


@app.command()
def promote(
    service: Service,
    namespace: Namespace = None,
    context: Context = None,
    prometheus: Prometheus = "",
    json: Json = False,
) -> None:
    """Promote the candidate without waiting for the verdict, or try a failed promotion again."""
    _order("promote", service, namespace, context, json, prometheus=prometheus)


@app.command()
def abort(service: Service, namespace: Namespace = None, context: Context = None, json: Json = False) -> None:
    """Take all traffic from the candidate now and end the rollout; the candidate stays for inspection."""
    from blueprints.governance.rollout.state import StateError

    with known_errors():
        rollout = _rollout(service, namespace, context)
        try:
            rollout.traffic.read()
        except StateError:
            rollout.traffic.discard()
            reason = "the stored rollout could not be read and is gone: stable has all traffic"
            if json:
                print_json({"service": service, "phase": "aborted", "reason": reason})
            else:
                console.print(reason)
            return
    _order("abort", service, namespace, context, json, works=False)


@app.command()
def history(service: Service, namespace: Namespace = None, context: Context = None, json: Json = False) -> None:
    """List how the last rollouts ended, oldest first."""
    with known_errors():
        ended = _rollout(service, namespace, context).traffic.history()
    if json:
        print_json({"rollouts": [one.model_dump(mode="json") for one in ended]})
        return
    table = Table("ended", "rollout", "outcome", "candidate", "by", "reason", box=None, header_style="bold")
    for one in ended:
        at = datetime.fromtimestamp(one.at, UTC).strftime("%Y-%m-%d %H:%M:%S")
        outcome = Text(one.phase.replace("_", " "), style=_COLOURS.get(one.phase, ""))
        table.add_row(at, one.id, outcome, Text(_short(one.candidate_model)), Text(one.started_by), Text(one.reason))
    console.print(table if ended else Text("No rollout has ended yet.", style="dim"))


def view(state: State, engine: str) -> RenderableType:
    """A rollout as people look at it.

    Args:
        state: The rollout.
        engine: Who works at it; empty if nobody does.
    """
    from blueprints.governance.rollout.summary import summary

    figures = summary(state)
    phase = figures.phase.replace("_", " ") + (f", {figures.stage.replace('_', ' ')}" if figures.stage else "")
    head = Text.assemble(
        (f"{figures.service} ", "bold"),
        (phase, f"bold {_COLOURS.get(figures.phase, 'cyan')}"),
        f"   step {figures.step} of {figures.steps}   verdict: {figures.verdict}",
    )
    share = round(40 * figures.candidate.weight / 100)
    bar = Text.assemble(
        ("█" * (40 - share), "blue"), ("░" * share, "magenta"), f"  {figures.candidate.weight} % candidate"
    )
    table = Table("", "model", "weight", "requests", "errors", "p50", "p99", box=None, header_style="bold")
    for name, arm in (("stable", figures.stable), ("candidate", figures.candidate)):
        table.add_row(name, Text(_short(arm.model)), f"{arm.weight} %", str(arm.requests), _errors(arm), *_latency(arm))
    lines: list[RenderableType] = [head, bar, table, Text(_compared(figures)), Text(figures.reason, style="italic")]
    for line in figures.history[-6:]:
        at = datetime.fromtimestamp(line.at, UTC).strftime("%H:%M:%S")
        lines.append(Text(f"  {at}  {line.weight:>3} %  {line.phase.replace('_', ' ')}: {line.reason}", style="dim"))
    if not figures.phase.over:
        worker = (
            f"worked at by {engine}" if engine else "nobody works at it: blueprints rollout resume " + figures.service
        )
        lines.append(Text(worker, style="dim" if engine else "yellow"))
    return Group(*lines)


def _order(
    command: str,
    service: str,
    namespace: str | None,
    context: str | None,
    json: bool,
    *,
    prometheus: str = "",
    works: bool = True,
) -> None:
    """Writes an order where a working engine finds it; if there is work left and nobody to do it, does it here."""
    with known_errors():
        from blueprints.governance.rollout import machine
        from blueprints.governance.rollout.engine import order

        rollout = _rollout(service, namespace, context, prometheus)
        _state(rollout)
        function: Callable[..., State] = getattr(machine, command)
        state = order(rollout.traffic, partial(function, now=time.time(), by=getpass.getuser()))
    if works:
        _go_on(rollout, json)
    elif json:
        print_json(_as_json(state))
    else:
        console.print(view(state, _engine(rollout)))


def _go_on(rollout: ServiceRollout, json: bool) -> None:
    with known_errors():
        state, engine = _state(rollout), _engine(rollout)
    if state.phase.over or not engine:
        _work(rollout, json)
    elif json:
        print_json(_as_json(state) | {"engine": engine})
    else:
        console.print(view(state, engine))


def _work(rollout: ServiceRollout, json: bool) -> None:
    """Works at the rollout to its end, and exits with its outcome."""
    with known_errors():
        if json:
            state = rollout.work()
            print_json(_as_json(state))
        elif console.is_terminal:
            with Live(view(_state(rollout), "this process"), console=console, refresh_per_second=4) as live:
                state = rollout.work(lambda now: live.update(view(now, "this process")))
                live.update(view(state, ""))
        else:
            state = rollout.work(_Lines())
            console.print(view(state, ""))
    raise typer.Exit(EXIT_CODES[state.phase])


class _Lines:
    """Prints a line for each transition, and now and then what it waits for, where there is no terminal."""

    def __init__(self) -> None:
        self._at = 0.0
        self._told = time.monotonic()
        self._waits = False

    def __call__(self, state: State) -> None:
        for line in state.history:
            if line.at > self._at:
                self._at = line.at
                self._tell(line.at, line.weight, line.phase, line.reason)
                self._waits = False
        # What it waits for: at once after a transition, then now and then.
        if not state.phase.over and state.reason != state.history[-1].reason:
            if not self._waits or time.monotonic() - self._told >= _PATIENCE_S:
                self._tell(time.time(), state.weight, state.phase, state.reason)
            self._waits = True

    def _tell(self, at: float, weight: int, phase: str, reason: str) -> None:
        self._told = time.monotonic()
        clock = datetime.fromtimestamp(at, UTC).strftime("%H:%M:%S")
        sys.stdout.write(f"{clock}  {weight:>3} %  {phase.replace('_', ' ')}: {reason}\n")
        sys.stdout.flush()


def _rollout(service: str, namespace: str | None, context: str | None, prometheus: str = "") -> ServiceRollout:
    from blueprints.governance.rollout.adapters.assembly import ServiceRollout
    from blueprints.governance.rollout.adapters.cluster import Cluster

    where = target(context)
    if namespace is None:
        found = [
            item["metadata"]["namespace"]
            for item in where.objects("inferenceservices", "--all-namespaces")
            if item["metadata"]["name"] == service
        ]
        if not found:
            raise fail(f"no InferenceService {service!r}; deploy it with: blueprints deploy {service}", code=3)
        if len(found) > 1:
            raise fail(f"{service!r} is in several namespaces ({', '.join(found)}): say which with --namespace")
        (namespace,) = found
    cluster = Cluster.connect(namespace, kubeconfig=where.kubeconfig, context=where.context)
    token = os.environ.get("PROMETHEUS_TOKEN")
    return ServiceRollout.of(cluster, service, registry=_registry(), prometheus=prometheus, prometheus_token=token)


def _registry() -> Registry | None:
    """The registry that the environment or the workspace has; None if neither has one."""
    from blueprints.governance.registry import Registry
    from blueprints.workspace import Workspace

    if "MLFLOW_TRACKING_URI" in os.environ or (Workspace.current().root / "mlflow.db").exists():
        return Registry()
    return None


def _config(path: Path | None, steps: str | None, wait: float | None, *, laptop: bool) -> RolloutConfig:
    from blueprints.governance.rollout.config import ConfigError, RolloutConfig

    if path is not None:
        config = RolloutConfig.from_yaml(path)
    else:
        config = RolloutConfig.laptop() if laptop else RolloutConfig()
    if steps is None and wait is None:
        return config
    try:
        weights = tuple(int(one) for one in steps.split(",")) if steps else tuple(one.weight for one in config.steps)
    except ValueError as error:
        raise ConfigError(f"--steps {steps}: give whole percentages, as 5,25,50,100") from error
    return config.with_steps(weights, config.steps[0].wait_s if wait is None else wait)


def _state(rollout: ServiceRollout) -> State:
    state = rollout.traffic.read().state
    if state is None:
        name = rollout.service
        raise fail(f"there is no rollout of {name!r}; start one with: blueprints rollout start {name}", code=3)
    return state


def _engine(rollout: ServiceRollout) -> str:
    from blueprints.governance.rollout.adapters.lease import KubernetesLease

    return KubernetesLease(rollout.cluster, rollout.service).holder()


def _as_json(state: State) -> dict[str, Any]:
    from blueprints.governance.rollout.summary import summary

    return summary(state).model_dump(mode="json")


def _errors(arm: ArmFigures) -> str:
    if arm.error_rate is None or arm.error_interval is None:
        return "–"
    low, high = arm.error_interval
    return f"{arm.error_rate:.1%} ({low:.1%} to {high:.1%})"


def _latency(arm: ArmFigures) -> list[str]:
    return ["–" if seconds is None else f"{seconds * 1000:.3g} ms" for seconds in (arm.p50_s, arm.p99_s)]


def _compared(figures: Summary) -> str:
    parts = [
        f"{name} {figure:.2f}{unit}"
        for name, figure, unit in (
            ("p50", figures.p50_ratio, "× stable's"),
            ("p99", figures.p99_ratio, "× stable's"),
            ("predictions differ by", figures.prediction_distance, ""),
        )
        if figure is not None
    ]
    return "   ".join(parts) or "nothing to compare yet"


def _short(model: str) -> str:
    """The last two parts of a storage URI."""
    return "/".join(model.rstrip("/").split("/")[-2:])
