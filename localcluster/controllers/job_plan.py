"""What a Job needs next, from what it asks for and the pods it has. Pure functions."""

from __future__ import annotations

from dataclasses import dataclass

from localcluster.controllers.pod_status import timestamp
from localcluster.controllers.replicas import ready_since, unix_time
from localcluster.render import Object

_BACKOFF_LIMIT = 6
_FIRST_WAIT_S = 1.0
_LONGEST_WAIT_S = 60.0


@dataclass(frozen=True)
class JobPlan:
    """What to do for a Job now.

    Attributes:
        create: Pods to create.
        delete: Pods to delete.
        status: Its status.
        again_s: Seconds after which to look again; None for when a pod changes.
    """

    create: int
    delete: tuple[Object, ...]
    status: Object
    again_s: float | None = None


def plan(job: Object, pods: list[Object], now: float) -> JobPlan:
    """What a Job needs next.

    Args:
        job: The Job with the status that was written last.
        pods: Its pods.
        now: Unix time.
    """
    spec, before = job["spec"], dict(job.get("status") or {})
    if finished(job) is not None:
        return JobPlan(0, (), before)
    ending = [pod for pod in pods if "deletionTimestamp" in pod["metadata"]]
    phases = {pod["metadata"]["uid"]: (pod.get("status") or {}).get("phase") for pod in pods}
    succeeded = [pod for pod in pods if phases[pod["metadata"]["uid"]] == "Succeeded"]
    failed = [pod for pod in pods if phases[pod["metadata"]["uid"]] == "Failed"]
    active = [pod for pod in pods if pod not in succeeded and pod not in failed and pod not in ending]
    suspended = bool(spec.get("suspend"))
    status: Object = {
        "active": len(active),
        "ready": sum(ready_since(pod) is not None for pod in active),
        "succeeded": len(succeeded),
        "failed": len(failed),
        "terminating": len(ending),
        "startTime": None if suspended else before.get("startTime") or timestamp(now),
        "conditions": [each for each in before.get("conditions") or [] if each["type"] != "Suspended"],
    }
    if why := _failure(spec, status, active, now):
        status["conditions"].append(_condition("Failed", *why, now))
        return JobPlan(0, tuple(active), {**status, "active": 0, "ready": 0})
    completions, parallelism = spec.get("completions"), spec.get("parallelism", 1)
    # Without a number of completions, the first success ends it, once the others have ended too.
    if len(succeeded) >= (1 if completions is None else completions) and not (completions is None and active):
        status["completionTime"] = timestamp(now)
        status["conditions"].append(
            _condition("Complete", "CompletionsReached", "Reached expected number of pods", now)
        )
        return JobPlan(0, tuple(active), {**status, "active": 0, "ready": 0})
    if suspended:
        status["conditions"].append(_condition("Suspended", "JobSuspended", "Job suspended", now))
        return JobPlan(0, tuple(active), {**status, "active": 0, "ready": 0})
    left = parallelism if completions is None else completions - len(succeeded)
    wanted = 0 if completions is None and succeeded else min(parallelism, left)
    wait_s = _backoff_s(failed, now)
    # A pod that ends may still succeed, so nothing takes its place before it has ended.
    create = 0 if wait_s > 0 else max(0, wanted - len(active) - len(ending))
    surplus = active[wanted:] if completions is not None or not succeeded else []
    deadline_s = _deadline_s(spec, status, now)
    waits = [seconds for seconds in (wait_s or None, deadline_s) if seconds is not None]
    return JobPlan(create, tuple(surplus), status, min(waits, default=None))


def finished(job: Object) -> str | None:
    """`Complete` or `Failed`, None for a Job that goes on."""
    for condition in (job.get("status") or {}).get("conditions") or []:
        if condition["type"] in {"Complete", "Failed"} and condition["status"] == "True":
            return str(condition["type"])
    return None


def finished_at(job: Object) -> float:
    """Unix time at which a finished Job finished."""
    conditions = job["status"]["conditions"]
    return max(unix_time(each["lastTransitionTime"]) for each in conditions if each["type"] in {"Complete", "Failed"})


def _failure(spec: Object, status: Object, active: list[Object], now: float) -> tuple[str, str] | None:
    if spec.get("completionMode") == "Indexed":
        return "Unsupported", "completionMode Indexed has no counterpart on this machine; use NonIndexed"
    limit = spec.get("backoffLimit", _BACKOFF_LIMIT)
    restarts = sum(
        entry["restartCount"] for pod in active for entry in (pod.get("status") or {}).get("containerStatuses") or []
    )
    if spec["template"]["spec"].get("restartPolicy") == "OnFailure" and restarts > limit:
        return "BackoffLimitExceeded", "Job has reached the specified backoff limit"
    if status["failed"] > limit:
        return "BackoffLimitExceeded", "Job has reached the specified backoff limit"
    if (left := _deadline_s(spec, status, now)) is not None and left <= 0:
        return "DeadlineExceeded", "Job was active longer than specified deadline"
    return None


def _deadline_s(spec: Object, status: Object, now: float) -> float | None:
    seconds, start = spec.get("activeDeadlineSeconds"), status["startTime"]
    return None if seconds is None or start is None else seconds - (now - unix_time(start))


def _backoff_s(failed: list[Object], now: float) -> float:
    """Seconds to wait before the next pod, after so many that failed."""
    if not failed:
        return 0.0
    last = max(_ended_at(pod) for pod in failed)
    wait_s = float(min(_LONGEST_WAIT_S, _FIRST_WAIT_S * 2.0 ** min(len(failed) - 1, 16)))
    return max(0.0, wait_s - (now - last))


def _ended_at(pod: Object) -> float:
    for entry in (pod.get("status") or {}).get("containerStatuses") or []:
        if terminated := entry["state"].get("terminated"):
            return unix_time(terminated["finishedAt"])
    return unix_time(pod["metadata"]["creationTimestamp"])


def _condition(kind: str, reason: str, message: str, now: float) -> Object:
    stamp = timestamp(now)
    told = {"type": kind, "status": "True", "reason": reason, "message": message}
    return {**told, "lastProbeTime": stamp, "lastTransitionTime": stamp}
