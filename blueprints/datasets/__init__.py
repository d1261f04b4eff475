"""Named, versioned datasets, and a user's own, behind one interface: fetch, verify, load, check, snapshot, split."""

from blueprints.datasets.errors import DatasetError, Violation
from blueprints.datasets.named import Dataset, NamedDataset
from blueprints.datasets.profile import Profile, profile
from blueprints.datasets.registry import CREDIT, SEGMENTATION, SENTIMENT, get, names, resolve
from blueprints.datasets.schema_file import dump_schema, parse_schema
from blueprints.datasets.snapshot import Snapshot, SnapshotInfo, read_snapshot, write_snapshot
from blueprints.datasets.split import Split, SplitReport, split
from blueprints.datasets.user import FileDataset, QueryDataset

__all__ = [
    "CREDIT",
    "SEGMENTATION",
    "SENTIMENT",
    "Dataset",
    "DatasetError",
    "FileDataset",
    "NamedDataset",
    "Profile",
    "QueryDataset",
    "Snapshot",
    "SnapshotInfo",
    "Split",
    "SplitReport",
    "Violation",
    "dump_schema",
    "get",
    "names",
    "parse_schema",
    "profile",
    "read_snapshot",
    "resolve",
    "split",
    "write_snapshot",
]
