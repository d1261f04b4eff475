"""A feature store's configuration: Feast's own `feature_store.yaml`, read without Feast, so that servers need none."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from blueprints.workspace import Workspace

DATA_VARIABLE = "FEATURE_STORE_DATA"
"""Environment variable of the folder for offline files, the registry and SQLite; the workspace's own by default."""

CONFIG_VARIABLE = "FEATURE_STORE_CONFIG"
"""Environment variable of the file to use; the project's own for one machine by default."""

FEATURE_VIEW = "customer_features"
"""Name of the one feature view, in Feast and in the online store."""

_VARIABLE = re.compile(r"\$\{(\w+)\}")


class StoreConfigError(Exception):
    """The configuration cannot be used; the message never holds a value of the environment."""


@dataclass(frozen=True)
class StoreConfig:
    """What `feature_store.yaml` says.

    Attributes:
        path: The file.
        project: Feast's project, a part of every key.
        online: The section `online_store`.
        raw: The whole file, variables replaced.
        offline: Folder of the offline files, one Parquet file a date.
    """

    path: Path
    project: str
    online: Mapping[str, Any]
    raw: Mapping[str, Any]
    offline: Path

    @classmethod
    def read(cls, path: Path) -> StoreConfig:
        """Reads a file and replaces `${NAME}` by variables of the environment.

        Raises:
            StoreConfigError: The file cannot be read, is none of Feast's, or names a variable that is not set.
        """
        path = path.resolve()
        data = Path(os.environ.get(DATA_VARIABLE) or Workspace.current().root / "feature_store")
        variables = {**os.environ, DATA_VARIABLE: str(data)}
        try:
            text = path.read_text(encoding="utf-8")
        except OSError as error:
            raise StoreConfigError(f"{path}: cannot be read: {error.strerror}") from error
        if missing := sorted({name for name in _VARIABLE.findall(text) if name not in variables}):
            raise StoreConfigError(f"{path}: set the environment variable {', '.join(missing)}")
        try:
            raw = yaml.safe_load(_VARIABLE.sub(lambda match: variables[match[1]], text))
        except yaml.YAMLError as error:
            raise StoreConfigError(f"{path}: is not YAML") from error
        if not isinstance(raw, dict) or not isinstance(raw.get("project"), str):
            raise StoreConfigError(f"{path}: expected Feast's feature_store.yaml with at least a 'project'")
        online = raw.get("online_store") or {}
        if not isinstance(online, dict) or "type" not in online:
            raise StoreConfigError(f"{path}: 'online_store' needs a 'type': sqlite, redis or postgres")
        return cls(path, raw["project"], online, raw, data / FEATURE_VIEW)

    @classmethod
    def current(cls) -> StoreConfig:
        """The configuration that `FEATURE_STORE_CONFIG` names, else that of one machine with SQLite.

        Raises:
            StoreConfigError: See `read`.
        """
        given = os.environ.get(CONFIG_VARIABLE)
        project = Path(__file__).resolve().parents[2]
        return cls.read(Path(given) if given else project / "manifests" / "feature_store" / "feature_store.yaml")

    @property
    def online_path(self) -> Path:
        """SQLite's file; a relative path counts from the folder of `feature_store.yaml`."""
        return self.path.parent / str(self.online.get("path", "data/online.db"))
