"""`dsl.OneOf` of artifacts in `kfp.local`, which (2.17) gives only parameters the value of the branch that ran."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from kfp.local.orchestrator.orchestrator_utils import OrchestratorUtils


@contextmanager
def artifacts_of_the_branch_that_ran() -> Iterator[None]:
    """Runs in this context take an artifact of `dsl.OneOf` from the branch that ran, as Kubeflow does."""
    usual = OrchestratorUtils.get_dag_output_artifacts
    OrchestratorUtils.get_dag_output_artifacts = staticmethod(_output_artifacts)
    try:
        yield
    finally:
        OrchestratorUtils.get_dag_output_artifacts = usual


def _output_artifacts(dag_outputs_spec: Any, io_store: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, choice in dag_outputs_spec.artifacts.items():
        for selector in choice.artifact_selectors:
            try:
                found[name] = io_store.get_task_output(selector.producer_subtask, selector.output_artifact_key)
            except ValueError:
                # That branch did not run.
                continue
        if name not in found:
            raise ValueError(f"output {name!r}: none of the branches that could give it ran")
    return found
