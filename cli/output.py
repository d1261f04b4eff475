"""How the command line talks: a console for people, one JSON object for machines."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from rich.console import Console

# The streams as they are now: a pipeline run redirects sys.stdout while the console goes on.
console = Console(file=sys.stdout, highlight=False, width=None if sys.stdout.isatty() else 120)
errors = Console(stderr=True, highlight=False, soft_wrap=True)

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]


def print_json(value: Any) -> None:
    """Prints one JSON document on standard output; numbers that JSON has not, infinite or none, are null."""
    sys.stdout.write(json.dumps(_finite(value), indent=2, default=str, allow_nan=False) + "\n")


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def fail(message: str, *, code: int = 1) -> typer.Exit:
    """Prints what is wrong and what to do, and returns the exit to raise."""
    errors.print(f"[bold red]Error:[/] {escape(message)}")
    return typer.Exit(code)


@contextmanager
def known_errors() -> Iterator[None]:
    """Turns the errors that the house explains itself into a message and exit code 1."""
    try:
        yield
    except Exception as error:
        if type(error).__module__.split(".")[0] not in ("blueprints", "pipelines", "localcluster"):
            raise
        raise fail(str(error)) from error


def escape(text: str) -> str:
    """Text that Rich prints as it is."""
    from rich.markup import escape as rich_escape

    return rich_escape(text)
