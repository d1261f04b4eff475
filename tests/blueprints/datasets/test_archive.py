from __future__ import annotations

import io
import tarfile
import zipfile

import pytest

from blueprints.datasets import archive
from blueprints.datasets.archive import read_member


def zipped(**files):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as target:
        for name, content in files.items():
            target.writestr(name, content)
    return buffer


def tarred(*members):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as target:
        for member, content in members:
            member.size = len(content)
            target.addfile(member, io.BytesIO(content))
    return buffer


def test_a_file_is_read_from_an_archive_inside_an_archive():
    inner = tarred((tarfile.TarInfo("folder/rows.txt"), b"1\n"))
    assert read_member(inner, "folder/rows.txt") == b"1\n"
    outer = zipped(**{"data.tar.gz": inner.getvalue(), "plain.txt": b"2\n"})
    assert read_member(outer, "data.tar.gz!folder/rows.txt") == b"1\n"
    assert read_member(outer, "plain.txt") == b"2\n"


@pytest.mark.parametrize("member", ["other.txt", "data.tar.gz!other.txt", "plain.txt!rows.txt", "data.tar.gz!link"])
def test_what_is_missing_or_no_regular_file_or_no_archive_is_named(member):
    link = tarfile.TarInfo("link")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    outer = zipped(**{"data.tar.gz": tarred((link, b"")).getvalue(), "plain.txt": b"2\n"})
    with pytest.raises(ValueError, match=f"no readable {member.split('!')[-1]}"):
        read_member(outer, member)


def test_a_truncated_archive_is_refused():
    inner = tarred((tarfile.TarInfo("rows.txt"), bytes(range(256)) * 100)).getvalue()
    with pytest.raises(ValueError, match=r"no readable rows\.txt"):
        read_member(io.BytesIO(inner[: len(inner) // 2]), "rows.txt")


def test_a_member_above_the_limit_is_not_read_to_its_end(monkeypatch):
    monkeypatch.setattr(archive, "MEMBER_LIMIT", 1000)
    with pytest.raises(ValueError, match=r"bomb\.txt of more than 1,000 bytes"):
        read_member(zipped(**{"bomb.txt": bytes(1_000_000)}), "bomb.txt")


def test_paths_of_an_archive_are_names_and_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert read_member(zipped(**{"../../escaped": b"x"}), "../../escaped") == b"x"
    assert list(tmp_path.iterdir()) == []
