"""The model package: the one thing that passes from a training pipeline to a server.

A folder with the weights (in a format that cannot execute code on load), `signature.json`, `reference.parquet`,
`lineage.json`, `model_card.md`, and `SHA256SUMS` over all of it. A package is content-addressed: its version is
derived from the checksums, so two packages with one version hold the same bytes.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from blueprints.schema import Column

if TYPE_CHECKING:
    import pyarrow as pa

CHECKSUMS = "SHA256SUMS"
SIGNATURE = "signature.json"
LINEAGE = "lineage.json"
REFERENCE = "reference.parquet"
MODEL_CARD = "model_card.md"

REQUIRED = frozenset({SIGNATURE, LINEAGE, REFERENCE, MODEL_CARD})
# Formats whose loaders can execute code.
EXECUTABLE_SUFFIXES = frozenset(
    {".pkl", ".pickle", ".joblib", ".pt", ".pth", ".bin", ".dill", ".cloudpickle", ".npy", ".py"}
)

_CHECKSUM_LINE = re.compile(r"^(?P<digest>[0-9a-f]{64})  (?P<name>[^\s].*)$")
_Document = TypeVar("_Document", bound=BaseModel)


class PackageError(Exception):
    """A folder is no model package, or not the one that its checksums describe."""


class Signature(BaseModel):
    """Inputs and outputs of a model.

    Attributes:
        model_name: Name under which servers answer.
        inputs: Input columns, in the order of the feature matrix.
        outputs: Output columns, named and bounded.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    model_name: str = Field(pattern=r"^[a-z]([-a-z0-9]*[a-z0-9])?$", max_length=63)
    inputs: tuple[Column, ...] = Field(min_length=1)
    outputs: tuple[Column, ...] = Field(min_length=1)


class Lineage(BaseModel):
    """Where a model comes from.

    Attributes:
        created_at: Time of packaging, UTC.
        git_commit: Commit of the code that trained it; empty outside a repository.
        git_dirty: Whether tracked files differed from that commit.
        dataset: Name of the training dataset.
        dataset_version: The dataset's version.
        dataset_sha256: Hash of the training snapshot.
        pipeline_run: Id of the pipeline run that made it.
        parameters: Training parameters.
        metrics: Figures on the held-out data.
        packages: Versions of the libraries that shaped the weights.
        parent_model: Version of the champion at that time; empty for a first model.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    created_at: datetime
    git_commit: str = ""
    git_dirty: bool = False
    dataset: str
    dataset_version: str
    dataset_sha256: str
    pipeline_run: str = ""
    parameters: dict[str, Any] = {}
    metrics: dict[str, float] = {}
    packages: dict[str, str] = {}
    parent_model: str = ""


@dataclass(frozen=True)
class ModelPackage:
    """A verified model package.

    Attributes:
        folder: Where it lies.
        digest: SHA-256 of its `SHA256SUMS`, 64 hex digits.
        checksums: SHA-256 of each file by name.
        signature: Inputs and outputs.
        lineage: Origin.
    """

    folder: Path
    digest: str
    checksums: Mapping[str, str]
    signature: Signature
    lineage: Lineage

    @property
    def version(self) -> str:
        """The first 12 hex digits of the digest."""
        return self.digest[:12]

    def read_bytes(self, name: str) -> bytes:
        """The content of one file of the package.

        Raises:
            PackageError: The package has no such file, or it changed since the package was opened.
        """
        try:
            content = (self.folder / name).read_bytes()
        except FileNotFoundError as error:
            raise PackageError(f"{self.folder}: no file {name!r} in this model package") from error
        if hashlib.sha256(content).hexdigest() != self.checksums.get(name):
            raise PackageError(f"{self.folder}: {name} changed since the package was opened; copy the package again")
        return content

    def document(self, name: str, kind: type[_Document]) -> _Document:
        """One JSON file of the package, validated.

        Raises:
            PackageError: There is no such file, or it does not fit.
        """
        return _parse(kind, self.read_bytes(name), self.folder / name)

    def reference(self) -> pa.Table:
        """The sample of training inputs and predictions that drift is measured against."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        return pq.read_table(pa.BufferReader(self.read_bytes(REFERENCE)))


