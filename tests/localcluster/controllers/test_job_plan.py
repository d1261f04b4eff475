import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localcluster.controllers.cron_plan import plan as cron_plan
from localcluster.controllers.cron_plan import schedule_times
from localcluster.controllers.job_plan import finished, plan
from localcluster.controllers.pod_status import timestamp
from localcluster.controllers.replicas import unix_time
from localcluster.render import ManifestError

NOW = 1_800_000_000


def job(**spec):
    return {"metadata": {"name": "j"}, "spec": {"template": {"spec": {"restartPolicy": "Never"}}, **spec}}


def pod(uid, phase="Pending", at=NOW):
    ended = {"state": {"terminated": {"finishedAt": timestamp(at)}}, "restartCount": 0}
    statuses = [ended] if phase in {"Succeeded", "Failed"} else []
    metadata = {"uid": str(uid), "name": f"p{uid}", "creationTimestamp": timestamp(NOW)}
    return {"metadata": metadata, "status": {"phase": phase, "containerStatuses": statuses}}


@given(
    st.integers(1, 8),
    st.integers(1, 5),
    st.integers(0, 4),
    st.lists(st.sampled_from(["Succeeded", "Failed"])),
    st.data(),
)
def test_a_job_ends_with_as_many_successes_as_it_asks_for_or_too_many_failures(
    completions, parallelism, limit, ends, data
):
    item = job(completions=completions, parallelism=parallelism, backoffLimit=limit)
    pods, now = [], NOW
    for _ in range(200):
        step = plan(item, pods, now)
        item["status"] = step.status
        assert not (step.create and step.delete)
        pods = [each for each in pods if each not in step.delete] + [pod(len(pods) + n) for n in range(step.create)]
        active = [each for each in pods if each["status"]["phase"] == "Pending"]
        done = sum(each["status"]["phase"] == "Succeeded" for each in pods)
        assert len(active) <= parallelism
        assert len(active) + done <= completions
        if finished(item):
            break
        if active:
            ended = data.draw(st.sampled_from(active))
            ended["status"] = pod(0, ends.pop() if ends else "Succeeded", now)["status"]
        else:
            assert step.again_s, "nothing would happen any more"
        now += step.again_s or 0
    failed = sum(each["status"]["phase"] == "Failed" for each in pods)
    assert finished(item) == ("Failed" if failed > limit else "Complete")
    assert (done == completions) or failed > limit


def test_without_a_number_of_completions_the_first_success_is_waited_for_by_the_others():
    item = job(parallelism=3)
    assert plan(item, [], NOW).create == 3
    pods = [pod(1, "Succeeded"), pod(2, "Running"), pod(3, "Running")]
    step = plan(item, pods, NOW)
    assert (step.create, step.delete, finished({"status": step.status})) == (0, (), None)
    step = plan(item, [pod(1, "Succeeded"), pod(2, "Succeeded")], NOW)
    assert finished({"status": step.status}) == "Complete"


def test_failures_are_followed_by_longer_and_longer_waits():
    item = job(backoffLimit=9)
    waits = []
    for failures in range(1, 8):
        step = plan(item, [pod(number, "Failed") for number in range(failures)], NOW)
        assert step.create == 0
        waits.append(step.again_s)
        assert plan(item, [pod(number, "Failed") for number in range(failures)], NOW + step.again_s).create == 1
    assert waits == [1, 2, 4, 8, 16, 32, 60]


def test_a_deadline_ends_what_still_runs():
    item = job(activeDeadlineSeconds=10) | {"status": {"startTime": timestamp(NOW)}}
    running = [pod(1, "Running")]
    assert plan(item, running, NOW + 4).again_s == 6
    step = plan(item, running, NOW + 10)
    assert step.delete == tuple(running)
    assert step.status["conditions"][0]["reason"] == "DeadlineExceeded"
    assert plan(item | {"status": step.status}, [], NOW + 99).create == 0


