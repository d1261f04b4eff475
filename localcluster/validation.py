"""The validation ladder: every overlay built, every object against its schema, its kind's rules, and our policies."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import yaml

from localcluster.api.admission import admit
from localcluster.api.errors import ApiError
from localcluster.api.object_meta import check_name, checked
from localcluster.api.resources import resource_of
from localcluster.findings import Finding
from localcluster.policies import POLICIES
from localcluster.render import ManifestError, Object, Objects, label, render
from localcluster.schemas.validators import Schemas


@dataclass(frozen=True)
class Report:
    """What was found in an overlay.

    Attributes:
        overlay: Its name, such as `prod`, or `local + alibi` for a component that no overlay uses.
        objects: How many objects it has.
        findings: What is wrong with them; empty if all is well.
    """

    overlay: str
    objects: int
    findings: tuple[Finding, ...]


def validate(objects: Objects, schemas: Schemas) -> list[Finding]:
    """Runs every check on the objects of one overlay; the rules count for well-formed objects, so form comes first."""
    if found := list(schema(objects, schemas)):
        return found
    return [*admission(objects), *(finding for policy in POLICIES for finding in policy(objects))]


def schema(objects: Objects, schemas: Schemas) -> Iterator[Finding]:
    """Every object has a schema and follows it strictly."""
    for item in objects:
        for error in schemas.errors(item):
            yield Finding(label(item), error.path, error.message)


def admission(objects: Objects) -> Iterator[Finding]:
    """A cluster with KServe would take every object, without a warning; the laptop cluster's own admission says so."""
    for item in objects:
        resource = resource_of(item)
        if resource is None:
            continue
        metadata = item["metadata"]
        siblings = tuple(other for other in objects.of_kind(item["kind"]) if _namespace(other) == _namespace(item))
        try:
            check_name(resource, metadata["name"])
            whole = checked(resource, item, _namespace(item))
            admitted = admit(resource, "CREATE", whole, siblings=partial(tuple, siblings))
        except ApiError as error:
            for cause in error.causes:
                yield Finding(label(item), cause.field, cause.message)
            if not error.causes:
                yield Finding(label(item), "", error.message)
        else:
            yield from (Finding(label(item), "", warning) for warning in admitted.warnings)


def _namespace(item: Object) -> str:
    return str(item["metadata"].get("namespace", ""))


def validate_overlay(overlay: Path, schemas: Schemas, name: str = "") -> Report:
    """Builds an overlay and runs every check on it; one that cannot be built has that as its finding.

    Args:
        overlay: Its folder.
        schemas: What objects are held against.
        name: What the report calls it; the folder's name if empty.
    """
    try:
        objects = render(overlay)
    except ManifestError as error:
        return Report(name or overlay.name, 0, (Finding(name or overlay.name, "", str(error)),))
    return Report(name or overlay.name, len(objects), tuple(validate(objects, schemas)))


def validate_all(kustomize: Path, schemas: Schemas) -> Iterator[Report]:
    """Validates every overlay, and every component that none of them uses on top of `local`.

    Args:
        kustomize: Folder with `overlays/` and `components/`.
        schemas: What objects are held against.

    Raises:
        ManifestError: There are no overlays.
    """
    overlays = sorted(path.parent for path in (kustomize / "overlays").glob("*/kustomization.yaml"))
    if not overlays:
        raise ManifestError(f"{kustomize}: no overlays/*/kustomization.yaml; run it in the project's folder")
    for overlay in overlays:
        yield validate_overlay(overlay, schemas)
    used = {
        component
        for file in (kustomize / "overlays").rglob("kustomization.yaml")
        for component in _components(file.parent)
    }
    for path in sorted((kustomize / "components").glob("*/kustomization.yaml")):
        if path.parent.resolve() not in used:
            with _overlay_of(kustomize / "overlays" / "local", path.parent) as overlay:
                yield validate_overlay(overlay, schemas, f"local + {path.parent.name}")


def _components(folder: Path) -> Sequence[Path]:
    return [(folder / path).resolve() for path in _kustomization(folder).get("components") or []]


def _kustomization(folder: Path) -> Object:
    text: Object = yaml.safe_load((folder / "kustomization.yaml").read_text()) or {}
    return text


@contextmanager
def _overlay_of(base: Path, component: Path) -> Iterator[Path]:
    """A throw-away overlay: another one, and a component."""
    with tempfile.TemporaryDirectory() as folder:
        # kustomize follows relative paths only, from where the folder really is.
        start = Path(folder).resolve()
        text = {
            "apiVersion": "kustomize.config.k8s.io/v1beta1",
            "kind": "Kustomization",
            "resources": [os.path.relpath(base.resolve(), start)],
            "components": [os.path.relpath(component.resolve(), start)],
            "namespace": _kustomization(base).get("namespace", ""),
        }
        (start / "kustomization.yaml").write_text(yaml.safe_dump(text))
        yield start
