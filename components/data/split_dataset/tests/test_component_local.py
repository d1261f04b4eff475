from __future__ import annotations

from kfp import dsl

from blueprints.datasets import get, read_snapshot, write_snapshot
from components.data.split_dataset.component import split_dataset


def test_a_snapshot_is_split_by_a_real_run(run_locally, tmp_path):
    write_snapshot(get("german"), tmp_path / "snapshot")

    @dsl.pipeline
    def divide():
        snapshot = dsl.importer(artifact_uri=str(tmp_path / "snapshot"), artifact_class=dsl.Dataset)
        split_dataset(snapshot=snapshot.output)

    divide()
    (folder,) = (tmp_path / "runs").glob("*/split-dataset")
    rows = {part: len(read_snapshot(folder / part).frame) for part in ("train", "validation", "test")}
    assert rows == {"train": 600, "validation": 200, "test": 200}
