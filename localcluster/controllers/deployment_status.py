"""The status of a Deployment, as `kubectl rollout status` reads it. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from localcluster.controllers.pod_status import timestamp
from localcluster.controllers.replicas import unix_time
from localcluster.controllers.rollout_plan import Limits
from localcluster.render import Object

_DEADLINE_S = 600


@dataclass(frozen=True)
class Tally:
    """Pods of a Deployment.

    Attributes:
        wanted: How many it should have.
        replicas: How many it has.
        updated: How many of them are of the present template.
        ready: How many are ready.
        available: How many have been ready for long enough.
        updated_available: How many of the present template have.
        terminating: How many end.
    """

    wanted: int
    replicas: int
    updated: int
    ready: int
    available: int
    updated_available: int
    terminating: int = 0

    @property
    def complete(self) -> bool:
        """Whether all pods are of the present template and available, and no others are there."""
        return self.replicas == self.updated == self.wanted == self.updated_available


def limits_of(spec: Object) -> Limits:
    """How far the rolling update of a Deployment may go."""
    given = (spec.get("strategy") or {}).get("rollingUpdate") or {}
    return Limits.of(spec.get("replicas", 1), given.get("maxSurge", "25%"), given.get("maxUnavailable", "25%"))


def deployment_status(deployment: Object, tally: Tally, *, new_set: str, failure: str, now: float) -> Object:
    """The status of a Deployment.

    Args:
        deployment: The Deployment, with the status that was written last.
        tally: Its pods.
        new_set: Name of the ReplicaSet of the present template; empty if it is not there, for a paused one.
        failure: Why a pod could not be created; empty if all could.
        now: Unix time.
    """
    before: Object = deployment.get("status") or {}
    earlier = {condition["type"]: condition for condition in before.get("conditions") or []}
    spec = deployment["spec"]
    least = tally.wanted - limits_of(spec).unavailable
    available = tally.available >= least
    reason = "MinimumReplicasAvailable" if available else "MinimumReplicasUnavailable"
    has = "has" if available else "does not have"
    conditions = [_condition("Available", available, reason, f"Deployment {has} minimum availability.", earlier, now)]
    conditions.append(_progressing(deployment, tally, new_set, earlier.get("Progressing"), before, now))
    if failure:
        conditions.append(_condition("ReplicaFailure", True, "FailedCreate", failure, earlier, now))
    return {
        "observedGeneration": deployment["metadata"]["generation"],
        "replicas": tally.replicas,
        "updatedReplicas": tally.updated,
        "readyReplicas": tally.ready,
        "availableReplicas": tally.available,
        "unavailableReplicas": max(0, tally.wanted - tally.available),
        "terminatingReplicas": tally.terminating,
        "conditions": conditions,
    }


def deadline_in_s(status: Object, spec: Object, now: float) -> float | None:
    """Seconds until a rollout that goes on without progress has failed; None if there is nothing to wait for."""
    for condition in status["conditions"]:
        if condition["type"] == "Progressing" and condition["status"] == "True":
            if condition["reason"] == "NewReplicaSetAvailable":
                return None
            passed = now - unix_time(condition["lastUpdateTime"])
            return float(max(0.2, spec.get("progressDeadlineSeconds", _DEADLINE_S) + 1 - passed))
    return None


def _progressing(  # noqa: PLR0911  # one return for each thing that it may say
    deployment: Object, tally: Tally, new_set: str, last: Object | None, before: Object, now: float
) -> Object:
    spec, earlier = deployment["spec"], {"Progressing": last} if last else {}
    if spec.get("paused"):
        return _condition("Progressing", None, "DeploymentPaused", "Deployment is paused", earlier, now)
    if tally.complete:
        message = f'ReplicaSet "{new_set}" has successfully progressed.'
        return _condition("Progressing", True, "NewReplicaSetAvailable", message, earlier, now)
    if last is None or f'"{new_set}"' not in last.get("message", ""):
        message = f'Created new replica set "{new_set}"'
        return _condition("Progressing", True, "NewReplicaSetCreated", message, {}, now)
    if last["reason"] == "NewReplicaSetAvailable" and tally.replicas == tally.updated:
        return last  # a set that was complete lost a pod, or was scaled: that is no rollout
    if _moved(tally, before):
        message = f'ReplicaSet "{new_set}" is progressing.'
        told = _condition("Progressing", True, "ReplicaSetUpdated", message, earlier, now)
        return {**told, "lastUpdateTime": timestamp(now)}
    if now - unix_time(last["lastUpdateTime"]) > spec.get("progressDeadlineSeconds", _DEADLINE_S):
        message = f'ReplicaSet "{new_set}" has timed out progressing.'
        return _condition("Progressing", False, "ProgressDeadlineExceeded", message, earlier, now)
    return last


def _moved(tally: Tally, before: Object) -> bool:
    old: int = before.get("replicas", 0) - before.get("updatedReplicas", 0)
    return bool(
        tally.updated > before.get("updatedReplicas", 0)
        or tally.replicas - tally.updated < old
        or tally.ready > before.get("readyReplicas", 0)
        or tally.available > before.get("availableReplicas", 0)
    )


def _condition(
    kind: str, status: bool | None, reason: str, message: str, earlier: Mapping[str, Object], now: float
) -> Object:
    text = "Unknown" if status is None else str(status)
    stamp, known = timestamp(now), earlier.get(kind)
    told = {"type": kind, "status": text, "reason": reason, "message": message}
    if known is not None and all(known.get(key) == value for key, value in told.items()):
        return known
    turned = stamp if known is None or known["status"] != text else known["lastTransitionTime"]
    return {**told, "lastUpdateTime": stamp, "lastTransitionTime": turned}
