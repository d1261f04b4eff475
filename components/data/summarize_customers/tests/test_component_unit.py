from __future__ import annotations

from pathlib import Path

import pytest

from blueprints.segmentation.features import FEATURES
from blueprints.segmentation.partitions import PartitionSummary, merge
from blueprints.segmentation.warehouse import WarehouseError
from components.data.summarize_customers.component import summarize_customers
from tests.purchases import FEBRUARY

pytestmark = pytest.mark.usefixtures("warehouse_url")


@pytest.fixture
def summarize(artifact):
    def run(part=0, parts=1, **parameters):
        summary = artifact(f"summary-{part}-{parts}")
        summarize_customers.python_func(
            {"run_date": FEBRUARY.isoformat(), "part": part, "parts": parts}, summary, **parameters
        )
        return PartitionSummary.from_bytes(Path(summary.path).read_bytes()), summary

    return run


def test_partitions_merge_to_the_summary_of_all_customers(summarize):
    whole, artifact = summarize(sample_rows=50)
    # KFP hands numbers inside of structures over as fractions.
    parts = merge(summarize(float(part), 4.0, sample_rows=50)[0] for part in range(4))
    assert (whole.rows, len(whole.sample)) == (parts.rows, len(parts.sample)) == (300, 50)
    assert parts.hashes.tolist() == whole.hashes.tolist()
    assert whole.columns == tuple(column.name for column in FEATURES)
    assert artifact.metadata == {"rows": 300, "sampled": 50}


def test_a_partition_without_customers_adds_nothing(summarize):
    empty, artifact = summarize(999, 1_000, sample_rows=50)
    assert artifact.metadata == {"rows": 0, "sampled": 0}
    whole, _ = summarize(sample_rows=50)
    for merged in (merge([empty, whole]), merge([whole, empty])):
        assert merged.rows == 300
        assert merged.raw.means.tolist() == whole.raw.means.tolist()


def test_another_seed_samples_others(summarize):
    assert summarize(sample_rows=50, seed=1)[0].hashes.tolist() != summarize(sample_rows=50)[0].hashes.tolist()


def test_a_date_without_features_is_told(artifact):
    partition = {"run_date": "2020-01-01", "part": 0, "parts": 1}
    with pytest.raises(WarehouseError, match="has no rows of 2020-01-01, only of 2025-02-01"):
        summarize_customers.python_func(partition, artifact("summary"))
    assert not Path(artifact("summary").path).exists()
