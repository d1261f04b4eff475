"""At most one engine at a rollout, by a Lease as Kubernetes' own controllers use them."""

from __future__ import annotations

from datetime import UTC, datetime

from blueprints.governance.rollout.adapters.cluster import LEASES, AbsentError, Cluster, ConflictError, Object

_TIME = "%Y-%m-%dT%H:%M:%S.%fZ"


class KubernetesLease:
    """The Lease `<service>-rollout`.

    An engine that was killed keeps it until it expires. Clocks of two machines that both run engines must agree within
    a few seconds; if they do not, writes of the one that lost it still fail.

    Args:
        cluster: Where it is.
        service: The stable service.
        duration_s: Seconds without renewal after which another engine may take it.
    """

    def __init__(self, cluster: Cluster, service: str, duration_s: int = 15) -> None:
        self._cluster = cluster
        self._name = f"{service}-rollout"
        self._duration_s = duration_s

    def acquire(self, holder: str) -> bool:
        """See `Lease`."""
        now = datetime.now(UTC)
        lease = self._cluster.get(LEASES, self._name)
        try:
            if lease is None:
                self._cluster.create(LEASES, {"metadata": {"name": self._name}, "spec": self._spec(holder, now)})
                return True
            if _holder(lease, now) not in {"", holder}:
                return False
            version = lease["metadata"]["resourceVersion"]
            self._cluster.merge(LEASES, self._name, {"spec": self._spec(holder, now)}, version=version)
        except (ConflictError, AbsentError):
            return False
        return True

    def release(self, holder: str) -> None:
        """See `Lease`."""
        lease = self._cluster.get(LEASES, self._name)
        if lease is None or (lease.get("spec") or {}).get("holderIdentity") != holder:
            return
        version = lease["metadata"]["resourceVersion"]
        try:
            self._cluster.merge(LEASES, self._name, {"spec": {"holderIdentity": None}}, version=version)
        except (ConflictError, AbsentError):
            return

    def holder(self) -> str:
        """Who works at the rollout now; empty if nobody does."""
        lease = self._cluster.get(LEASES, self._name)
        return "" if lease is None else _holder(lease, datetime.now(UTC))

    def _spec(self, holder: str, now: datetime) -> Object:
        return {
            "holderIdentity": holder,
            "leaseDurationSeconds": self._duration_s,
            "renewTime": now.strftime(_TIME),
        }


def _holder(lease: Object, now: datetime) -> str:
    """Who holds it; empty if it has expired, also where another client wrote a time that nobody can read."""
    spec = lease.get("spec") or {}
    if not spec.get("holderIdentity") or not spec.get("renewTime"):
        return ""
    try:
        renewed = datetime.fromisoformat(spec["renewTime"])
    except ValueError:
        return ""
    if renewed.tzinfo is None:
        renewed = renewed.replace(tzinfo=UTC)
    expired = (now - renewed).total_seconds() > (spec.get("leaseDurationSeconds") or 0)
    return "" if expired else str(spec["holderIdentity"])
