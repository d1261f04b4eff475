import asyncio
import time

import pytest

from localcluster.api.resources import CRON_JOBS, JOBS
from localcluster.controllers.cron_jobs import CronJobController
from localcluster.controllers.jobs import JobController
from tests.localcluster.pod_cluster import IMAGE, pod_cluster, until


def run(scenario, folder, *more):
    async def main():
        async with pod_cluster(folder, JobController, *more) as cluster:
            return await scenario(cluster)

    return asyncio.run(main())


def template(code, policy="Never"):
    container = {"name": "work", "image": IMAGE, "command": ["python", "-c", code]}
    return {"spec": {"restartPolicy": policy, "containers": [container]}}


def job(code, *, name="work", policy="Never", **spec):
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"template": template(code, policy), **spec},
    }


async def status_of(cluster, name="work"):
    return (await cluster.client.get(JOBS, name, "default")).get("status") or {}


def test_a_job_completes_and_its_log_stays(tmp_path):
    async def scenario(cluster):
        await cluster.apply(job("print('done')", completions=3, parallelism=2))
        await cluster.kubectl("wait", "--for=condition=complete", "job/work", "--timeout=20s")
        status = await status_of(cluster)
        assert (status["succeeded"], status.get("active", 0), status["failed"]) == (3, 0, 0)
        assert status["completionTime"] >= status["startTime"]
        assert "done" in await cluster.kubectl("logs", "job/work")
        pods = await cluster.pods()
        assert {pod["status"]["phase"] for pod in pods} == {"Succeeded"}
        await cluster.kubectl("delete", "job", "work")
        await until(lambda: no_pods(cluster))

    run(scenario, tmp_path)


async def no_pods(cluster):
    return not await cluster.pods()


def test_a_job_that_fails_is_tried_again_up_to_its_limit(tmp_path):
    async def scenario(cluster):
        await cluster.apply(job("raise SystemExit(3)", backoffLimit=1))
        await cluster.kubectl("wait", "--for=condition=failed", "job/work", "--timeout=20s")
        status = await status_of(cluster)
        assert status["failed"] == 2
        assert [each["reason"] for each in status["conditions"]] == ["BackoffLimitExceeded"]
        (entry,) = (await cluster.pods())[0]["status"]["containerStatuses"]
        assert entry["state"]["terminated"]["exitCode"] == 3

    run(scenario, tmp_path)


def test_a_container_that_fails_is_restarted_in_its_pod_if_the_job_says_so(tmp_path):
    mark = tmp_path / "mark"
    code = (
        f"import os, sys; there = os.path.exists({str(mark)!r}); open({str(mark)!r}, 'w'); sys.exit(0 if there else 1)"
    )

    async def scenario(cluster):
        await cluster.apply(job(code, policy="OnFailure"))
        await cluster.kubectl("wait", "--for=condition=complete", "job/work", "--timeout=20s")
        (pod,) = await cluster.pods()
        assert pod["status"]["containerStatuses"][0]["restartCount"] == 1

    run(scenario, tmp_path)


def test_a_job_that_takes_too_long_is_ended_and_one_nobody_needs_is_deleted(tmp_path):
    async def scenario(cluster):
        long = "import time; time.sleep(60)"
        await cluster.apply(job(long, activeDeadlineSeconds=1, ttlSecondsAfterFinished=1))
        await cluster.kubectl("wait", "--for=condition=failed", "job/work", "--timeout=20s")
        assert (await status_of(cluster))["conditions"][0]["reason"] == "DeadlineExceeded"

        async def gone():
            return await cluster.client.get(JOBS, "work", "default") is None and not await cluster.pods()

        await until(gone)

    run(scenario, tmp_path)


