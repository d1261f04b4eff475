"""One pipeline per blueprint; only wiring."""

from __future__ import annotations

from importlib import import_module
from typing import Any

PIPELINES = {"credit-risk": "pipelines.credit_risk:credit_risk", "sentiment": "pipelines.sentiment:sentiment"}
"""Blueprint to the module and name of its pipeline."""


def load(blueprint: str) -> Any:
    """The compiled pipeline of a blueprint.

    Raises:
        ValueError: There is no such blueprint.
    """
    if blueprint not in PIPELINES:
        raise ValueError(f"no blueprint is named {blueprint!r}; there are: {', '.join(PIPELINES)}")
    module, name = PIPELINES[blueprint].split(":")
    return getattr(import_module(module), name)
