"""One pipeline per blueprint; only wiring."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from inspect import signature
from typing import Any

PIPELINES = {
    "credit-risk": "pipelines.credit_risk:credit_risk",
    "segmentation": "pipelines.segmentation:segmentation",
    "sentiment": "pipelines.sentiment:sentiment",
}
"""Blueprint to the module and name of its pipeline."""
_CHECKS = {"sentiment": "blueprints.sentiment.method:check_method"}


def load(blueprint: str) -> Any:
    """The compiled pipeline of a blueprint.

    Raises:
        ValueError: There is no such blueprint.
    """
    if blueprint not in PIPELINES:
        raise ValueError(f"no blueprint is named {blueprint!r}; there are: {', '.join(PIPELINES)}")
    return _named(PIPELINES[blueprint])


def check(blueprint: str, arguments: Mapping[str, Any]) -> None:
    """Refuses arguments that the first step of the blueprint's pipeline would refuse.

    Raises:
        ValueError: They do not go together.
    """
    if blueprint in _CHECKS:
        refuse = _named(_CHECKS[blueprint])
        inputs = load(blueprint).component_spec.inputs
        refuse(**{name: arguments.get(name, inputs[name].default) for name in signature(refuse).parameters})


def _named(place: str) -> Any:
    module, name = place.split(":")
    return getattr(import_module(module), name)
