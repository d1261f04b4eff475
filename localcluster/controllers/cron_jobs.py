"""CronJob → Jobs, at their times."""

from __future__ import annotations

import time
from collections.abc import Iterable

from localcluster.api.errors import ApiError
from localcluster.api.resources import CRON_JOBS, JOBS, Resource
from localcluster.controllers.client import Client
from localcluster.controllers.controller import Cache, Controller, Key, controller_uid, key_of, owner_reference
from localcluster.controllers.cron_plan import plan
from localcluster.controllers.job_plan import finished
from localcluster.controllers.jobs import LONGEST_WAIT_S
from localcluster.controllers.pod_status import timestamp
from localcluster.controllers.recorder import Recorder
from localcluster.render import ManifestError, Object

SCHEDULED_AT = "batch.kubernetes.io/cronjob-scheduled-timestamp"


class CronJobController(Controller):
    """Starts Jobs at their times; the key is a CronJob's.

    Args:
        client: What it reads and where it writes.
        cache: Tells of changes.
        recorder: Where it tells of what it does.
    """

    name = "cronjobs"
    watches = (CRON_JOBS, JOBS)

    def __init__(self, client: Client, cache: Cache, recorder: Recorder) -> None:
        super().__init__(client, cache)
        self._recorder = recorder
        # The time after the one whose miss was told last.
        self._missed: dict[Key, int] = {}

    def keys_for(self, resource: Resource, item: Object) -> Iterable[Key]:
        """The CronJob itself, or the one that controls a Job."""
        if resource == CRON_JOBS:
            return [key_of(item)]
        return [
            (key_of(item)[0], owner["name"])
            for owner in item["metadata"].get("ownerReferences") or ()
            if owner.get("controller") and owner["kind"] == CRON_JOBS.kind
        ]

    async def reconcile(self, key: Key) -> float | None:
        """Starts what is due, and looks again when the next is."""
        namespace, name = key
        cron_job = await self.client.get(CRON_JOBS, name, namespace)
        if cron_job is None or "deletionTimestamp" in cron_job["metadata"]:
            self._missed.pop(key, None)
            return None
        items, _ = await self.client.list(JOBS, namespace)
        jobs = [item for item in items if controller_uid(item) == cron_job["metadata"]["uid"]]
        now = time.time()
        try:
            planned = plan(cron_job, jobs, now)
        except ManifestError as error:
            self._recorder.record(cron_job, "UnparseableSchedule", str(error), warning=True)
            return None
        following = 0 if planned.next_s is None else round(now + planned.next_s)
        if planned.missed and self._missed.get(key) != following:
            self._missed[key] = following
            self._recorder.record(cron_job, "MissSchedule", planned.missed, warning=True)
        for job in (*planned.forget, *planned.replace):
            await self.client.delete(JOBS, job["metadata"]["name"], namespace, uid=job["metadata"]["uid"])
            self._recorder.record(cron_job, "SuccessfulDelete", f"Deleted job: {job['metadata']['name']}")
            jobs.remove(job)
        status = {"lastScheduleTime": (cron_job.get("status") or {}).get("lastScheduleTime")}
        if planned.start is not None:
            status["lastScheduleTime"] = timestamp(planned.start)
            jobs.append(await self._start(cron_job, planned.start))
        await self._write_status(cron_job, jobs, status)
        return None if planned.next_s is None else min(max(0.05, planned.next_s), LONGEST_WAIT_S)

    async def _start(self, cron_job: Object, at: int) -> Object:
        # Named after its time, so that one time never has two Jobs, however often this is tried.
        name = f"{cron_job['metadata']['name']}-{at // 60}"
        template, namespace = cron_job["spec"]["jobTemplate"], cron_job["metadata"]["namespace"]
        given = template.get("metadata") or {}
        job = {
            "apiVersion": JOBS.api_version,
            "kind": JOBS.kind,
            "metadata": {
                "name": name,
                "namespace": namespace,
                "labels": dict(given.get("labels") or {}),
                "annotations": {**(given.get("annotations") or {}), SCHEDULED_AT: timestamp(at)},
                "ownerReferences": [owner_reference(cron_job)],
            },
            "spec": template["spec"],
        }
        try:
            created = await self.client.create(JOBS, job)
        except ApiError as error:
            if error.code == 409 and (there := await self.client.get(JOBS, name, namespace)) is not None:
                return there
            self._recorder.record(cron_job, "FailedCreate", f"Error creating job: {error}", warning=True)
            raise
        self._recorder.record(cron_job, "SuccessfulCreate", f"Created job {name}")
        return created

    async def _write_status(self, cron_job: Object, jobs: list[Object], status: Object) -> None:
        before = cron_job.get("status") or {}
        completed = [job["status"].get("completionTime", "") for job in jobs if finished(job) == "Complete"]
        told = {
            "active": [
                {
                    "apiVersion": JOBS.api_version,
                    "kind": JOBS.kind,
                    "name": job["metadata"]["name"],
                    "namespace": job["metadata"]["namespace"],
                    "uid": job["metadata"]["uid"],
                }
                for job in jobs
                if finished(job) is None
            ],
            "lastScheduleTime": status["lastScheduleTime"],
            "lastSuccessfulTime": max([*completed, before.get("lastSuccessfulTime") or ""]),
        }
        status = {key: value for key, value in told.items() if value or key == "active"}
        if status != before:
            metadata = cron_job["metadata"]
            patch = {"status": status}
            await self.client.merge(CRON_JOBS, metadata["name"], metadata["namespace"], patch, subresource="status")
