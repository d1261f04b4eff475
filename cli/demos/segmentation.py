"""The demo of segmentation: one customer with the segment, and the features that put the customer there."""

from __future__ import annotations

from pathlib import Path

from rich.panel import Panel
from rich.table import Table

from blueprints.model_package import ModelPackage
from cli.demos import Answer, Demo, Service
from cli.output import escape

_REASONS = 4


def figures(evaluation: Path) -> Table:
    """Every number of segments that was tried."""
    from blueprints.segmentation.choose_k import ChoiceReport

    found = ChoiceReport.model_validate_json(evaluation.read_text())
    table = Table(
        "segments", "silhouette", "Davies–Bouldin", "stability", box=None, header_style="bold", padding=(0, 2)
    )
    for one in found.candidates:
        stability = "" if one.stability is None else f"{one.stability.value:.3f}"
        row = (str(one.k), str(one.silhouette), f"{one.davies_bouldin:.3f}", stability)
        table.add_row(*row, style="bold" if one.k == found.k else "")
    return table


def ask(package: ModelPackage, service: Service) -> Answer:
    """Has one customer's segment told and explained."""
    customer = {"customer_id": typical_customer()}
    instances, explain = {"instances": [customer]}, f"/v1/models/{service.model}:explain"
    answer = service.post("/predict", customer)
    explanation = service.post(explain, instances)["explanations"][0]
    lines = "\n".join(f"  • {escape(reason['text'])}" for reason in explanation["reasons"][:_REASONS])
    shown = Panel(
        f"Customer [bold]{answer['customer_id']}[/]: [bold green]{escape(answer['segment'])}[/]  confidence "
        f"{answer['confidence']:.0%}, next: {escape(explanation['next_segment'])}\n{lines}\n"
        f"[dim]features as of {answer['features_as_of'][:10]}, model {answer['model_version']}[/]",
        title="One customer with the segment, from the online store",
        title_align="left",
    )
    return Answer(
        shown,
        (
            ("segment", service.curl("/predict", customer, "customer")),
            ("explain", service.curl(explain, instances, "customers")),
            (
                "warehouse",
                "SELECT * FROM customer_segments_current -- in .blueprints/warehouse.duckdb, or WAREHOUSE_URL",
            ),
            ("lineage", f".venv/bin/blueprints lineage {package.version}"),
        ),
    )


def typical_customer() -> int:
    """A customer of the smallest segment who is neither at its border nor at its centre."""
    from blueprints.segmentation.scoring import SEGMENT_TABLE
    from blueprints.segmentation.warehouse import open_warehouse
    from blueprints.workspace import Workspace

    current = f"{SEGMENT_TABLE}_current"
    query = f"""
        SELECT customer_id FROM {current}
        WHERE segment_id = (SELECT segment_id FROM {current} GROUP BY segment_id ORDER BY COUNT(*), segment_id LIMIT 1)
        ORDER BY ABS(confidence - 0.5), customer_id LIMIT 1
    """  # noqa: S608 - a constant
    with open_warehouse(Workspace.current().warehouse_url, read_only=True) as warehouse:
        (batch,) = warehouse.read(query)
        return int(batch.column("customer_id")[0].as_py())


DEMO = Demo(
    title="Segmentation: from purchases to a segment for every customer",
    training="Compute features, choose and name segments, score every customer",
    asking="Look a customer up and explain",
    figures=figures,
    ask=ask,
)
