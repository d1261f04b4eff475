from __future__ import annotations

import pytest

from blueprints.segmentation.partitions import PartitionSummary
from components.data.summarize_customers.component import summarize_customers
from tests.purchases import FEBRUARY


@pytest.mark.usefixtures("warehouse_url")
def test_a_partition_is_summarised_by_a_real_run(run_component):
    partition = {"run_date": FEBRUARY.isoformat(), "part": 1, "parts": 3}
    run = run_component(summarize_customers, {}, partition=partition, sample_rows=40)
    summary = PartitionSummary.from_bytes((run.folder / "summary").read_bytes())
    assert (summary.rows, len(summary.sample)) == (100, 40)
    assert run.metadata["summary"]["rows"] == 100
