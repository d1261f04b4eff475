"""What an image holds: the files that its Dockerfile copies, and Python with the packages of its lock alone."""

from __future__ import annotations

import re
import shlex
import shutil
import sys
from pathlib import Path

from tests.inference_services.conftest import ROOT

# Lets Python find the standard library, what lies in the working directory, and what the lock names.
ONLY_THE_LOCK = """
import importlib.metadata, re, sys
lock, *sys.argv = sys.argv[1:]
canonical = lambda name: re.sub("[-_.]+", "-", name).lower()
locked = set(re.findall(r"^([a-z0-9-]+)==", open(lock).read(), re.M))
packages = importlib.metadata.packages_distributions()
class Locked:
    def find_spec(self, name, path=None, target=None):
        owners = packages.get(name)
        if owners and not locked & set(map(canonical, owners)):
            raise ModuleNotFoundError(f"No module named {name!r} in {lock}", name=name)
sys.meta_path.insert(0, Locked())
sys.path[:] = ["", *(path for path in sys.path if path and path != %(root)r)]
"""


def unpack(dockerfile: Path, folder: Path) -> Path:
    """Copies what a Dockerfile copies below its working directory."""
    for line in re.sub(r"\\\n", " ", dockerfile.read_text()).splitlines():
        if not line.startswith("COPY ") or "--from=" in line:
            continue
        *sources, target = shlex.split(line)[1:]
        if target.startswith("/"):
            continue
        for path in (path for source in sources for path in ROOT.glob(source.rstrip("/"))):
            (folder / target).mkdir(parents=True, exist_ok=True)
            if path.is_dir():
                shutil.copytree(path, folder / target, dirs_exist_ok=True)
            else:
                shutil.copy(path, folder / target)
    return folder


def command(lock: str, code: str, *arguments: str) -> list[str]:
    """Runs code with the packages of a lock and with what lies in the working directory."""
    prelude = ONLY_THE_LOCK % {"root": str(ROOT)}
    return [sys.executable, "-c", prelude + code, str(ROOT / lock), "server", *arguments]
