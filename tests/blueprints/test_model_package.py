"""Model packages: whole, verified, or refused."""

from __future__ import annotations

import hashlib
import shutil
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest

from blueprints.model_package import Lineage, ModelPackage, PackageError, Signature, open_package, write_package
from blueprints.schema import Column

SIGNATURE = Signature(
    model_name="tiny",
    inputs=(Column(name="x", kind="number"),),
    outputs=(Column(name="y", kind="number"),),
)
LINEAGE = Lineage(
    created_at=datetime(2026, 1, 1, tzinfo=UTC), dataset="d", dataset_version="1", dataset_sha256="0" * 64
)


def write(folder: Path, files: dict[str, bytes] | None = None) -> ModelPackage:
    return write_package(
        folder,
        files={"weights.ubj": b"weights"} if files is None else files,
        signature=SIGNATURE,
        lineage=LINEAGE,
        reference=pa.table({"x": [1.0]}),
        model_card="# Tiny\n",
    )


def test_a_package_reads_back_as_it_was_written(tmp_path: Path):
    package = write(tmp_path / "p")
    again = open_package(tmp_path / "p")
    assert again == package
    assert again.signature == SIGNATURE
    assert again.lineage == LINEAGE
    assert again.read_bytes("weights.ubj") == b"weights"
    assert again.reference().to_pydict() == {"x": [1.0]}


def test_the_version_is_the_digest_of_the_checksums_and_follows_the_content(tmp_path: Path):
    one, same = write(tmp_path / "a"), write(tmp_path / "b")
    other = write(tmp_path / "c", {"weights.ubj": b"other"})
    assert one.version == same.version == hashlib.sha256((tmp_path / "a/SHA256SUMS").read_bytes()).hexdigest()[:12]
    assert other.version != one.version


@pytest.mark.parametrize(
    "name", ["weights.ubj", "signature.json", "lineage.json", "model_card.md", "reference.parquet"]
)
def test_one_changed_byte_anywhere_is_refused(tmp_path: Path, name: str):
    write(tmp_path / "p")
    path = tmp_path / "p" / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(PackageError, match=rf"{name} does not match its checksum"):
        open_package(tmp_path / "p")


def test_missing_unlisted_and_linked_files_are_refused(tmp_path: Path):
    for change, message in (
        (lambda folder: (folder / "weights.ubj").unlink(), "missing weights.ubj"),
        (lambda folder: (folder / "extra.txt").write_text("x"), "extra.txt not in SHA256SUMS"),
        (lambda folder: (folder / "link").symlink_to("/etc/hostname"), "is a link"),
        (lambda folder: (folder / "SHA256SUMS").unlink(), "no model package"),
        (lambda folder: (folder / "SHA256SUMS").write_text("nonsense\n"), "malformed line"),
    ):
        folder = tmp_path / "p"
        write(folder)
        change(folder)
        with pytest.raises(PackageError, match=message):
            open_package(folder)
        shutil.rmtree(folder)


@pytest.mark.parametrize(
    "name", ["model.pkl", "MODEL.PKL", "a/b.joblib", "weights.pt", "run.py", "../up.ubj", "/abs.ubj"]
)
def test_formats_that_execute_code_and_names_that_leave_the_package_are_refused(tmp_path: Path, name: str):
    with pytest.raises(PackageError):
        write(tmp_path / "p", {name: b"x"})
    assert list(tmp_path.iterdir()) == []


def test_a_package_written_with_an_executable_format_by_hand_is_refused(tmp_path: Path):
    write(tmp_path / "p")
    (tmp_path / "p/model.pkl").write_bytes(b"x")
    line = f"{hashlib.sha256(b'x').hexdigest()}  model.pkl\n"
    with (tmp_path / "p/SHA256SUMS").open("a") as file:
        file.write(line)
    with pytest.raises(PackageError, match="execute code"):
        open_package(tmp_path / "p")


def test_nothing_is_replaced_and_nothing_half_written(tmp_path: Path):
    (tmp_path / "p").mkdir()
    (tmp_path / "p/mine.txt").write_text("keep")
    with pytest.raises(PackageError, match="not empty"):
        write(tmp_path / "p")
    assert [path.name for path in tmp_path.iterdir()] == ["p"]
    assert (tmp_path / "p/mine.txt").read_text() == "keep"


def test_a_folder_that_is_not_there_is_named(tmp_path: Path):
    with pytest.raises(PackageError, match="no such folder"):
        open_package(tmp_path / "absent")


def test_a_file_that_changes_after_opening_is_refused(credit_package, tmp_path):
    folder = tmp_path / "package"
    shutil.copytree(credit_package.folder, folder)
    package = open_package(folder)
    (folder / "policy.json").write_bytes((folder / "policy.json").read_bytes() + b" ")
    with pytest.raises(PackageError, match="changed since the package was opened"):
        package.read_bytes("policy.json")
