"""Where a laptop keeps what the blueprints make: datasets, runs, the registry, decisions."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Workspace:
    """The folder that holds everything that is made and nothing that is written by hand.

    Attributes:
        root: The folder; safe to delete, everything in it can be made again.
    """

    root: Path

    @classmethod
    def current(cls) -> Workspace:
        """The workspace named by `BLUEPRINTS_HOME`, else `.blueprints` below the current folder."""
        return cls(Path(os.environ.get("BLUEPRINTS_HOME", ".blueprints")).resolve())

    @property
    def downloads(self) -> Path:
        """Verified downloads, named by hash."""
        return self.root / "downloads"

    @property
    def snapshots(self) -> Path:
        """Dataset snapshots, one folder a dataset: the files that DVC tracks."""
        return self.root / "snapshots"

    @property
    def runs(self) -> Path:
        """Outputs of pipeline runs on this machine."""
        return self.root / "runs"

    @property
    def tracking_uri(self) -> str:
        """MLflow's store: `MLFLOW_TRACKING_URI`, else SQLite in this workspace."""
        return os.environ.get("MLFLOW_TRACKING_URI", f"sqlite:///{self.root / 'mlflow.db'}")

    @property
    def registry_artifacts(self) -> Path:
        """Where MLflow keeps artifacts and model packages when its store is local."""
        return self.root / "artifacts"

    @property
    def models(self) -> Path:
        """Model packages fetched from the registry, one folder a version."""
        return self.root / "models"

    @property
    def decisions_url(self) -> str:
        """SQLAlchemy URL of the decision records: `DECISIONS_URL`, else SQLite in this workspace."""
        return os.environ.get("DECISIONS_URL", f"sqlite:///{self.root / 'decisions.db'}")

    @property
    def warehouse_url(self) -> str:
        """URL of the warehouse: `WAREHOUSE_URL`, else a DuckDB file in this workspace."""
        return os.environ.get("WAREHOUSE_URL", f"duckdb:///{self.root / 'warehouse.duckdb'}")

    @property
    def promotions(self) -> Path:
        """The append-only log of promotions, one JSON object a line."""
        return self.root / "promotions.jsonl"

    @property
    def cluster(self) -> Path:
        """Objects, credentials and logs of the laptop cluster; readable by its user only."""
        return self.root / "cluster"

    @property
    def volumes(self) -> Path:
        """What persistent volume claims stand for on this machine, one folder a claim."""
        return self.root / "volumes"
