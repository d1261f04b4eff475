from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Command = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def blueprints(tmp_path: Path) -> Command:
    """Runs the installed command in an empty workspace."""
    program = Path(sys.executable).with_name("blueprints")
    environment = {**os.environ, "BLUEPRINTS_HOME": str(tmp_path / "home")}

    def run(*arguments: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [program, *arguments],
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            env=environment,
            cwd=tmp_path,
        )

    return run