def write_package(
    folder: Path,
    *,
    files: Mapping[str, bytes],
    signature: Signature,
    lineage: Lineage,
    reference: pa.Table,
    model_card: str,
) -> ModelPackage:
    """Writes a model package: whole, or not at all.

    Args:
        folder: Where the package shall lie; an empty folder there is replaced, anything else is left alone.
        files: The weights and whatever the model needs beside them, by file name.
        signature: Inputs and outputs.
        lineage: Origin.
        reference: Training inputs and predictions, a sample.
        model_card: Markdown.

    Returns:
        The package, read back and verified.

    Raises:
        PackageError: A file name is taken or unsafe, a format can execute code, or `folder` is not empty.
    """
    import pyarrow.parquet as pq

    for name in files:
        _check_name(name)
        if name in REQUIRED or name == CHECKSUMS:
            raise PackageError(f"{name!r} is written by the package itself: choose another name")
    folder.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        for name, content in files.items():
            target = staging / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
        (staging / SIGNATURE).write_text(signature.model_dump_json(indent=2) + "\n")
        (staging / LINEAGE).write_text(lineage.model_dump_json(indent=2) + "\n")
        (staging / MODEL_CARD).write_text(model_card)
        pq.write_table(reference, staging / REFERENCE)
        (staging / CHECKSUMS).write_text(
            "".join(f"{_sha256(staging / name)}  {name}\n" for name in sorted(_names(staging)))
        )
        staging.chmod(0o755)
        try:
            staging.replace(folder)
        except OSError as error:
            raise PackageError(f"{folder}: is there already and not empty; write to a new folder") from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return open_package(folder)


def open_package(folder: Path) -> ModelPackage:
    """Opens a model package and verifies every byte of it.

    Raises:
        PackageError: A file is missing, unlisted, a link, changed, in a format that can execute code, or malformed.
    """
    if not folder.is_dir():
        raise PackageError(f"{folder}: no such folder; give the folder of a model package")
    checksums = folder / CHECKSUMS
    if not checksums.is_file():
        raise PackageError(f"{folder}: no {CHECKSUMS}, so this is no model package")
    content = checksums.read_bytes()
    expected: dict[str, str] = {}
    for line in content.decode(errors="replace").splitlines():
        match = _CHECKSUM_LINE.match(line)
        if match is None:
            raise PackageError(f"{checksums}: malformed line {line[:80]!r}")
        _check_name(match["name"])
        expected[match["name"]] = match["digest"]
    present = _names(folder)
    if missing := sorted((expected.keys() | REQUIRED) - present):
        raise PackageError(f"{folder}: missing {', '.join(missing)}; copy the package again")
    if unlisted := sorted(present - expected.keys()):
        raise PackageError(f"{folder}: {', '.join(unlisted)} not in {CHECKSUMS}; only listed files may be there")
    for name, digest in expected.items():
        if _sha256(folder / name) != digest:
            raise PackageError(f"{folder}: {name} does not match its checksum; refuse it and copy the package again")
    return ModelPackage(
        folder=folder,
        digest=hashlib.sha256(content).hexdigest(),
        checksums=expected,
        signature=_parse(Signature, (folder / SIGNATURE).read_bytes(), folder / SIGNATURE),
        lineage=_parse(Lineage, (folder / LINEAGE).read_bytes(), folder / LINEAGE),
    )


def _parse(kind: type[_Document], content: bytes, path: Path) -> _Document:
    try:
        return kind.model_validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise PackageError(f"{path}: {where}: {first['msg']}") from error


def _check_name(name: str) -> None:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or str(path) != name or "\\" in name or "\n" in name:
        raise PackageError(f"{name!r}: file names in a model package are relative and stay inside it")
    if path.suffix.lower() in EXECUTABLE_SUFFIXES:
        raise PackageError(f"{name!r}: this format can execute code on load; use UBJSON, ONNX, safetensors or JSON")


def _names(folder: Path) -> set[str]:
    names = set()
    for path in folder.rglob("*"):
        if path.is_symlink():
            raise PackageError(f"{path}: is a link; a model package holds plain files")
        if path.is_file():
            names.add(path.relative_to(folder).as_posix())
    return names - {CHECKSUMS}


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
