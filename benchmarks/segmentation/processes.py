"""Heavy parts, each in a process of its own, so that memory and first calls are counted honestly.

    python -m benchmarks.segmentation.MODULE STAGE SETTINGS

SETTINGS are the stage's arguments as JSON; the last line that is printed is what it found.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.servers import PROJECT

# Threads that wait sleep instead of spinning, on both sides: on a machine with few cores others need them.
_ENVIRONMENT = {"OMP_WAIT_POLICY": "passive"}
_LIMIT_S = 1800

Found = dict[str, Any]
"""What a stage found."""


def call(module: str, stage: str, *, environment: Mapping[str, str] | None = None, **settings: Any) -> Found:
    """Runs one stage of a module and returns what it found, with `peak_mb`, the most memory that it held.

    Args:
        module: Name of the module in this package.
        stage: Name of the stage.
        environment: What its environment has beside this process's.
        settings: Its arguments.

    Raises:
        RuntimeError: It failed; the message has the end of what it said.
    """
    command = [sys.executable, "-m", f"{__package__}.{module}", stage, json.dumps(settings, default=str)]
    done = subprocess.run(
        command,
        cwd=PROJECT,
        env={**os.environ, **_ENVIRONMENT, **(environment or {})},
        capture_output=True,
        text=True,
        timeout=_LIMIT_S,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{module} {stage} failed: {done.stderr[-800:]}")
    found: Found = json.loads(done.stdout.splitlines()[-1])
    return found


def answer(stages: Mapping[str, Callable[..., Found]]) -> None:
    """Runs the stage that the command line names, and prints what it found."""
    stage, settings = sys.argv[1:]
    found = stages[stage](**json.loads(settings))
    print(json.dumps({"peak_mb": peak_mb(), **found}))


def peak_mb() -> float:
    """The most resident memory that this process ever held, in megabytes (10^6 bytes).

    Not `ru_maxrss`: a child begins with its parent's.
    """
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise RuntimeError("/proc/self/status has no VmHWM; measure on Linux")
