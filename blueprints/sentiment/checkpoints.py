"""Where a training keeps its checkpoints: one place a training, whichever run it belongs to, so the next can go on."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel

from blueprints.provenance import installed_versions
from blueprints.workspace import Workspace

if TYPE_CHECKING:
    from blueprints.datasets import SnapshotInfo

_CODE = (
    "changed_texts",
    "distillation",
    "encoder",
    "encoder_graph",
    "examples",
    "finetuning",
    "text_model",
    "text_reader",
    "torch_model",
    "torch_training",
)


@contextmanager
def kept_checkpoints(
    config: BaseModel, parts: tuple[SnapshotInfo, ...], *, teacher: Path | None = None
) -> Iterator[Path]:
    """A folder for the checkpoints of a training; it goes when the block ends, and stays when that fails or is killed.

    Args:
        config: Settings of the training.
        parts: Snapshots that it learns from and chooses with.
        teacher: Folder of the encoder that it starts from, if that is not MiniLM.

    Raises:
        RuntimeError: The same training runs already.
    """
    folder = Workspace.current().root / "checkpoints" / _key(config, parts, teacher)
    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RuntimeError(f"the same training runs already, its state is in {folder}; wait for it") from None
        yield folder
        shutil.rmtree(folder)
    finally:
        os.close(handle)


def _key(config: BaseModel, parts: tuple[SnapshotInfo, ...], teacher: Path | None) -> str:
    """Hash of all that the weights depend on."""
    what = [
        type(config).__name__,
        config.model_dump(mode="json"),
        [[part.sha256, part.schema_sha256] for part in parts],
        installed_versions(["torch", "transformers"]),
    ]
    digest = hashlib.sha256(json.dumps(what, sort_keys=True).encode())
    files = [Path(__file__).with_name(f"{name}.py") for name in _CODE]
    if teacher is not None:
        files += sorted(file for file in teacher.iterdir() if file.is_file())
    for file in files:
        with file.open("rb") as content:
            digest.update(hashlib.file_digest(content, "sha256").digest())
    return digest.hexdigest()[:16]
