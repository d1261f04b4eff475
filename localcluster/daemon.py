"""Starts the laptop cluster in the background, and finds and stops it again from any other process."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from blueprints.workspace import Workspace
from localcluster.api.private_file import write_private
from localcluster.ports import refuse_taken
from localcluster.processes.environment import base_environment
from localcluster.processes.runner import bound_log

DEFAULT_PORT = 8080
KUBECONFIG = "kubeconfig"
STATE = "cluster.json"
LOG = "cluster.log"
LARGEST_LOG_BYTES = 10_000_000

_POLL_S = 0.05
# The longest grace period that the manifests give a pod, and a little more.
_END_S = 45
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_ROOT = Path(__file__).resolve().parents[1]
# With these a model package may be fetched; pods do not get them. Nothing else of the caller's environment comes in.
_PASSED_ON = ("AWS_", "MLFLOW_TRACKING_URI", "SSL_CERT_FILE")


class ClusterError(Exception):
    """The laptop cluster cannot be started, or is not what a command expects."""


class ClusterState(BaseModel):
    """A laptop cluster that runs on this machine.

    Attributes:
        pid: Process id of the cluster.
        started: `identity` of that process.
        server: URL of the API server; this and the rest are known once it is ready.
        gateway: URL of the gateway.
        kubeconfig: File with which clients reach it.
        octet: Its loopback addresses are 127.<octet>.0.0/16.
        ready: Whether it answers requests.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    pid: int = Field(gt=0)
    started: str
    server: str = ""
    gateway: str = ""
    kubeconfig: Path = Path()
    octet: int = 0
    ready: bool = False

    @property
    def gateway_port(self) -> int:
        """Port of the gateway on 127.0.0.1."""
        return int(self.gateway.rpartition(":")[2])


def start(*, port: int | None = None, workspace: Workspace | None = None, timeout_s: float = 60) -> ClusterState:
    """Starts the cluster in the background and waits until it answers.

    Args:
        port: Port of the gateway; 0 takes a free one, None the one of the last time, at first 8080.
        workspace: Where it keeps everything; the current one by default.
        timeout_s: Seconds that it may take.

    Raises:
        ClusterError: It runs already, or does not start; the message says why. Nothing is left running.
        PortTakenError: The port is taken.
    """
    workspace = workspace or Workspace.current()
    earlier = read_state(workspace)
    if earlier is not None and alive(earlier.pid, earlier.started):
        where = f", its gateway at {earlier.gateway}" if earlier.ready else " or starts just now"
        raise ClusterError(f"the cluster is up already (process {earlier.pid}){where}")
    if port:
        refuse_taken(port, "the gateway")
    folder = workspace.cluster
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    log = folder / LOG
    if log.exists():
        bound_log(log, LARGEST_LOG_BYTES)
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "localcluster.cluster", *([] if port is None else [str(port)])],
            cwd=_ROOT,
            env=environment(workspace),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    # So that `stop` finds it before it is ready.
    write_state(workspace, ClusterState(pid=process.pid, started=identity(process.pid)))
    deadline = time.monotonic() + timeout_s
    try:
        while process.poll() is None and time.monotonic() < deadline:
            state = read_state(workspace)
            if state is not None and state.pid == process.pid and state.ready:
                return state
            time.sleep(_POLL_S)
    except BaseException:
        _end(process)
        raise
    ended = process.poll() is not None
    _end(process)
    said = log.read_text(errors="replace").strip().splitlines()
    raise ClusterError(said[-1] if ended and said else f"the cluster did not answer after {timeout_s:g} s; see {log}")


def environment(workspace: Workspace) -> dict[str, str]:
    """The environment of the cluster's own process."""
    passed = {name: value for name, value in os.environ.items() if name.startswith(_PASSED_ON)}
    return base_environment(workspace) | passed


def status(*, workspace: Workspace | None = None) -> ClusterState | None:
    """The cluster of a workspace, None if it is not up, or not yet."""
    state = read_state(workspace or Workspace.current())
    return state if state is not None and state.ready and alive(state.pid, state.started) else None


def stop(*, workspace: Workspace | None = None, timeout_s: float = _END_S) -> bool:
    """Stops the cluster and waits until all of it has ended; its objects are kept for the next start.

    Args:
        workspace: Whose cluster; the current workspace's by default.
        timeout_s: Seconds for a graceful end; then it is killed.

    Returns:
        Whether it was up.
    """
    workspace = workspace or Workspace.current()
    state = read_state(workspace)
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
            while alive(state.pid, state.started):
                time.sleep(_POLL_S)
    remove_state(workspace)
    return was_running


def write_state(workspace: Workspace, state: ClusterState) -> None:
    """Writes the cluster's state, all or nothing."""
    write_private(workspace.cluster / STATE, state.model_dump_json(indent=2).encode())


def read_state(workspace: Workspace) -> ClusterState | None:
    """The state that a cluster left, None if there is none that can be read."""
    try:
        return ClusterState.model_validate_json((workspace.cluster / STATE).read_bytes())
    except (FileNotFoundError, ValidationError):
        return None


def remove_state(workspace: Workspace) -> None:
    """Removes the state of a cluster that has ended."""
    (workspace.cluster / STATE).unlink(missing_ok=True)


def identity(pid: int) -> str:
    """What tells a process from every other one that has, had or will have its id; empty if it does not run.

    The machine's boot and the ticks from then to its start: no clock that could be set is in it.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    # After the name, in proc(5)'s counting: 3 is the state, 22 the start.
    return "" if fields[0] in "ZX" else f"{_BOOT_ID.read_text().strip()}/{fields[19]}"


def alive(pid: int, started: str) -> bool:
    """Whether the very process that started then still runs; another one with a recycled id does not count."""
    return bool(started) and identity(pid) == started


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(timeout=_END_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
