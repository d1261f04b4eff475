"""Job → Pods, until as many as it asks for have succeeded."""

from __future__ import annotations

import time
from collections.abc import Iterable

from localcluster.api.resources import JOBS, PODS, Resource
from localcluster.controllers.client import Client
from localcluster.controllers.controller import Cache, Controller, Key, controller_uid, key_of
from localcluster.controllers.job_plan import finished, finished_at, plan
from localcluster.controllers.recorder import Recorder
from localcluster.controllers.replicas import pod_of, selector_text
from localcluster.render import Object

_UID_LABEL = "batch.kubernetes.io/controller-uid"
_NAME_LABEL = "batch.kubernetes.io/job-name"
# Timers stand still while a laptop sleeps, so that no longer wait can be trusted.
LONGEST_WAIT_S = 60.0


class JobController(Controller):
    """Runs Jobs; the key is a Job's.

    Args:
        client: What it reads and where it writes.
        cache: Tells of changes.
        recorder: Where it tells of what it does.
    """

    name = "jobs"
    watches = (JOBS, PODS)

    def __init__(self, client: Client, cache: Cache, recorder: Recorder) -> None:
        super().__init__(client, cache)
        self._recorder = recorder

    def keys_for(self, resource: Resource, item: Object) -> Iterable[Key]:
        """The Job itself, or the one that controls a pod."""
        if resource == JOBS:
            return [key_of(item)]
        return [
            (key_of(item)[0], owner["name"])
            for owner in item["metadata"].get("ownerReferences") or ()
            if owner.get("controller") and owner["kind"] == JOBS.kind
        ]

    async def reconcile(self, key: Key) -> float | None:
        """Brings one Job a step further."""
        namespace, name = key
        job = await self.client.get(JOBS, name, namespace)
        if job is None or "deletionTimestamp" in job["metadata"]:
            return None
        now = time.time()
        if finished(job) is not None:
            return await self._forget(job, now)
        job = await self._with_selector(job)
        uid = job["metadata"]["uid"]
        items, _ = await self.client.list(PODS, namespace, labels=selector_text(job["spec"]["selector"]))
        planned = plan(job, [pod for pod in items if controller_uid(pod) == uid], now)
        for _ in range(planned.create):
            pod = await self.client.create(PODS, pod_of(job, _template(job)))
            self._recorder.record(job, "SuccessfulCreate", f"Created pod: {pod['metadata']['name']}")
        for pod in planned.delete:
            await self.client.delete(PODS, pod["metadata"]["name"], namespace, uid=pod["metadata"]["uid"])
            self._recorder.record(job, "SuccessfulDelete", f"Deleted pod: {pod['metadata']['name']}")
        if planned.status != job.get("status"):
            await self.client.merge(JOBS, name, namespace, {"status": planned.status}, subresource="status")
            if (end := finished({"status": planned.status})) is not None:
                told = next(each for each in planned.status["conditions"] if each["type"] == end)
                reason = "Completed" if end == "Complete" else told["reason"]
                self._recorder.record(job, reason, told["message"], warning=end == "Failed")
        return None if planned.again_s is None else min(max(0.05, planned.again_s), LONGEST_WAIT_S)

    async def _with_selector(self, job: Object) -> Object:
        """The Job with the selector by which its pods are known; a cluster's API server adds it."""
        metadata, spec = job["metadata"], job["spec"]
        if spec.get("selector"):
            return job
        patch = {"spec": {"selector": {"matchLabels": {_UID_LABEL: metadata["uid"]}}}}
        return await self.client.merge(JOBS, metadata["name"], metadata["namespace"], patch) or job

    async def _forget(self, job: Object, now: float) -> float | None:
        """Deletes a finished Job once nobody needs it any more."""
        ttl_s = job["spec"].get("ttlSecondsAfterFinished")
        if ttl_s is None:
            return None
        left = ttl_s - (now - finished_at(job))
        if left > 0:
            return min(float(left), LONGEST_WAIT_S)
        metadata = job["metadata"]
        await self.client.delete(JOBS, metadata["name"], metadata["namespace"], uid=metadata["uid"])
        return None


def _template(job: Object) -> Object:
    """The pod template of a Job with the labels by which a cluster marks its pods."""
    metadata, template = job["metadata"], job["spec"]["template"]
    given = template.get("metadata") or {}
    own = {_UID_LABEL: metadata["uid"], _NAME_LABEL: metadata["name"], "job-name": metadata["name"]}
    return {**template, "metadata": {**given, "labels": {**(given.get("labels") or {}), **own}}}
