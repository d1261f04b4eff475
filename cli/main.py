"""The `blueprints` command."""

from __future__ import annotations

import os

import typer

from cli import bench, cluster, data, demo, deploy, doctor, lineage, rollout, run, schedule, status, validate

app = typer.Typer(
    help="ML deployment blueprints: from raw data to a served, explained, recorded decision.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,
)


@app.callback()
def main() -> None:
    """No telemetry, whatever the libraries' defaults."""
    for name, value in (
        ("DO_NOT_TRACK", "1"),
        ("MLFLOW_DISABLE_TELEMETRY", "true"),
        ("DVC_NO_ANALYTICS", "1"),
        ("FEAST_USAGE", "False"),
        ("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false"),
    ):
        os.environ.setdefault(name, value)


app.command("demo")(demo.demo)
app.command("run")(run.run)
app.command("compile")(run.compile_pipelines)
app.command("submit")(run.submit)
app.command("schedule")(schedule.schedule)
app.command("backfill")(schedule.backfill)
app.add_typer(cluster.app, name="cluster")
app.add_typer(rollout.app, name="rollout")
app.command("deploy")(deploy.deploy)
app.command("status")(status.status)
app.command("logs")(deploy.logs)
app.command("delete")(deploy.delete)
app.command("validate")(validate.validate)
app.command("lineage")(lineage.lineage)
app.command("bench")(bench.bench)
app.command("doctor")(doctor.doctor)
app.add_typer(data.app, name="data")

if __name__ == "__main__":
    app()
