"""`blueprints run`, `compile` and `submit`: one pipeline, here or on Kubeflow."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.columns import Columns
from rich.padding import Padding

from cli.output import Json, console, escape, fail, known_errors, print_json

if TYPE_CHECKING:
    from pipelines.local_run import LocalRun

Blueprint = Annotated[str, typer.Argument(help="Name of the blueprint, such as credit-risk.")]
Settings = Annotated[
    list[str], typer.Option("--set", metavar="NAME=VALUE", help="A parameter of the pipeline; may be repeated.")
]
DatasetName = Annotated[str | None, typer.Option("--dataset", help="Dataset, see blueprints data list, or a new name.")]
DataFile = Annotated[str | None, typer.Option("--data", help="Your own CSV or Parquet file, path or URI.")]
Query = Annotated[
    str | None, typer.Option("--query", help="Your own data as one SELECT; BLUEPRINTS_DATABASE_URL says where.")
]
SchemaFile = Annotated[
    Path | None, typer.Option("--schema", exists=True, dir_okay=False, help="YAML file that describes your own data.")
]


def run(
    blueprint: Blueprint,
    dataset: DatasetName = None,
    data: DataFile = None,
    query: Query = None,
    schema: SchemaFile = None,
    settings: Settings = [],  # noqa: B006 - Typer copies it
    no_cache: Annotated[bool, typer.Option("--no-cache", help="Run every step, whatever ran before.")] = False,
    json: Json = False,
) -> None:
    """Run a blueprint's pipeline on this machine."""
    from cli.progress import run_with_progress

    with known_errors():
        pipeline, arguments = configured(blueprint, dataset, data, query, schema, settings)
        finished = run_with_progress(pipeline, arguments, use_cache=not no_cache and schema is None, quiet=json)
    if json:
        print_json(_summary(finished))
        return
    summary = _summary(finished)
    for name, value in summary.items():
        if not isinstance(value, dict):
            console.print(f"  {name:<8} {escape(str(value))}")
    figures = [f"{name.replace('_', ' ')} [bold]{value:.4f}[/]" for name, value in sorted(summary["metrics"].items())]
    console.print(Padding(Columns(figures, padding=(0, 3), column_first=True), (1, 2)))
    for name, page in finished.reports.items():
        console.print(f"  {name.replace('_', ' '):<20} {page}")


def compile_pipelines(
    blueprint: Annotated[str | None, typer.Argument(help="Name of the blueprint; all of them if left out.")] = None,
    output: Annotated[Path, typer.Option(help="Folder for the YAML files.")] = Path("build/pipelines"),
) -> None:
    """Compile pipelines to the YAML that Kubeflow runs."""
    from kfp.compiler import Compiler

    from pipelines import PIPELINES, load

    output.mkdir(parents=True, exist_ok=True)
    for name in [blueprint] if blueprint else PIPELINES:
        with _usage_errors():
            pipeline = load(name)
        target = output / f"{name}.yaml"
        Compiler().compile(pipeline, str(target))
        console.print(f"{name}: {target}")


def submit(
    blueprint: Blueprint,
    host: Annotated[str, typer.Option(help="URL of the Kubeflow Pipelines API.", envvar="KFP_HOST")],
    dataset: DatasetName = None,
    data: DataFile = None,
    query: Query = None,
    schema: SchemaFile = None,
    settings: Settings = [],  # noqa: B006 - Typer copies it
    experiment: Annotated[str, typer.Option(help="Experiment of the run.")] = "blueprints",
    json: Json = False,
) -> None:
    """Submit a blueprint's pipeline to Kubeflow, unchanged."""
    import kfp

    with known_errors():
        pipeline, arguments = configured(blueprint, dataset, data, query, schema, settings)
    try:
        # The client prints links of its own.
        with contextlib.redirect_stdout(sys.stderr):
            submitted = kfp.Client(host=host).create_run_from_pipeline_func(
                pipeline, arguments=arguments, experiment_name=experiment, enable_caching=caching(schema)
            )
    except Exception as error:
        raise fail(f"{host} did not take the run: {error}. Is this the URL of the Kubeflow Pipelines API?") from error
    url = f"{host.rstrip('/')}/#/runs/details/{submitted.run_id}"
    if json:
        print_json({"run_id": submitted.run_id, "url": url})
    else:
        console.print(f"Submitted: {url}")


def caching(schema: Path | None) -> bool | None:
    """What the client is told: nothing, so that each step keeps its own setting; off for one's own data.

    A URI stays the same when the data behind it changes.
    """
    return None if schema is None else False


def configured(
    blueprint: str,
    dataset: str | None,
    data: str | None,
    query: str | None,
    schema: Path | None,
    settings: list[str],
) -> tuple[Any, dict[str, Any]]:
    """The pipeline and its arguments, as the options say.

    Raises:
        typer.Exit: They contradict each other, or name what there is not.
    """
    from pipelines import check, load

    if data is not None and query is not None:
        raise fail("give --data or --query, not both", code=2)
    if (data is None and query is None) != (schema is None):
        raise fail("--data or --query goes together with --schema, which says what the data holds", code=2)
    with _usage_errors():
        pipeline = load(blueprint)
    chosen = dict(_setting(text) for text in settings)
    own = schema is not None
    if own and dataset is None:
        dataset = "own"
    if dataset is not None:
        chosen["dataset"] = dataset
        # A model of other data is another model; it must not stand against this one's champion.
        if own or dataset != pipeline.component_spec.inputs["dataset"].default:
            chosen.setdefault("registered_model", f"{blueprint}-{dataset.replace('_', '-')}")
    if data is not None:
        chosen["data_uri"] = data if "://" in data else str(Path(data).resolve())
    if query is not None:
        chosen["sql_query"] = query
    if schema is not None:
        chosen["schema_yaml"] = schema.read_text(encoding="utf-8")
    arguments = _typed(pipeline, chosen)
    with _usage_errors():
        check(blueprint, arguments)
    return pipeline, arguments


def _setting(text: str) -> tuple[str, str]:
    name, separator, value = text.partition("=")
    if not separator or not name:
        raise fail(f"--set {text}: write it as NAME=VALUE", code=2)
    return name.strip(), value


def _typed(pipeline: Any, chosen: dict[str, str]) -> dict[str, Any]:
    """Parameters with the types that the pipeline declares."""
    inputs = pipeline.component_spec.inputs
    typed: dict[str, Any] = {}
    for name, text in chosen.items():
        if name not in inputs:
            raise fail(f"--set {name}: no such parameter; there are: {', '.join(inputs)}", code=2)
        kind = inputs[name].type
        try:
            convert = {"NUMBER_INTEGER": int, "NUMBER_DOUBLE": float, "Integer": int, "Float": float}.get(kind, str)
            typed[name] = convert(text)
        except ValueError as error:
            raise fail(f"--set {name}={text}: must be {kind.lower()}", code=2) from error
    return typed


def _summary(finished: LocalRun) -> dict[str, Any]:
    return {
        "version": finished.outputs["version"],
        "package": finished.outputs["package"].metadata["package_version"],
        "promoted": finished.outputs["promote"],
        "reason": finished.outputs["reason"],
        "metrics": finished.outputs["metrics"].metadata,
        "reports": {name: str(path) for name, path in finished.reports.items()},
        "folder": str(finished.folder),
    }


@contextlib.contextmanager
def _usage_errors() -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise fail(str(error), code=2) from error
