"""An artifact of one of two branches reaches the next step, here as on Kubeflow."""

from pathlib import Path

import pytest
from kfp import dsl
from kfp.local.orchestrator.orchestrator_utils import OrchestratorUtils

from pipelines.local_run import run_locally


@dsl.component(install_kfp_package=False)
def make(text: str, made: dsl.Output[dsl.Model]):
    from pathlib import Path

    Path(made.path).write_text(text)
    made.metadata["text"] = text


@dsl.component(install_kfp_package=False)
def use(given: dsl.Input[dsl.Model]) -> str:
    from pathlib import Path

    return Path(given.path).read_text() + given.metadata["text"]


@dsl.pipeline
def inner(number: int) -> dsl.Model:
    with dsl.If(number > 0):
        many = make(text="many")
    with dsl.Else():
        none = make(text="none")
    return dsl.OneOf(many.outputs["made"], none.outputs["made"])


@dsl.pipeline
def outer(way: str = "short", number: int = 0) -> str:
    with dsl.If(way == "long"):
        long = inner(number=number)
    with dsl.Else():
        short = make(text="short")
    return use(given=dsl.OneOf(long.output, short.outputs["made"])).output


@pytest.mark.parametrize(
    ("arguments", "text"),
    [({}, "short"), ({"way": "long"}, "none"), ({"way": "long", "number": 2}, "many")],
)
def test_the_branch_that_ran_gives_the_artifact(arguments, text, tmp_path):
    usual = OrchestratorUtils.get_dag_output_artifacts
    run = run_locally(outer, arguments, tmp_path, use_cache=False)
    assert run.outputs["Output"] == 2 * text
    assert OrchestratorUtils.get_dag_output_artifacts == usual
    assert len(list(Path(run.folder).rglob("executor_output.json"))) == 2
