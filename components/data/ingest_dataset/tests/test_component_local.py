from __future__ import annotations

from pathlib import Path

from blueprints.datasets import read_snapshot
from components.data.ingest_dataset.component import ingest_dataset


def test_a_named_dataset_is_ingested_by_a_real_run(run_locally):
    snapshot = ingest_dataset(dataset="german").outputs["snapshot"]
    stored = read_snapshot(Path(snapshot.path))
    assert stored.info.rows == len(stored.frame) == 1_000
    assert snapshot.metadata["sha256"] == stored.info.sha256
