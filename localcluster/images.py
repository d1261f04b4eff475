"""What stands for an image on this machine: an interpreter with the same packages."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

ANY_IMAGE = "ml-deployment-blueprints/any-image"
"""Annotation of a pod: `"true"` runs the command of an image that is not known here, with what this machine has."""

_PROJECT = Path(__file__).resolve().parents[1]
_OWN = "ml-deployment-blueprints"
# Images that have an environment of their own: folder of the environment, and what makes it.
_ENVIRONMENTS = {"credit-risk-alibi": (".venv-alibi", "make alibi")}


class ImageError(Exception):
    """An image has no counterpart on this machine."""


def interpreter(image: str, annotations: Mapping[str, str], *, project: Path = _PROJECT) -> Path:
    """The Python interpreter that stands for an image; tags, digests and registries do not matter.

    Args:
        image: As in a container.
        annotations: Of the pod.
        project: Folder with the environments.

    Raises:
        ImageError: The image is not known, or its environment is missing.
    """
    owner, _, name = repository(image).rpartition("/")
    if owner.rpartition("/")[2] == _OWN:
        if name not in _ENVIRONMENTS:
            return Path(sys.executable)
        folder, command = _ENVIRONMENTS[name]
        python = project / folder / "bin" / "python"
        if not python.is_file():
            raise ImageError(f"image {image!r} runs in {folder}, which is missing; make it with: {command}")
        return python
    if annotations.get(ANY_IMAGE) == "true":
        return Path(sys.executable)
    raise ImageError(
        f"image {image!r} is none of {_OWN}/*, and nothing is pulled here; to run its command with what this machine "
        f'has, annotate the pod with {ANY_IMAGE}: "true"'
    )


def repository(image: str) -> str:
    """An image's name without tag and digest."""
    name = image.partition("@")[0]
    head, slash, last = name.rpartition("/")
    return f"{head}{slash}{last.partition(':')[0]}"
