"""The status of a pod, as a kubelet writes it and `kubectl` users read it. Pure functions."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from localcluster.processes.runner import Ended, ProcessStatus
from localcluster.render import Object

NODE = "laptop"
NODE_ADDRESS = "127.0.0.1"


@dataclass(frozen=True)
class Waiting:
    """Why a pod's process does not run yet.

    Attributes:
        reason: One word, which `kubectl get pods` shows.
        message: In words.
        initialized: Whether its model is there.
    """

    reason: str = "ContainerCreating"
    message: str = ""
    initialized: bool = True


@dataclass(frozen=True)
class Seen:
    """What this machine knows of a pod.

    Attributes:
        address: Its address.
        waiting: Why its process was not started yet; None once it was.
        process: Its process; None if it was not started yet.
        earlier: The status that it had before this process, if it ran before.
    """

    address: str
    waiting: Waiting | None
    process: ProcessStatus | None
    earlier: Object | None = None


def pod_status(pod: Object, seen: Seen, before: Object, now: float) -> Object:
    """The status of a pod.

    Args:
        pod: The pod.
        seen: What this machine knows of it.
        before: The status that was written last: times of what has not changed stay.
        now: Unix time.
    """
    container = _container_status(pod, seen)
    state: Object = container["state"]
    ready = container["ready"]
    phase = _phase(state, started=bool(container["restartCount"]) or "lastState" in container)
    if phase == "Succeeded":
        unready = ("PodCompleted", "")
    else:
        unready = ("ContainersNotReady", f"containers with unready status: [{container['name']}]")
    initialized = seen.waiting is None or seen.waiting.initialized
    conditions = [
        ("PodScheduled", True, "", ""),
        ("Initialized", initialized, "ContainersNotInitialized", "the model is not there yet"),
        ("ContainersReady", ready, *unready),
        ("Ready", ready, *unready),
    ]
    stamp = timestamp(now)
    earlier = {condition["type"]: condition for condition in before.get("conditions") or []}
    return {
        "phase": phase,
        "conditions": [_condition(*condition, earlier, stamp) for condition in conditions],
        "hostIP": NODE_ADDRESS,
        "hostIPs": [{"ip": NODE_ADDRESS}],
        "podIP": seen.address,
        "podIPs": [{"ip": seen.address}],
        "startTime": before.get("startTime", stamp),
        "containerStatuses": [container],
    }


def lost_status(before: Object, now: float) -> Object:
    """The status of a pod that must not be started again, and whose process ended while nobody looked."""
    stamp = timestamp(now)
    ended = {"exitCode": 137, "reason": "ContainerStatusUnknown", "message": "ended together with the cluster"}
    statuses = before.get("containerStatuses") or []
    conditions = [
        {**condition, "status": "False", "lastTransitionTime": stamp}
        if condition["type"] in {"Ready", "ContainersReady"}
        else condition
        for condition in before.get("conditions") or []
    ]
    terminated = {**ended, "finishedAt": stamp}
    return {
        "phase": "Failed",
        "conditions": conditions,
        "containerStatuses": [
            {**status, "ready": False, "started": False, "state": {"terminated": terminated}} for status in statuses
        ],
    }


def has_started(status: Object) -> bool:
    """Whether a pod with this status had a process at some time."""
    return any(
        entry["restartCount"] or entry.get("lastState") or "waiting" not in entry["state"]
        for entry in status.get("containerStatuses") or []
    )


def timestamp(at: float) -> str:
    """Unix time as the API has it."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _container_status(pod: Object, seen: Seen) -> Object:
    container = pod["spec"]["containers"][0]
    process = seen.process
    restarts = 0 if process is None else process.restarts
    last = _terminated(process.ended) if process is not None and process.ended is not None else None
    if (earlier := seen.earlier) is not None:
        (entry,) = earlier["containerStatuses"][:1]
        restarts += entry["restartCount"] + 1
        # What ran when the cluster ended was ended with it.
        previous = entry["state"] if "terminated" in entry["state"] else entry.get("lastState")
        last = last or (previous or {}).get("terminated")
    state = _state(process, seen.waiting)
    if state.get("terminated") == last:
        last = None
    image = container.get("image", "")
    status: Object = {
        "name": container["name"],
        "image": image,
        "imageID": image,
        "ready": process is not None and process.state == "ready",
        "started": process is not None and process.started,
        "restartCount": restarts,
        "state": state,
    }
    if process is not None and process.pid is not None:
        status["containerID"] = f"process://{process.pid}"
    if last is not None:
        status["lastState"] = {"terminated": last}
    if resources := container.get("resources"):
        status["resources"] = resources
    return status


def _state(process: ProcessStatus | None, waiting: Waiting | None) -> Object:
    if process is None or (process.pid is None and process.ended is None):
        why = waiting or Waiting()
        return {"waiting": {"reason": why.reason, **({"message": why.message} if why.message else {})}}
    if process.pid is not None:
        return {"running": {"startedAt": timestamp(process.started_at)}}
    ended = process.ended
    if process.state in {"finished", "stopped"} and ended is not None:
        return {"terminated": _terminated(ended)}
    message = "back-off restarting the failed container" + (f": {ended.message}" if ended is not None else "")
    return {"waiting": {"reason": "CrashLoopBackOff", "message": message}}


def _terminated(ended: Ended) -> Object:
    return {
        "exitCode": ended.exit_code,
        "reason": "Completed" if ended.exit_code == 0 else "Error",
        "message": ended.message,
        "startedAt": timestamp(ended.started_at),
        "finishedAt": timestamp(ended.finished_at),
    }


def _phase(state: Object, *, started: bool) -> str:
    if "terminated" in state:
        return "Succeeded" if state["terminated"]["exitCode"] == 0 else "Failed"
    return "Running" if started or "running" in state else "Pending"


def _condition(kind: str, good: bool, reason: str, message: str, earlier: Any, stamp: str) -> Object:
    status = "True" if good else "False"
    known = earlier.get(kind) or {}
    since = known.get("lastTransitionTime", stamp) if known.get("status") == status else stamp
    condition: Object = {"type": kind, "status": status, "lastProbeTime": None, "lastTransitionTime": since}
    if not good:
        condition |= {"reason": reason, **({"message": message} if message else {})}
    return condition
