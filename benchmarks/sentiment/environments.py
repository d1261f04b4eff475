"""The environments that are measured or needed for it; each is made by the benchmark itself."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

from benchmarks.servers import PROJECT

SERVING_LOCK, EDGE_LOCK = "locks/text-serving.txt", "locks/edge.txt"
_UV = PROJECT / ".uv" / "bin" / "uv"
_WEB = ("fastapi", "uvicorn[standard]")


def finetuning_python() -> Path:
    """The interpreter of the environment with torch, which is made if it is missing.

    Raises:
        RuntimeError: It cannot be made.
    """
    _run(["make", "finetuning"])
    return PROJECT / ".venv-finetuning" / "bin" / "python"


def web_packages(folder: Path, python: Path) -> Path:
    """FastAPI and uvicorn in a folder of their own, for the usual service: the environment with torch has none.

    Raises:
        RuntimeError: They cannot be had.
    """
    if not (folder / "fastapi").is_dir():
        target = ("--target", str(folder), "--python", str(python))
        _uv("pip", "install", *target, "--constraint", "locks/dev.txt", *_WEB)
    return folder


def locked_environment(folder: Path, lock: str) -> Path:
    """An environment as an image has it, byte code included; returns its interpreter.

    Raises:
        RuntimeError: It cannot be made.
    """
    python = folder / "bin" / "python"
    _uv("venv", "--python", "3.11", str(folder))
    _uv("pip", "sync", "--python", str(python), "--compile-bytecode", "--require-hashes", lock)
    return python


def environment_with(folder: Path, lock: str, requirement: str) -> Path:
    """An environment as an image has it and one more package, with what that needs; returns its interpreter.

    Raises:
        RuntimeError: It cannot be had.
    """
    python = locked_environment(folder, lock)
    _uv("pip", "install", "--python", str(python), "--constraint", lock, requirement)
    return python


def version_in(python: Path, package: str) -> str:
    """The version of a package that an environment has.

    Raises:
        RuntimeError: It has none.
    """
    code = "import sys; from importlib.metadata import version; print(version(sys.argv[1]))"
    return _run([str(python), "-c", code, package]).strip()


def _uv(*arguments: str) -> None:
    _run([str(_UV), "-q", *arguments])


def _run(command: Sequence[str]) -> str:
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=1800, check=False)
    if done.returncode:
        words = " ".join(Path(word).name for word in command[:4])
        raise RuntimeError(f"{words} failed: {done.stderr.strip()[-800:]}")
    return done.stdout
