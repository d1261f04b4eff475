"""Deployment → ReplicaSets, one for each template it has had → Pods."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence

from localcluster.api.errors import ApiError
from localcluster.api.resources import DEPLOYMENTS, PODS, REPLICA_SETS, Resource
from localcluster.controllers.client import Client
from localcluster.controllers.controller import Cache, Controller, Key, controller_uid, key_of, owner_reference
from localcluster.controllers.deployment_status import Tally, deadline_in_s, deployment_status, limits_of
from localcluster.controllers.recorder import Recorder
from localcluster.controllers.replicas import (
    HASH_LABEL,
    is_active,
    is_available,
    pod_of,
    ready_since,
    selector_text,
    template_hash,
    victims,
)
from localcluster.controllers.rollout_plan import SetCount, kept, recreate, rolling, scaled
from localcluster.render import Object

REVISION = "deployment.kubernetes.io/revision"
_DESIRED = "deployment.kubernetes.io/desired-replicas"
_MAXIMUM = "deployment.kubernetes.io/max-replicas"
_OWN_ANNOTATIONS = {REVISION, _DESIRED, _MAXIMUM, "kubectl.kubernetes.io/last-applied-configuration"}
_CREATE_RETRY_S = 5.0


class DeploymentController(Controller):
    """Rolls Deployments out; the key is a Deployment's.

    What it counts it reads from the API itself, since a cache may not have seen yet what was created a moment ago.

    Args:
        client: What it reads and where it writes.
        cache: Tells of changes.
        recorder: Where it tells of what it does.
    """

    name = "deployments"
    watches = (DEPLOYMENTS, REPLICA_SETS, PODS)

    def __init__(self, client: Client, cache: Cache, recorder: Recorder) -> None:
        super().__init__(client, cache)
        self._recorder = recorder

    def keys_for(self, resource: Resource, item: Object) -> Iterable[Key]:
        """The Deployment itself, or the one that controls a ReplicaSet or the ReplicaSet of a pod."""
        if resource == DEPLOYMENTS:
            return [key_of(item)]
        wanted = DEPLOYMENTS if resource == REPLICA_SETS else REPLICA_SETS
        for owner in item["metadata"].get("ownerReferences") or ():
            if owner.get("controller") and owner["kind"] == wanted.kind:
                key = (key_of(item)[0], owner["name"])
                if wanted == DEPLOYMENTS:
                    return [key]
                replica_set = self.cache.get(REPLICA_SETS, key)
                return () if replica_set is None else self.keys_for(REPLICA_SETS, replica_set)
        return ()

    async def reconcile(self, key: Key) -> float | None:
        """Brings the ReplicaSets and pods of one Deployment a step further."""
        deployment = await self.client.get(DEPLOYMENTS, key[1], key[0])
        if deployment is None or "deletionTimestamp" in deployment["metadata"]:
            return None
        now = time.time()
        selector = selector_text(deployment["spec"]["selector"])
        sets = await self._owned(REPLICA_SETS, key[0], selector, [deployment], lambda _: deployment)
        sets.sort(key=_revision)
        sets, new = await self._with_new(deployment, sets)
        of_hash = {each["metadata"]["labels"].get(HASH_LABEL): each for each in sets}
        pods = await self._owned(PODS, key[0], selector, sets, lambda pod: of_hash.get(_hash(pod)))
        sets = await self._scale(deployment, sets, new, pods, now)
        failure = ""
        for each in sets:
            failure = await self._sync(each, _pods_of(each, pods)) or failure
            await self._write_set_status(each, _pods_of(each, pods), now)
        await self._forget_old(deployment, sets, new)
        again = await self._write_status(deployment, new, pods, failure, now)
        return min((seconds for seconds in (again, _CREATE_RETRY_S if failure else None) if seconds), default=None)

    async def _owned(
        self,
        resource: Resource,
        namespace: str,
        selector: str,
        owners: Sequence[Object],
        heir: Callable[[Object], Object | None],
    ) -> list[Object]:
        """What the owners control; what nobody controls is adopted by its heir first, if it has one."""
        uids = {owner["metadata"]["uid"] for owner in owners}
        items, _ = await self.client.list(resource, namespace, labels=selector)
        owned = []
        for item in items:
            uid = controller_uid(item)
            if uid in uids:
                owned.append(item)
            elif not uid and is_active(item) and (owner := heir(item)) is not None:
                adopted = await self._adopt(resource, item, owner)
                owned += [] if adopted is None else [adopted]
        return owned

    async def _adopt(self, resource: Resource, item: Object, owner: Object) -> Object | None:
        # An owner that was deleted with --cascade=orphan a moment ago would take its orphans along.
        there = await self.client.get(DEPLOYMENTS if resource == REPLICA_SETS else REPLICA_SETS, *_name(owner))
        metadata = {} if there is None else there["metadata"]
        if metadata.get("uid") != owner["metadata"]["uid"] or "deletionTimestamp" in metadata:
            return None
        metadata = item["metadata"]
        references = [*metadata.get("ownerReferences", ()), owner_reference(owner)]
        patch = {"metadata": {"resourceVersion": metadata["resourceVersion"], "ownerReferences": references}}
        return await self.client.merge(resource, *_name(item), patch)

    async def _with_new(self, deployment: Object, sets: list[Object]) -> tuple[list[Object], Object | None]:
        """The sets with the one of the present template last, which is made if it is not there."""
        metadata, spec = deployment["metadata"], deployment["spec"]
        hash_ = template_hash(spec["template"])
        new = next((each for each in sets if each["metadata"]["labels"].get(HASH_LABEL) == hash_), None)
        revision = max((_revision(each) for each in sets if each is not new), default=0) + 1
        annotations = {
            name: value for name, value in (metadata.get("annotations") or {}).items() if name not in _OWN_ANNOTATIONS
        }
        if new is None and spec.get("paused"):
            return sets, None
        if new is None:
            new = await self.client.create(REPLICA_SETS, _replica_set(deployment, hash_, annotations, revision))
        else:
            annotations[REVISION] = str(max(revision, _revision(new)))
            there = new["metadata"].get("annotations") or {}
            if any(there.get(name) != value for name, value in annotations.items()):
                patch = {"metadata": {"annotations": annotations}}
                new = await self.client.merge(REPLICA_SETS, *_name(new), patch) or new
        if (metadata.get("annotations") or {}).get(REVISION) != new["metadata"]["annotations"][REVISION]:
            patch = {"metadata": {"annotations": {REVISION: new["metadata"]["annotations"][REVISION]}}}
            await self.client.merge(DEPLOYMENTS, *_name(deployment), patch)
        return [*(each for each in sets if each["metadata"]["uid"] != new["metadata"]["uid"]), new], new

    async def _scale(
        self, deployment: Object, sets: Sequence[Object], new: Object | None, pods: Sequence[Object], now: float
    ) -> list[Object]:
        """Gives each set the number of pods that is its due now."""
        spec = deployment["spec"]
        replicas, min_ready_s = spec.get("replicas", 1), spec.get("minReadySeconds", 0)
        counts = [
            SetCount(
                name=each["metadata"]["name"],
                wanted=each["spec"]["replicas"],
                available=sum(is_active(pod) and is_available(pod, min_ready_s, now) for pod in _pods_of(each, pods)),
                pods=len(_pods_of(each, pods)),
            )
            for each in sets
        ]
        if spec.get("paused") or new is None:
            wanted = scaled(replicas, counts)
        elif (spec.get("strategy") or {}).get("type") == "Recreate":
            wanted = recreate(replicas, counts[-1], counts[:-1])
        else:
            wanted = rolling(replicas, limits_of(spec), counts[-1], counts[:-1])
        result = []
        for each in sets:
            name, had = each["metadata"]["name"], each["spec"]["replicas"]
            if (should := wanted[name]) != had:
                way = "up" if should > had else "down"
                text = f"Scaled {way} replica set {name} from {had} to {should}"
                self._recorder.record(deployment, "ScalingReplicaSet", text)
                patch = {
                    "metadata": {"annotations": {_DESIRED: str(replicas)}},
                    "spec": {"replicas": should},
                }
                each = await self.client.merge(REPLICA_SETS, *_name(each), patch) or each  # noqa: PLW2901
            result.append(each)
        return result

    async def _sync(self, replica_set: Object, pods: Sequence[Object]) -> str:
        """Creates or deletes pods of a set; returns why it could not."""
        active = [pod for pod in pods if is_active(pod)]
        missing = replica_set["spec"]["replicas"] - len(active)
        for _ in range(missing):
            try:
                pod = await self.client.create(PODS, pod_of(replica_set, replica_set["spec"]["template"]))
            except ApiError as error:
                self._recorder.record(replica_set, "FailedCreate", f"Error creating: {error}", warning=True)
                return str(error)
            self._recorder.record(replica_set, "SuccessfulCreate", f"Created pod: {pod['metadata']['name']}")
        for pod in victims(active, -missing):
            await self.client.delete(PODS, *_name(pod), uid=pod["metadata"]["uid"])
            self._recorder.record(replica_set, "SuccessfulDelete", f"Deleted pod: {pod['metadata']['name']}")
        return ""

    async def _write_set_status(self, replica_set: Object, pods: Sequence[Object], now: float) -> None:
        active = [pod for pod in pods if is_active(pod)]
        min_ready_s = replica_set["spec"].get("minReadySeconds", 0)
        status = {
            "observedGeneration": replica_set["metadata"]["generation"],
            "replicas": len(active),
            "fullyLabeledReplicas": len(active),
            "readyReplicas": sum(ready_since(pod) is not None for pod in active),
            "availableReplicas": sum(is_available(pod, min_ready_s, now) for pod in active),
        }
        if status != replica_set.get("status"):
            await self.client.merge(REPLICA_SETS, *_name(replica_set), {"status": status}, subresource="status")

    async def _forget_old(self, deployment: Object, sets: Sequence[Object], new: Object | None) -> None:
        """Deletes the sets that no rollback needs."""
        if deployment["spec"].get("paused"):
            return
        idle = {
            each["metadata"]["name"]: each
            for each in sets
            if each is not sets[-1] and not each["spec"]["replicas"] and not (each.get("status") or {}).get("replicas")
        }
        limit = deployment["spec"].get("revisionHistoryLimit", 10)
        stay = kept({name: _revision(each) for name, each in idle.items()}, limit)
        for name in idle.keys() - stay if new is not None else ():
            await self.client.delete(REPLICA_SETS, *_name(idle[name]), uid=idle[name]["metadata"]["uid"])

    async def _write_status(
        self, deployment: Object, new: Object | None, pods: Sequence[Object], failure: str, now: float
    ) -> float | None:
        """Writes the status; returns after how many seconds it may be another one by itself."""
        spec = deployment["spec"]
        min_ready_s = spec.get("minReadySeconds", 0)
        active = [pod for pod in pods if is_active(pod)]
        updated = [] if new is None else _pods_of(new, active)
        tally = Tally(
            wanted=spec.get("replicas", 1),
            replicas=len(active),
            updated=len(updated),
            ready=sum(ready_since(pod) is not None for pod in active),
            available=sum(is_available(pod, min_ready_s, now) for pod in active),
            updated_available=sum(is_available(pod, min_ready_s, now) for pod in updated),
            terminating=sum("deletionTimestamp" in pod["metadata"] for pod in pods),
        )
        name = "" if new is None else new["metadata"]["name"]
        status = deployment_status(deployment, tally, new_set=name, failure=failure, now=now)
        if status != deployment.get("status"):
            await self.client.merge(DEPLOYMENTS, *_name(deployment), {"status": status}, subresource="status")
        waits = [
            since + min_ready_s - now + 0.1
            for pod in active
            if min_ready_s and (since := ready_since(pod)) is not None and now - since < min_ready_s
        ]
        deadline = deadline_in_s(status, spec, now)
        return min((*waits, *(() if deadline is None else (deadline,))), default=None)


def _replica_set(deployment: Object, hash_: str, annotations: Object, revision: int) -> Object:
    metadata, spec = deployment["metadata"], deployment["spec"]
    template = spec["template"]
    labels = {**((template.get("metadata") or {}).get("labels") or {}), HASH_LABEL: hash_}
    selector = spec["selector"]
    return {
        "apiVersion": REPLICA_SETS.api_version,
        "kind": REPLICA_SETS.kind,
        "metadata": {
            "name": f"{metadata['name']}-{hash_}",
            "namespace": metadata["namespace"],
            "labels": labels,
            "annotations": {
                **annotations,
                REVISION: str(revision),
                _DESIRED: str(spec.get("replicas", 1)),
                _MAXIMUM: str(spec.get("replicas", 1) + limits_of(spec).surge),
            },
            "ownerReferences": [owner_reference(deployment)],
        },
        "spec": {
            "replicas": 0,
            "minReadySeconds": spec.get("minReadySeconds", 0),
            "selector": {**selector, "matchLabels": {**(selector.get("matchLabels") or {}), HASH_LABEL: hash_}},
            "template": {**template, "metadata": {**(template.get("metadata") or {}), "labels": labels}},
        },
    }


def _pods_of(replica_set: Object, pods: Sequence[Object]) -> list[Object]:
    return [pod for pod in pods if controller_uid(pod) == replica_set["metadata"]["uid"]]


def _hash(pod: Object) -> str | None:
    labels: Object = pod["metadata"].get("labels") or {}
    return labels.get(HASH_LABEL)


def _revision(item: Object) -> int:
    return int((item["metadata"].get("annotations") or {}).get(REVISION, 0))


def _name(item: Object) -> tuple[str, str]:
    """Name and namespace, as the client takes them."""
    return item["metadata"]["name"], item["metadata"]["namespace"]
