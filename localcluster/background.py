"""Starts a service in the background, and finds and stops it again from any other process."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from blueprints.workspace import Workspace
from localcluster.processes.environment import base_environment
from localcluster.processes.supervisor import StartError
from localcluster.render import ManifestError
from localcluster.service import DEFAULT_PORT, LocalService, ServiceError
from localcluster.state import ServiceState, alive, read_state, remove_state

_POLL_S = 0.1
# Transformer and explainer, then the predictor, each with its grace period of 30 s.
_END_S = 70
_ROOT = Path(__file__).resolve().parents[1]


def start(
    name: str,
    overlay: Path,
    *,
    model_dir: Path,
    port: int = DEFAULT_PORT,
    workspace: Workspace | None = None,
    timeout_s: float = 60,
) -> ServiceState:
    """Starts a service in the background and waits until it is ready; arguments as for `LocalService.from_overlay`.

    Raises:
        ServiceError: It does not start; the message says why. Nothing is left running.
    """
    workspace = workspace or Workspace.current()
    if (running := status(name, workspace=workspace)) is not None:
        raise ServiceError(f"{name} is running already (process {running.pid}); stop it with --stop")
    folder = workspace.services / name
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "logs" / "supervisor.log"
    log.parent.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "localcluster.background", name, str(overlay.resolve()), str(model_dir), str(port)]
    with log.open("wb") as output:
        supervisor = subprocess.Popen(
            command,
            cwd=_ROOT,
            env=base_environment(workspace),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    deadline = time.monotonic() + timeout_s
    try:
        while supervisor.poll() is None and time.monotonic() < deadline:
            state = read_state(folder)
            if state is not None and state.pid == supervisor.pid and state.ready:
                return state
            time.sleep(_POLL_S)
    except BaseException:
        _end(supervisor)
        raise
    ended = supervisor.poll() is not None
    _end(supervisor)
    said = log.read_text(errors="replace").strip()
    raise ServiceError(said if ended and said else f"{name}: not ready after {timeout_s:g} s; its logs: {log.parent}")


def status(name: str, *, workspace: Workspace | None = None) -> ServiceState | None:
    """The state of a service that runs on this machine, None if it does not run."""
    folder = (workspace or Workspace.current()).services / name
    state = read_state(folder)
    return state if state is not None and alive(state.pid, state.started) else None


def stop(name: str, *, workspace: Workspace | None = None, timeout_s: float = _END_S) -> bool:
    """Stops a service that runs on this machine and waits until all of it has ended.

    Args:
        name: Name of the service.
        workspace: Where its state is; the current one by default.
        timeout_s: Seconds for a graceful end; then it is killed.

    Returns:
        Whether it was running.
    """
    workspace = workspace or Workspace.current()
    folder = workspace.services / name
    state = read_state(folder)
    if state is None:
        return False
    was_running = alive(state.pid, state.started)
    if was_running:
        _signal(state.pid, signal.SIGTERM)
        deadline = time.monotonic() + timeout_s
        while alive(state.pid, state.started) and time.monotonic() < deadline:
            time.sleep(_POLL_S)
        if alive(state.pid, state.started):
            # Its guardian ends the processes.
            _signal(state.pid, signal.SIGKILL)
    for process in state.processes:
        if process.pid is not None and alive(process.pid, process.started):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    remove_state(folder)
    return was_running


def _end(supervisor: subprocess.Popen[bytes]) -> None:
    supervisor.terminate()
    try:
        supervisor.wait(timeout=_END_S)
    except subprocess.TimeoutExpired:
        supervisor.kill()
        supervisor.wait()


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


async def _serve(name: str, overlay: Path, model_dir: Path, port: int) -> None:
    async with LocalService.from_overlay(name, overlay, model_dir=model_dir, port=port) as service:
        await service.wait_ready()
        await service.run()


def _main(name: str, overlay: str, model_dir: str, port: str) -> int:
    try:
        asyncio.run(_serve(name, Path(overlay), Path(model_dir), int(port)))
    except (asyncio.CancelledError, KeyboardInterrupt):
        return 0
    except (ManifestError, ServiceError, StartError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(_main(*sys.argv[1:]))
