"""What every process gets before what its manifest says: nothing else of the caller's environment reaches it."""

from __future__ import annotations

import os

from blueprints.workspace import Workspace


def base_environment(workspace: Workspace) -> dict[str, str]:
    """What every process gets, and all that it inherits: no secret of the caller's shell is among it."""
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": os.environ.get("HOME", "/"),
        "LANG": "C.UTF-8",
        "BLUEPRINTS_HOME": str(workspace.root),
        # Threads that spin while they wait would take the cores from the other processes of this machine.
        "OMP_WAIT_POLICY": "passive",
    }
