"""`blueprints schedule` and `backfill`: a pipeline again and again, and for dates that are past."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

from cli.output import Json, console, escape, fail, known_errors, print_json
from cli.run import Blueprint, DatasetName, Settings, caching, configured

RUN_DATE = "run_date"
"""Parameter of pipelines that compute as of a date."""

_DONE_S = 24 * 3600.0

Host = Annotated[str, typer.Option(help="URL of the Kubeflow Pipelines API.", envvar="KFP_HOST")]


def schedule(
    blueprint: Blueprint,
    host: Host,
    cron: Annotated[str, typer.Option(help="When: five fields (minute first), or six with seconds; UTC.")],
    dataset: DatasetName = None,
    settings: Settings = [],  # noqa: B006 - Typer copies it
    name: Annotated[str | None, typer.Option(help="Name of the recurring run; by default the blueprint's.")] = None,
    experiment: Annotated[str, typer.Option(help="Experiment of the runs.")] = "blueprints",
    replace: Annotated[bool, typer.Option("--replace", help="Take the place of a recurring run of that name.")] = False,
    json: Json = False,
) -> None:
    """Run a pipeline on Kubeflow again and again; one that has a run date takes the day on which it runs."""
    import tempfile

    import kfp
    from kfp.compiler import Compiler

    expression = six_fields(cron)
    with known_errors():
        pipeline, arguments = configured(blueprint, dataset, None, None, None, settings)
    if RUN_DATE in pipeline.component_spec.inputs:
        arguments.setdefault(RUN_DATE, "today")
    wanted = name or blueprint
    with _of_the_api(host), contextlib.redirect_stdout(sys.stderr), tempfile.TemporaryDirectory() as folder:
        package = str(Path(folder) / "pipeline.yaml")
        Compiler().compile(pipeline, package)
        client = kfp.Client(host=host)
        group = client.create_experiment(experiment).experiment_id
        old = [one for one in _recurring(client, group) if one.display_name == wanted]
        if old and not replace:
            raise fail(f"{wanted!r} is scheduled already; --replace takes its place, --name gives another name")
        made = client.create_recurring_run(
            group,
            wanted,
            cron_expression=expression,
            max_concurrency=1,
            no_catchup=True,
            params=arguments,
            pipeline_package_path=package,
            enable_caching=caching(None),
        )
        # The new one first: a failure leaves two schedules rather than none.
        for one in old:
            client.delete_recurring_run(one.recurring_run_id)
    if json:
        print_json({"recurring_run_id": made.recurring_run_id, "name": wanted, "cron": expression})
    else:
        console.print(f"Scheduled: {escape(wanted)}, {expression}")


def backfill(
    blueprint: Blueprint,
    first: Annotated[str, typer.Option("--from", metavar="YYYY-MM-DD", help="First run date.")],
    last: Annotated[str, typer.Option("--to", metavar="YYYY-MM-DD", help="Last run date, inclusive.")],
    every: Annotated[str, typer.Option(help="day, week or month.")] = "month",
    dataset: DatasetName = None,
    settings: Settings = [],  # noqa: B006 - Typer copies it
    host: Annotated[str | None, typer.Option(help="Run on Kubeflow instead of here.", envvar="KFP_HOST")] = None,
    json: Json = False,
) -> None:
    """Run a pipeline for past dates, oldest first; a date that ran before is replaced, so late data is counted."""
    dates = run_dates(_day("--from", first), _day("--to", last), every)
    with known_errors():
        pipeline, arguments = configured(blueprint, dataset, None, None, None, settings)
    if RUN_DATE not in pipeline.component_spec.inputs:
        raise fail(f"the pipeline of {blueprint} has no {RUN_DATE}: there are no past dates to run", code=2)
    done = []
    for number, one in enumerate(dates, start=1):
        if not json:
            console.print(f"[bold]{one}[/] ({number} of {len(dates)})")
        chosen = {**arguments, RUN_DATE: one.isoformat()}
        found = _there(host, pipeline, chosen) if host else _here(pipeline, chosen, quiet=json)
        done.append({RUN_DATE: one.isoformat(), **found})
    if json:
        print_json({"runs": done})


def six_fields(cron: str) -> str:
    """A cron expression as Kubeflow takes it, seconds first.

    Raises:
        typer.Exit: It is none.
    """
    from croniter import croniter  # type: ignore[import-untyped]

    fields = cron.split()
    standard = fields[1:] if len(fields) == 6 else fields
    valid = " ".join(standard).replace("?", "*")
    if len(standard) != 5 or not croniter.is_valid(valid):
        raise fail(f"--cron {cron!r}: five fields such as '0 3 1 * *' (the first of each month at 3:00 UTC)", code=2)
    return " ".join(fields if len(fields) == 6 else ["0", *fields])


def run_dates(first: date, last: date, every: str) -> list[date]:
    """The dates of a back-fill, oldest first; a month later is the same day, or the month's last one.

    Raises:
        typer.Exit: There are none, or `every` is no interval.
    """
    if every not in ("day", "week", "month"):
        raise fail(f"--every {every}: day, week or month", code=2)
    if first > last:
        raise fail(f"--from {first} is after --to {last}", code=2)
    dates = []
    for number in range(100_000):
        one = (
            _months_later(first, number)
            if every == "month"
            else first + timedelta(number * (7 if every == "week" else 1))
        )
        if one > last:
            break
        dates.append(one)
    return dates


def _months_later(day: date, months: int) -> date:
    import calendar

    year, month = divmod(day.year * 12 + day.month - 1 + months, 12)
    return date(year, month + 1, min(day.day, calendar.monthrange(year, month + 1)[1]))


def _day(option: str, text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise fail(f"{option} {text}: write the date as 2026-01-31", code=2) from None


def _here(pipeline: Any, arguments: dict[str, Any], *, quiet: bool) -> dict[str, Any]:
    from cli.progress import run_with_progress

    with known_errors():
        run = run_with_progress(pipeline, arguments, use_cache=False, quiet=quiet)
    return {"folder": str(run.folder), "reason": run.outputs["reason"]}


def _there(host: str, pipeline: Any, arguments: dict[str, Any]) -> dict[str, Any]:
    """One run on Kubeflow, waited for: the segments of a date continue those of the one before."""
    import kfp

    with _of_the_api(host), contextlib.redirect_stdout(sys.stderr):
        client = kfp.Client(host=host)
        submitted = client.create_run_from_pipeline_func(pipeline, arguments=arguments, experiment_name="blueprints")
        state = str(client.wait_for_run_completion(submitted.run_id, timeout=_DONE_S).state)
    if state.upper() != "SUCCEEDED":
        raise fail(f"the run {submitted.run_id} of {arguments[RUN_DATE]} ended as {state}; later dates were not run")
    return {"run_id": submitted.run_id, "state": state}


def _recurring(client: Any, experiment: str) -> Iterator[Any]:
    """All recurring runs of an experiment."""
    token = ""
    while True:
        page = client.list_recurring_runs(page_token=token, page_size=100, experiment_id=experiment)
        yield from page.recurring_runs or ()
        token = page.next_page_token or ""
        if not token:
            return


@contextlib.contextmanager
def _of_the_api(host: str) -> Iterator[None]:
    try:
        yield
    except typer.Exit:
        raise
    except Exception as error:
        raise fail(f"{host} did not do it: {error}. Is this the URL of the Kubeflow Pipelines API?") from error