def test_a_job_that_is_suspended_loses_its_pods_and_its_start():
    step = plan(job(suspend=True), [pod(1, "Running")], NOW)
    assert (len(step.delete), step.status["startTime"], step.create) == (1, None, 0)
    step = plan(job() | {"status": step.status}, [], NOW)
    assert (step.create, step.status["conditions"]) == (1, [])


def test_a_job_that_cannot_be_run_here_fails_with_the_reason():
    step = plan(job(completionMode="Indexed", completions=2), [], NOW)
    assert (step.create, step.status["conditions"][0]["reason"]) == (0, "Unsupported")


def cron_job(schedule="0 3 * * *", last=None, **spec):
    created = unix_time("2026-03-01T00:00:00Z")
    status = {} if last is None else {"lastScheduleTime": last}
    metadata = {"name": "c", "creationTimestamp": timestamp(created)}
    return {"metadata": metadata, "spec": {"schedule": schedule, **spec}, "status": status}


def cron_made(name, kind=None, created="2026-03-01T00:00:00Z"):
    conditions = [{"type": kind, "status": "True"}] if kind else []
    return {"metadata": {"name": name, "creationTimestamp": created}, "status": {"conditions": conditions}}


def test_a_cron_job_is_due_once_for_each_time():
    three = unix_time("2026-03-02T03:00:00Z")
    assert cron_plan(cron_job(last="2026-03-01T03:00:00Z"), [], three - 1).start is None
    planned = cron_plan(cron_job(last="2026-03-01T03:00:00Z"), [], three)
    assert (planned.start, planned.next_s) == (three, 86_400)
    assert cron_plan(cron_job(last=timestamp(three)), [], three + 5).start is None
    # Of many missed times only the last is made up for.
    assert cron_plan(cron_job(last="2026-03-01T03:00:00Z"), [], three + 10 * 86_400 + 60).start == three + 10 * 86_400


def test_time_zones_and_their_changes_are_kept():
    summer = unix_time("2026-07-01T01:30:00Z")
    due, _ = schedule_times("30 3 * * *", "Europe/Berlin", summer - 100, summer)
    assert due == summer
    winter = unix_time("2026-12-01T02:30:00Z")
    due, _ = schedule_times("30 3 * * *", "Europe/Berlin", winter - 100, winter)
    assert due == winter


def test_what_runs_already_holds_back_replaces_or_does_not_matter():
    now = unix_time("2026-03-02T03:00:10Z")
    running = [cron_made("a")]
    assert cron_plan(cron_job(), running, now).start is not None
    held = cron_plan(cron_job(concurrencyPolicy="Forbid"), running, now)
    assert (held.start, held.missed) == (None, "Not starting job because prior execution is running")
    replaced = cron_plan(cron_job(concurrencyPolicy="Replace"), running, now)
    assert replaced.start is not None
    assert replaced.replace == tuple(running)
    late = cron_plan(cron_job(startingDeadlineSeconds=5), [], now)
    assert late.start is None
    assert "Missed" in late.missed
    assert cron_plan(cron_job(suspend=True), [], now).start is None


def test_old_jobs_are_forgotten():
    jobs = [cron_made(f"ok-{n}", "Complete", f"2026-03-01T00:0{n}:00Z") for n in range(5)]
    jobs += [cron_made(f"bad-{n}", "Failed", f"2026-03-01T00:0{n}:00Z") for n in range(2)]
    planned = cron_plan(cron_job(), copy.deepcopy(jobs), unix_time("2026-03-01T01:00:00Z"))
    assert [each["metadata"]["name"] for each in planned.forget] == ["ok-0", "ok-1", "bad-0"]


@pytest.mark.parametrize(
    ("schedule", "zone"), [("61 * * * *", ""), ("* * *", ""), ("TZ=UTC * * * * *", ""), ("@daily", "No/Where")]
)
def test_a_schedule_that_cannot_be_read_is_told(schedule, zone):
    with pytest.raises(ManifestError, match="schedule"):
        schedule_times(schedule, zone, NOW - 1, NOW)
