"""The demo of credit risk: one declined application, with its reasons."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from rich.panel import Panel
from rich.table import Table

from blueprints.model_package import ModelPackage
from cli.demos import Answer, Demo, Service
from cli.output import escape


def figures(evaluation: Path) -> Table:
    """The scorecard beside its baselines."""
    from blueprints.credit_risk.evaluation import Evaluation

    found = Evaluation.model_validate_json(evaluation.read_text())
    table = Table("held-out applications", "ROC-AUC", "PR-AUC", "KS", box=None, header_style="bold", padding=(0, 2))
    table.add_row(
        "[bold]calibrated XGBoost[/]",
        f"[bold]{found.model.roc_auc}[/]",
        str(found.model.pr_auc),
        f"{found.model.ks:.3f}",
    )
    for name, ranking in found.baselines.items():
        table.add_row(name, str(ranking.roc_auc), str(ranking.pr_auc), f"{ranking.ks:.3f}")
    return table


def ask(package: ModelPackage, service: Service) -> Answer:
    """Has one application decided and explained."""
    application = declined_application(package)
    instances, explain = {"instances": [application]}, f"/v1/models/{service.model}:explain"
    decision = service.post("/predict", application)
    reasons = service.post(explain, instances)["explanations"][0]["reasons"]
    colour = "red" if decision["decision"] == "decline" else "green"
    lines = "\n".join(f"  • {escape(reason['text'])}" for reason in reasons)
    shown = Panel(
        f"[bold {colour}]{decision['decision'].upper()}[/]  probability of default "
        f"[bold]{decision['probability_of_default']:.1%}[/], declined from {decision['threshold']:.1%}\n{lines}\n"
        f"[dim]decision {decision['decision_id']} by model {decision['model_version']}, on record[/]",
        title="One decision with its reasons",
        title_align="left",
    )
    return Answer(
        shown,
        (
            ("decide", service.curl("/predict", application, "application")),
            ("explain", service.curl(explain, instances, "instances")),
            ("lineage", f".venv/bin/blueprints lineage {decision['decision_id']}"),
        ),
    )


def declined_application(package: ModelPackage) -> dict[str, Any]:
    """The application of the reference sample that is riskier than three in four of the declined ones."""
    from blueprints.credit_risk.packaging import OUTPUT
    from blueprints.credit_risk.scorer import POLICY, Policy

    threshold = package.document(POLICY, Policy).threshold
    declined = [row for row in package.reference().to_pylist() if row[OUTPUT.name] >= threshold]
    row = sorted(declined, key=lambda row: row[OUTPUT.name])[len(declined) * 3 // 4]
    del row[OUTPUT.name]
    missing = {name: None for name, value in row.items() if isinstance(value, float) and math.isnan(value)}
    return {**row, **missing}


DEMO = Demo(
    title="Credit risk: from applications to an explained decision",
    training="Train, evaluate, audit and register",
    asking="Decide and explain",
    figures=figures,
    ask=ask,
)