def test_a_suspended_job_has_no_pods_until_it_goes_on(tmp_path):
    async def scenario(cluster):
        await cluster.apply(job("print(1)", suspend=True))
        await cluster.kubectl("wait", "--for=condition=suspended", "job/work", "--timeout=10s")
        assert await cluster.pods() == []
        await cluster.kubectl("patch", "job", "work", "--type=merge", "-p", '{"spec":{"suspend":false}}')
        await cluster.kubectl("wait", "--for=condition=complete", "job/work", "--timeout=10s")

    run(scenario, tmp_path)


def test_a_cron_job_that_is_due_starts_one_job_for_its_time(tmp_path):
    async def scenario(cluster):
        await cluster.apply(cron_job("@yearly"))
        # As if the last time were long ago.
        past = {"status": {"lastScheduleTime": "2025-06-01T00:00:00Z"}}
        await cluster.client.merge(CRON_JOBS, "nightly", "default", past, subresource="status")

        async def done():
            jobs, _ = await cluster.client.list(JOBS, "default")
            return [each for each in jobs if (each.get("status") or {}).get("succeeded")]

        (made,) = await until(done, timeout_s=15)

        async def told():
            status = (await cluster.client.get(CRON_JOBS, "nightly", "default"))["status"]
            return status if status.get("lastSuccessfulTime") and not status["active"] else None

        assert (await until(told))["lastScheduleTime"] >= "2026-01-01"
        assert made["metadata"]["ownerReferences"][0]["kind"] == "CronJob"

    run(scenario, tmp_path, CronJobController)


def cron_job(schedule, **spec):
    return {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {"name": "nightly", "namespace": "default"},
        "spec": {"schedule": schedule, "jobTemplate": {"spec": {"template": template("print(1)")}}, **spec},
    }


@pytest.fixture
def sleeping(monkeypatch):
    """Lets the wall clock of controllers go on by many seconds at once, as timers see it after a laptop's sleep."""
    monkeypatch.setattr("localcluster.controllers.jobs.LONGEST_WAIT_S", 0.2)
    monkeypatch.setattr("localcluster.controllers.cron_jobs.LONGEST_WAIT_S", 0.2)
    clock, shift = time.time, [0.0]
    monkeypatch.setattr(time, "time", lambda: clock() + shift[0])
    return lambda seconds: shift.__setitem__(0, shift[0] + seconds)


def test_after_a_sleep_jobs_end_and_go_at_their_times(tmp_path, sleeping):
    async def scenario(cluster):
        await cluster.apply(job("print(1)", name="done", ttlSecondsAfterFinished=1000))
        await cluster.apply(job("import time; time.sleep(60)", name="long", activeDeadlineSeconds=3000))
        await cluster.kubectl("wait", "--for=condition=complete", "job/done", "--timeout=20s")
        await asyncio.sleep(0.5)
        assert await cluster.client.get(JOBS, "done", "default")
        sleeping(2000)

        async def gone():
            return await cluster.client.get(JOBS, "done", "default") is None

        await until(gone)
        assert not (await status_of(cluster, "long")).get("conditions")
        sleeping(2000)
        await cluster.kubectl("wait", "--for=condition=failed", "job/long", "--timeout=10s")

    run(scenario, tmp_path)


def test_after_a_sleep_a_cron_job_starts_at_once_and_a_miss_is_told_once(tmp_path, sleeping):
    async def scenario(cluster):
        await cluster.apply(cron_job("@daily"))
        late = cron_job("@daily", startingDeadlineSeconds=60)
        await cluster.apply({**late, "metadata": {**late["metadata"], "name": "late"}})
        await asyncio.sleep(0.5)
        assert (await cluster.client.list(JOBS, "default"))[0] == []
        day = 24 * 3600
        sleeping(day - time.time() % day + day / 2)

        async def started():
            return (await cluster.client.list(JOBS, "default"))[0]

        (made,) = await until(started)
        assert made["metadata"]["ownerReferences"][0]["name"] == "nightly"
        await asyncio.sleep(1)
        (missed,) = await cluster.events("late")
        assert (missed["reason"], missed["count"]) == ("MissSchedule", 1)

    run(scenario, tmp_path, CronJobController)
