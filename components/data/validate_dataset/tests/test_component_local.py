from __future__ import annotations

from pathlib import Path

from kfp import dsl

from blueprints.datasets import get, write_snapshot
from components.data.validate_dataset.component import validate_dataset


def test_a_snapshot_is_validated_by_a_real_run(run_locally, tmp_path):
    write_snapshot(get("german"), tmp_path / "snapshot")

    @dsl.pipeline
    def check():
        snapshot = dsl.importer(artifact_uri=str(tmp_path / "snapshot"), artifact_class=dsl.Dataset)
        validate_dataset(snapshot=snapshot.output)

    check()
    (report,) = (tmp_path / "runs").glob("*/validate-dataset/report")
    assert "time in present employment" in Path(report).read_text()
