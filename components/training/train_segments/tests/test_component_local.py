from __future__ import annotations

import json

import pytest
from kfp import dsl

from blueprints.segmentation.segments import SEGMENTS, Segments
from components.data.summarize_customers.component import summarize_customers
from components.training.train_segments.component import train_segments
from tests.purchases import FEBRUARY


@pytest.mark.slow  # Three processes, one of which imports MLflow and compiles the silhouettes.
@pytest.mark.usefixtures("run_locally", "in_registry_home", "warehouse_url")
def test_segments_are_trained_by_a_real_run_on_a_sample_of_every_partition(tmp_path):
    day = FEBRUARY.isoformat()

    @dsl.pipeline
    def fan():
        with dsl.ParallelFor([{"run_date": day, "part": part, "parts": 2} for part in range(2)]) as partition:
            part = summarize_customers(partition=partition, sample_rows=100)
        train_segments(
            run_date=day,
            summaries=dsl.Collected(part.outputs["summary"]),
            maximum_segments=3,
            bootstraps=0,
            registered_model="fanned-segments",
        )

    fan()
    (folder,) = (tmp_path / "runs").glob("*/train-segments")
    segments = Segments.model_validate_json((folder / "model" / SEGMENTS).read_bytes())
    choice = json.loads((folder / "evaluation").read_text())
    assert (choice["k"], choice["rows"]) == (3, 100)
    # The last passes counted everyone.
    assert sum(one.size for one in segments.segments) == 300
