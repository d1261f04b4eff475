"""What stands in for Python where pip would build a source distribution: it answers pip and runs nothing.

pip saves a source distribution only after it has asked its build backend (PEP 517) for the name and version, which runs
code of the archive. The backend is started with `sys.executable`; with the stand-in of this module there, pip learns
what the requirement says anyway, and any other call of the backend fails. The archive is read by nobody but us.
"""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path

RUN_PIP = (
    "import runpy, sys; sys.executable = sys.argv.pop(1); runpy.run_module('pip', run_name='__main__', alter_sys=True)"
)
"""Program for `python -c`: runs pip, whose interpreter for builds is the first argument."""

PIP_OPTIONS = ("--no-binary=:all:", "--no-build-isolation", "--use-pep517")
"""Have pip take the source distribution, and ask for its metadata with `sys.executable`, without an environment."""


def write_stand_in(folder: Path, requirement: str) -> Path:
    """Writes an executable file that answers as the backend of `requirement` (`name==version`) would."""
    name, _, version = requirement.partition("==")
    command = shlex.join([sys.executable, "-I", __file__, name, version])
    program = folder / "no-build"
    program.write_text(f'#!/bin/sh\nexec {command} "$@"\n')
    program.chmod(0o700)
    return program


def answer(name: str, version: str, hook: str, control: Path) -> None:
    """Answers one call of a hook: reads `input.json` and writes `output.json` in the folder `control`.

    Raises:
        SystemExit: The hook would build something.
    """
    result: str | list[str]
    if hook == "_supported_features" or hook.startswith("get_requires_for_build_"):
        result = []
    elif hook == "prepare_metadata_for_build_wheel":
        asked = json.loads((control / "input.json").read_text(encoding="utf-8"))["kwargs"]
        metadata = Path(asked["metadata_directory"], f"{name.replace('-', '_')}-{version}.dist-info")
        metadata.mkdir()
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        result = metadata.name
    else:
        raise SystemExit(f"nothing is built here: {hook}")
    (control / "output.json").write_text(json.dumps({"return_val": result}), encoding="utf-8")


if __name__ == "__main__":
    # After the name and version: pip's own script for hooks, which is not run, the hook and its folder.
    answer(sys.argv[1], sys.argv[2], *(sys.argv[4], Path(sys.argv[5])))
