"""What each blueprint shows in its demo: one module a blueprint, which describes it as a `Demo`."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from rich.console import RenderableType

from blueprints.model_package import ModelPackage
from blueprints.workspace import Workspace
from cli.output import fail

DEMOS = {
    "credit-risk": "cli.demos.credit_risk",
    "segmentation": "cli.demos.segmentation",
    "sentiment": "cli.demos.sentiment",
}
"""Blueprint to the module with its `DEMO`."""


@dataclass(frozen=True)
class Service:
    """A blueprint that answers.

    Attributes:
        model: Name of its model.
        url: Where it answers, without a slash at the end.
    """

    model: str
    url: str

    def post(self, path: str, body: Any) -> Any:
        """The answer to a body.

        Raises:
            typer.Exit: There is none, or it is an error.
        """
        import httpx

        # Browsers and curl know where *.localhost is; not every resolver does.
        there = httpx.URL(self.url + path)
        try:
            response = httpx.post(
                there.copy_with(host="127.0.0.1"), json=body, headers={"host": there.netloc.decode()}, timeout=10
            )
        except httpx.HTTPError as error:
            raise fail(f"{there} does not answer: {error}; see blueprints cluster status") from error
        if response.status_code != httpx.codes.OK:
            raise fail(f"{there} answered {response.status_code}: {response.text[:500]}")
        return response.json()

    def curl(self, path: str, body: Any, name: str) -> str:
        """A line that sends the same body, which is kept in the workspace as `<name>.json`."""
        file = Workspace.current().root / f"{name}.json"
        file.write_text(json.dumps(body, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        short = file.relative_to(Path.cwd()) if file.is_relative_to(Path.cwd()) else file
        return f"curl -s -H 'content-type: application/json' -d @{short} {self.url}{path}"


@dataclass(frozen=True)
class Answer:
    """What a service said in a demo.

    Attributes:
        shown: The answer, for people.
        commands: Name and command line of everything that one can do next.
    """

    shown: RenderableType
    commands: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Demo:
    """A blueprint's demo.

    Attributes:
        title: Its heading.
        training: What the first step does.
        asking: What the last step does.
        figures: The table of figures, made from the file of the run's evaluation.
        ask: Asks the service of the package that it serves.
    """

    title: str
    training: str
    asking: str
    figures: Callable[[Path], RenderableType]
    ask: Callable[[ModelPackage, Service], Answer]


def load(blueprint: str) -> Demo:
    """The demo of a blueprint.

    Raises:
        typer.Exit: It has none.
    """
    if blueprint not in DEMOS:
        raise fail(f"no demo of {blueprint!r}; there is one of {', '.join(DEMOS)}", code=2)
    demo: Demo = import_module(DEMOS[blueprint]).DEMO
    return demo
