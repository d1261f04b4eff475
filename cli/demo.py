"""`blueprints demo`: the whole loop on one machine, from raw data to an explained, recorded decision."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.panel import Panel
from rich.table import Table

from blueprints.workspace import Workspace
from cli.deploy import LOCAL_OVERLAY, apply, of_blueprint, pinned
from cli.output import console, escape, fail, known_errors
from cli.target import target

if TYPE_CHECKING:
    from blueprints.credit_risk.evaluation import Evaluation
    from blueprints.model_package import ModelPackage
    from pipelines.local_run import LocalRun

MODEL = "credit-risk"


def demo(
    blueprint: Annotated[str, typer.Argument(help="Name of the blueprint.")] = MODEL,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the cluster running.")] = False,
    port: Annotated[int, typer.Option(help="Port of the gateway; 0 takes a free one.", min=0, max=65535)] = 8080,
) -> None:
    """Train, register, deploy and explain: the whole loop, here."""
    if blueprint != MODEL:
        raise fail(f"no demo of {blueprint!r}; there is {MODEL}", code=2)
    begun = time.monotonic()
    # A closed terminal or a polite kill ends the demo as Ctrl-C does, and with it the cluster.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    from cli.progress import run_with_progress
    from localcluster import daemon
    from localcluster.ports import refuse_taken
    from pipelines import load

    cluster = daemon.status()
    with known_errors():
        if cluster is None and port:
            refuse_taken(port, "the gateway")
    console.rule("[bold]Credit risk: from applications to an explained decision")
    console.print("[bold]1  Train, evaluate, audit and register[/] (the pipeline that Kubeflow runs, on this machine)")
    run = run_with_progress(load(blueprint), {}, use_cache=True)
    console.print("[bold]2  Deploy the champion[/] (the manifests that ship, on the laptop cluster)")
    keep = keep or cluster is not None
    try:
        with known_errors():
            from blueprints.governance.registry import Registry

            package = Registry().champion(MODEL)
            if cluster is None:
                with console.status("Starting the cluster"):
                    started = time.monotonic()
                    cluster = daemon.start(port=port)
                console.print(f"  cluster up after {time.monotonic() - started:.1f} s")
            started = time.monotonic()
            apply(target(), pinned(of_blueprint(blueprint, LOCAL_OVERLAY)))
            console.print(f"  predictor, transformer and explainer ready after {time.monotonic() - started:.1f} s")
        console.print("[bold]3  Decide and explain[/]")
        application = declined_application(package)
        body = Workspace.current().root / "application.json"
        body.write_text(json.dumps(application, indent=2) + "\n")
        url = f"http://{MODEL}.localhost:{cluster.gateway_port}"
        decision = _post(f"{url}/predict", application)
        answer = _post(f"{url}/v1/models/{MODEL}:explain", {"instances": [application]})
        _summary(run, package, decision, answer["explanations"][0], url, body, keep=keep)
    finally:
        if not keep:
            daemon.stop()
    console.print(f"[dim]{time.monotonic() - begun:.0f} s in all.[/]")


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def declined_application(package: ModelPackage) -> dict[str, Any]:
    """The application of the reference sample that is riskier than three in four of the declined ones."""
    import math

    from blueprints.credit_risk.packaging import OUTPUT
    from blueprints.credit_risk.scorer import POLICY, Policy

    threshold = package.document(POLICY, Policy).threshold
    declined = [row for row in package.reference().to_pylist() if row[OUTPUT.name] >= threshold]
    row = sorted(declined, key=lambda row: row[OUTPUT.name])[len(declined) * 3 // 4]
    del row[OUTPUT.name]
    missing = {name: None for name, value in row.items() if isinstance(value, float) and math.isnan(value)}
    return {**row, **missing}


def _post(url: str, body: dict[str, Any]) -> Any:
    import httpx

    # Browsers and curl know where *.localhost is; not every resolver does.
    there = httpx.URL(url)
    try:
        response = httpx.post(
            there.copy_with(host="127.0.0.1"), json=body, headers={"host": there.netloc.decode()}, timeout=10
        )
    except httpx.HTTPError as error:
        raise fail(f"{url} does not answer: {error}; see blueprints cluster status") from error
    if response.status_code != httpx.codes.OK:
        raise fail(f"{url} answered {response.status_code}: {response.text[:500]}")
    return response.json()


def _summary(
    run: LocalRun,
    package: ModelPackage,
    decision: dict[str, Any],
    explanation: dict[str, Any],
    url: str,
    body: Path,
    *,
    keep: bool,
) -> None:
    from blueprints.credit_risk.evaluation import Evaluation

    evaluation = Evaluation.model_validate_json(Path(run.outputs["evaluation"].path).read_text())
    console.print()
    console.print(_metrics(evaluation))
    verdict = "promoted" if run.outputs["promote"] else "not promoted"
    console.print(f"  Gate: {verdict}: {escape(run.outputs['reason'])}")
    console.print(f"  Champion: model package [bold]{package.version}[/]")
    colour = "red" if decision["decision"] == "decline" else "green"
    reasons = "\n".join(f"  • {escape(reason['text'])}" for reason in explanation["reasons"])
    console.print(
        Panel(
            f"[bold {colour}]{decision['decision'].upper()}[/]  probability of default "
            f"[bold]{decision['probability_of_default']:.1%}[/], declined from {decision['threshold']:.1%}\n{reasons}\n"
            f"[dim]decision {decision['decision_id']} by model {decision['model_version']}, on record[/]",
            title="One decision with its reasons",
            title_align="left",
        )
    )
    console.print("[bold]Reports[/]")
    for name, page in run.reports.items():
        console.print(f"  {name.removesuffix('_report'):<12} {page.as_uri()}", soft_wrap=True)
    running = "" if keep else " [dim](stopped again; KEEP=1 make demo leaves them running)[/]"
    console.print(f"[bold]Endpoints[/]{running}")
    console.print(f"  documentation {url}/docs", soft_wrap=True)
    console.print(
        f"  decide        curl -s -H 'content-type: application/json' -d @{_short(body)} {url}/predict",
        soft_wrap=True,
    )
    instances = body.with_name("instances.json")
    instances.write_text(json.dumps({"instances": [json.loads(body.read_text())]}, indent=2) + "\n")
    console.print(
        f"  explain       curl -s -H 'content-type: application/json' -d @{_short(instances)} "
        f"{url}/v1/models/{MODEL}:explain",
        soft_wrap=True,
    )
    console.print(f"  lineage       .venv/bin/blueprints lineage {decision['decision_id']}", soft_wrap=True)
    if keep:
        console.print("  look          .venv/bin/blueprints cluster status --watch", soft_wrap=True)
        console.print("  stop          .venv/bin/blueprints cluster down", soft_wrap=True)


def _metrics(evaluation: Evaluation) -> Table:
    table = Table("held-out applications", "ROC-AUC", "PR-AUC", "KS", box=None, header_style="bold", padding=(0, 2))
    table.add_row(
        "[bold]calibrated XGBoost[/]",
        f"[bold]{evaluation.model.roc_auc}[/]",
        str(evaluation.model.pr_auc),
        f"{evaluation.model.ks:.3f}",
    )
    for name, ranking in evaluation.baselines.items():
        table.add_row(name, str(ranking.roc_auc), str(ranking.pr_auc), f"{ranking.ks:.3f}")
    return table


def _short(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
