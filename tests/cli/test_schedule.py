from __future__ import annotations

import json
from datetime import date, timedelta

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st

from cli.schedule import run_dates, six_fields

OLD = "5d1e6f3a-0000-4000-8000-000000000000"


def test_a_schedule_runs_for_the_day_on_which_it_runs_and_each_step_keeps_its_own_caching(blueprints, kubeflow):
    done = blueprints("schedule", "segmentation", "--host", kubeflow.host, "--cron", "0 3 1 * *", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"recurring_run_id": kubeflow.NEW, "name": "segmentation", "cron": "0 0 3 1 * *"}
    (body,) = kubeflow.bodies("recurringruns")
    assert body["runtime_config"]["parameters"] == {"run_date": "today"}
    assert body["trigger"]["cron_schedule"]["cron"] == "0 0 3 1 * *"
    assert body["no_catchup"] is True
    spec = body["pipeline_spec"]
    tasks = spec.get("pipeline_spec", spec)["root"]["dag"]["tasks"]
    assert not tasks["score-customers"].get("cachingOptions", {}).get("enableCache")


def test_a_name_is_scheduled_once_unless_it_is_to_be_replaced(blueprints, kubeflow):
    kubeflow.scheduled.append({"recurring_run_id": OLD, "display_name": "segmentation"})
    done = blueprints("schedule", "segmentation", "--host", kubeflow.host, "--cron", "0 3 1 * *")
    assert done.returncode == 1
    assert "--replace" in done.stderr
    assert not kubeflow.told
    done = blueprints("schedule", "segmentation", "--host", kubeflow.host, "--cron", "0 3 1 * *", "--replace")
    assert done.returncode == 0, done.stderr
    changes = [path.rpartition("/")[2] for path, _ in kubeflow.told]
    assert changes == ["recurringruns", OLD]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--from", "1998-05-01", "--to", "1998-04-01"], "is after"),
        (["--from", "May", "--to", "1998-04-01"], "2026-01-31"),
        (["--from", "1998-05-01", "--to", "1998-06-01", "--every", "year"], "day, week or month"),
    ],
)
def test_dates_that_make_no_sense_are_refused(blueprints, options, words):
    done = blueprints("backfill", "segmentation", *options)
    assert done.returncode == 2
    assert words in done.stderr


def test_a_pipeline_without_a_run_date_has_no_past(blueprints):
    done = blueprints("backfill", "sentiment", "--from", "1998-05-01", "--to", "1998-05-01")
    assert done.returncode == 2
    assert "no run_date" in done.stderr


@pytest.mark.parametrize(
    ("given_", "taken"),
    [("0 3 1 * *", "0 0 3 1 * *"), ("*/5 * * * *", "0 */5 * * * *"), ("0 0 9 ? * 2-6", "0 0 9 ? * 2-6")],
)
def test_a_cron_expression_gets_its_seconds(given_, taken):
    assert six_fields(given_) == taken


@pytest.mark.parametrize("cron", ["", "hourly", "61 * * * *", "* * * *", "* * * * * * *"])
def test_what_is_no_cron_expression_is_refused(cron):
    with pytest.raises(typer.Exit):
        six_fields(cron)


def test_months_end_where_the_month_ends():
    found = run_dates(date(2024, 1, 31), date(2024, 5, 1), "month")
    assert found == [date(2024, 1, 31), date(2024, 2, 29), date(2024, 3, 31), date(2024, 4, 30)]


@given(st.dates(date(1990, 1, 1), date(2030, 1, 1)), st.integers(0, 900), st.sampled_from(["day", "week", "month"]))
def test_dates_ascend_within_their_bounds_from_the_first(first, days, every):
    last = first + timedelta(days)
    found = run_dates(first, last, every)
    assert found[0] == first
    assert found == sorted(set(found))
    assert found[-1] <= last
