"""The demo of sentiment: one text with its label, and the words that speak for and against it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.panel import Panel
from rich.style import Style
from rich.table import Table
from rich.text import Text

from blueprints.model_package import ModelPackage
from cli.demos import Answer, Demo, Service

SENTENCE = "The plot is a mess and far too long, but the acting is wonderful and I laughed a lot."

_FOR, _AGAINST = (26, 127, 75), (179, 38, 30)


def figures(evaluation: Path) -> Table:
    """The classifier beside its baselines."""
    from blueprints.sentiment.evaluation import TextEvaluation

    found = TextEvaluation.model_validate_json(evaluation.read_text())
    table = Table("held-out texts", "accuracy", "macro-F1", "log loss", box=None, header_style="bold", padding=(0, 2))
    for name, quality in {"[bold]MiniLM[/]": found.model, **found.baselines}.items():
        table.add_row(name, str(quality.accuracy), str(quality.macro_f1), f"{quality.log_loss.value:.3f}")
    return table


def ask(package: ModelPackage, service: Service) -> Answer:
    """Has one text classified and explained."""
    text, instances, explain = {"text": SENTENCE}, {"instances": [SENTENCE]}, f"/v1/models/{service.model}:explain"
    answer = service.post("/predict", text)
    explanation = service.post(explain, instances)["explanations"][0]
    label, model = answer["label"], answer["model_version"]
    words = Text.assemble(
        (label.upper(), "bold"),
        f"  probability {answer['probability']:.1%}\n\n",
        highlighted(SENTENCE, explanation["spans"]),
        (f"\n\ngreen speaks for {label}, red against it; model {model}", "dim"),
    )
    return Answer(
        Panel(words, title="One text with its words", title_align="left"),
        (
            ("classify", service.curl("/predict", text, "text")),
            ("explain", service.curl(explain, instances, "texts")),
            ("lineage", f".venv/bin/blueprints lineage {package.version}"),
        ),
    )


def highlighted(text: str, spans: Sequence[dict[str, Any]]) -> Text:
    """A text whose spans have a background: the stronger their score, the deeper it is."""
    shown, largest = Text(text), max((abs(span["score"]) for span in spans), default=0)
    for span in spans:
        strength = abs(span["score"]) / largest if largest else 0
        if strength < 0.08:
            continue
        red, green, blue = _FOR if span["score"] > 0 else _AGAINST
        # Between white and the colour, so that the words are legible on light and on dark terminals.
        tint = [round(255 + (part - 255) * strength) for part in (red, green, blue)]
        style = Style(color="#ffffff" if strength > 0.6 else "#000000", bgcolor="#{:02x}{:02x}{:02x}".format(*tint))
        shown.stylize(style, span["start"], span["end"])
    return shown


DEMO = Demo(
    title="Sentiment: from labelled sentences to an explained answer",
    training="Train, evaluate and register",
    asking="Classify and explain",
    figures=figures,
    ask=ask,
)
