"""When a CronJob is due, and what becomes of the Jobs that it has made. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from localcluster.controllers.job_plan import finished
from localcluster.controllers.replicas import unix_time
from localcluster.render import ManifestError, Object


@dataclass(frozen=True)
class CronPlan:
    """What to do for a CronJob now.

    Attributes:
        start: Unix time for which a Job is to be started; None for none.
        replace: Jobs to delete because a new one takes their place.
        forget: Finished Jobs that nobody needs any more.
        missed: Why a time passed without a Job; empty if none did.
        next_s: Seconds until the next time; None for one that is suspended.
    """

    start: int | None
    replace: tuple[Object, ...]
    forget: tuple[Object, ...]
    missed: str
    next_s: float | None


def plan(cron_job: Object, jobs: Sequence[Object], now: float) -> CronPlan:
    """What a CronJob needs next.

    Args:
        cron_job: The CronJob.
        jobs: The Jobs that it has made.
        now: Unix time.

    Raises:
        ManifestError: Its schedule or time zone cannot be read.
    """
    spec, status = cron_job["spec"], cron_job.get("status") or {}
    forget = (
        *_oldest(jobs, "Complete", spec.get("successfulJobsHistoryLimit", 3)),
        *_oldest(jobs, "Failed", spec.get("failedJobsHistoryLimit", 1)),
    )
    since = unix_time(status.get("lastScheduleTime") or cron_job["metadata"]["creationTimestamp"])
    due, following = schedule_times(spec["schedule"], spec.get("timeZone", ""), since, now)
    if spec.get("suspend"):
        return CronPlan(None, (), forget, "", None)
    next_s = following - now
    if due is None:
        return CronPlan(None, (), forget, "", next_s)
    deadline_s = spec.get("startingDeadlineSeconds")
    if deadline_s is not None and now - due > deadline_s:
        return CronPlan(None, (), forget, f"Missed scheduled time by more than {deadline_s} s", next_s)
    active = tuple(job for job in jobs if finished(job) is None)
    policy = spec.get("concurrencyPolicy", "Allow")
    if active and policy == "Forbid":
        return CronPlan(None, (), forget, "Not starting job because prior execution is running", next_s)
    return CronPlan(due, active if policy == "Replace" else (), forget, "", next_s)


def schedule_times(schedule: str, zone: str, since: float, now: float) -> tuple[int | None, float]:
    """The last time of a schedule after `since` and until `now`, None if there is none; and the first after `now`.

    Raises:
        ManifestError: The schedule or the time zone cannot be read.
    """
    from croniter import croniter  # type: ignore[import-untyped]

    if "TZ=" in schedule or len(schedule.split()) not in {1, 5}:
        raise ManifestError(f"schedule {schedule!r} is not five fields (or @daily and such); the zone is timeZone")
    try:
        zone_info = ZoneInfo(zone) if zone else UTC
        local = datetime.fromtimestamp(now, zone_info)
        following = croniter(schedule, local).get_next(float)
        before = croniter(schedule, datetime.fromtimestamp(now + 1e-6, zone_info)).get_prev(float)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise ManifestError(f"schedule {schedule!r} in {zone or 'UTC'}: {error}") from error
    return (int(before) if since < before <= now else None), float(following)


def _oldest(jobs: Sequence[Object], end: str, limit: int) -> list[Object]:
    """Jobs with that end, without the last `limit`."""
    ended = sorted((job for job in jobs if finished(job) == end), key=lambda job: job["metadata"]["creationTimestamp"])
    return ended[: max(0, len(ended) - limit)]
