"""What validation finds, and the containers that it looks at."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from localcluster.inference_service import components
from localcluster.render import ManifestError, Object, Objects, label


@dataclass(frozen=True)
class Finding:
    """Something that is wrong with a manifest.

    Attributes:
        item: The object, as `Kind/name`.
        path: Where in it, empty for all of it.
        message: What is wrong, and what to do.
    """

    item: str
    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.item}: {self.path}: {self.message}" if self.path else f"{self.item}: {self.message}"


@dataclass(frozen=True)
class Container:
    """A container, wherever in an object it stands."""

    item: Object
    path: str
    spec: Object
    pod: Object

    def finding(self, message: str, path: str = "") -> Finding:
        """A finding about this container."""
        return Finding(label(self.item), f"{self.path}.{path}" if path else self.path, message)


def containers(objects: Objects) -> Iterator[Container]:
    """Every container of every object, init containers included, with the pod that it is part of.

    A predictor's `model` is laid over its runtime's container, as KServe does, and the outcome is what counts.
    """
    for item in objects:
        yield from _containers(item, item, "")
        predictor = (item.get("spec") or {}).get("predictor") or {}
        if item["kind"] == "InferenceService" and "model" in predictor:
            with contextlib.suppress(ManifestError):  # `policies.inference_services` tells of it
                yield Container(item, "spec.predictor.model", components(item, objects)[0].container, predictor)


def _containers(item: Object, node: Any, path: str) -> Iterator[Container]:
    if isinstance(node, dict):
        for key, value in node.items():
            below = f"{path}.{key}" if path else key
            if key in {"containers", "initContainers", "ephemeralContainers"} and isinstance(value, list):
                for index, spec in enumerate(value):
                    yield Container(item, f"{below}[{index}]", spec, node)
            else:
                yield from _containers(item, value, below)
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from _containers(item, value, f"{path}[{index}]")
